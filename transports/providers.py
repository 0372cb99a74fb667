"""Chats and models of one provider under ``/v1/providers/{provider}``: as at the common addresses, with everybody else left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.errors import BadRequest
from hub.planning.pinned import pinned, provider_row
from hub.splice import edit
from transports import completions, openai
from transports._http import Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub

_BASE = "/v1/providers/{provider}"


class _Named(msgspec.Struct):
    model: Any = None


_NAMED = msgspec.json.Decoder(_Named)


def routes(hub: Hub) -> list[Route]:
    """The routes, in OpenAI's manner."""
    return [
        Route(f"{_BASE}/chat/completions", chat, openai.DOOR, methods=("POST",)),
        Route(f"{_BASE}/completions", text, openai.DOOR, methods=("POST",)),
        Route(f"{_BASE}/models", models, openai.DOOR),
    ]


async def chat(exchange: Exchange) -> None:
    """``POST /v1/providers/{provider}/chat/completions``."""
    await openai.answered(exchange, await _body(exchange))


async def text(exchange: Exchange) -> None:
    """``POST /v1/providers/{provider}/completions``."""
    await completions.answered(exchange, await _body(exchange))


async def _body(exchange: Exchange) -> bytes:
    """The body with the model's name in full. A body without a model's name stays, for the door to refuse in its own words.

    Raises HubError; who may not call learns nothing of what is wrong with it.
    """
    exchange.hub.allow(exchange.hub.find("chat"), exchange.ctx)
    body = await exchange.body()
    try:
        model = _NAMED.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("Invalid JSON body") from error
    name = pinned(exchange.hub, exchange.params["provider"], model if isinstance(model, str) else "")
    return edit(body, {"model": orjson.dumps(name)}) if isinstance(model, str) and model.strip() and name != model else body


async def models(exchange: Exchange) -> None:
    """``GET /v1/providers/{provider}/models``: those of its models that this key can call. Raises NotFound."""
    hub, provider = exchange.hub, exchange.params["provider"]
    hub.allow(hub.find("openai-models"), exchange.ctx)
    row = provider_row(hub, provider)
    owner = row.id if row is not None else hub.directory.prefixes()[provider].partition("/")[0]
    listed = await hub.call(hub.find("openai-models"), {}, exchange.ctx)
    found = [one.model_dump(mode="json", by_alias=True) for one in listed.data if one.owned_by == owner]
    await exchange.answer_json({"object": "list", "data": found})
