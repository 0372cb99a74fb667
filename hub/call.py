"""The hub of one process, and ``call``: the one path by which every door reaches a skill (D8).

authenticate -> scope -> policy and limits -> run -> settle -> audit. Doors translate and call; they hold no policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import orjson
from pydantic import BaseModel

from hub.assess.assess import KIND as ASSESS
from hub.assess.assess import Assess
from hub.context import Context
from hub.errors import Cancelled, Forbidden, HubError, Internal, PolicyDenied, Unauthenticated, Unavailable, UnknownSkill
from hub.evals.asking import Asking
from hub.evals.evals import Evals
from hub.evals.trials import KIND as EVAL
from hub.evals.trials import Trials
from hub.evals.worker import Worker
from hub.log import logger, masked, secret_name
from hub.parts import Parts
from hub.records import NO_LIMITS, AuditRow, Caller
from hub.skill import Audit, CostClass, path_fields

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.clock import Clock
    from hub.records import Key
    from hub.registry import Skills
    from hub.settings import Settings
    from hub.skill import Skill

log = logger("hub.call")

#: How deep the audit log looks into an input, and how much of it level full keeps, in bytes.
_DEPTH = 8
_DETAIL = 4096
#: Longest name of what a call was about.
_TARGET = 200


class Hub(Parts):
    """Everything one process is made of. Made by the composition root, opened, used by doors, closed."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, skills: Skills | None = None) -> None:
        super().__init__(settings, clock=clock, skills=skills)
        self._callers: dict[str, tuple[Key, Caller]] = {}
        # They ask models by the one path that every door takes.
        asking = Asking(self)
        self.assess = Assess(self, asking, self.assessments)
        worker = Worker(self.store, self.clock, self.events, {EVAL: Trials(asking), ASSESS: self.assess})
        self.evals = Evals(self, asking, worker)
        self.retention.also.append(self.evals.sweep)
        self.planner.doubts = self.assessments

    async def open(self) -> None:
        """Open the store and take over what was stored. Raises HubError with what to do when that cannot be."""
        await super().open()
        await self.assessments.open()
        await self.evals.worker.open()
        self.on_stop.append(self.evals.worker.stop)
        self.on_close += [self.assessments.close, self.evals.worker.close]

    def changed(self) -> None:
        """Connections, keys, documents or settings changed, here or in another process."""
        self._callers.clear()
        super().changed()

    def authenticate(self, token: str | None) -> Caller:
        """The caller behind a credential.

        Raises Unauthenticated, in the same words whether it is missing, unknown, revoked or expired. With
        ``require_api_key`` off (loopback only) a missing one gives the anonymous caller of the model API.
        """
        if token:
            caller = self._of_key(token)
            if caller is not None:
                return caller
        elif not self.settings.require_api_key:
            return Caller.anonymous(("chat",))
        raise Unauthenticated("a valid API key is needed: send it as `Authorization: Bearer …`; `hubroute keys create NAME` makes one")

    async def identify(self, token: str, audiences: frozenset[str]) -> Caller:
        """The caller behind a credential with the form of an access token, at a resource with these names.

        A key that was brought in may have that form, too. Raises Unauthenticated, and Unavailable while the issuer's keys cannot be had.
        """
        return self._of_key(token) or await self.oauth.caller(token, audiences)

    def _of_key(self, token: str) -> Caller | None:
        key = self.store.keys.find(token)
        if key is None:
            return None
        kept = self._callers.get(key.id)
        if kept is None or kept[0] is not key:
            kept = self._callers[key.id] = (key, Caller.of(key))
        return kept[1]

    def still(self, caller: Caller, *, renewed: bool = False) -> Caller | None:
        """A caller as it is now, None when its key or token was revoked, expired or deleted: for what outlasts a request.

        ``renewed`` is for what every later request must bring a valid token for: there a token may have ended and a newer one go on.
        """
        if caller.key_id == Caller.owner().key_id:
            return caller
        if caller.issuer:
            return caller if self.oauth.still(caller, renewed=renewed) else None
        if not caller.key_id:
            return None if self.settings.require_api_key else caller
        key = self.store.keys.valid(caller.key_id)
        return None if key is None else Caller.of(key)

    def at_end(self, caller: Caller, then: Callable[[], object]) -> Callable[[], None]:
        """Have ``then`` called when a caller's token ends, for answers that last; what takes it back. Keys have no such end."""
        if not caller.ends_ms:
            return lambda: None
        left = max(0, caller.ends_ms - self.clock.now_ms()) / 1000
        return asyncio.get_running_loop().call_later(left, then).cancel

    def context(self, caller: Caller, door: str, *, session: str = "", address: str = "") -> Context:
        """A fresh context for one call through a door. ``address`` is the client's IP address."""
        return Context(self, caller, self.clock.new_id("req_"), door, session=session, address=address)

    def find(self, name: str) -> Skill:
        """The skill of this name. Raises UnknownSkill."""
        made = self.skills.by_name.get(name)
        if made is None:
            raise UnknownSkill(f"no skill {name!r}; `hubroute skills` lists them")
        return made

    async def call(self, skill: Skill, data: object, ctx: Context) -> Any:
        """Run a skill for a caller and return its output.

        Raises Forbidden without the scopes, InvalidInput naming fields, whatever HubError the skill
        raises, and Internal for a fault of ours.
        """
        self.allow(skill, ctx, data)
        self._enter(skill, ctx)
        if self.store.queue.full:
            await self._room(skill)
        began = self.clock.monotonic()
        try:
            result = await skill.run(ctx, skill.validate(data))
        except BaseException as error:
            shown = self._ended(skill, data, ctx, began, error)
            if shown is error:
                raise
            raise shown from error
        self._audit(skill, data, ctx, began, None, result)
        return result

    def declined(self, skill: Skill, data: object, ctx: Context, error: HubError) -> None:
        """Record a call that was not made because nobody confirmed it."""
        self._audit(skill, data, ctx, self.clock.monotonic(), error)

    async def stream(self, skill: Skill, data: object, ctx: Context) -> AsyncGenerator[Any]:
        """Run a streaming skill; the same path as :meth:`call`, one item at a time."""
        self.allow(skill, ctx, data)
        self._enter(skill, ctx)
        if self.store.queue.full:
            await self._room(skill)
        began = self.clock.monotonic()
        try:
            async with aclosing(skill.run(ctx, skill.validate(data))) as items:
                async for item in items:
                    yield item
        except BaseException as error:
            shown = self._ended(skill, data, ctx, began, error)
            if shown is error:
                raise
            raise shown from error
        self._audit(skill, data, ctx, began, None)

    def admit(self, scope: str, ctx: Context) -> None:
        """Raise Forbidden, and record the attempt, when the caller lacks the scope that opens the whole door (SEC-80)."""
        if scope in ctx.caller.scopes:
            return
        error = Forbidden(f"this key does not hold the scope {scope}, which the {ctx.door} door needs", data={"missing": [scope]})
        self._record("", ctx, error, target=scope)
        raise error

    def allow(self, skill: Skill, ctx: Context, data: object = None) -> None:
        """Raise Forbidden, and record the attempt, when the caller lacks a scope of the skill or a policy denies it.

        ``data`` is the input where it is known: the record says what the attempt was about.
        """
        if not skill.scopes <= ctx.caller.scopes:
            missing = sorted(skill.scopes - ctx.caller.scopes)
            error = Forbidden(f"{skill.name} needs the scope {', '.join(missing)}, which this key does not hold", data={"missing": missing})
            self._record(skill.name, ctx, error, target=_target(skill, data, None))
            raise error
        if self.policies.active:
            self._checked(skill, ctx, lambda: self.policies.admit(skill, ctx))
        if skill.audit is Audit.FULL and self.store.queue.failing:
            # Fail closed on changes that could not be recorded; traffic goes on (SEC-82).
            raise Unavailable("the audit log cannot be written now, so nothing is changed; see the store's state in /ready and the log")

    def _enter(self, skill: Skill, ctx: Context) -> None:
        """The door's call begins, or one inside it: the first that spends money counts against the key's limits, and none after it."""
        if not ctx.skill:
            ctx.skill = skill.name
        if skill.cost is CostClass.METERED and not ctx.counted and ctx.caller.limits is not NO_LIMITS:
            ctx.counted = True
            self._checked(skill, ctx, lambda: self.limits.check(ctx.caller, ctx.session))

    def _checked(self, skill: Skill, ctx: Context, check: Callable[[], None]) -> None:
        """Run a check that may refuse a call; a refusal is recorded as the skill's level says, a denial always."""
        try:
            check()
        except HubError as error:
            self._audit(skill, None, ctx, self.clock.monotonic(), error)
            raise

    async def _room(self, skill: Skill) -> None:
        """Wait while more rows wait for the database than may, before a call that will add some (SEC B8)."""
        if skill.audit is not Audit.NONE or skill.cost is CostClass.METERED:
            await self.store.queue.room()

    def _ended(self, skill: Skill, data: object, ctx: Context, began: float, error: BaseException) -> BaseException:
        """Audit a call that did not return, and give the error its caller may see."""
        shown: BaseException = error
        if isinstance(error, Exception) and not isinstance(error, HubError):
            log.error("skill failed", skill=skill.name, request_id=ctx.request_id, exc_info=error)
            shown = Internal(f"{skill.name} failed inside the hub; the log has the cause under {ctx.request_id}")
        recorded = shown if isinstance(shown, HubError) else Cancelled("the caller went away")
        self._audit(skill, data, ctx, began, recorded)
        return shown

    def _audit(self, skill: Skill, data: object, ctx: Context, began: float, error: HubError | None, result: object = None) -> None:
        # A denied attempt is recorded whatever the skill's level (SEC-80).
        if skill.audit is Audit.NONE and not isinstance(error, Forbidden):
            return
        text = _input(data)
        self._record(
            skill.name,
            ctx,
            error,
            duration_us=round((self.clock.monotonic() - began) * 1_000_000),
            digest=hashlib.sha256(text).hexdigest() if text else "",
            detail=masked(text[:_DETAIL].decode(errors="ignore")) if skill.audit is Audit.FULL else "",
            target=error.data["policy"].get("id", "") if isinstance(error, PolicyDenied) else _target(skill, data, result),
        )

    def _record(self, skill: str, ctx: Context, error: HubError | None, **more: Any) -> None:
        row = AuditRow(
            at=self.clock.now_ms(),
            request_id=ctx.request_id,
            door=ctx.door,
            caller=ctx.caller.name,
            key_id=ctx.caller.key_id,
            skill=skill,
            outcome="ok" if error is None else "denied" if isinstance(error, Forbidden) else "error",
            error_code="" if error is None else error.code,
            ip=ctx.address,
            **more,
        )
        self.store.audit.add(row)
        for listener in self.on_audited:
            listener(row)


def _target(skill: Skill, data: object, result: object) -> str:
    """What a call was about: the fields that its address names, else the id of what it made. Nothing for calls that name nothing."""
    names = path_fields(skill.rest[0].path) if skill.rest else ["id"]
    fields = cast("dict[str, Any]", data) if isinstance(data, dict) else {name: getattr(data, name, None) for name in names}
    named = [str(value) for name in names if isinstance(value := fields.get(name), (str, int))]
    if not named and isinstance(result, BaseModel) and skill.audit is Audit.FULL:
        made = (getattr(one, "id", None) for one in (result, *result.__dict__.values()) if isinstance(one, BaseModel))
        named = [one for one in made if isinstance(one, str)][:1]
    return masked("/".join(named))[:_TARGET]


def _input(data: object) -> bytes:
    """Input as JSON with secret fields masked; nothing for an input that is not a set of fields."""
    fields: Any = data.model_dump(mode="json", by_alias=True) if isinstance(data, BaseModel) else data
    if not isinstance(fields, dict):
        return b""
    plain = _without_secrets(cast("dict[str, Any]", fields), _DEPTH)
    try:
        return orjson.dumps(plain, default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers over 64 bits and half characters, which other JSON readers let pass
        return json.dumps(plain, default=str, sort_keys=True).encode()


def _without_secrets(value: Any, depth: int) -> Any:
    """A value with secret fields masked and what lies too deep left out."""
    if not isinstance(value, (dict, list)):
        return value
    if not depth:
        return "…"
    if isinstance(value, list):
        return [_without_secrets(item, depth - 1) for item in cast("list[Any]", value)]
    fields = cast("dict[str, Any]", value)
    return {name: "…" if secret_name(name) else _without_secrets(item, depth - 1) for name, item in fields.items()}
