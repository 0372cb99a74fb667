"""The remote A2A agents of this hub: stored, their cards looked after, their skills called.

An agent's skills are off until somebody allows its card, which is pinned whole; they are hidden when the card is another (SEC-57, SEC-60).
"""

from __future__ import annotations

import asyncio
import importlib
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.errors import Conflict, HubError, NotConfigured, NotFound, Unavailable, UpstreamFailed
from hub.log import logger, masked
from hub.money.toll import toll
from hub.outbound.base import Timeouts
from hub.remote_agents import card as cards
from hub.remote_agents import credential
from hub.remote_agents.ask import AgentReply
from hub.remote_agents.client import UNABLE, Access, AgentClient
from hub.remote_agents.handles import Handles
from hub.remote_agents.model import Agent, Signed
from hub.remote_agents.skills import imported
from hub.remote_agents.turn import Pace, Turn
from hub.tasks.task import State
from hub.upstream import pinning
from hub.upstream.model import Standing
from hub.upstream.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from hub.clock import Clock
    from hub.context import Context
    from hub.events import Events
    from hub.outbound.client import Outbound
    from hub.registry import Skills
    from hub.remote_agents.ask import AgentAsk
    from hub.remote_agents.card import Found
    from hub.remote_agents.gathered import Piece
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.tasks.task import LiveTask

log = logger("hub.remote_agents")

#: Where a message says how many hubs it has passed; HTTP clients that forward metadata keep it, hubs send the header, too.
HOPS_META = "hubroute/hops"
HOPS_HEADER = "x-hubroute-hops"
#: A call that came through so many hubs is taken for one that goes in circles.
MOST_HOPS = 5
#: Calls of one agent at once.
_MOST_CALLS = 256
#: A card is looked at again after so many seconds: as it says itself, within these.
_LEAST_AGE, _USUAL_AGE, _MOST_AGE = 300, 3600, 86_400
_WORDS = 500


@dataclass(slots=True)
class _State:
    """What is known of an agent while the hub runs."""

    calls: int = 0
    last_error: str = ""
    look_at: float = 0.0
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class RemoteAgents:
    """Use :meth:`call` for a skill, :meth:`check` to read a card anew. Documents are changed by the skills of the owner."""

    def __init__(self, store: Store, outbound: Outbound, events: Events, clock: Clock, skills: Skills) -> None:
        self.documents = store.collection("remote-agent", what="remote agent", prefix="ra_", body=Agent)
        self.handles = Handles(store, clock)
        self.pace = Pace()
        self._store = store
        self._outbound = outbound
        self._events = events
        self._clock = clock
        self._skills = skills
        self._states: dict[str, _State] = {}
        self._version = -1
        self._keeper: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        #: Held while an agent's document is read, changed and stored.
        self.changing = asyncio.Lock()
        #: Told when the skills that this hub offers changed.
        self.listeners: list[Callable[[], None]] = []

    def open(self) -> None:
        """Begin to look after the cards."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Stop looking, and let the cancels that are under way reach their agents."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._ending:
            await asyncio.wait(self._ending, timeout=self.pace.leave)

    def refresh(self) -> None:
        """Agents may have changed, here or in another process: renew the registry."""
        if self.documents.version == self._version:
            return
        self._version = self.documents.version
        documents = self.documents.all()
        self._skills.adopt("agents", imported(documents))
        known = {one.id for one in documents}
        self._states = {identity: state for identity, state in self._states.items() if identity in known}
        for listener in self.listeners:
            listener()

    def status(self, identity: str) -> dict[str, Any]:
        """What is going on with an agent: ``{"calls", "last_error"}``."""
        state = self._states.get(identity) or _State()
        return {"calls": state.calls, "last_error": state.last_error}

    # ------------------------------------------------------------------ cards

    async def read(self, agent: Agent, identity: str) -> Agent:
        """An agent with its card as it is now, judged. Raises what :func:`hub.remote_agents.card.fetched` raises."""
        found = await cards.fetched(
            self._outbound,
            agent.card_url or agent.url,
            headers=self._headers(agent, identity),
            private=agent.allow_private,
            etag=agent.etag if agent.card_url else "",
        )
        self._due(identity, found)
        return agent if found.card is None else await self._judged(agent, found, found.card)

    async def check(self, identity: str) -> Document[Agent]:
        """Read an agent's card anew; what is not as it was allowed hides its skills. Nothing is stored where nothing changed.

        Raises what :meth:`read` raises; the card that is known stays then.
        """
        state = self._states.setdefault(identity, _State())
        async with state.looking:
            document = self.documents.get(identity)
            try:
                read = await self.read(document.body, identity)
            except HubError as error:
                state.last_error = error.message
                self._due(identity, None)
                self._events.emit("agent.card.failed", agent=document.name, reason=error.message)
                raise
            state.last_error = ""
            async with self.changing:
                return await self._stored(identity, document.body, read)

    async def _stored(self, identity: str, before: Agent, read: Agent) -> Document[Agent]:
        document = self.documents.get(identity)
        names = ("card_url", "standing", "seen", "findings", "reason", "signed", "etag")
        news = {name: getattr(read, name) for name in names if getattr(read, name) != getattr(before, name)}
        if not {*news} - {"etag"}:
            return document
        if document.body.digest != before.digest:
            # It was allowed or removed meanwhile: judged again against that.
            return document
        if read.standing in (Standing.CHANGED, Standing.REFUSED) and read.standing is not before.standing:
            self._events.emit(f"agent.card.{read.standing.value}", agent=document.name, reason=read.reason)
            log.warning("the card of a remote agent is not what was allowed", agent=document.name, standing=read.standing)
        body = document.body.model_copy(update={**news, "changed_at": self._clock.now_ms()})
        return await self.documents.update(identity, body)

    async def _judged(self, agent: Agent, found: Found, card: dict[str, Any]) -> Agent:
        """Where an agent stands now that its card is this."""
        news: dict[str, Any] = {"card_url": found.url, "etag": found.etag, "seen": {}, "findings": (), "signed": Signed.UNSIGNED}
        reason = cards.fault(card)
        if not reason:
            module = await asyncio.to_thread(importlib.import_module, "hub.remote_agents.signature")
            news["signed"], card = module.judged(card, agent.trusted_keys)
            if agent.trusted_keys and news["signed"] is not Signed.VERIFIED:
                reason = f"its signature is {news['signed'].value}, and only one by a trusted key is taken"
        # What a signature does not cover is dropped, so the card is judged again as it is used.
        reason = reason or cards.fault(card) or await cards.refused_address(self._outbound, card, private=agent.allow_private)
        if reason:
            return agent.model_copy(update={**news, "standing": Standing.REFUSED, "reason": reason})
        news |= {"seen": card, "findings": cards.findings(card, found.url), "reason": ""}
        pinned = Standing.APPROVED if pinning.digest(card) == agent.digest else Standing.CHANGED
        return agent.model_copy(update={**news, "standing": Standing.PENDING if agent.approved is None else pinned})

    async def allow(self, identity: str) -> Document[Agent]:
        """Allow an agent's card as it is stated now. Raises Conflict for one that is refused."""
        async with self.changing:
            document = self.documents.get(identity)
            body = document.body
            if body.standing is Standing.REFUSED or not body.seen:
                raise Conflict(f"the card of {document.name} is refused: {body.reason or 'it was not read yet'}", code="card_refused")
            allowed = {"standing": Standing.APPROVED, "approved": body.seen, "digest": pinning.digest(body.seen)}
            return await self.documents.update(identity, body.model_copy(update=allowed))

    def _due(self, identity: str, found: Found | None) -> None:
        stated = found.max_age if found is not None and found.max_age is not None else _USUAL_AGE
        state = self._states.setdefault(identity, _State())
        state.look_at = self._clock.monotonic() + min(max(stated, _LEAST_AGE), _MOST_AGE)

    async def _keep(self) -> None:
        """The background loop: look at cards that are due."""
        while True:
            await asyncio.sleep(self.pace.cards)
            for document in self.documents.all():
                due = self._states.setdefault(document.id, _State()).look_at
                if document.body.enabled and due <= self._clock.monotonic():
                    await self._looked(document)

    async def _looked(self, document: Document[Agent]) -> None:
        try:
            await self.check(document.id)
        except HubError as error:
            log.warning("an agent card could not be read", agent=document.name, reason=error.message)
        except Exception as error:  # the background loop must outlive a fault
            log.error("looking at an agent card failed", agent=document.name, exc_info=error)

    # ------------------------------------------------------------------ calls

    def client(self, document: Document[Agent], *, hops: int = 1) -> AgentClient:
        """A client of an agent as it was allowed. Raises NotConfigured where it is not, or where its credential does not fit its card."""
        agent = document.body
        if not agent.offered or agent.approved is None:
            raise NotConfigured(f"the agent {document.name} is {_not_offered(agent)}; `hubroute agents show {document.name}` says more")
        sent = {**self._headers(agent, document.id), HOPS_HEADER: str(hops)}
        if agent.credential:
            secret = self._store.unseal(agent.credential, sealed_place(document.id, "credential")).reveal()
            sent |= credential.headers(agent.approved, agent.scheme, secret)
        access = Access(document.name, cards.interfaces(agent.approved)[0], sent, agent.allow_private)
        timeouts = Timeouts(connect=10, first_byte=agent.timeout_seconds, idle=self.pace.idle)
        return AgentClient(self._outbound, self._clock, access, timeouts=timeouts)

    def named(self, name: str) -> AgentClient:
        """A client of the agent of this name or id. Raises NotFound, and what :meth:`client` raises."""
        document = self.documents.find(name) or self.documents.peek(name)
        if document is None:
            raise NotFound(f"there is no remote agent {name[:100]!r}; `hubroute agents list` lists them", field="agent")
        return self.client(document)

    async def call(self, identity: str, skill: str, ask: AgentAsk, ctx: Context) -> Outcome:
        """Send a message to an allowed agent for a principal and follow it; its cost is held against the key's budgets and settled.

        Raises NotFound for a task or conversation that is not the principal's, NotConfigured when the agent wants a credential, Conflict
        for a call that goes in circles, UpstreamFailed when the agent fails or refuses, and what a client raises.
        """
        document = self.documents.get(identity)
        client = self.client(document, hops=ctx.hops + 1)
        if ctx.hops >= MOST_HOPS:
            raise Conflict(
                f"this call has passed {ctx.hops} hubs and goes no further: agents seem to call each other in circles", code="loop"
            )
        task = self.handles.take("task", identity, ctx.caller.key_id, ask.task_id)
        conversation = self.handles.take("context", identity, ctx.caller.key_id, ask.context_id)
        message = _message(skill, ask, ctx, {"taskId": task.id, "contextId": task.context or conversation.id})
        turn = Turn(client, self.pace, _Teller(ctx), task_id=task.id, later=self._end)
        card = document.body.approved or {}
        with self._place(document):
            async with toll(ctx, document.body.cost_per_call, provider="a2a", server=document.name, item=skill):
                try:
                    await turn.run(message, streams=cards.streams(card), seconds=document.body.timeout_seconds, patience=ask.wait_seconds)
                except HubError as error:
                    self._failed(document, error)
                    raise
                return self._outcome(document, skill, turn, ctx)

    def _outcome(self, document: Document[Agent], skill: str, turn: Turn, ctx: Context) -> Outcome:
        """What a call ended with. Raises for what is no answer."""
        words = masked(turn.text[:_WORDS]) or "it does not say why"
        if turn.state is State.AUTH_REQUIRED:
            self._end(self._cancelled(turn, document))
            raise NotConfigured(
                f"the agent {document.name} wants the hub to be authorised first, and says: {words}", code="agent_unauthorized"
            )
        if turn.state in (State.FAILED, State.REJECTED, State.CANCELED):
            verb = {State.FAILED: "failed", State.REJECTED: "refused the task", State.CANCELED: "cancelled the task"}[turn.state]
            raise UpstreamFailed(f"the agent {document.name} {verb}: {words}", code=f"agent_{turn.state.value}")
        principal, open_task = ctx.caller.key_id, turn.state is not State.COMPLETED
        reply = AgentReply(
            agent=document.name,
            skill=skill,
            state=turn.state.value if turn.settled else State.WORKING.value,
            text=turn.text,
            artifacts=turn.gathered.artifacts,
            task_id=self.handles.give("task", document.id, principal, turn.task_id if open_task else "", turn.context_id),
            context_id=self.handles.give("context", document.id, principal, turn.context_id),
        )
        content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}]
        return Outcome(document.name, content, reply.model_dump(mode="json", by_alias=True), _ours=frozenset(("taskId", "contextId")))

    async def cancel(self, identity: str, handle: str, principal: str) -> None:
        """Cancel a principal's task at its agent. Raises NotFound, Conflict when it has ended, and what a client raises."""
        task = self.handles.take("task", identity, principal, handle)
        await self.client(self.documents.get(identity)).cancel(task.id)

    async def left(self, live: LiveTask) -> None:
        """A task of ours that waited for its caller was cancelled: so is the one at the agent that it waited for."""
        kept: dict[str, Any] = live.row.task.get("kept") or {}
        if kept.get("agent") and kept.get("taskId") and self.documents.peek(kept["agent"]):
            self._end(self._left(kept["agent"], kept["taskId"], live.row.owner))

    async def _left(self, identity: str, handle: str, principal: str) -> None:
        try:
            async with asyncio.timeout(self.pace.leave):
                await self.cancel(identity, handle, principal)
        except (HubError, TimeoutError) as error:
            log.warning("a remote task could not be cancelled", agent=identity, reason=str(error)[:300])

    async def _cancelled(self, turn: Turn, document: Document[Agent]) -> None:
        try:
            async with asyncio.timeout(self.pace.leave):
                await self.client(document).cancel(turn.task_id)
        except (HubError, TimeoutError) as error:
            log.info("a remote task could not be cancelled", agent=document.name, reason=str(error)[:300])

    def _failed(self, document: Document[Agent], error: HubError) -> None:
        """A call failed: an agent that does not speak as its card says may have another card by now."""
        state = self._states.setdefault(document.id, _State())
        state.last_error = error.message
        if error.code in UNABLE:
            self._end(self._looked(document))

    @contextmanager
    def _place(self, document: Document[Agent]) -> Generator[None]:
        state = self._states.setdefault(document.id, _State())
        if state.calls >= _MOST_CALLS:
            raise Unavailable(f"{_MOST_CALLS} calls to the agent {document.name} are under way, which is the most", retry_after=2)
        state.calls += 1
        try:
            yield
        finally:
            state.calls -= 1

    def _end(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _headers(self, agent: Agent, identity: str) -> dict[str, str]:
        places = {name: sealed_place(identity, f"headers/{name}") for name in agent.headers}
        return {name: self._store.unseal(value, places[name]).reveal() for name, value in agent.headers.items()}


class _Teller:
    """Tells a call's own door what the agent does: artifacts where the door takes them, else their words as progress."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._count = 0

    async def words(self, text: str) -> None:
        """What the agent says about its progress."""
        self._count += 1
        await self._ctx.progress(self._count, None, text)

    async def piece(self, piece: Piece) -> None:
        """Something that it made."""
        if self._ctx.show is not None:
            self._ctx.show(piece.artifact, piece.append, piece.last)
        elif piece.text:
            await self.words(piece.text)


def sealed_place(identity: str, part: str) -> str:
    """Where a sealed value of an agent's document stands (SEC-23)."""
    return f"documents/{identity}/{part}"


def _message(skill: str, ask: AgentAsk, ctx: Context, ids: dict[str, str]) -> dict[str, Any] | None:
    """The message of A2A 1.0 to send; None where only a task is looked at. Raises InvalidInput for parts that are none."""
    parts = ask.content()
    metadata = {**ask.metadata, "skill": skill, HOPS_META: ctx.hops + 1}
    message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": parts, "metadata": metadata}
    return {**message, **{name: value for name, value in ids.items() if value}} if parts else None


def _not_offered(agent: Agent) -> str:
    if not agent.enabled:
        return "switched off"
    words = {Standing.PENDING: "not allowed yet", Standing.CHANGED: "in quarantine: its card is not the one that was allowed"}
    return words.get(agent.standing, f"refused: {agent.reason}")
