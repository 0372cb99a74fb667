"""The OpenAI door: ``/v1/chat/completions``, as any OpenAI-compatible client expects it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import openai_body
from transports._chat_door import Dialect, seconds, serve
from transports._http import Door, Exchange, Route
from transports._kept_files import inlined
from transports._openai_chat import StreamEncoder, decode, encode, envelope

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.chat import ChatResponse
    from hub.engine.ask import ChatAsk, StreamHead

DOOR = Door("openai", error=openai_body, token_headers=(b"x-api-key", b"api-key"), route_class=b"CLIENT_API")

_PATH = "/v1/chat/completions"


def routes(hub: Hub) -> list[Route]:
    """The door's routes."""
    return [Route(_PATH, completions, DOOR, methods=("POST",))]


async def completions(exchange: Exchange) -> None:
    """``POST /v1/chat/completions``, streaming or not."""
    await answered(exchange, await exchange.body())


async def answered(exchange: Exchange, body: bytes) -> None:
    """Answer a body as if it had come to this door. Raises HubError before the answer has begun."""
    await serve(exchange, _DIALECT, envelope(await inlined(exchange, body)))


def _encoded(response: ChatResponse, exchange: Exchange, ask: ChatAsk) -> bytes:
    return encode(response, created=response.created or seconds(exchange))


def _encoder(exchange: Exchange, ask: ChatAsk, head: StreamHead) -> StreamEncoder:
    return StreamEncoder(
        id=f"chatcmpl-{exchange.request_id}",
        model=head.model,
        created=seconds(exchange),
        include_usage=ask.raw is not None and ask.raw.include_usage,
    )


_DIALECT = Dialect(_PATH, decode=decode, encode=_encoded, encoder=_encoder)
