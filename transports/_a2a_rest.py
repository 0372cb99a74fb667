"""The HTTP+JSON binding of A2A under ``/a2a/rest``: 1.0 (specification, section 11), and 0.3 in its own addresses below ``/v1``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from agents.card import card_v03, card_v1
from hub.errors import BadRequest, HubError, NotFound
from transports import _a2a_errors, _a2a_push
from transports._a2a_agent import SSE_HEADERS, Agent, admit, read, sse, version_of
from transports._a2a_cards import own_card
from transports._a2a_params import Params
from transports._a2a_proto03 import Proto03
from transports._a2a_v1 import V1, push_of
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.records import PushConfig, TaskRow
    from hub.tasks.task import Item, LiveTask
    from transports._a2a_cards import Form
    from transports._a2a_dialect import Ref, Send

_DOORS = {
    version: Door("a2a", error=error, route_class=b"CLIENT_API", opens="mcp:connect", resource="/a2a")
    for version, error in (("1.0", _a2a_errors.rest), ("0.3", _a2a_errors.rest_v03))
}
_V1 = V1()
_SHAPES = _a2a_push.V1Shapes()


def routes(agent: Agent) -> list[Route]:
    """The routes of both versions: 0.3 has its addresses under ``/v1``, and its clients state no version."""
    new, old = Rest(agent, V1Codec(), card_v1), Rest(agent, Proto03(), card_v03)
    configs = "/tasks/{id}/pushNotificationConfigs"
    table: list[tuple[str, Callable[[Rest], Callable[[Exchange], Awaitable[None]]], tuple[str, ...]]] = [
        ("/message:send", lambda rest: rest.send, ("POST",)),
        ("/message:stream", lambda rest: rest.stream, ("POST",)),
        ("/tasks/{id}", lambda rest: rest.task, ("GET", "POST")),
        (configs, lambda rest: rest.configs, ("GET", "POST")),
        (f"{configs}/{{config}}", lambda rest: rest.config, ("GET", "DELETE")),
    ]
    made = [(f"{base}{path}", rest, of(rest), methods) for base, rest in (("", new), ("/v1", old)) for path, of, methods in table]
    made += [("/tasks", new, new.list, ("GET",)), ("/extendedAgentCard", new, new.card, ("GET",)), ("/v1/card", old, old.card, ("GET",))]
    return [Route(f"/a2a/rest{path}", _guarded(rest.version, run), _DOORS[rest.version], methods=how) for path, rest, run, how in made]


def _guarded(version: str, handler: Callable[[Exchange], Awaitable[None]]) -> Callable[[Exchange], Awaitable[None]]:
    """Check scope and version first; give errors their status in this binding."""

    async def handle(exchange: Exchange) -> None:
        try:
            admit(exchange)
            if version_of(exchange) != version:
                raise BadRequest(
                    f"this binding speaks A2A {version}: send the header `A2A-Version: {version}`", code="version_not_supported"
                )
            await handler(exchange)
        except HubError as error:
            if exchange.started:
                raise
            await exchange.answer_json(_DOORS[version].error(error), status=_a2a_errors.fault_of(error).status)

    return handle


class Codec(Protocol):
    """How a version writes what the binding carries. Decoders raise BadRequest naming the field at fault."""

    version: str

    def send(self, params: Params, *, stream: bool) -> Send: ...

    def ref(self, params: Params) -> Ref: ...

    def sent(self, row: TaskRow, history: int | None) -> Any: ...

    def answered(self, message: dict[str, Any]) -> Any: ...

    def got(self, row: TaskRow, history: int | None) -> Any: ...

    def canceled(self, row: TaskRow) -> Any: ...

    def event(self, row: TaskRow, item: Item, history: int | None) -> dict[str, Any]: ...

    def push(self, params: Params) -> PushConfig: ...

    def config(self, config: PushConfig) -> Any: ...

    def configs(self, configs: list[PushConfig]) -> Any: ...


class V1Codec(V1):
    """1.0: as over JSON-RPC."""

    def push(self, params: Params) -> PushConfig:
        """Read a TaskPushNotificationConfig."""
        return push_of(params)

    def config(self, config: PushConfig) -> Any:
        """Write a TaskPushNotificationConfig."""
        return _SHAPES.one(config)

    def configs(self, configs: list[PushConfig]) -> Any:
        """Write a ListTaskPushNotificationConfigsResponse."""
        return _SHAPES.all(configs)


class Rest:
    """The operations, by address."""

    def __init__(self, agent: Agent, codec: Codec, card: Form) -> None:
        self.version = codec.version
        self._codec = codec
        self._card = card
        self._agent = agent
        self._configs = _a2a_push.Configs(agent.hub)

    async def send(self, exchange: Exchange) -> None:
        """``POST /message:send``."""
        send = await _a2a_push.prepared(exchange, self._codec.send(Params(await read(exchange), "body"), stream=False))
        live = await self._agent.start(exchange, send)
        if isinstance(live, dict):
            await exchange.answer_json(self._codec.answered(live))
            return
        live.detached |= not send.said.waits
        row = await self._agent.hub.tasks.settled(live) if send.said.waits else live.snapshot()
        await exchange.answer_json(self._codec.sent(row, send.history), headers=_a2a_push.secret_header(send.said.push))

    async def stream(self, exchange: Exchange) -> None:
        """``POST /message:stream``."""
        send = await _a2a_push.prepared(exchange, self._codec.send(Params(await read(exchange), "body"), stream=True))
        live = await self._agent.start(exchange, send)
        if isinstance(live, dict):
            await exchange.start(200, SSE_HEADERS)
            await exchange.finish(sse(self._codec.answered(live)))
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
        if exchange.method == "POST" or (action == "subscribe" and self.version == "0.3"):  # 0.3 subscribes with GET as well
            await self._act(exchange, task_id, action)
            return
        ref = self._codec.ref(Params({**exchange.query, "id": exchange.params["id"]}))
        live = await self._agent.find(exchange, ref.id)
        await exchange.answer_json(self._codec.got(live.snapshot(), ref.history))

    async def _act(self, exchange: Exchange, task_id: str, action: str) -> None:
        if action == "cancel":
            live = await self._agent.find(exchange, task_id)
            await exchange.answer_json(self._codec.canceled(await self._agent.hub.tasks.cancel(live)))
        elif action == "subscribe":
            await self._follow(exchange, await self._agent.subscribed(exchange, task_id), None, patient=True)
        else:
            raise NotFound("nothing is served here; POST to /tasks/{id}:cancel or /tasks/{id}:subscribe")

    async def _follow(
        self, exchange: Exchange, live: LiveTask, history: int | None, *, patient: bool, headers: _a2a_push.Headers = SSE_HEADERS
    ) -> None:
        def write(item: Item) -> bytes:
            return sse(self._codec.event(live.row, item, history))

        await self._agent.follow(exchange, live, write, patient=patient, headers=headers)

    async def card(self, exchange: Exchange) -> None:
        """``GET /extendedAgentCard``."""
        await exchange.answer_json(own_card(exchange, self._card))

    async def configs(self, exchange: Exchange) -> None:
        """``GET`` and ``POST /tasks/{id}/pushNotificationConfigs``."""
        task_id = exchange.params["id"]
        if exchange.method == "POST":
            body = Params(await read(exchange), "body")
            made = await self._configs.set(exchange, task_id, self._codec.push(body))
            await exchange.answer_json(self._codec.config(made), headers=_a2a_push.secret_header(made))
        else:
            await exchange.answer_json(self._codec.configs(await self._configs.list(exchange, task_id)))

    async def config(self, exchange: Exchange) -> None:
        """``GET`` and ``DELETE /tasks/{id}/pushNotificationConfigs/{config}``."""
        task_id, config_id = exchange.params["id"], exchange.params["config"]
        if exchange.method == "DELETE":
            await self._configs.delete(exchange, task_id, config_id)
            await exchange.answer_json({})
        else:
            await exchange.answer_json(self._codec.config(await self._configs.get(exchange, task_id, config_id)))
