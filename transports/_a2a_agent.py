"""What both A2A bindings do: admit a request, read its body and version, start, find and follow tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import orjson

from agents.conformance import Fixtures
from agents.executor import Executor
from hub.errors import BadRequest, Unavailable
from hub.remote_agents.agents import HOPS_HEADER, HOPS_META
from hub.tasks.task import ENDED
from hub.wire import iso
from transports._a2a_errors import WrongBodyType

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.call import Hub
    from hub.context import Context
    from hub.records import Caller
    from hub.tasks.task import Item, LiveTask
    from transports._a2a_dialect import Send
    from transports._http import Exchange

Headers = list[tuple[bytes, bytes]]
SSE_HEADERS: Headers = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]


class Visit(Protocol):
    """What the operations need of a request, whatever its binding. An :class:`transports._http.Exchange` is one."""

    @property
    def hub(self) -> Hub: ...

    @property
    def ctx(self) -> Context: ...

    @property
    def caller(self) -> Caller: ...

    def header(self, name: bytes) -> str:
        """A header or metadata entry by its lower-case name, empty when absent."""
        ...

    def cancel_when_gone(self) -> None:
        """From now on the client's leaving cancels the request."""
        ...


class Agent:
    """The hub as an agent; its callers see their own tasks only."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._executor = Executor(hub, fixtures=Fixtures() if hub.settings.test_profile == "conformance" else None)

    async def start(self, exchange: Visit, send: Send) -> LiveTask | dict[str, Any]:
        """Take a message; from here on its client's leaving is noticed. A dict is a message that answers without a task."""
        exchange.cancel_when_gone()
        exchange.ctx.hops = _hops(exchange, send)
        return await self._executor.send(send.said, exchange.ctx)

    async def find(self, exchange: Visit, task_id: str) -> LiveTask:
        """A task of this caller. Raises NotFound."""
        return await self.hub.tasks.find(task_id, exchange.caller.key_id)

    async def subscribed(self, exchange: Visit, task_id: str) -> LiveTask:
        """A task to follow; its work goes on without a listener. Raises BadRequest when it has ended: nothing is left to tell."""
        live = await self.find(exchange, task_id)
        if live.state in ENDED:
            words = f"the task has ended ({live.state}); get it instead of subscribing to it"
            raise BadRequest(words, code="unsupported_operation", data={"taskId": task_id})
        exchange.cancel_when_gone()
        live.detached = True
        return live

    async def follow(
        self, exchange: Exchange, live: LiveTask, write: Callable[[Item], bytes], *, patient: bool, headers: Headers = SSE_HEADERS
    ) -> None:
        """Send a task's events as they come; a comment when there has been none for a while."""
        async with self.hub.tasks.following(live, patient=patient) as items:
            async for item in items:
                if not exchange.started:
                    await exchange.start(200, headers)
                data = write(item) if item is not None else f": heartbeat {iso(exchange.hub.clock.now_ms())}\n\n".encode()
                if data:
                    await exchange.chunk(data)
        await exchange.finish()


def _hops(exchange: Visit, send: Send) -> int:
    """How many hubs the message has passed, by header or metadata, whichever says more."""
    stated: Any = send.said.metadata.pop(HOPS_META, 0)
    header = exchange.header(HOPS_HEADER.encode())
    told = stated if isinstance(stated, (int, float)) and 0 <= stated <= 2**31 else 0
    return max(int(told), int(header) if header.isdigit() and len(header) < 10 else 0)


def admit(exchange: Visit) -> None:
    """Raise Unavailable while the door is switched off, Forbidden for a key that may not use it."""
    if not exchange.hub.preferences.current.a2a_enabled:
        raise Unavailable("A2A is switched off on this hub; set a2aEnabled in the settings to open it", code="agent_disabled")
    exchange.hub.admit("mcp:connect", exchange.ctx)


def version_of(exchange: Exchange) -> str:
    """The ``Major.Minor`` that the client asks for, by header or query; empty means 0.3 (specification 3.6)."""
    return version(exchange.header(b"a2a-version") or (exchange.query.get("A2A-Version", "") if exchange.scope["query_string"] else ""))


def version(asked: str) -> str:
    """The ``Major.Minor`` of a stated version. Raises BadRequest for one that is not spoken here."""
    found = ".".join(asked.strip().split(".")[:2]) or "0.3"
    if found not in ("0.3", "1.0"):
        raise BadRequest(f"A2A version {asked[:20]!r} is not supported; use 1.0 or 0.3", code="version_not_supported")
    return found


async def read(exchange: Exchange) -> Any:
    """The body as JSON. Raises WrongBodyType, and BadRequest for what is not JSON."""
    kind = exchange.head.content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise WrongBodyType(f"the body must be application/json, not {kind[:100]}")
    data = await exchange.body()
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="parse_error") from None


def sse(value: Any) -> bytes:
    """One event of a stream."""
    return b"data: " + orjson.dumps(value) + b"\n\n"
