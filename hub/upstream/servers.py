"""The MCP servers behind this hub: stored, connected when first needed, kept apart from one another (REL-18).

A server's tools are off until somebody allows them, pinned as they were then, and hidden when the server states
them otherwise (SEC-60, SEC-61).
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hub.errors import HubError, LoginRequired, NotConfigured, NotFound, Unavailable
from hub.grants.model import sealed_place
from hub.log import logger
from hub.money.toll import toll
from hub.upstream.listing import LISTINGS
from hub.upstream.login.flow import LoginFlow
from hub.upstream.login.logins import Logins
from hub.upstream.model import Server, Standing
from hub.upstream.offered import Offered, fingerprints, offered
from hub.upstream.outcome import Answer, Outcome, outcome_of
from hub.upstream.rounds import Rounds
from hub.upstream.skills import imported
from hub.upstream.watching import Watching

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hub.clock import Clock
    from hub.context import Context
    from hub.events import Events
    from hub.outbound.client import Outbound
    from hub.registry import Skills
    from hub.settings import Settings
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.upstream.link import Link
    from hub.upstream.model import Pin
    from hub.upstream.offered import Item
    from hub.upstream.ongoing import Ongoing

log = logger("hub.upstream")

#: Sessions of one server, and how long an unused one is kept.
_MOST_LINKS = 32
_IDLE_SECONDS = 300.0
_SWEEP_SECONDS = 30.0
#: Seconds until a server that failed so many times in a row is tried again.
_BACK_OFF = (0.0, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
#: A server that announces changes all the time is asked once in so many seconds.
_RESYNC_SECONDS = 5.0


@dataclass(slots=True)
class _State:
    """What is known of a server while the hub runs. Sessions are by principal and credential (SEC-56)."""

    links: dict[tuple[str, str], Link] = field(default_factory=dict[tuple[str, str], "Link"])
    failures: int = 0
    again_at: float = 0.0
    last_error: str = ""
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    resync: asyncio.Task[None] | None = None
    #: Whether the lists changed, or may have, since they were last asked for.
    stale: bool = False


class Upstreams:
    """:meth:`call` is for tools, :meth:`ask` for resources and prompts; :meth:`sync` reads a server's lists anew.

    Documents are changed by the skills of the owner.
    """

    def __init__(self, store: Store, outbound: Outbound, events: Events, clock: Clock, settings: Settings, skills: Skills) -> None:
        self.documents = store.collection("mcp-server", what="MCP server", prefix="mcp_", body=Server)
        self.logins = Logins(store, outbound, events, clock, self._enabled)
        self.flow = LoginFlow(self.logins, store, outbound, events, clock, settings, self._enabled)
        self.flow.listeners.append(self._logged_in)
        self._store = store
        self._outbound = outbound
        self._events = events
        self._clock = clock
        self._settings = settings
        self._skills = skills
        self._states: dict[str, _State] = {}
        self._version = -1
        self._sweeper: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Future[None]] = set()
        #: Held while a server's document is read, changed and stored.
        self.changing = asyncio.Lock()
        #: Told which kinds of things that this hub offers of other servers changed: tools, resources, templates, prompts.
        self.listeners: list[Callable[[frozenset[str]], None]] = []
        self.rounds = Rounds(self._put)
        self.watching = Watching(self._session)
        self.offered = Offered()
        self._offered: dict[str, object] = {}

    def refresh(self) -> None:
        """Servers may have changed, here or in another process: renew the registry, end sessions of what changed."""
        self.logins.refresh()
        self._end_logged_out()
        if self.documents.version == self._version:
            return
        self._version = self.documents.version
        documents = self.documents.all()
        self._skills.adopt("mcp", imported(documents))
        known = {one.id: one.body for one in documents}
        for identity, state in list(self._states.items()):
            for link in list(state.links.values()):
                kept = known.get(identity)
                if kept is None or not kept.enabled or _reach(kept) != _reach(link.server):
                    self._drop(state, link)
            if identity not in known:
                del self._states[identity]
        self._offer(documents)

    def _offer(self, documents: Sequence[Document[Server]]) -> None:
        """Offer what is allowed now, and say which kinds are not what they were."""
        before, self._offered, self.offered = self._offered, fingerprints(documents), offered(documents)
        changed = frozenset(kind for kind, now in self._offered.items() if before.get(kind, ()) != now)
        for listener in self.listeners if changed else ():
            listener(changed)

    def named(self, name: str) -> Document[Server]:
        """The server of this name or id. Raises NotFound."""
        found = self.documents.find(name) or self.documents.peek(name)
        if found is None:
            raise NotFound(f"there is no MCP server {name[:100]!r}; `hubroute mcp-servers list` lists them", field="id")
        return found

    def status(self, identity: str) -> dict[str, Any]:
        """Sessions and failures of a server: ``{"state", "sessions", "last_error", "retry_in"}``."""
        state = self._states.get(identity) or _State()
        alive = sum(not link.dead for link in state.links.values())
        wait = max(0.0, state.again_at - self._now())
        word = "connected" if alive else "failing" if state.failures else "idle"
        return {"state": word, "sessions": alive, "last_error": state.last_error, "retry_in": round(wait, 1)}

    async def sync(self, identity: str, *, principal: str = "hub") -> Document[Server]:
        """Read a server's lists anew and judge each thing against its pin.

        Raises Unavailable, UpstreamFailed, UpstreamTimeout, NotFound, and LoginRequired where the principal has no login.
        """
        document = self.documents.get(identity)
        said = self.logins.watch()
        try:
            link = await self._link(document, principal)
            stated = await link.listed()
        except HubError as error:
            raise self._explained(document, principal, principal, error, said) from error
        title, protocol = link.facts()
        async with self.changing:
            return await self._judged(identity, stated, (title, protocol), principal)

    async def _judged(
        self, identity: str, stated: dict[str, list[dict[str, Any]]], facts: tuple[str, str], principal: str
    ) -> Document[Server]:
        """Store where each thing stands now; nothing is stored where all stands as it did."""
        document = await self._listed_by(self.documents.get(identity), principal)
        body = document.body
        # In a thread: a list may hold megabytes of a stranger's words to look through.
        judged = await asyncio.to_thread(
            lambda: {one.kind: one.judged(stated[one.kind], getattr(body, one.kind)) for one in LISTINGS if one.kind in stated}
        )
        found = {**judged, "title": facts[0], "protocol": facts[1]}
        if body.synced_at and all(getattr(body, name) == value for name, value in found.items()):
            return document
        self._tell(document, judged)
        return await self.documents.update(identity, body.model_copy(update={**found, "synced_at": self._clock.now_ms()}))

    async def call(self, identity: str, tool: str, arguments: dict[str, Any], ctx: Context) -> Outcome:
        """Call an allowed tool for a principal; its cost is held against the key's budgets and settled.

        Raises NotFound for a tool that is not allowed, and what a session raises.
        """
        document = self.documents.get(identity)
        pin = document.body.tools.get(tool)
        if not document.body.enabled or pin is None or pin.standing is not Standing.APPROVED:
            raise NotFound(f"{document.name} has no allowed tool {tool!r}; `hubroute mcp-servers list` shows where it stands")
        return outcome_of(document.name, await self.rounds.run(document, "tools/call", {"name": tool, "arguments": arguments}, ctx))

    async def ask(self, item: Item, method: str, params: dict[str, Any], ctx: Context) -> Answer:
        """Read an allowed resource, get an allowed prompt, or complete an argument of one. Raises NotFound, and what a session raises."""
        document = self.documents.peek(item.server)
        if document is None or not document.body.enabled:
            raise NotFound(f"{item.namespace} is not offered any more")
        return Answer(document.name, await self.rounds.run(document, method, params, ctx))

    async def _put(self, ongoing: Ongoing) -> dict[str, Any]:
        """One round of a request over its principal's session. The cost of a tool's call is held before, and settled with its result."""
        document = ongoing.document
        cost = document.body.cost_per_call if ongoing.method == "tools/call" else None
        item = str(ongoing.params.get("name", ""))
        async with toll(ongoing.ctx, cost, provider="mcp", server=document.name, item=item) as due:
            raw = await self._requested(ongoing)
            due.ended = raw.get("resultType", "complete") != "input_required"
            return raw

    async def _requested(self, ongoing: Ongoing) -> dict[str, Any]:
        document, caller = ongoing.document, ongoing.ctx.caller
        principal = ongoing.principal or "anonymous"
        said = self.logins.watch()
        try:
            link = await self._link(document, principal, caller.name)
            link.used_at = self._now()
            return await link.request(ongoing)
        except HubError as error:
            raise self._explained(document, principal, caller.name, error, said) from error

    async def close(self) -> None:
        """End every session and every program."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        await self.watching.close()
        await self.rounds.close()
        links = [link for state in self._states.values() for link in state.links.values()]
        resyncs = [state.resync for state in self._states.values() if state.resync is not None]
        for task in resyncs:
            task.cancel()
        await asyncio.gather(*(link.close() for link in links), *self._closing, return_exceptions=True)
        await self.logins.close()

    async def _session(self, identity: str, principal: str) -> Link:
        link = await self._link(self.documents.get(identity), principal)
        link.used_at = self._now()
        return link

    async def _link(self, document: Document[Server], principal: str, name: str = "") -> Link:
        """The live session of a principal, and its login where it needs one, with a server; opened when there is none (SEC-56)."""
        if not document.body.enabled:
            raise NotConfigured(f"the MCP server {document.name} is switched off")
        credential = ""
        if document.body.oauth is not None:
            login = await self.logins.ready(document, principal, name)
            credential = f"{login.id} {login.body.login}"
        state = self._states.setdefault(document.id, _State())
        key = (principal, credential)
        link = state.links.get(key)
        if link is not None and not link.dead:
            return link
        async with state.opening:
            link = state.links.get(key)
            if link is not None and not link.dead:
                return link
            wait = state.again_at - self._now()
            if wait > 0:
                raise Unavailable(f"the MCP server {document.name} failed: {state.last_error}", retry_after=max(wait, 1.0))
            self._make_room(document, state)
            state.links[key] = link = await self._opened(document, state, principal, credential)
            return link

    def _make_room(self, document: Document[Server], state: _State) -> None:
        """End the session that was idle for longest where there are too many. Raises Unavailable when all of them work."""
        alive = [one for one in state.links.values() if not one.dead]
        if len(alive) < _MOST_LINKS:
            return
        idle = [one for one in alive if not one.busy]
        if not idle:
            raise Unavailable(f"the MCP server {document.name} has {_MOST_LINKS} sessions, which is the most", retry_after=5)
        self._drop(state, min(idle, key=lambda one: one.used_at))

    async def _opened(self, document: Document[Server], state: _State, principal: str, credential: str) -> Link:
        server = document.body
        module = await asyncio.to_thread(importlib.import_module, "hub.upstream.link")
        auth = await self._auth(server, credential)
        told = partial(self._told, document.id, principal)
        link: Link = module.Link(document.name, server, self._outbound, told=told, auth=auth)
        headers, env = (
            {name: self._store.unseal(value, sealed_place(document.id, part, name)).reveal() for name, value in sealed.items()}
            for part, sealed in (("headers", server.headers), ("env", server.env))
        )
        try:
            path: Path | None = None
            if server.transport == "stdio":
                self.may_start()
                path = importlib.import_module("hub.upstream.program").checked(server.command, server.args, env)
            await link.open(headers=headers, env=env, path=path)
        except HubError as error:
            if credential and self.logins.was_refused():
                raise  # it is this login's fault and not the server's
            state.failures += 1
            state.last_error = error.message
            state.again_at = self._now() + _BACK_OFF[min(state.failures, len(_BACK_OFF) - 1)]
            self._events.emit("mcp.server.failed", server=document.name, reason=error.message)
            raise
        state.failures, state.again_at, state.last_error = 0, 0.0, ""
        link.used_at = self._now()
        if self._sweeper is None or self._sweeper.done():
            self._sweeper = asyncio.create_task(self._sweep())
        if document.body.synced_at:
            # What was allowed may have changed while nobody was connected.
            self._announced(document.id, principal)
        return link

    async def _auth(self, server: Server, credential: str) -> Any:
        """What puts a login's token on a session's requests, None for a session without one."""
        if not credential:
            return None
        bearer = await asyncio.to_thread(importlib.import_module, "hub.upstream.login.bearer")
        return bearer.Bearer(self.logins, credential.partition(" ")[0], server.url)

    def may_start(self) -> None:
        """Raise NotConfigured where programs must not be started: a hub that others reach, without the owner's word (SEC-30)."""
        if not self._settings.programs_allowed:
            raise NotConfigured("this hub is reachable by others and starts no programs; set HUBROUTE_PROGRAMS=on to allow it")

    def _told(self, identity: str, principal: str, method: str, params: dict[str, Any]) -> None:
        """A server sent a notification over a principal's session."""
        if method.endswith("/list_changed"):
            self._announced(identity, principal)
        elif method == "notifications/resources/updated":
            self.watching.told(identity, principal, str(params.get("uri")))

    def _announced(self, identity: str, principal: str) -> None:
        """A server may have changed its lists: read them over this principal's session, at most once in a while."""
        document = self.documents.peek(identity)
        if identity in self._states and document is not None and _lists(document, principal):
            self._resync_soon(identity, principal)

    def _resync_soon(self, identity: str, principal: str) -> None:
        state = self._states[identity]
        state.stale = True
        if state.resync is None or state.resync.done():
            state.resync = asyncio.create_task(self._resync(identity, principal, state))

    async def _resync(self, identity: str, principal: str, state: _State) -> None:
        """Read the lists, and again when a change was announced while they were read."""
        while state.stale and self._states.get(identity) is state:
            await asyncio.sleep(_RESYNC_SECONDS)
            state.stale = False
            try:
                await self.sync(identity, principal=principal)
            except HubError as error:
                log.warning("a server's lists could not be read", server=identity, reason=error.message)

    def _enabled(self, identity: str) -> Document[Server] | None:
        """A server that is there and switched on."""
        found = self.documents.peek(identity)
        return found if found is not None and found.body.enabled else None

    def _explained(self, document: Document[Server], principal: str, name: str, error: HubError, said: list[str]) -> HubError:
        """The error of a call: where the server refused the principal's token, the one that says to log in."""
        if said and document.body.oauth is not None and not isinstance(error, LoginRequired):
            return self.logins.required(document, principal, name, said[-1])
        return error

    def _logged_in(self, identity: str, principal: str, manages: bool) -> None:
        """Somebody logged in: where nobody's list is read yet, or this is its reader, read it."""
        document = self.documents.peek(identity)
        if document is None or document.body.oauth is None:
            return
        self._states.setdefault(identity, _State())
        if manages and not document.body.synced_at:
            self._resync_soon(identity, principal)
        else:
            self._announced(identity, principal)

    def _end_logged_out(self) -> None:
        """End the sessions of logins that are gone or were made anew."""
        for state in self._states.values():
            for (_, credential), link in list(state.links.items()):
                if credential and not self.logins.holds(credential):
                    self._drop(state, link)

    async def _listed_by(self, document: Document[Server], principal: str) -> Document[Server]:
        """Note over whose session a list of tools was read: others may see another list, and theirs must not decide for all."""
        oauth = document.body.oauth
        if oauth is None or oauth.share == "shared" or oauth.lister == principal:
            return document
        body = document.body.model_copy(update={"oauth": oauth.model_copy(update={"lister": principal})})
        return await self.documents.update(document.id, body)

    async def _sweep(self) -> None:
        """End sessions that nobody used for a while."""
        while any(state.links for state in self._states.values()):
            await asyncio.sleep(_SWEEP_SECONDS)
            for state in self._states.values():
                for link in list(state.links.values()):
                    if link.dead or (not link.busy and self._now() - link.used_at > _IDLE_SECONDS):
                        self._drop(state, link)

    def _drop(self, state: _State, link: Link) -> None:
        for key, one in list(state.links.items()):
            if one is link:
                del state.links[key]
        task = asyncio.ensure_future(link.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _tell(self, document: Document[Server], judged: dict[str, dict[str, Pin]]) -> None:
        for listing in LISTINGS:
            kept: dict[str, Pin] = getattr(document.body, listing.kind)
            for name, pin in judged.get(listing.kind, {}).items():
                before = kept.get(name)
                if pin.standing in (Standing.CHANGED, Standing.GONE) and (before is None or before.standing is not pin.standing):
                    self._events.emit(f"mcp.{listing.word}.{pin.standing.value}", server=document.name, **{listing.word: name})
                    log.warning(f"a {listing.what} is not what was allowed", server=document.name, name=name, standing=pin.standing)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


def _lists(document: Document[Server], principal: str) -> bool:
    """Whether the list that all callers get may be read over this principal's session."""
    oauth = document.body.oauth
    return oauth is None or oauth.share == "shared" or oauth.lister == principal


def _reach(server: Server) -> tuple[Any, ...]:
    """What a session depends on: a change of any of it ends the session."""
    return (
        server.transport,
        server.url,
        server.command,
        server.args,
        server.digest,
        server.headers,
        server.env,
        server.allow_private,
        server.sampling,
    )
