"""Remote A2A agents: add one by its card, see and allow what it states, call its skills, take it away."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, NotFound
from hub.outbound.address import parse_url
from hub.remote_agents import card as cards
from hub.remote_agents import credential
from hub.remote_agents.agents import sealed_place
from hub.remote_agents.ask import AgentAsk, AgentReply
from hub.remote_agents.model import Agent, Signed
from hub.remote_agents.skills import SCOPE, skill_name
from hub.skill import Audit, CostClass, Rest, Skill, skill
from hub.store.documents import Document
from hub.upstream import pinning
from hub.upstream.model import Standing, namespace_fault
from hub.upstream.outcome import Outcome
from hub.wire import Body, Done, Nothing, Wire, iso

_MOST = 200
_MOST_PAIRS = 64


class InterfaceView(Wire):
    """Where an agent listens."""

    url: str
    binding: str
    version: str


class SkillView(Wire):
    """One skill of an agent. ``tool`` is its name at this hub's doors; it is offered while the agent's card is approved."""

    id: str
    name: str
    tool: str
    description: str


class AgentView(Wire):
    """A remote agent. Credentials and header values are never shown, only the names of headers.

    ``standing`` is that of its card: pending, approved, changed (in quarantine until approved again), refused (``reason`` says why).
    ``interface`` is the one that is used; ``interfaces`` are all that this hub speaks.
    """

    id: str
    name: str
    url: str
    card_url: str
    title: str
    description: str
    version: str
    provider: str
    standing: Standing
    reason: str
    findings: list[str]
    signed: Signed
    interface: InterfaceView | None
    interfaces: list[InterfaceView]
    streaming: bool
    headers: list[str]
    has_credential: bool
    scheme: str
    enabled: bool
    allow_private: bool
    timeout_seconds: float
    cost_per_call: float | None
    calls: int
    last_error: str
    changed_at: str | None
    created_at: str | None
    skills: list[SkillView]


class AgentList(Wire):
    """All remote agents."""

    agents: list[AgentView]
    total: int


class AgentNew(Body):
    """A remote agent by the address of its card, or its own: then the card is looked for at the well-known addresses below."""

    name: str = Field(
        description="Its name here: 1 to 24 lower-case letters, digits and hyphens; `agent-NAME` is the namespace of its skills."
    )
    url: str = Field(max_length=2000, description="Address of the agent or of its card.")
    credential: str = Field(
        default="", max_length=16_000, description="Key or token, sent as the card's security scheme has it; encrypted."
    )
    scheme: str = Field(default="", max_length=200, description="Which of the card's security schemes; the first that takes a secret.")
    headers: dict[str, str] = Field(
        default_factory=dict[str, str], max_length=_MOST_PAIRS, description="Further request headers, also for the card; encrypted."
    )
    trusted_keys: list[dict[str, Any]] = Field(
        default_factory=list[dict[str, Any]], max_length=16, description="Public keys as JWK: only a card signed by one of them is taken."
    )
    allow_private: bool = Field(default=False, description="Whether it may be on a private or loopback address.")
    timeout_seconds: float = Field(default=600.0, gt=0, le=86_400, description="How long one call may take.")
    cost_per_call: float | None = Field(default=None, ge=0, le=1000, description="US dollars that one call costs, held against budgets.")
    approve: bool = Field(default=False, description="Allow the card at once if the scan finds nothing in it.")


class AgentId(Body):
    """A remote agent by id or name."""

    id: str = Field(description="Id or name of the agent.")


class AgentChange(Body):
    """What to change; fields left out stay."""

    id: str = Field(description="Id or name of the agent.")
    enabled: bool | None = Field(default=None, description="False hides its skills.")
    credential: str | None = Field(default=None, max_length=16_000, description="Replaces the credential; empty removes it.")
    scheme: str | None = Field(default=None, max_length=200, description="Which of the card's security schemes.")
    headers: dict[str, str] | None = Field(default=None, max_length=_MOST_PAIRS, description="Replaces all request headers.")
    timeout_seconds: float | None = Field(default=None, gt=0, le=86_400, description="How long one call may take.")
    cost_per_call: float | None = Field(default=None, ge=0, le=1000, description="US dollars that one call costs.")


class CallAsk(AgentAsk):
    """A message to a skill of a remote agent."""

    id: str = Field(description="Id or name of the agent.")
    skill: str = Field(default="", max_length=200, description="The agent's own id of the skill; may be left out where it has one only.")


class CallAnswer(AgentReply):
    """A reply; ``findings`` is what the scan of its words found (SEC-62)."""

    findings: list[str] = Field(default=[], description="What the scan found.")


class CancelAsk(Body):
    """A task at a remote agent."""

    id: str = Field(description="Id or name of the agent.")
    task_id: str = Field(min_length=1, max_length=4000, description="The taskId of its answer.")


class CallEvent(Wire):
    """What a called agent did: ``words`` about its progress, an ``artifact`` (with ``append`` more of it), at last the ``reply``."""

    words: str = ""
    artifact: dict[str, Any] | None = None
    append: bool = False
    last: bool = False
    reply: CallAnswer | None = None


class Difference(Wire):
    """One place where the card is not what was allowed; null stands for absent."""

    path: str
    before: Any
    after: Any


class CardChanges(Wire):
    """What changed in an agent's card since it was allowed; all of it for one that was not."""

    agent: str
    standing: Standing
    reason: str
    findings: list[str]
    signed: Signed
    differences: list[Difference]


def _found(ctx: Context, name: str) -> Document[Agent]:
    documents = ctx.hub.remote_agents.documents
    found = documents.find(name) or documents.peek(name)
    if found is None:
        raise NotFound(f"there is no remote agent {name[:100]!r}; `hubroute agents list` lists them", field="id")
    return found


def _card(body: Agent) -> dict[str, Any]:
    """The card that counts: the allowed one while it is in force, else what the agent states now."""
    return (body.approved if body.offered else None) or body.seen or body.approved or {}


def _view(ctx: Context, document: Document[Agent]) -> AgentView:
    body = document.body
    card = _card(body)
    spoken = [InterfaceView(url=one.url, binding=one.binding, version=one.version) for one in cards.interfaces(card)]
    return AgentView(
        id=document.id,
        name=document.name,
        url=body.url,
        card_url=body.card_url,
        title=cards.text(card, "name"),
        description=cards.text(card, "description"),
        version=cards.text(card, "version"),
        provider=cards.provider(card),
        standing=body.standing,
        reason=body.reason,
        findings=list(body.findings),
        signed=body.signed,
        interface=next(iter(spoken), None),
        interfaces=spoken,
        streaming=cards.streams(card),
        headers=sorted(body.headers),
        has_credential=bool(body.credential),
        scheme=body.scheme,
        enabled=body.enabled,
        allow_private=body.allow_private,
        timeout_seconds=body.timeout_seconds,
        cost_per_call=body.cost_per_call,
        changed_at=iso(body.changed_at),
        created_at=iso(document.created_at),
        skills=[
            SkillView(id=one.id, name=one.name, tool=skill_name(document.name, one.id), description=one.description[:500])
            for one in cards.offers(card)
        ],
        **ctx.hub.remote_agents.status(document.id),
    )


@skill("agents-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/agents")], read_only=True)
async def listed(ctx: Context, ask: Nothing) -> AgentList:
    """List the remote agents, where their cards stand and which skills they offer."""
    views = [_view(ctx, document) for document in ctx.hub.remote_agents.documents.all()]
    return AgentList(agents=views, total=len(views))


@skill("agents-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/agents/{id}")], read_only=True)
async def got(ctx: Context, ask: AgentId) -> AgentView:
    """Show one remote agent."""
    return _view(ctx, _found(ctx, ask.id))


@skill("agents-add", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/agents", status=201)], audit=Audit.FULL)
async def added(ctx: Context, ask: AgentNew) -> AgentView:
    """Add a remote A2A agent and read its card. Its skills are offered to nobody until the card is approved."""
    agents = ctx.hub.remote_agents
    if fault := namespace_fault(ask.name):
        raise BadRequest(f"name {fault}", field="name")
    parse_url(ask.url, field="url")
    if len(agents.documents.all()) >= _MOST:
        raise BadRequest(f"a hub holds {_MOST} remote agents", field="name")
    await _check_keys(ask.trusted_keys)
    identity = ctx.hub.clock.new_id("ra_")
    body = Agent(
        url=ask.url,
        headers=_sealed(ctx, identity, ask.headers),
        credential=_secret(ctx, identity, ask.credential),
        scheme=ask.scheme,
        trusted_keys=tuple(ask.trusted_keys),
        allow_private=ask.allow_private,
        timeout_seconds=ask.timeout_seconds,
        cost_per_call=ask.cost_per_call,
    )
    # A card that cannot be read or taken leaves nothing behind: nothing is stored by halves.
    body = await agents.read(body, identity)
    if body.standing is Standing.REFUSED:
        raise BadRequest(f"the agent's card is refused: {body.reason}; the agent was not added", field="url", code="card_refused")
    if ask.credential:
        credential.headers(body.seen, ask.scheme, ask.credential)
    body = body.model_copy(update={"changed_at": ctx.hub.clock.now_ms()})
    document = await agents.documents.create(ask.name, body, document_id=identity)
    return _view(ctx, await agents.allow(identity) if ask.approve and not body.findings else document)


async def _check_keys(keys: list[dict[str, Any]]) -> None:
    if keys:
        module = await asyncio.to_thread(importlib.import_module, "hub.remote_agents.signature")
        for key in keys:
            module.check_key(key, "trustedKeys")


def _secret(ctx: Context, identity: str, given: str) -> str:
    if any(letter in given for letter in "\r\n\x00"):
        raise BadRequest("the credential must not have a line break", field="credential")
    return ctx.hub.store.seal(given, sealed_place(identity, "credential")) if given else ""


def _sealed(ctx: Context, identity: str, given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not name.replace("-", "").isalnum() or any(letter in value for letter in "\r\n\x00"):
            raise BadRequest(f"{name[:60]!r} is no header, or its value has a line break", field="headers")
    return {name.lower(): ctx.hub.store.seal(value, sealed_place(identity, f"headers/{name.lower()}")) for name, value in given.items()}


@skill("agents-change", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("PATCH", "/api/agents/{id}")], audit=Audit.FULL)
async def changed(ctx: Context, ask: AgentChange) -> AgentView:
    """Change a remote agent: switch it off or on, its credential, its limits."""
    async with ctx.hub.remote_agents.changing:
        document = _found(ctx, ask.id)
        given = ask.model_dump(exclude_unset=True, exclude={"id"}, by_alias=False)
        if ask.credential is not None:
            given["credential"] = _secret(ctx, document.id, ask.credential)
            if ask.credential:
                scheme = document.body.scheme if ask.scheme is None else ask.scheme
                credential.headers(document.body.approved or document.body.seen, scheme, ask.credential)
        if ask.headers is not None:
            given["headers"] = _sealed(ctx, document.id, ask.headers)
        kept = {name: value for name, value in given.items() if value is not None or name == "cost_per_call"}
        return _view(ctx, await ctx.hub.remote_agents.documents.update(document.id, document.body.model_copy(update=kept)))


@skill("agents-refresh", scopes=["manage"], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/agents/{id}/refresh")])
async def refreshed(ctx: Context, ask: AgentId) -> AgentView:
    """Read an agent's card anew; one that is not as it was allowed hides the agent's skills until it is approved again."""
    return _view(ctx, await ctx.hub.remote_agents.check(_found(ctx, ask.id).id))


@skill("agents-approve", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/agents/{id}/approve")], audit=Audit.FULL)
async def approved(ctx: Context, ask: AgentId) -> AgentView:
    """Allow an agent's card as it is stated now; the whole card is pinned, and its skills are offered."""
    return _view(ctx, await ctx.hub.remote_agents.allow(_found(ctx, ask.id).id))


@skill("agents-diff", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/agents/{id}/diff")], read_only=True)
async def compared(ctx: Context, ask: AgentId) -> CardChanges:
    """Show what changed in an agent's card since it was allowed."""
    document = _found(ctx, ask.id)
    body = document.body
    unread = body.standing is Standing.REFUSED
    before, after = cards.by_skill(body.approved), cards.by_skill(None if unread else body.seen)
    return CardChanges(
        agent=document.name,
        standing=body.standing,
        reason=body.reason,
        findings=list(body.findings),
        signed=body.signed,
        differences=[Difference(**one) for one in ([] if unread else pinning.difference(before, after))],
    )


@skill(
    "agents-remove",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/agents/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def removed(ctx: Context, ask: AgentId) -> Done:
    """Remove a remote agent with its skills and credentials."""
    document = _found(ctx, ask.id)
    await ctx.hub.remote_agents.documents.delete(document.id)
    return Done(message=f"remote agent {document.name!r} is removed")


@skill("agents-call", scopes=[SCOPE], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/agents/{id}/call")])
async def called(ctx: Context, ask: CallAsk) -> CallAnswer:
    """Send a message to a skill of a remote agent and give its answer; taskId and contextId of the answer go on from there."""
    return _reply(await ctx.hub.call(_offered(ctx, ask), _plain(ask), ctx))


@skill("agents-stream", scopes=[SCOPE], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/agents/{id}/stream")])
async def streamed(ctx: Context, ask: CallAsk) -> AsyncIterator[CallEvent]:
    """Send a message to a skill of a remote agent and follow its work; leaving the stream cancels it."""
    made, events = _offered(ctx, ask), asyncio.Queue[CallEvent]()

    async def report(done: float, total: float | None, words: str) -> None:
        events.put_nowait(CallEvent(words=words))

    def show(artifact: dict[str, Any], append: bool, last: bool) -> None:
        events.put_nowait(CallEvent(artifact=artifact, append=append, last=last))

    ctx.report, ctx.show = report, show
    call = asyncio.ensure_future(ctx.hub.call(made, _plain(ask), ctx))
    try:
        while not call.done() or not events.empty():
            event = asyncio.ensure_future(events.get())
            await asyncio.wait({event, call}, return_when=asyncio.FIRST_COMPLETED)
            if event.done():
                yield event.result()
            else:
                event.cancel()
        yield CallEvent(reply=_reply(await call))
    finally:
        call.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({call})


@skill("agents-cancel", scopes=[SCOPE], cost=CostClass.NETWORK, rest=[Rest("POST", "/api/agents/{id}/cancel")])
async def cancelled(ctx: Context, ask: CancelAsk) -> Done:
    """Cancel a task at a remote agent that you began."""
    document = _found(ctx, ask.id)
    await ctx.hub.remote_agents.cancel(document.id, ask.task_id, ctx.caller.key_id)
    return Done(message=f"the task at {document.name!r} is cancelled")


def _offered(ctx: Context, ask: CallAsk) -> Skill:
    """The skill that is called, as our registry has it. Raises NotFound, NotConfigured for an agent that is not allowed."""
    document = _found(ctx, ask.id)
    ctx.hub.remote_agents.client(document)
    ids = [one.id for one in cards.offers(document.body.approved or {})]
    wanted = ask.skill or (ids[0] if len(ids) == 1 else "")
    made = ctx.hub.skills.by_name.get(skill_name(document.name, wanted)) if wanted in ids else None
    if made is None:
        raise NotFound(f"name a skill of {document.name}: it has {', '.join(ids)[:1000]}", field="skill")
    return made


def _plain(ask: CallAsk) -> dict[str, Any]:
    return ask.model_dump(exclude={"id", "skill"}, by_alias=False)


def _reply(outcome: Outcome) -> CallAnswer:
    return CallAnswer.model_validate({**outcome.structured, "findings": list(outcome.findings())})
