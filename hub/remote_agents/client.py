"""Speaking with a remote A2A agent over one of its interfaces: JSON-RPC or HTTP+JSON, A2A 1.0 or 0.3.

Whatever is spoken, callers give and get the JSON of A2A 1.0. What comes back is a stranger's: only its outermost form is checked here.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import orjson

from hub.errors import Conflict, HubError, NotConfigured, NotFound, RateLimited, Unavailable, UpstreamFailed, UpstreamRejected
from hub.fetch import begin, header_of
from hub.log import masked
from hub.outbound.base import Timeouts
from hub.sse import SseParser
from hub.tasks import a2a_03

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from hub.clock import Clock
    from hub.outbound.base import Incoming
    from hub.outbound.client import Outbound
    from hub.remote_agents.card import Interface

#: Bounds in bytes: of a whole answer or stream, and of one event of a stream (REL-03).
MOST_BYTES = 16 * 1024 * 1024
MOST_EVENT = 4 * 1024 * 1024
#: Of an error only the beginning is read for its words.
_WORDS = 500

_METHODS = {
    "1.0": {
        "send": "SendMessage",
        "stream": "SendStreamingMessage",
        "get": "GetTask",
        "cancel": "CancelTask",
        "subscribe": "SubscribeToTask",
    },
    "0.3": {
        "send": "message/send",
        "stream": "message/stream",
        "get": "tasks/get",
        "cancel": "tasks/cancel",
        "subscribe": "tasks/resubscribe",
    },
}
_PATHS = {
    "send": ("POST", "/message:send"),
    "stream": ("POST", "/message:stream"),
    "get": ("GET", "/tasks/{id}"),
    "cancel": ("POST", "/tasks/{id}:cancel"),
    "subscribe": ("POST", "/tasks/{id}:subscribe"),
}
#: A2A's errors by their JSON-RPC code, as the reasons that HTTP+JSON gives (specification 1.0, 5.4).
_REASONS = {
    -32001: "task_not_found",
    -32002: "task_not_cancelable",
    -32004: "unsupported_operation",
    -32005: "content_type_not_supported",
    -32009: "version_not_supported",
    -32601: "method_not_found",
    -32602: "invalid_params",
}
_KINDS: dict[str, type[HubError]] = {"task_not_found": NotFound, "task_not_cancelable": Conflict}
_BUSY: dict[int, type[HubError]] = {429: RateLimited, 503: Unavailable}
_OUR_FAULT = (-32600, -32700)
#: What an agent answers that does not do what its card says.
UNABLE = frozenset({"unsupported_operation", "method_not_found", "version_not_supported"})


@dataclass(frozen=True, slots=True)
class Access:
    """How an agent is reached: its interface, its name for people, headers with the credential, and whether it may be private."""

    name: str
    interface: Interface
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    private: bool = False


@dataclass(frozen=True, slots=True)
class _Ask:
    """One request: ``operation`` is a key of the tables above."""

    operation: str
    params: dict[str, Any]
    task_id: str = ""


class AgentClient:
    """A client of one agent. Every method raises OutboundError, and what :func:`refusal` makes of an error answer."""

    def __init__(self, outbound: Outbound, clock: Clock, access: Access, *, timeouts: Timeouts) -> None:
        self.access = access
        self._outbound = outbound
        self._clock = clock
        self._timeouts = timeouts
        self._v1 = access.interface.version == "1.0"
        self._rpc = access.interface.binding == "JSONRPC"

    async def send(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and do not wait for the work: ``{"task": …}`` or ``{"message": …}``."""
        return self._item(await self._whole(self._sending("send", message)))

    async def get(self, task_id: str, history: int = 0) -> dict[str, Any]:
        """A task as it stands, with so many of its messages."""
        return self._task(await self._whole(_Ask("get", {"id": task_id, "historyLength": history}, task_id)))

    async def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel a task. Raises Conflict when it has ended."""
        return self._task(await self._whole(_Ask("cancel", {"id": task_id}, task_id)))

    async def stream(self, message: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Send a message and follow the work: items as :meth:`send` gives, ``statusUpdate`` and ``artifactUpdate``."""
        async with aclosing(self._streamed(self._sending("stream", message))) as items:
            async for item in items:
                yield item

    async def subscribe(self, task_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Follow a task that is under way. In 1.0 the first item is the task as it stands; 0.3 promises no such thing."""
        async with aclosing(self._streamed(_Ask("subscribe", {"id": task_id}, task_id))) as items:
            async for item in items:
                yield item

    def _sending(self, operation: str, message: Mapping[str, Any]) -> _Ask:
        if self._v1:
            return _Ask(operation, {"message": dict(message), "configuration": {"returnImmediately": True}})
        written = a2a_03.message_out(message) if self._rpc else a2a_03.proto_message_out(message)
        return _Ask(operation, {"message": written, "configuration": {"blocking": False}})

    def _item(self, result: Any) -> dict[str, Any]:
        found = result if self._v1 else a2a_03.item_in(result)
        if not isinstance(found, dict) or not any(name in found for name in ("task", "message", "statusUpdate", "artifactUpdate")):
            raise UpstreamFailed(f"{self.access.name} answered neither with a task nor with a message")
        return cast("dict[str, Any]", found)

    def _task(self, result: Any) -> dict[str, Any]:
        found = result if self._v1 else a2a_03.task_in(result)
        if not isinstance(found, dict) or not isinstance(found.get("id"), str):  # pyright: ignore[reportUnknownMemberType] - JSON edge
            raise UpstreamFailed(f"{self.access.name} answered a task without an id")
        return cast("dict[str, Any]", found)

    async def _whole(self, ask: _Ask) -> Any:
        incoming = await self._begin(ask, "application/json")
        return self._result(incoming, await incoming.read())

    async def _streamed(self, ask: _Ask) -> AsyncGenerator[dict[str, Any]]:
        incoming = await self._begin(ask, "text/event-stream")
        if not header_of(incoming.headers, "content-type").startswith("text/event-stream"):
            # An error, or an agent that answers at once instead of streaming.
            yield self._item(self._result(incoming, await incoming.read()))
            return
        parser = SseParser(limit=MOST_EVENT)
        try:
            async for piece in incoming:
                for event in parser.feed(piece):
                    yield self._item(self._unwrapped(event.data, incoming))
            for event in parser.end():
                yield self._item(self._unwrapped(event.data, incoming))
        finally:
            await incoming.close()

    async def _begin(self, ask: _Ask, accept: str) -> Incoming:
        access = self.access
        headers = {"accept": accept, **access.headers, "a2a-version": access.interface.version}
        method, url, body = self._rpc_request(ask) if self._rpc else self._rest_request(ask)
        return await begin(
            self._outbound, method, url, headers=headers, body=body, most=MOST_BYTES, private=access.private, timeouts=self._timeouts
        )

    def _rpc_request(self, ask: _Ask) -> tuple[str, str, Any]:
        interface = self.access.interface
        params = {**ask.params, "tenant": interface.tenant} if interface.tenant else ask.params
        method = _METHODS[interface.version][ask.operation]
        return "POST", interface.url, {"jsonrpc": "2.0", "id": self._clock.new_id("rpc_"), "method": method, "params": params}

    def _rest_request(self, ask: _Ask) -> tuple[str, str, Any]:
        interface = self.access.interface
        method, path = _PATHS[ask.operation]
        before = f"/{quote(interface.tenant, safe='')}" if interface.tenant else "" if self._v1 else "/v1"
        url = interface.url.rstrip("/") + before + path.replace("{id}", quote(ask.task_id, safe=""))
        if ask.operation == "get":
            return method, f"{url}?historyLength={ask.params['historyLength']}", None
        return method, url, ask.params if "message" in ask.params else {}

    def _result(self, incoming: Incoming, body: bytes) -> Any:
        if self._rpc or incoming.status >= 300:
            return self._unwrapped(body, incoming)
        found: Any = self._json(body, incoming.status)
        return found

    def _unwrapped(self, body: bytes, incoming: Incoming) -> Any:
        """What an answer or an event holds. Raises what :func:`refusal` makes of an error."""
        status = incoming.status
        found: Any = self._json(body, status)
        stated: dict[str, Any] = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        if status >= 300 or stated.get("error") is not None:
            raise refusal(self.access.name, status, stated.get("error"), header_of(incoming.headers, "retry-after"))
        if not self._rpc:
            return stated
        if "result" not in stated:
            raise UpstreamFailed(f"{self.access.name} answered neither a result nor an error", upstream_status=status)
        return stated["result"]

    def _json(self, body: bytes, status: int) -> object:
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            if status >= 300:
                return None
            raise UpstreamFailed(f"{self.access.name} answered something that is not JSON", upstream_status=status) from None


def refusal(name: str, status: int, error: Any, retry_after: str = "") -> HubError:
    """Our error for an agent's: NotFound for a task that it does not have, Conflict for one that it cannot cancel, NotConfigured when
    it wants a credential, RateLimited and Unavailable as it says, UpstreamRejected for our request, UpstreamFailed for its own fault.

    ``code`` is the error's own kind, in lower case.
    """
    stated = cast("dict[str, Any]", error) if isinstance(error, dict) else {}
    number, reason = stated.get("code"), _reason(stated)
    words = f"{name} answered: {masked(str(stated.get('message') or f'status {status}')[:_WORDS])}"
    if reason in _KINDS:
        return _KINDS[reason](words, code=reason)
    if status in (401, 403):
        return NotConfigured(
            f"{words}; it wants a credential that it accepts: `hubroute agents show` says which", code="agent_unauthorized"
        )
    if status in _BUSY:
        return _BUSY[status](words, retry_after=_seconds(retry_after))
    if reason or 400 <= status < 500 or number in _OUR_FAULT:
        return UpstreamRejected(words, upstream_status=max(status, 400), code=reason or None)
    return UpstreamFailed(words, upstream_status=status)


def _reason(error: Mapping[str, Any]) -> str:
    """The kind of an A2A error: spelled out (google.rpc.ErrorInfo), else by its number; empty for none that is known."""
    for name in ("details", "data"):
        listed = error.get(name)
        for one in cast("list[Any]", listed) if isinstance(listed, list) else []:
            reason: Any = cast("dict[str, Any]", one).get("reason") if isinstance(one, dict) else None
            if isinstance(reason, str) and reason.lower() in _REASONS.values():
                return reason.lower()
    number = error.get("code")
    return _REASONS.get(number, "") if isinstance(number, int) else ""


def _seconds(text: str) -> float:
    """What an agent asks us to wait, within a minute."""
    return float(min(int(text), 60)) if text.isdigit() and len(text) < 10 else 5.0
