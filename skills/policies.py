"""Policies: the owner's rules over every call, a dry run of them, and keys and logins that are refused now."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pydantic import Field

from hub.access.policy import Applied, Check, Cost, Facts, Policy, Rule, Verdict, explain
from hub.access.policy_overlap import warnings
from hub.clock import LAST_MS
from hub.context import Context
from hub.errors import BadRequest, Conflict, NotFound
from hub.records import Caller, Key
from hub.skill import Audit, CostClass, Resource, Rest, skill
from hub.store.documents import Document
from hub.wire import Body, Nothing, Wire, iso

#: More rules than anybody reads; each costs every call a little.
_MOST = 200


class LockedIdentifier(Wire):
    """A key that is refused now by a limit, its hours or its end, or a login after too many failed ones.

    ``until`` is null where no time ends it.
    """

    identifier: str
    name: str
    reason: str
    until: str | None


class PolicyView(Policy):
    """A rule as it is stored."""

    id: str
    created_at: str | None
    updated_at: str | None


class PolicyList(Wire):
    """Keys and logins that are refused now, and the rules in the order in which they are looked at."""

    locked_identifiers: list[LockedIdentifier]
    policies: list[PolicyView]


class PolicyPost(Body):
    """A new rule, or ``action: unlock`` with an identifier."""

    action: Literal["unlock"] | None = Field(default=None, description="unlock starts the counters of a key anew.")
    identifier: str | None = Field(
        default=None, min_length=1, max_length=200, description="Id or name of the key to unlock, or a login as it is listed."
    )
    policy: Policy | None = Field(default=None, description="The new rule; over REST its fields are the body itself.")


class Unlocked(Wire):
    """The counters of a key, or of all, begin anew."""

    success: bool = True
    action: Literal["unlock"] = "unlock"
    identifier: str | None


class PolicySaved(Wire):
    """A rule that was stored, with what its owner should know of others that contradict it."""

    policy: PolicyView
    warnings: list[str]


class PolicyAnswer(Wire):
    """A rule that was made, or a key that was unlocked."""

    saved: PolicySaved | None = None
    unlocked: Unlocked | None = None


class PolicyId(Body):
    """Names one rule."""

    id: str = Field(max_length=200, description="Id of the rule.")


class PolicyPut(Policy):
    """A whole rule in place of one that is stored."""

    id: str = Field(max_length=200, description="Id of the rule.")


class PolicyPatch(Body):
    """Fields of a rule to change; those left out stay. ``when`` and ``then`` are replaced as a whole."""

    id: str = Field(max_length=200, description="Id of the rule.")
    changes: dict[str, Any] = Field(description="The fields; over REST they are the body itself.")


class UnlockAsk(Body):
    """Which key to unlock."""

    identifier: str | None = Field(
        default=None, min_length=1, max_length=200, description="Id or name of the key, or a login as it is listed; none: all."
    )


class PolicyTest(Body):
    """A call that is not made. What is left out is as for a plain chat of a key without tags, now."""

    key: str = Field(default="", max_length=200, description="Id or name of a key; its tags count. Empty: nobody.")
    skill: str = Field(default="chat", max_length=100, description="Name of the skill.")
    model: str = Field(default="", max_length=500, description="Model string as a client would send it.")
    door: str = Field(default="openai", max_length=100, description="Door that the call comes through.")
    stream: bool = Field(default=False, description="Whether it asks for a stream.")
    tags: tuple[str, ...] = Field(default=(), max_length=64, description="Tags of the request, besides those of the key.")
    providers: tuple[str, ...] = Field(default=(), max_length=100, description="Providers that would serve it; none: as routing would now.")
    cost: float | None = Field(default=None, ge=0, description="Most that it may cost in US dollars; none: unknown.")
    at: int | None = Field(default=None, ge=0, le=LAST_MS, description="Moment in epoch milliseconds; none: now.")
    rule: Policy | None = Field(default=None, description="A rule that is not stored, tried beside those that are.")


class CheckView(Wire):
    """One condition of a rule. ``matches`` null: it is not known."""

    condition: str
    matches: bool | None
    why: str


class RuleTrace(Wire):
    """What became of a rule: applied, no match, not reached, no effect or disabled."""

    id: str
    name: str
    action: str
    outcome: str
    checks: list[CheckView]


class AppliedView(Wire):
    """A rule that had a say."""

    id: str
    name: str
    effect: str


class PolicyVerdict(Wire):
    """What the rules would make of the call; nothing is stored or counted."""

    allowed: bool
    message: str
    denied_by: AppliedView | None
    model: str | None
    max_tokens: int | None
    applied: list[AppliedView]
    rules: list[RuleTrace]
    warnings: list[str]


def _view(document: Document[Policy]) -> PolicyView:
    body = document.body.model_dump(by_alias=True)
    return PolicyView.model_validate(
        {**body, "id": document.id, "createdAt": iso(document.created_at), "updatedAt": iso(document.updated_at)}
    )


def _post(data: dict[str, Any]) -> dict[str, Any]:
    """The seed's unlock as it is; anything else is the rule itself."""
    # What names a key and no rule is meant as an unlock, however wrong.
    return data if {"action", "policy", "identifier"} & data.keys() else {"policy": data}


def _patch(data: dict[str, Any]) -> dict[str, Any]:
    return {"id": data.pop("id"), "changes": data}


def _shown(answer: PolicyAnswer) -> dict[str, Any]:
    shown = answer.unlocked or answer.saved
    return shown.model_dump(mode="json", by_alias=True) if shown else {}


@skill(
    "policies-list",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/policies")],
    resources=[Resource("hub://policies", "Policies in their order, and keys that a limit refuses now.")],
    read_only=True,
)
async def list_policies(ctx: Context, ask: Nothing) -> PolicyList:
    """List the policies in their order, the keys that a limit, their hours or their end refuse now, and logins that are locked."""
    locks = ctx.hub.limits.locked(ctx.hub.store.keys.all())
    keys = [LockedIdentifier(identifier=lock.key_id, name=lock.name, reason=lock.reason, until=iso(lock.until)) for lock in locks]
    logins = [
        LockedIdentifier(identifier=one.name, name="dashboard login", reason="login_locked", until=iso(one.until))
        for one in await ctx.hub.login.lockout.locked()
    ]
    return PolicyList(
        locked_identifiers=[*keys, *logins],
        policies=[_view(document) for document in ctx.hub.policies.set.ordered],
    )


@skill("policies-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/policies/{id}")], read_only=True)
async def get(ctx: Context, ask: PolicyId) -> PolicyView:
    """Show one policy."""
    return _view(ctx.hub.policies.documents.get(ask.id))


@skill(
    "policies-create",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/policies", ask=_post, view=_shown, status_of=lambda answer: 201 if answer.saved else 200)],
    audit=Audit.FULL,
)
async def create(ctx: Context, ask: PolicyPost) -> PolicyAnswer:
    """Make a policy, in force at once; or unlock a key or the dashboard's login: its counters begin anew."""
    if ask.action == "unlock" or ask.identifier:
        if ask.action is None:
            raise BadRequest("say 'unlock' to unlock the key that is named, or send a rule without identifier", field="action")
        if not ask.identifier:
            raise BadRequest("name the key to unlock by its id or name", field="identifier")
        return PolicyAnswer(unlocked=await _unlock(ctx, ask.identifier))
    if ask.policy is None:
        raise BadRequest("send a rule with name and then, or action 'unlock' with an identifier", field="policy")
    policies = ctx.hub.policies
    if len(policies.documents.all()) >= _MOST:
        raise Conflict(f"there are {_MOST} policies, the most a hub may have; delete some")
    return PolicyAnswer(saved=_saved(ctx, await policies.documents.create(ask.policy.name, ask.policy)))


@skill(
    "policies-replace",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/policies/{id}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def replace(ctx: Context, ask: PolicyPut) -> PolicySaved:
    """Replace a policy as a whole, in force at once."""
    body = Policy.model_validate(ask.model_dump(by_alias=True, exclude={"id"}, exclude_unset=True))
    return _saved(ctx, await ctx.hub.policies.documents.update(ask.id, body, name=body.name))


@skill(
    "policies-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PATCH", "/api/policies/{id}", ask=_patch)],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: PolicyPatch) -> PolicySaved:
    """Change fields of a policy, in force at once."""
    documents = ctx.hub.policies.documents
    kept = documents.get(ask.id).body.model_dump(by_alias=True, exclude_unset=True)
    body = ctx.hub.find("policies-create").validate({"policy": {**kept, **ask.changes}}).policy
    return _saved(ctx, await documents.update(ask.id, body, name=body.name))


@skill(
    "policies-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/policies/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: PolicyId) -> PolicyView:
    """Delete a policy; it has no effect from now on."""
    gone = ctx.hub.policies.documents.get(ask.id)
    await ctx.hub.policies.documents.delete(ask.id)
    return _view(gone)


@skill("policies-unlock", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("DELETE", "/api/policies")], idempotent=True, audit=Audit.FULL)
async def unlock(ctx: Context, ask: UnlockAsk) -> Unlocked:
    """Unlock a key, the dashboard's login, or all: counters and sessions begin anew. Hours and expiry stay as they are."""
    if ask.identifier:
        return await _unlock(ctx, ask.identifier)
    await ctx.hub.login.lockout.unlock()
    for key in ctx.hub.store.keys.all():
        ctx.hub.limits.reset(key.id)
    return Unlocked(identifier=None)


@skill("policies-test", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/policies/test")], read_only=True)
async def test(ctx: Context, ask: PolicyTest) -> PolicyVerdict:
    """Try the policies on a call that is not made: the verdict, and for every rule which condition matched and why not.

    Rules that contradict each other on some calls are named as warnings. Nothing is stored or counted.
    """
    documents = list(ctx.hub.policies.documents.all())
    if ask.rule is not None:
        now_ms = ctx.hub.clock.now_ms()
        documents.append(Document(id="draft", name=ask.rule.name, body=ask.rule, created_at=now_ms, updated_at=now_ms))
    rules = type(ctx.hub.policies.set)(documents)
    facts = _facts(ctx, ask)
    verdict = rules.judge(facts)
    while verdict.wants is not None:
        facts.costs[verdict.wants] = Cost(ask.cost, complete=ask.cost is not None)
        verdict = rules.judge(facts)
    denied = verdict.denied_by
    return PolicyVerdict(
        allowed=verdict.allowed,
        message=verdict.message,
        denied_by=_applied(denied) if denied else None,
        model=verdict.model or None,
        max_tokens=verdict.max_tokens,
        applied=[_applied(one) for one in verdict.applied],
        rules=_traces(rules.ordered, facts, verdict),
        warnings=warnings(rules.ordered),
    )


def _facts(ctx: Context, ask: PolicyTest) -> Facts:
    hub = ctx.hub
    hub.find(ask.skill)
    key = _key(ctx, ask.key) if ask.key else None
    caller = Caller.of(key) if key else Caller.anonymous()
    return Facts(
        key_id=caller.key_id,
        key_name=caller.name,
        skills=(ask.skill,) if not ask.model or ask.skill == "chat" else ("chat", ask.skill),
        door=ask.door,
        now_ms=hub.clock.now_ms() if ask.at is None else ask.at,
        model=ask.model,
        stream=ask.stream,
        tags=frozenset((*ask.tags, *caller.limits.tags)),
        providers=lambda model: frozenset(ask.providers) or hub.policies.providers_of(model, caller),
    )


def _traces(ordered: list[Document[Policy]], facts: Facts, verdict: Verdict) -> list[RuleTrace]:
    """What became of each rule, in their order."""
    ends = [one.id for one in verdict.applied if one.effect in ("allow", "deny", "require_tag")]
    last = next((place for place, document in enumerate(ordered) if document.id in ends), len(ordered))
    traces: list[RuleTrace] = []
    for place, document in enumerate(ordered):
        checks = explain(Rule(document), facts, verdict)
        outcome = "not reached" if place > last else _outcome(document, checks, verdict)
        shown = [CheckView(**dataclasses.asdict(check)) for check in checks]
        traces.append(RuleTrace(id=document.id, name=document.name, action=document.body.then.action, outcome=outcome, checks=shown))
    return traces


def _outcome(document: Document[Policy], checks: list[Check], verdict: Verdict) -> str:
    if not document.body.enabled:
        return "disabled"
    if any(one.id == document.id for one in verdict.applied):
        return "applied"
    return "no effect" if all(check.matches for check in checks) else "no match"


def _applied(one: Applied) -> AppliedView:
    return AppliedView(id=one.id, name=one.name, effect=one.effect)


def _saved(ctx: Context, document: Document[Policy]) -> PolicySaved:
    return PolicySaved(policy=_view(document), warnings=warnings(ctx.hub.policies.set.ordered, about=document.id))


def _key(ctx: Context, identifier: str) -> Key:
    """The key of this id, or the only one of this name. Raises NotFound, BadRequest."""
    keys = ctx.hub.store.keys.all()
    found = [key for key in keys if key.id == identifier] or [key for key in keys if key.name == identifier]
    if not found:
        raise NotFound(f"there is no key {identifier!r}; keys-list shows them", field="identifier")
    if len(found) > 1:
        raise BadRequest(f"{len(found)} keys are called {identifier!r}; name one by its id", field="identifier")
    return found[0]


async def _unlock(ctx: Context, identifier: str) -> Unlocked:
    if await ctx.hub.login.lockout.unlock(identifier):
        return Unlocked(identifier=identifier)
    key = _key(ctx, identifier)
    for lock in ctx.hub.limits.locked([key]):
        if lock.reason == "expired":
            raise Conflict(f"key {key.name!r} has expired, which unlocking does not undo; issue a new one", field="identifier")
        if lock.reason == "key_schedule_closed":
            raise Conflict(f"key {key.name!r} is outside its hours until {iso(lock.until)}; change its accessSchedule", field="identifier")
    ctx.hub.limits.reset(key.id)
    return Unlocked(identifier=identifier)
