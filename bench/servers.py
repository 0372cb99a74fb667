"""What the hub is measured against: a bare raw ASGI app, and an upstream that answers at once."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httptools
import uvloop

ANSWER = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench-1","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"The quick brown fox jumps over the lazy dog. " * 10 + b'"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":180,"completion_tokens":100,"total_tokens":280}}'
)
EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-1","choices":[{"index":0,'
    b'"delta":{"content":"' + b"word " * 30 + b'"},"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-1","choices":[{"index":0,'
    b'"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench-1","choices":[],'
    b'"usage":{"prompt_tokens":180,"completion_tokens":100,"total_tokens":280}}\n\ndata: [DONE]\n\n'
)
#: The same in the Messages API: how a stream begins, one event of it, and its end.
FIRST = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_bench","type":"message","role":"assistant","content":[],'
    b'"model":"bench-1","stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":180,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
)
BLOCK = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"'
    + b"word " * 30
    + b'"}}\n\n'
)
ENDING = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},'
    b'"usage":{"output_tokens":100}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
EVENTS = 100
#: A model whose stream comes as fast as somebody reads it: about 4 MiB.
FLOOD, FLOOD_EVENTS = "bench-flood", 12_000
PACE = 0.005


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The yardstick: reads the body, answers 700 bytes of JSON."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    head = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": ANSWER})


class Upstream(asyncio.Protocol):
    """A provider that costs next to nothing: one write for an answer, one for each event of a stream."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.body = bytearray()
        self.transport: Any = None
        self.left = 0
        self.stalled = False
        self.event, self.last = EVENT, LAST

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.left = 0

    def pause_writing(self) -> None:
        self.stalled = True

    def resume_writing(self) -> None:
        self.stalled = False
        asyncio.get_running_loop().call_soon(self.pour)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.event, self.last = (BLOCK, ENDING) if url.endswith(b"/messages") else (EVENT, LAST)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        stream = b'"stream":true' in self.body or b'"stream": true' in self.body
        flood = FLOOD.encode() in self.body
        self.body.clear()
        if not stream:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
            self.transport.write(head + ANSWER)
            return
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if self.event is BLOCK:
            self.transport.write(b"%x\r\n%b\r\n" % (len(FIRST), FIRST))
        self.left = FLOOD_EVENTS if flood else EVENTS
        asyncio.get_running_loop().call_later(PACE, self.pour if flood else self.tick)

    def pour(self) -> None:
        """The whole stream as fast as it is read."""
        while self.left > 0 and not self.stalled:
            self.left -= 1
            data = self.event if self.left else self.last
            self.transport.write(b"%x\r\n%b\r\n%b" % (len(data), data, b"" if self.left else b"0\r\n\r\n"))

    def tick(self) -> None:
        if self.left <= 0:
            return
        self.left -= 1
        data = self.event if self.left else self.last
        chunk = b"%x\r\n%b\r\n" % (len(data), data)
        self.transport.write(chunk if self.left else chunk + b"0\r\n\r\n")
        if self.left:
            asyncio.get_running_loop().call_later(PACE, self.tick)


async def _upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    """``python -m bench.servers bare|upstream PORT``."""
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "upstream":
        uvloop.run(_upstream(port))
        return
    import uvicorn

    uvicorn.run(
        bare, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, proxy_headers=False, log_level="error"
    )


if __name__ == "__main__":
    main()
