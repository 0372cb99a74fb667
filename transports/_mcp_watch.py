"""Who hears of changes: sessions that subscribed to resources, and the listen streams of 2026-07-28.

What a resource shows is said by its skill (``Resource.changes``); the hub tells of its set-up, calls and
events. A client hears of a resource at most once a second, and only while its key reaches it. What a
session has goes with its connection, a stream with its request.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.subscriptions import ListenHandler, PromptsListChanged, ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from hub.errors import RateLimited
from hub.upstream.skills import SCOPE
from transports._mcp import connection_of, visitor_of
from transports._mcp_errors import not_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import Server
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext
    from mcp.server.subscriptions import ServerEvent

    from hub.call import Hub
    from hub.events import Event
    from hub.records import Caller, UsageRow
    from transports._mcp_resources import Match, Resources, Row

    Ctx = ServerRequestContext[Any, Any]

#: Seconds between two notices of one resource.
_EVERY = 1.0
#: Streams at once: of all keys, and of one, so that no key takes the places of all others.
_STREAMS, _STREAMS_OF_KEY = 1024, 64
_URIS = 200
_STATE = "hubroute.watch"
_LISTS: tuple[ServerEvent, ...] = (ToolsListChanged(), PromptsListChanged(), ResourcesListChanged())
#: Which list shows what other servers offer.
_LIST_OF: dict[str, ServerEvent] = {
    "tools": ToolsListChanged(),
    "resources": ResourcesListChanged(),
    "templates": ResourcesListChanged(),
    "prompts": PromptsListChanged(),
}


@dataclass(eq=False, slots=True)
class Watcher:
    """One client that hears of changes. ``tell`` takes an event at once and sends it later; ``end`` stops a stream."""

    caller: Caller
    tell: Callable[[ServerEvent], None]
    end: Callable[[], None]
    uris: dict[str, Match] = field(default_factory=dict[str, "Match"])
    #: What ends the watch over another server's resource.
    stops: dict[str, Callable[[], None]] = field(default_factory=dict[str, "Callable[[], None]"])


@dataclass(slots=True)
class _Watched:
    """A resource that somebody watches."""

    match: Match
    watchers: set[Watcher] = field(default_factory=set[Watcher])
    #: When it was told of last, on the monotonic clock, and the notice that is due with the keys that it concerns ("" for all).
    told: float = float("-inf")
    due: asyncio.TimerHandle | None = None
    keys: set[str] = field(default_factory=set[str])


class Watch:
    """The watchers of a hub. Listens to the hub only while there are some."""

    def __init__(self, hub: Hub, resources: Resources) -> None:
        self._hub = hub
        self._resources = resources
        self._watchers: set[Watcher] = set()
        self._streams: Counter[str] = Counter()
        self._watched: dict[str, _Watched] = {}
        #: Address of a resource -> what it showed of the set-up when last looked at.
        self._states: dict[str, object] = {}
        self._deaf: list[Callable[[], None]] = []
        #: Lists of which a notice is due, and when they were told of last, on the monotonic clock.
        self._lists_due: dict[ServerEvent, asyncio.TimerHandle] = {}
        self._lists_told: dict[ServerEvent, float] = {}
        hub.on_stop.append(self.close)
        hub.upstreams.listeners.append(self._offer_changed)
        hub.remote_agents.listeners.append(lambda: self._offer_changed(frozenset({"tools"})))
        hub.user_skills.listeners.append(self._offer_changed)

    def add(self, server: Server[Any]) -> None:
        """Serve subscriptions in both protocol eras."""
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, self.subscribe)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, self.unsubscribe)
        server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, self.listen)
        server.add_notification_handler("notifications/initialized", types.NotificationParams, self.greeted)

    @property
    def size(self) -> tuple[int, int]:
        """How many clients and how many resources are watched over."""
        return len(self._watchers), len(self._watched)

    async def publish(self, event: ServerEvent) -> None:
        """Tell every watcher of an event, as the SDK's bus does."""
        self.tell_all(event)
        await asyncio.sleep(0)

    def close(self) -> None:
        """The hub stops: streams end in good order."""
        for watcher in list(self._watchers):
            watcher.end()

    async def greeted(self, ctx: Ctx, params: types.NotificationParams) -> None:
        """A session is ready: it hears of changed lists from now on."""
        self._session(ctx)

    async def subscribe(self, ctx: Ctx, params: types.SubscribeRequestParams) -> types.EmptyResult:
        """``resources/subscribe``. A resource that the caller may not see cannot be told from none (SEC-03)."""
        uri = str(params.uri)
        watcher = self._session(ctx)
        match = self._resources.match(uri, watcher.caller.scopes)
        if match is None:
            raise not_found(ctx, uri)
        if uri not in watcher.uris:
            if len(watcher.uris) >= _URIS:
                raise _too_many(f"a session can watch {_URIS} resources")
            self._watch(watcher, uri, match)
        return types.EmptyResult()

    async def unsubscribe(self, ctx: Ctx, params: types.UnsubscribeRequestParams) -> types.EmptyResult:
        """``resources/unsubscribe``; also fine for what was not watched."""
        self._unwatch(self._session(ctx), str(params.uri))
        return types.EmptyResult()

    async def listen(self, ctx: Ctx, params: types.SubscriptionsListenRequestParams) -> types.SubscriptionsListenResult:
        """``subscriptions/listen``: a stream of notices until the client leaves, its key or token ends or the hub stops.

        Resources that the caller may not see are accepted and never told of, like those that are nowhere.
        """
        caller = visitor_of(ctx).caller
        wanted = params.notifications.resource_subscriptions or []
        if len(wanted) > _URIS:
            raise _too_many(f"a stream can watch {_URIS} resources")
        if self._streams[caller.key_id] >= _STREAMS_OF_KEY or self._streams.total() >= _STREAMS:
            raise _too_many("too many streams listen; end one first")
        ear = _Ear()
        handler = ListenHandler(ear)
        watcher = Watcher(caller, ear.tell, handler.close)
        self._streams[caller.key_id] += 1
        self._join(watcher)
        endless = self._hub.at_end(caller, watcher.end)
        try:
            for uri in dict.fromkeys(map(str, wanted)):
                if (match := self._resources.match(uri, caller.scopes)) is not None:
                    self._watch(watcher, uri, match)
            return await handler(ctx, params)
        finally:
            endless()
            self._streams[caller.key_id] -= 1
            self._streams += Counter()  # forgets keys without streams
            self._leave(watcher)

    def _session(self, ctx: Ctx) -> Watcher:
        """The watcher of a session, made when it is first needed, gone with the connection."""
        connection = connection_of(ctx)
        watcher: Watcher | None = connection.state.get(_STATE)
        if watcher is None:
            sender = _Sender(connection)
            watcher = connection.state[_STATE] = Watcher(visitor_of(ctx).caller, sender.tell, sender.stop)
            connection.exit_stack.callback(self._leave, watcher)
            connection.exit_stack.callback(sender.stop)
            self._join(watcher)
        watcher.caller = visitor_of(ctx).caller
        return watcher

    def _join(self, watcher: Watcher) -> None:
        if not self._watchers:
            hub = self._hub
            hub.on_changed.append(self._later)
            hub.on_call.append(self._called)
            self._deaf = [
                hub.events.listen(self._happened),
                lambda: hub.on_call.remove(self._called),
                lambda: hub.on_changed.remove(self._later),
            ]
            self._states = {row.resource.uri: _state(hub, row) for row in self._resources.rows}
        self._watchers.add(watcher)

    def _leave(self, watcher: Watcher) -> None:
        for uri in list(watcher.uris):
            self._unwatch(watcher, uri)
        self._watchers.discard(watcher)
        if not self._watchers:
            while self._deaf:
                self._deaf.pop()()

    def _watch(self, watcher: Watcher, uri: str, match: Match) -> None:
        watcher.uris[uri] = match
        self._watched.setdefault(uri, _Watched(match)).watchers.add(watcher)
        if match.item is not None:
            key_id = watcher.caller.key_id
            watcher.stops[uri] = self._hub.upstreams.watching.watch(
                match.item, key_id or "anonymous", partial(self._moved_there, uri, key_id)
            )

    def _moved_there(self, uri: str, key_id: str) -> None:
        """Another server says to one of our keys that a resource is new; it must still be offered."""
        watched = self._watched.get(uri)
        if watched is not None and self._hub.upstreams.offered.reading(uri) is not None:
            self._mark(uri, watched, key_id)

    def _unwatch(self, watcher: Watcher, uri: str) -> None:
        watched = self._watched.get(uri)
        if watcher.uris.pop(uri, None) is None or watched is None:
            return
        watched.watchers.discard(watcher)
        if (stop := watcher.stops.pop(uri, None)) is not None:
            stop()
        if not watched.watchers:
            del self._watched[uri]
            if watched.due is not None:
                watched.due.cancel()

    def _later(self) -> None:
        """Something was written down. Looked at in a moment: a fault here must not disturb who wrote it."""
        asyncio.get_running_loop().call_soon(self._changed)

    def _changed(self) -> None:
        if not self._watchers:
            return
        before = self._states
        self._states = {row.resource.uri: _state(self._hub, row) for row in self._resources.rows}
        self._looked_at_keys()
        if any(self._moved(row, before) for row in self._resources.listed):
            self.tell_all(ResourcesListChanged())
        for uri, watched in list(self._watched.items()):
            if "setup" in watched.match.row.resource.changes and self._moved(watched.match.row, before):
                self._mark(uri, watched)

    def _offer_changed(self, kinds: frozenset[str]) -> None:
        """Tools, resources or prompts of others, or installed skills, came or went: told at once, or a second after the last time."""
        loop = asyncio.get_running_loop()
        for event in {_LIST_OF[kind] for kind in kinds} if self._watchers else ():
            if event not in self._lists_due:
                wait = max(0.0, self._lists_told.get(event, float("-inf")) + _EVERY - self._hub.clock.monotonic())
                self._lists_due[event] = loop.call_later(wait, self._fire_list, event)

    def _fire_list(self, event: ServerEvent) -> None:
        del self._lists_due[event]
        self._lists_told[event] = self._hub.clock.monotonic()
        for watcher in list(self._watchers):
            if not _OFFERED.isdisjoint(watcher.caller.scopes):
                watcher.tell(event)

    def tell_all(self, event: ServerEvent) -> None:
        """Tell every watcher of an event, later."""
        for watcher in list(self._watchers):
            watcher.tell(event)

    def _moved(self, row: Row, before: dict[str, object]) -> bool:
        """Whether what a resource shows of the set-up is new; one that cannot say counts as new."""
        uri = row.resource.uri
        return row.resource.state is None or before.get(uri) != self._states[uri]

    def _looked_at_keys(self) -> None:
        for watcher in list(self._watchers):
            self._again(watcher)

    def _again(self, watcher: Watcher) -> bool:
        """Look at a watcher's key anew: what it lost is told of no more, and other scopes show other lists."""
        caller = self._hub.still(watcher.caller, renewed=True)
        if caller is None:
            for uri in list(watcher.uris):
                self._unwatch(watcher, uri)
            watcher.end()
            return False
        if caller.scopes != watcher.caller.scopes:
            watcher.caller = caller
            for event in _LISTS:
                watcher.tell(event)
        return True

    def _called(self, row: UsageRow) -> None:
        """A routed call ended."""
        if not self._watched:
            return
        names = self._names(row)
        for uri, watched in list(self._watched.items()):
            resource, values = watched.match.row.resource, watched.match.values
            if "calls" in resource.changes and all(values[name] in names.get(kind, ()) for name, kind in resource.kinds.items()):
                self._mark(uri, watched, row.key_id if resource.own else "")

    def _names(self, row: UsageRow) -> dict[str, set[str]]:
        """What a call concerned, by kind of names."""
        provider, combo = self._hub.catalog.find(row.provider), self._hub.combos.find(row.combo) if row.combo else None
        return {
            "decision": {row.request_id},
            "provider": {row.provider, *([provider.alias] if provider is not None else [])},
            "combo": {row.combo, *([combo.id] if combo is not None else [])},
        }

    def _happened(self, event: Event) -> None:
        head = event.kind.partition(".")[0]
        for uri, watched in list(self._watched.items()):
            if head in watched.match.row.resource.changes:
                self._mark(uri, watched)

    def _mark(self, uri: str, watched: _Watched, key_id: str = "") -> None:
        """A notice is due: now, or a second after the last one."""
        watched.keys.add(key_id)
        if watched.due is None:
            wait = max(0.0, watched.told + _EVERY - self._hub.clock.monotonic())
            watched.due = asyncio.get_running_loop().call_later(wait, self._fire, uri, watched)

    def _fire(self, uri: str, watched: _Watched) -> None:
        watched.due, keys, watched.keys = None, watched.keys, set()
        watched.told = self._hub.clock.monotonic()
        row = watched.match.row
        for watcher in list(watched.watchers):
            if self._again(watcher) and row.seen_by(watcher.caller.scopes) and _concerned(watcher.caller, keys):
                watcher.tell(ResourceUpdated(uri))


#: Scopes whose holders see what comes and goes.
_OFFERED = frozenset({SCOPE, "execute:skills", "read:skills"})


class _Ear:
    """The bus of one stream: what is told goes to its one listener."""

    def __init__(self) -> None:
        self._listener: Callable[[ServerEvent], None] | None = None

    async def publish(self, event: ServerEvent) -> None:
        """Part of the SDK's protocol."""
        self.tell(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        """The stream begins."""
        self._listener = listener
        return self._stop

    def tell(self, event: ServerEvent) -> None:
        """An event, for the stream to send when it can."""
        if self._listener is not None:
            self._listener(event)

    def _stop(self) -> None:
        self._listener = None


class _Sender:
    """Sends events over a session's own channel, one after the other. An event that waits already is not added again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: dict[ServerEvent, None] = {}
        self._task: asyncio.Task[None] | None = None

    def tell(self, event: ServerEvent) -> None:
        """Take an event. The task that sends lives only while something waits."""
        self._waiting[event] = None
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send())

    def stop(self) -> None:
        """The session is over, or hears no more."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _send(self) -> None:
        connection = self._connection
        try:
            while self._waiting:
                event = next(iter(self._waiting))
                del self._waiting[event]
                if isinstance(event, ResourceUpdated):
                    await connection.send_resource_updated(event.uri)
                elif isinstance(event, ToolsListChanged):
                    await connection.send_tool_list_changed()
                elif isinstance(event, PromptsListChanged):
                    await connection.send_prompt_list_changed()
                else:
                    await connection.send_resource_list_changed()
        finally:
            self._task = None


def _concerned(caller: Caller, keys: set[str]) -> bool:
    return "" in keys or caller.key_id in keys or "manage" in caller.scopes


def _state(hub: Hub, row: Row) -> object:
    return row.resource.state(hub) if row.resource.state is not None else None


def _too_many(words: str) -> MCPError:
    return MCPError(RateLimited.shape.rpc, words)
