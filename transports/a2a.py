"""The A2A door: JSON-RPC at ``/a2a`` in three dialects, HTTP+JSON at ``/a2a/rest``, and the agent cards.

Which dialect a request speaks is told by its ``A2A-Version`` header, its method and its parameters
(protocols.md 6.2). The work is :class:`agents.executor.Executor`'s, the tasks are ``hub.tasks``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agents.card import card_v03, card_v1
from hub.errors import BadRequest, HubError, Internal
from hub.log import logger
from transports import _a2a_errors, _a2a_push, _a2a_rest, _access
from transports._a2a_agent import SSE_HEADERS, Agent, admit, read, sse, version_of
from transports._a2a_cards import Cards, own_card
from transports._a2a_dialect import Dialect, Operation
from transports._a2a_params import Params
from transports._a2a_seed import Seed, speaks
from transports._a2a_v03 import V03
from transports._a2a_v1 import V1
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.tasks.task import Item, LiveTask

log = logger("transports.a2a")

DOOR = Door("a2a", error=_a2a_errors.refused, route_class=b"CLIENT_API", opens="mcp:connect", resource="/a2a")
CARDS = Door("a2a", error=_a2a_errors.rest, route_class=b"PUBLIC", resource="/a2a")
_V1, _V03, _SEED = V1(), V03(), Seed()


def routes(hub: Hub) -> list[Route]:
    """The door's routes."""
    agent, cards = Agent(hub), Cards(hub)
    _a2a_push.speak(hub)
    return [
        Route("/a2a", Rpc(agent).handle, DOOR, methods=("POST",)),
        Route("/a2a/v1/card", extended_card, DOOR),
        Route("/.well-known/agent-card.json", cards.v1, CARDS, public=True),
        Route("/.well-known/agent.json", cards.v03, CARDS, public=True),
        *_a2a_rest.routes(agent),
    ]


async def extended_card(exchange: Exchange) -> None:
    """``GET /a2a/v1/card``: 0.3's own address of the extended card."""
    admit(exchange)
    await exchange.answer_json(own_card(exchange, card_v03))


@dataclass(slots=True)
class Call:
    """One JSON-RPC request on its way to its answer."""

    exchange: Exchange
    dialect: Dialect
    id: Any
    params: Params

    async def answer(self, result: Any, *, headers: _a2a_push.Headers | None = None) -> None:
        """Send a result."""
        await self.exchange.answer_json({"jsonrpc": "2.0", "id": self.id, "result": result}, headers=headers or ())

    @property
    def shapes(self) -> _a2a_push.V1Shapes | _a2a_push.V03Shapes:
        """How the dialect writes push notification configs."""
        return _a2a_push.SHAPES[self.dialect.version]

    def frames(self, live: LiveTask, history: int | None, item: Item) -> bytes:
        """An item of a stream as events."""
        return b"".join(sse(one) for one in self.dialect.frames(self.id, live.row, item, history))


class Rpc:
    """The JSON-RPC binding."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._configs = _a2a_push.Configs(agent.hub)
        self._run = {
            Operation.SEND: self._send,
            Operation.STREAM: self._stream,
            Operation.GET: self._get,
            Operation.LIST: self._list,
            Operation.CANCEL: self._cancel,
            Operation.SUBSCRIBE: self._subscribe,
            Operation.CARD: self._card,
            Operation.PUSH_SET: self._push_set,
            Operation.PUSH_GET: self._push_get,
            Operation.PUSH_LIST: self._push_list,
            Operation.PUSH_DELETE: self._push_delete,
        }

    async def handle(self, exchange: Exchange) -> None:
        """``POST /a2a``. Errors carry the request's id, in the shape of its dialect."""
        admit(exchange)
        call = Call(exchange, _V1, None, Params({}))
        try:
            body = await read(exchange)
            call.id = _id(body)
            method, params = _method(body)
            call.dialect = _dialect(version_of(exchange), method, params)
            operation = _operation(call.dialect, method)
            call.params = Params({} if params is None else params)
            await self._run[operation](call)
        except HubError as error:
            await _fail(call, error)
        except Exception as error:  # the transport boundary: a JSON-RPC client needs its id back
            log.error("request failed", request_id=exchange.request_id, exc_info=error)
            await _fail(call, Internal(f"the hub failed; the log has the cause under {exchange.request_id}"))

    async def _send(self, call: Call) -> None:
        send = await _a2a_push.prepared(call.exchange, call.dialect.send(call.params, stream=False))
        live = await self._agent.start(call.exchange, send)
        if isinstance(live, dict):
            await call.answer(call.dialect.answered(live))
            return
        live.detached |= not send.said.waits
        row = await self._agent.hub.tasks.settled(live) if send.said.waits else live.snapshot()
        await call.answer(call.dialect.sent(row, send.history), headers=_a2a_push.secret_header(send.said.push))

    async def _stream(self, call: Call) -> None:
        send = await _a2a_push.prepared(call.exchange, call.dialect.send(call.params, stream=True))
        live = await self._agent.start(call.exchange, send)
        if isinstance(live, dict):
            await call.exchange.start(200, SSE_HEADERS)
            await call.exchange.finish(sse(call.dialect.frame(call.id, live)))
            return
        live.detached |= not call.dialect.tied
        headers = [*SSE_HEADERS, *_a2a_push.secret_header(send.said.push)]
        await self._agent.follow(call.exchange, live, partial(call.frames, live, send.history), patient=False, headers=headers)

    async def _get(self, call: Call) -> None:
        ref = call.dialect.ref(call.params)
        live = await self._agent.find(call.exchange, ref.id)
        await call.answer(call.dialect.got(live.snapshot(), ref.history))

    async def _list(self, call: Call) -> None:
        page = _V1.page(call.params)
        rows, total = await self._agent.hub.tasks.page(call.exchange.caller.key_id, **page.choice)
        await call.answer(_V1.listed(page, rows, total))

    async def _cancel(self, call: Call) -> None:
        ref = call.dialect.ref(call.params)
        live = await self._agent.find(call.exchange, ref.id)
        await call.answer(call.dialect.canceled(await self._agent.hub.tasks.cancel(live)))

    async def _subscribe(self, call: Call) -> None:
        ref = call.dialect.ref(call.params)
        live = await self._agent.subscribed(call.exchange, ref.id)
        await self._agent.follow(call.exchange, live, partial(call.frames, live, ref.history), patient=True)

    async def _card(self, call: Call) -> None:
        await call.answer(own_card(call.exchange, card_v1 if call.dialect is _V1 else card_v03))

    async def _push_set(self, call: Call) -> None:
        task_id, config = call.shapes.set(call.params)
        made = await self._configs.set(call.exchange, task_id, config)
        await call.answer(call.shapes.one(made), headers=_a2a_push.secret_header(made))

    async def _push_get(self, call: Call) -> None:
        task_id, config_id = call.shapes.ref(call.params, required=call.dialect is _V1)
        await call.answer(call.shapes.one(await self._configs.get(call.exchange, task_id, config_id)))

    async def _push_list(self, call: Call) -> None:
        await call.answer(call.shapes.all(await self._configs.list(call.exchange, call.shapes.task(call.params))))

    async def _push_delete(self, call: Call) -> None:
        task_id, config_id = call.shapes.ref(call.params)
        await self._configs.delete(call.exchange, task_id, config_id)
        await call.answer(None)


async def _fail(call: Call, error: HubError) -> None:
    """Send an error; one inside a stream cuts the connection, which no client takes for an end."""
    if call.exchange.started:
        raise error
    status, body = call.dialect.error(error)
    answer = {"jsonrpc": "2.0", "id": call.id, "error": body}
    if status == 200 and call.dialect is _V03 and call.exchange.head.accept.strip() == "text/event-stream":
        # Clients of 0.3 that take nothing but a stream know no other answer; its only event is the error.
        await call.exchange.start(200, SSE_HEADERS)
        await call.exchange.finish(sse(answer))
    else:
        await call.exchange.answer_json(answer, status=status, headers=_access.headers(call.exchange, error))


def _invalid(words: str) -> BadRequest:
    return BadRequest(words, code="invalid_request")


def _id(body: Any) -> Any:
    """The id of a JSON-RPC request, None where it has none."""
    if isinstance(body, list):
        raise _invalid("batches are not supported; send one request at a time")
    if not isinstance(body, dict):
        raise _invalid("a JSON-RPC request is an object")
    rpc_id: Any = body.get("id")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON edge
    if rpc_id is not None and (not isinstance(rpc_id, (str, int)) or isinstance(rpc_id, bool)):
        raise _invalid("id must be a string, a whole number or null")
    return rpc_id


def _method(body: dict[str, Any]) -> tuple[str, Any]:
    if body.get("jsonrpc") != "2.0":
        raise _invalid('jsonrpc must be "2.0"')
    method = body.get("method")
    if not isinstance(method, str) or not method:
        raise _invalid("method must be a string")
    return method, body.get("params")


def _dialect(version: str, method: str, params: Any) -> Dialect:
    if version == "1.0":
        return _V1
    if method in V1.methods:
        raise BadRequest(f"{method} is a method of A2A 1.0: send the header `A2A-Version: 1.0`", code="version_not_supported")
    return _SEED if method in Seed.methods and speaks(params) else _V03


def _operation(dialect: Dialect, method: str) -> Operation:
    operation = dialect.methods.get(method)
    if operation is None:
        raise BadRequest(f"no method {method[:100]!r}; there are {', '.join(dialect.methods)}", code="method_not_found")
    return operation
