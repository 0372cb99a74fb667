"""The REST door: every skill with a REST address, served as the registry describes it (D7)."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import BaseModel

from hub.errors import BadRequest, UnsupportedMedia, cohere_body, managed_body, rest_body
from hub.skill import Answer, Download, Flow, path_fields
from transports import _session, openai
from transports._http import NO_STORE, Door, Exchange, Route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.call import Hub
    from hub.skill import Rest, Skill

DOOR = Door("rest", error=rest_body, cookies=True, pages=True)
#: The seed's proxy routes have an error body of their own.
_PROXIES = Door("rest", error=managed_body, cookies=True, pages=True)
_FORM = "multipart/form-data"
#: Bodies that are a file as it is.
_RAW = ("application/octet-stream", "application/vnd.sqlite3", "application/x-sqlite3", "application/gzip", "application/x-gzip")
_MANAGED = ("/api/settings/proxy", "/api/v1/management/proxies")
#: Addresses that belong to a public dialect, by the start of their path.
_DOORS = {"/v1/": openai.DOOR, "/v2/": Door("cohere", error=cohere_body, route_class=b"CLIENT_API")}


def routes(hub: Hub) -> list[Route]:
    """One route for each REST address of a skill whose input is a model; raw inputs belong to their dialect's door."""
    return [
        Route(
            address.path,
            _handler(skill, address),
            _door(address.path),
            methods=(address.method,),
            public=address.public,
        )
        for skill in hub.skills
        if skill.typed
        for address in skill.rest
        if not address.door
    ]


def _door(path: str) -> Door:
    return _PROXIES if path.startswith(_MANAGED) else _DOORS.get(path[:4], DOOR)


def _handler(skill: Skill, address: Rest) -> Any:
    names = path_fields(address.path)
    # With the first query: the schemas of all skills together take 0.3 s, and a start needs none of them.
    lists = cache(lambda: _list_fields(skill))

    async def handle(exchange: Exchange) -> None:
        if address.moved:
            await _point(exchange, skill, address.moved)
            return
        if exchange.session is not None and address.method == "GET" and not skill.read_only:
            _session.refuse_foreign(exchange)  # a link on another site must not do what only looks like reading (SEC-08)
        exchange.ctx.connection = exchange.head.wishes.get("connection", "") if exchange.head.wishes else ""
        kind = exchange.head.content_type.partition(";")[0].strip().lower()
        if kind == _FORM or (kind in _RAW and address.raw):
            async with _sent(exchange, skill, address, kind) as fields:
                await answer(exchange, fields | {name: exchange.params[name] for name in names})
        else:
            await answer(exchange, await _input(exchange, names, lists))

    async def answer(exchange: Exchange, data: dict[str, Any]) -> None:
        if address.ask is not None:
            data = address.ask(data)
        if skill.streams:
            await _stream(exchange, skill, data)
        else:
            await _answer(exchange, skill, address, data)

    return handle


@asynccontextmanager
async def _sent(exchange: Exchange, skill: Skill, address: Rest, kind: str) -> AsyncGenerator[dict[str, Any]]:
    """The fields of a body that is a form, or one file as it is. Raises UnsupportedMedia where an address takes neither."""
    if not address.form:
        raise UnsupportedMedia("this address takes JSON, not a form; send Content-Type: application/json")
    # Before its body, which may be large: who may not call this stores nothing here.
    exchange.hub.allow(skill, exchange.ctx)
    # The parser is not needed to start.
    from transports import _forms  # noqa: PLC0415 - see above

    if kind == _FORM:
        async with _forms.form(exchange, address.form) as fields:
            yield fields
    else:
        async with _forms.raw(exchange, address.form, exchange.query.get("filename", "")) as file:
            yield {**exchange.query, address.raw: file}


async def _answer(exchange: Exchange, skill: Skill, address: Rest, data: dict[str, Any]) -> None:
    exchange.cancel_when_gone()
    output = await exchange.hub.call(skill, data, exchange.ctx)
    status = address.status if address.status_of is None else address.status_of(output)
    if isinstance(output, Download):
        await _download(exchange, output, status)
        return
    headers = address.headers(output) if address.headers is not None else {}
    more = [(name.encode(), value.encode()) for name, value in headers.items()]
    await _send(exchange, _shape(exchange, output, address), status, more)


async def _point(exchange: Exchange, skill: Skill, place: str) -> None:
    """Say where a skill is served now, to those who may call it."""
    exchange.hub.allow(skill, exchange.ctx)
    query: bytes = exchange.scope["query_string"]
    await exchange.answer(308, b"", [(b"location", place.encode() + (b"?" + query if query else b""))])


def _list_fields(skill: Skill) -> frozenset[str]:
    """Input fields that hold lists: a query names them once for each value, or once with commas."""
    properties: dict[str, Any] = skill.input_schema().get("properties", {})
    return frozenset(name for name, schema in properties.items() if "array" in str(schema.get("type", schema.get("anyOf", ""))))


async def _input(exchange: Exchange, names: list[str], lists: Callable[[], frozenset[str]]) -> dict[str, Any]:
    """Query, body and path as one mapping; the path wins, so that a body cannot change what an address means."""
    data: dict[str, Any] = {
        name: [part for part in value.split(",") if part] if name in lists() else value for name, value in exchange.query.items()
    }
    if exchange.method in ("POST", "PUT", "PATCH", "DELETE"):
        data.update(await _body(exchange))
    data.update({name: exchange.params[name] for name in names})
    return data


async def _body(exchange: Exchange) -> dict[str, Any]:
    raw = await exchange.body()
    if not raw.strip():
        return {}
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}", field="body") from None
    if not isinstance(body, dict):
        raise BadRequest("the body must be a JSON object", field="body")
    return body  # pyright: ignore[reportUnknownVariableType] - JSON edge


def _shape(exchange: Exchange, output: Any, address: Rest) -> Any:
    view = next((view for name, view in address.views if exchange.header(name.encode())), address.view)
    if view is not None:
        output = view(output)
    return output.model_dump(mode="json", by_alias=True) if isinstance(output, BaseModel) else output


async def _download(exchange: Exchange, file: Download, status: int) -> None:
    """A file, saved by browsers and never shown as a page of this hub's."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", file.filename)
    headers = [
        (b"content-type", file.content_type.encode("latin-1")),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        (b"cache-control", b"no-store"),
    ]
    pieces = file.pieces
    # The first piece before the head, so that what fails at once is still an error and no cut-off file.
    first = await anext(pieces, b"")
    await exchange.start(status, headers)
    await exchange.chunk(first)
    async for piece in pieces:
        await exchange.chunk(piece)
    await exchange.finish(b"")


async def _send(exchange: Exchange, shaped: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """An output in its shape: JSON, or a body that is made already or on its way."""
    if isinstance(shaped, Answer):
        await exchange.answer(status, shaped.body, [(b"content-type", shaped.content_type.encode("latin-1")), NO_STORE, *headers])
    elif isinstance(shaped, Flow):
        await _flow(exchange, shaped, status, headers)
    else:
        await exchange.answer_json(shaped, status=status, headers=headers)


async def _flow(exchange: Exchange, flow: Flow, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """A body as it comes. One that breaks off cuts the connection, so that nobody takes the part for the whole (REL-01)."""
    try:
        await exchange.start(status, [(b"content-type", flow.content_type.encode("latin-1", "replace")), NO_STORE, *headers])
        async for piece in flow.pieces:
            await exchange.chunk(piece)
    finally:
        await flow.pieces.aclose()
    await exchange.finish()


async def _stream(exchange: Exchange, skill: Skill, data: dict[str, Any]) -> None:
    """A streaming skill over REST is server-sent events, one item an event."""
    items = exchange.hub.stream(skill, data, exchange.ctx)
    exchange.cancel_when_gone()
    async for item in items:
        if not exchange.started:
            await exchange.start(200, [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")])
        await exchange.chunk(b"data: " + orjson.dumps(item.model_dump(mode="json", by_alias=True)) + b"\n\n")
    await exchange.finish(b"")
