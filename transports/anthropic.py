"""The Anthropic door: ``/v1/messages``, as Anthropic's SDKs and coding agents expect it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import anthropic_body
from transports._anthropic_chat import encode, envelope
from transports._anthropic_decode import decode
from transports._anthropic_stream import StreamEncoder
from transports._chat_door import Dialect, asked, serve
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.call import Hub
    from hub.chat import ChatRequest, ChatResponse
    from hub.engine.ask import ChatAsk, StreamHead
    from hub.engine.counting import Counted
    from hub.providers.base import RawChat

DOOR = Door("anthropic", error=anthropic_body, route_class=b"CLIENT_API", id_header=b"request-id")

_PATH = "/v1/messages"


def routes(hub: Hub) -> list[Route]:
    """The door's routes."""
    return [
        Route(_PATH, messages, DOOR, methods=("POST",)),
        Route(f"{_PATH}/count_tokens", count_tokens, DOOR, methods=("POST",)),
    ]


async def messages(exchange: Exchange) -> None:
    """``POST /v1/messages``, streaming or not."""
    raw = envelope(await exchange.body(), exchange.scope["headers"])
    await serve(exchange, _DIALECT, raw, _decoder(raw) if raw.headers else None)


async def count_tokens(exchange: Exchange) -> None:
    """``POST /v1/messages/count_tokens``: ``{"input_tokens", "source": "provider" | "estimated"}``, and the source in a header, too."""
    raw = envelope(await exchange.body(), exchange.scope["headers"])
    ask = asked(exchange, _DIALECT, raw, _decoder(raw) if raw.headers else decode)
    exchange.cancel_when_gone()
    hub = exchange.hub
    counted: Counted = await hub.call(hub.find("count-tokens"), ask, exchange.ctx)
    source = "estimated" if counted.estimated else "provider"
    told: dict[str, object] = {"input_tokens": counted.tokens, "source": source}
    if not counted.estimated:
        told.update({"provider": counted.provider, "model": counted.model})
    await exchange.answer_json(told, headers=[(b"x-hubroute-source", source.encode())])


def _decoder(raw: RawChat) -> Callable[[bytes], ChatRequest]:
    """A decoder that keeps the beta features that the client asked for in headers, for targets that the bytes do not reach as they are."""

    def decoded(body: bytes) -> ChatRequest:
        request = decode(body)
        request.extra.setdefault("anthropic_beta", [value for _, value in raw.headers])
        return request

    return decoded


def _encoded(response: ChatResponse, exchange: Exchange, ask: ChatAsk) -> bytes:
    return encode(response, fallback_id=exchange.request_id)


def _encoder(exchange: Exchange, ask: ChatAsk, head: StreamHead) -> StreamEncoder:
    return StreamEncoder(exchange.request_id, head.model)


_DIALECT = Dialect(_PATH, decode=decode, encode=_encoded, encoder=_encoder)
