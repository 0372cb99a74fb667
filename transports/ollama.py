"""The Ollama door: chat, generate and the lists of models, as Ollama's own clients call them.

Nothing is loaded here and no model can be pulled: what a model server has of its own is for that server's door.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from transports._chat_door import Dialect, serve
from transports._fields import tree_of
from transports._http import Door, Exchange, Route
from transports._ollama_chat import StreamEncoder, Timing, encode, envelope, loaded, raw_chat
from transports._ollama_decode import DIALECT, GENERATE, decode, decode_generate
from transports._vectors import vectors_of

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.chat import ChatResponse, JsonObject
    from hub.engine.ask import ChatAsk, StreamHead
    from hub.errors import HubError

#: The version of Ollama's API that is spoken here; clients switch abilities on by it.
_API = "0.13.0"
#: Ollama says when a model was last changed; nobody knows it of a model somewhere else.
_NEVER = "1970-01-01T00:00:00Z"
_LINES = b"application/x-ndjson"
_TIMING = "hubroute.timing"
_ABILITIES = {"tool_calling": "tools", "vision": "vision", "reasoning": "thinking"}


def ollama_body(error: HubError) -> JsonObject:
    """Ollama's error: words alone."""
    return {"error": error.message}


DOOR = Door("ollama", error=ollama_body, route_class=b"CLIENT_API")


def routes(hub: Hub) -> list[Route]:
    """The door's routes, for clients that are given the hub's address, and for those that are given it with ``/v1``."""
    return [
        Route(f"{base}/api/{name}", handler, DOOR, methods=(method,))
        for base in ("", "/v1")
        for name, handler, method in (
            ("chat", chat, "POST"),
            ("generate", generate, "POST"),
            ("embed", embed, "POST"),
            ("embeddings", embed_older, "POST"),
            ("tags", tags, "GET"),
            ("show", show, "POST"),
            ("ps", running, "GET"),
            ("version", version, "GET"),
        )
    ]


async def chat(exchange: Exchange) -> None:
    """``POST /api/chat``: lines unless ``stream`` is false."""
    await _served(exchange, DIALECT)


async def generate(exchange: Exchange) -> None:
    """``POST /api/generate``: one prompt, answered as a chat of one turn."""
    await _served(exchange, GENERATE)


async def _served(exchange: Exchange, dialect: str) -> None:
    exchange.hub.allow(exchange.hub.find("chat"), exchange.ctx)
    timing = exchange.scope[_TIMING] = Timing(exchange.hub.clock)
    body = await exchange.body()
    found = envelope(body)
    if found.empty:
        await exchange.answer(200, loaded(found, timing, generate=dialect == GENERATE), [(b"content-type", b"application/json")])
        return
    await serve(exchange, _CHAT if dialect == DIALECT else _GENERATE, raw_chat(body, found, dialect))


def _encoded(generate: bool, response: ChatResponse, exchange: Exchange, ask: ChatAsk) -> bytes:
    return encode(response, model=ask.model, timing=exchange.scope[_TIMING], generate=generate)


def _encoder(generate: bool, exchange: Exchange, ask: ChatAsk, head: StreamHead) -> StreamEncoder:
    return StreamEncoder(model=ask.model, timing=exchange.scope[_TIMING], generate=generate)


_CHAT = Dialect("/api/chat", decode=decode, encode=partial(_encoded, False), encoder=partial(_encoder, False), content_type=_LINES)
_GENERATE = Dialect(
    "/api/generate", decode=decode_generate, encode=partial(_encoded, True), encoder=partial(_encoder, True), content_type=_LINES
)


async def embed(exchange: Exchange) -> None:
    """``POST /api/embed``: a text or a list of them."""
    timing = Timing(exchange.hub.clock)
    fields = tree_of(await exchange.body())
    made = await vectors_of(exchange, fields, DIALECT)
    body = {"model": fields["model"], "embeddings": made.vectors, **timing.embedded(made.usage)}
    await exchange.answer_json(body, headers=made.headers)


async def embed_older(exchange: Exchange) -> None:
    """``POST /api/embeddings``, the older form: one prompt."""
    fields = tree_of(await exchange.body())
    fields["input"] = fields.pop("prompt", "")
    made = await vectors_of(exchange, fields, DIALECT)
    await exchange.answer_json({"embedding": made.vectors[0]}, headers=made.headers)


async def tags(exchange: Exchange) -> None:
    """``GET /api/tags``: every combo and model that this key can call."""
    listed = await exchange.hub.call(exchange.hub.find("openai-models"), {}, exchange.ctx)
    await exchange.answer_json({"models": [_listed(one) for one in listed.data]})


def _listed(found: Any) -> JsonObject:
    return {
        "name": found.id,
        "model": found.id,
        "modified_at": _NEVER,
        "size": 0,
        "digest": hashlib.sha256(found.id.encode()).hexdigest(),
        "details": _details(found),
    }


def _details(found: Any) -> JsonObject:
    names = ("parent_model", "format", "parameter_size", "quantization_level")
    return {**dict.fromkeys(names, ""), "family": found.owned_by, "families": [found.owned_by]}


async def show(exchange: Exchange) -> None:
    """``POST /api/show``: what is known of one model, above all what it can do and how long its context is."""
    exchange.hub.allow(exchange.hub.find("openai-model"), exchange.ctx)
    fields = tree_of(await exchange.body())
    name = fields.get("model") or fields.get("name")
    if not isinstance(name, str):
        raise BadRequest("model: is missing" if not name else "model: must be a string", field="model")
    found = await exchange.hub.call(exchange.hub.find("openai-model"), {"model": name}, exchange.ctx)
    does = ["embedding"] if found.type == "embedding" else ["completion"] if found.type == "chat" else []
    info: JsonObject = {"general.architecture": found.owned_by, "general.basename": found.root}
    if found.context_length:
        info[f"{found.owned_by}.context_length"] = found.context_length
    await exchange.answer_json(
        {
            "license": "",
            "modelfile": f"FROM {found.id}\n",
            "parameters": "",
            "template": "",
            "details": _details(found),
            "model_info": info,
            "capabilities": does + [word for name, word in _ABILITIES.items() if found.capabilities.get(name)],
            "modified_at": _NEVER,
        }
    )


async def running(exchange: Exchange) -> None:
    """``GET /api/ps``: no model is loaded into the hub itself."""
    await exchange.answer_json({"models": []})


async def version(exchange: Exchange) -> None:
    """``GET /api/version``: the API's, not the hub's."""
    await exchange.answer_json({"version": _API})
