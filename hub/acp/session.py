"""One conversation with one agent: the handshake, turns as streams of events, cancellation, and the end."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from hub.acp.events import Ended, Event, Permission, Reader, Said, ended
from hub.acp.policy import file_request, outcome
from hub.acp.rpc import Peer, Refusal
from hub.errors import BadRequest, Conflict, NotConfigured, TooLarge, UpstreamFailed, UpstreamTimeout
from hub.process import child
from hub.version import VERSION

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator

    from hub.acp.policy import Policy
    from hub.acp.rows import AgentRow
    from hub.chat import JsonObject

PROTOCOL = 1
#: Seconds for the handshake: some agents load a runtime first.
HANDSHAKE = 60.0
#: Seconds that an agent has to end a turn that is cancelled, before its process group is ended.
CANCEL = 2.0
_WAITING = 256
_MOST_TEXT = 16 * 1024 * 1024
_SIGN_IN = -32000


class _Flow:
    """Events from the reader to whoever follows the turn, with room for so many."""

    def __init__(self) -> None:
        self._items: deque[Event] = deque()
        self.ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, item: Event) -> None:
        await self._room.wait()
        self._items.append(item)
        if len(self._items) >= _WAITING:
            self._room.clear()
        self.ready.set()

    def take(self) -> Event | None:
        if not self._items:
            self.ready.clear()
            return None
        self._room.set()
        return self._items.popleft()

    def open(self) -> None:
        """Whoever waits for room goes on: what comes now is dropped by the next turn."""
        self._items.clear()
        self._room.set()


class Session:
    """Made by :class:`hub.acp.local.LocalAgents`, which also ends it. One turn at a time."""

    def __init__(self, row: AgentRow, process: Process, policy: Policy) -> None:
        self.row = row
        self.process = process
        self.policy = policy
        #: Models that it offers, by id; empty where it does not say.
        self.models: list[str] = []
        self._peer = Peer(process, self, name=row.name)
        self._reader = Reader()
        self._flow = _Flow()
        self._id = ""
        self._turn: asyncio.Future[Any] | None = None
        self._cancelled = False
        self._set_model: JsonObject = {}

    async def open(self, model: str = "") -> None:
        """Shake hands and choose a model, where one is named.

        Raises UpstreamTimeout, UpstreamFailed, NotConfigured when the agent wants a person to sign in, BadRequest for an unknown model.
        """
        self._peer.start()
        try:
            async with asyncio.timeout(HANDSHAKE):
                await self._introduce()
                await self._begin()
                if model and model != "default":
                    await self._choose(model)
        except TimeoutError:
            raise UpstreamTimeout(f"the agent {self.row.name} did not begin a session within {HANDSHAKE:g} seconds") from None
        except Refusal as error:
            if error.code == _SIGN_IN:
                words = f"the agent {self.row.name} is not signed in; start it by hand once, as the user of this hub, and sign in"
                raise NotConfigured(words, code="agent_sign_in") from None
            raise UpstreamFailed(f"the agent {self.row.name} refused to begin: {error.message}") from None

    async def _introduce(self) -> None:
        files = {"readTextFile": self.policy.reads, "writeTextFile": self.policy.writes}
        info = {"name": "hubroute", "title": "HubRoute", "version": VERSION}
        capabilities = {"fs": files, "terminal": False}
        found = await self._peer.ask("initialize", {"protocolVersion": PROTOCOL, "clientCapabilities": capabilities, "clientInfo": info})
        version = _fields(found).get("protocolVersion")
        if version != PROTOCOL:
            raise UpstreamFailed(f"the agent {self.row.name} speaks version {version!r} of ACP, this hub version {PROTOCOL}")

    async def _begin(self) -> None:
        found = _fields(await self._peer.ask("session/new", {"cwd": self.policy.folder, "mcpServers": []}))
        self._id = str(found.get("sessionId") or "")
        if not self._id:
            raise UpstreamFailed(f"the agent {self.row.name} began no session")
        self.models, self._set_model = _models(found)

    async def _choose(self, model: str) -> None:
        if not self._set_model:
            raise BadRequest(f"{self.row.name} does not let its model be chosen; write 'default'", field="model", code="model_not_found")
        if model not in self.models:
            words = f"{self.row.name} has no model {model[:100]!r}; it offers {', '.join(self.models[:20]) or 'none'}"
            raise BadRequest(words, field="model", code="model_not_found")
        method, field = str(self._set_model["method"]), str(self._set_model["field"])
        more = {"configId": self._set_model["config"]} if "config" in self._set_model else {}
        await self._peer.ask(method, {"sessionId": self._id, **more, field: model})

    async def prompt(self, text: str, *, seconds: float) -> AsyncGenerator[Event]:
        """Run a turn: events as they come, the last one Ended. Leaving it early cancels the turn.

        Raises UpstreamFailed when the agent fails or is gone, UpstreamTimeout after ``seconds``, TooLarge for an endless answer.
        """
        if self._turn is not None and not self._turn.done():
            raise Conflict("the agent is still at work on its last turn")
        self._cancelled = False
        self._flow.open()
        turn = self._turn = self._peer.ask("session/prompt", {"sessionId": self._id, "prompt": [{"type": "text", "text": text}]})
        turn.add_done_callback(lambda _: self._flow.ready.set())
        size = 0
        # No timeout spans a yield: it would cancel whoever follows the turn, wherever they are.
        until = asyncio.get_running_loop().time() + seconds
        try:
            while (event := await self._next(turn, until)) is not None:
                size += len(event.text) if isinstance(event, Said) else 0
                if size > _MOST_TEXT:
                    raise TooLarge(f"the agent {self.row.name} said more than {_MOST_TEXT >> 20} MiB in one turn")
                yield event
            yield self._end(turn)
        except TimeoutError:
            raise UpstreamTimeout(f"the agent {self.row.name} did not end its turn within {seconds:g} seconds") from None
        finally:
            if not turn.done():
                await self.cancel()

    async def _next(self, turn: asyncio.Future[Any], until: float) -> Event | None:
        """The next event, None at the end of the turn. Raises TimeoutError at ``until``."""
        while True:
            event = self._flow.take()
            if event is not None or turn.done():
                return event
            async with asyncio.timeout_at(until):
                await self._flow.ready.wait()

    def _end(self, turn: asyncio.Future[Any]) -> Ended:
        try:
            return ended(turn.result())
        except Refusal as error:
            raise UpstreamFailed(f"the agent {self.row.name} failed: {error.message}", code="agent_failed") from None

    async def cancel(self, *, seconds: float = CANCEL) -> bool:
        """Ask the agent to end its turn; whether it did so in time. Its process is the caller's to end."""
        turn = self._turn
        self._cancelled = True
        if turn is None or turn.done():
            return True
        self._peer.tell("session/cancel", {"sessionId": self._id})
        self._flow.open()
        await asyncio.wait([turn], timeout=seconds)
        return turn.done()

    async def close(self) -> None:
        """End the agent's process group and reap it."""
        try:
            if self._turn is not None and not self._turn.done() and not self._cancelled:
                await self.cancel()
        finally:
            await asyncio.gather(child.end(self.process), self._peer.stop())

    async def asked(self, method: str, params: JsonObject) -> Any:
        """A request of the agent: for permission, or for a file."""
        if method == "session/request_permission":
            permission = Permission("", "other", reason="the turn was cancelled") if self._cancelled else await self.policy.judge(params)
            if self._cancelled:
                return {"outcome": {"outcome": "cancelled"}}
            await self._flow.put(permission)
            return outcome(params, permission)
        return await file_request(self.policy, method, params)

    async def told(self, method: str, params: JsonObject) -> None:
        """A notification of the agent."""
        if method != "session/update" or params.get("sessionId") != self._id or self._cancelled:
            return
        event = self._reader.event(_fields(params.get("update")))
        if event is not None and self._turn is not None:
            await self._flow.put(event)


def _fields(value: Any) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _objects(value: Any) -> list[JsonObject]:
    return [cast("JsonObject", one) for one in cast("list[Any]", value) if isinstance(one, dict)] if isinstance(value, list) else []


def _models(found: JsonObject) -> tuple[list[str], JsonObject]:
    """The models that a new session offers, and how one of them is chosen: by a configuration option, or as before there were such."""
    for option in _objects(found.get("configOptions")):
        if option.get("category") == "model":
            groups = _objects(option.get("options"))
            values = [one for group in groups for one in (_objects(group.get("options")) or [group])]
            names = [str(one["value"]) for one in values if isinstance(one.get("value"), str)]
            return names, {"method": "session/set_config_option", "field": "value", "config": option.get("id")}
    listed = _objects(_fields(found.get("models")).get("availableModels"))
    names = [str(one["modelId"]) for one in listed if isinstance(one.get("modelId"), str)]
    return names, {"method": "session/set_model", "field": "modelId"} if names else {}
