"""Progress events in a stream, for clients that ask with ``X-OmniRoute-Progress: true`` (routing.md 1.10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from hub.engine.ask import StreamTail

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.engine.ask import StreamItem

_EVERY_MS = 2000
#: Bytes of a stream for each token of it, framing included; until the provider has said how many there were.
_BYTES_PER_TOKEN = 40


class Progress:
    """Counts what a stream has said, and says so every two seconds and at its end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = self._told = clock.monotonic()
        self._bytes = 0

    def after(self, item: StreamItem, data: bytes) -> bytes:
        """What to send of an item of the stream: ``data``, and after it an event where one is due."""
        now = self._clock.monotonic()
        if isinstance(item, StreamTail):
            return data + self._event(item.row.usage.output, now, done=True)
        self._bytes += len(data)
        # In the middle of a provider's event another one would break it.
        if (now - self._told) * 1000 < _EVERY_MS or not data.endswith(b"\n\n"):
            return data
        self._told = now
        return data + self._event(self._bytes // _BYTES_PER_TOKEN, now, done=False)

    def _event(self, tokens: int, now: float, *, done: bool) -> bytes:
        told = {"tokens_generated": tokens, "elapsed_ms": round((now - self._began) * 1000)}
        return b"event: progress\ndata: " + orjson.dumps({**told, "done": True} if done else told) + b"\n\n"
