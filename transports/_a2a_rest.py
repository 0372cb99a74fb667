"""The HTTP+JSON binding of A2A 1.0 (specification, section 11) under ``/a2a/rest``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.card import card_v1
from hub.errors import BadRequest, HubError, NotFound
from transports import _a2a_errors, _a2a_push
from transports._a2a_agent import SSE_HEADERS, Agent, admit, read, sse, version_of
from transports._a2a_cards import own_card
from transports._a2a_params import Params
from transports._a2a_v1 import V1, push_of
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.task import Item, LiveTask

DOOR = Door("a2a", error=_a2a_errors.rest, route_class=b"CLIENT_API")
_V1 = V1()
_SHAPES = _a2a_push.V1Shapes()


def routes(agent: Agent) -> list[Route]:
    """The binding's routes."""
    rest = Rest(agent)
    configs = "/tasks/{id}/pushNotificationConfigs"
    table: list[tuple[str, Callable[[Exchange], Awaitable[None]], tuple[str, ...]]] = [
        ("/message:send", rest.send, ("POST",)),
        ("/message:stream", rest.stream, ("POST",)),
        ("/tasks", rest.list, ("GET",)),
        ("/tasks/{id}", rest.task, ("GET", "POST")),
        (configs, rest.configs, ("GET", "POST")),
        (f"{configs}/{{config}}", rest.config, ("GET", "DELETE")),
        ("/extendedAgentCard", rest.card, ("GET",)),
    ]
    return [Route(f"/a2a/rest{path}", _guarded(handler), DOOR, methods=methods) for path, handler, methods in table]


def _guarded(handler: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
    """Check scope and version first; give errors their status in this binding."""

    async def handle(exchange: Exchange) -> None:
        try:
            admit(exchange)
            if version_of(exchange) != "1.0":
                raise BadRequest("this binding speaks A2A 1.0: send the header `A2A-Version: 1.0`", code="version_not_supported")
            await handler(exchange)
        except HubError as error:
            if exchange.started:
                raise
            await exchange.answer_json(_a2a_errors.rest(error), status=_a2a_errors.fault_of(error).status)

    return handle


class Rest:
    """The operations, by address."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._configs = _a2a_push.Configs(agent.hub)

    async def send(self, exchange: Exchange) -> None:
        """``POST /message:send``."""
        send = await _a2a_push.prepared(exchange, _V1.send(Params(await read(exchange), "body"), stream=False))
        live = await self._agent.start(exchange, send)
        if isinstance(live, dict):
            await exchange.answer_json(_V1.answered(live))
            return
        live.detached |= not send.said.waits
        row = await self._agent.hub.tasks.settled(live) if send.said.waits else live.snapshot()
        await exchange.answer_json(_V1.sent(row, send.history), headers=_a2a_push.secret_header(send.said.push))

    async def stream(self, exchange: Exchange) -> None:
        """``POST /message:stream``."""
        send = await _a2a_push.prepared(exchange, _V1.send(Params(await read(exchange), "body"), stream=True))
        live = await self._agent.start(exchange, send)
        if isinstance(live, dict):
            await exchange.start(200, SSE_HEADERS)
            await exchange.finish(sse(_V1.answered(live)))
            return
        live.detached = True
        headers = [*SSE_HEADERS, *_a2a_push.secret_header(send.said.push)]
        await self._follow(exchange, live, send.history, patient=False, headers=headers)

    async def list(self, exchange: Exchange) -> None:
        """``GET /tasks``."""
        query: dict[str, Any] = dict(exchange.query)
        if query.get("includeArtifacts") in ("true", "false"):
            query["includeArtifacts"] = query["includeArtifacts"] == "true"
        page = _V1.page(Params(query))
        rows, total = await self._agent.hub.tasks.page(exchange.caller.key_id, **page.choice)
        await exchange.answer_json(_V1.listed(page, rows, total))

    async def task(self, exchange: Exchange) -> None:
        """``GET /tasks/{id}``, ``POST /tasks/{id}:cancel`` and ``POST /tasks/{id}:subscribe``."""
        task_id, _, action = exchange.params["id"].partition(":")
        if exchange.method == "POST":
            await self._act(exchange, task_id, action)
            return
        ref = _V1.ref(Params({**exchange.query, "id": exchange.params["id"]}))
        live = await self._agent.find(exchange, ref.id)
        await exchange.answer_json(_V1.got(live.snapshot(), ref.history))

    async def _act(self, exchange: Exchange, task_id: str, action: str) -> None:
        if action == "cancel":
            live = await self._agent.find(exchange, task_id)
            await exchange.answer_json(_V1.canceled(await self._agent.hub.tasks.cancel(live)))
        elif action == "subscribe":
            await self._follow(exchange, await self._agent.subscribed(exchange, task_id), None, patient=True)
        else:
            raise NotFound("nothing is served here; POST to /tasks/{id}:cancel or /tasks/{id}:subscribe")

    async def _follow(
        self, exchange: Exchange, live: LiveTask, history: int | None, *, patient: bool, headers: _a2a_push.Headers = SSE_HEADERS
    ) -> None:
        def write(item: Item) -> bytes:
            return sse(_V1.event(live.row, item, history))

        await self._agent.follow(exchange, live, write, patient=patient, headers=headers)

    async def card(self, exchange: Exchange) -> None:
        """``GET /extendedAgentCard``."""
        await exchange.answer_json(own_card(exchange, card_v1))

    async def configs(self, exchange: Exchange) -> None:
        """``GET`` and ``POST /tasks/{id}/pushNotificationConfigs``."""
        task_id = exchange.params["id"]
        if exchange.method == "POST":
            body = Params(await read(exchange), "body")
            made = await self._configs.set(exchange, task_id, push_of(body))
            await exchange.answer_json(_SHAPES.one(made), headers=_a2a_push.secret_header(made))
        else:
            await exchange.answer_json(_SHAPES.all(await self._configs.list(exchange, task_id)))

    async def config(self, exchange: Exchange) -> None:
        """``GET`` and ``DELETE /tasks/{id}/pushNotificationConfigs/{config}``."""
        task_id, config_id = exchange.params["id"], exchange.params["config"]
        if exchange.method == "DELETE":
            await self._configs.delete(exchange, task_id, config_id)
            await exchange.answer_json({})
        else:
            await exchange.answer_json(_SHAPES.one(await self._configs.get(exchange, task_id, config_id)))
