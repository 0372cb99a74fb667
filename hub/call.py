"""The hub of one process, and ``call``: the one path by which every door reaches a skill (D8).

authenticate -> scope -> run -> settle -> audit. Doors translate and call; they hold no policy.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import orjson
from pydantic import BaseModel

from hub.attempts import Ledger
from hub.clock import Clock
from hub.context import Context
from hub.engine import ChatEngine
from hub.errors import Cancelled, Forbidden, HubError, Internal, Unauthenticated, Unavailable, UnknownSkill
from hub.events import Events
from hub.log import logger, masked, secret_name
from hub.outbound.client import Outbound
from hub.plan import Planner
from hub.preferences import PreferenceStore
from hub.prices import Prices
from hub.providers.base import Adapter
from hub.providers.catalog import Catalog
from hub.quota import Quotas
from hub.records import AuditRow, Caller
from hub.registry import Skills, load
from hub.resilience import Resilience
from hub.routing.resolve import Resolver
from hub.routing.strategy import Strategy
from hub.skill import Audit, CostClass
from hub.store import Store
from hub.targets import Targets
from hub.tasks import LiveTasks
from hub.throttle import Throttle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from hub.records import Connection
    from hub.settings import Settings
    from hub.skill import Skill

log = logger("hub.call")

#: How deep the audit log looks into an input, and how much of it level full keeps, in bytes.
_DEPTH = 8
_DETAIL = 4096


class Hub:
    """Everything one process is made of. Made by the composition root, opened, used by doors, closed."""

    def __init__(self, settings: Settings, *, clock: Clock | None = None, skills: Skills | None = None) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self.started_ms = self.clock.now_ms()
        self.skills = skills or Skills.load()
        self.catalog = Catalog.load()
        self.adapters = load("hub.providers", Adapter, lambda adapter: adapter.name)
        self.strategies = load("hub.routing.strategies", Strategy, lambda strategy: strategy.name)
        self.store = Store(settings, self.clock)
        self.tasks = LiveTasks(self.store, self.clock)
        self.outbound = Outbound(allow_private=settings.allow_private)
        self.prices = Prices(self.catalog, dict)
        self.preferences = PreferenceStore(self.store.values)
        self.events = Events(self.clock)
        self.resilience = self._resilience()
        self.cooldowns = self.resilience.cooldowns
        self.throttle = Throttle(self.clock)
        self.quotas = Quotas()
        self.targets = Targets(self.catalog)
        self.planner = Planner(
            catalog=self.catalog,
            resolver=Resolver(self.catalog, self.connected, self.prefixes, dict, discovered=self.discovered),
            builtins=settings.demo != "off",
            connections=self.store.connections.of,
            cooldowns=self.cooldowns,
            connected=self.connected,
            strategies=self.strategies,
            formats=frozenset(self.adapters),
            clock=self.clock,
        )
        self.chat = ChatEngine(
            planner=self.planner,
            targets=self.targets,
            adapters=self.adapters,
            outbound=self.outbound,
            prices=self.prices,
            quotas=self.quotas,
            ledger=Ledger(
                clock=self.clock,
                prices=self.prices,
                cooldowns=self.cooldowns,
                add_usage=self.store.usage.add,
                add_decision=self.store.decisions.add,
                mark=self.mark,
            ),
            settings=settings,
        )
        self.closing = False
        #: What doors keep for the life of this hub, by name, and what they want done when it stops and closes.
        self.kept: dict[str, Any] = {}
        self.on_stop: list[Callable[[], None]] = []
        self.on_close: list[Callable[[], Awaitable[None]]] = []
        self._builtin = frozenset(row.id for row in self.catalog.providers.values() if row.builtin)

    def _resilience(self) -> Resilience:
        return Resilience(
            clock=self.clock,
            settings=lambda: self.preferences.current.resilience_settings,
            profile=self.catalog.profile,
            per_model=lambda connection: self.catalog.per_model(connection.provider, connection.rules.model_quotas),
            mark=self.mark,
            state=self.store.state,
            events=self.events,
            current=self.store.connections.peek,
        )

    async def open(self) -> None:
        """Open the store and take over what was stored. Raises HubError with what to do when that cannot be."""
        await self.store.open()
        await self.tasks.open()
        self.on_stop.append(self.tasks.end_streams)
        self.on_close.append(self.tasks.close)
        self.store.on_change(self._changed)
        self._changed()

    def stop(self) -> None:
        """The server stops: doors end their standing streams, calls that run go on."""
        self.closing = True
        while self.on_stop:
            self.on_stop.pop()()

    async def close(self) -> None:
        """Let the doors end, flush the rows that wait, close the store and every outbound connection."""
        self.stop()
        while self.on_close:
            await self.on_close.pop()()
        await self.outbound.aclose()
        await self.store.close()

    def connected(self) -> frozenset[str]:
        """Providers that can be used now: those with an active connection, and the built-in ones as the setting says (D3)."""
        real = frozenset(connection.provider for connection in self.store.connections.all() if connection.active)
        if self.settings.demo == "on" or (self.settings.demo == "auto" and not real):
            return real | self._builtin
        return real

    def prefixes(self) -> dict[str, str]:
        """Prefixes that owners gave to their own endpoints -> ``provider``, or ``provider/connection`` where one has it alone."""
        found: dict[str, list[Connection]] = {}
        for connection in self.store.connections.all():
            prefix = connection.data.get("prefix", "")
            if prefix and connection.active:
                found.setdefault(prefix, []).append(connection)
        return {
            prefix: connections[0].provider if len(connections) > 1 else f"{connections[0].provider}/{connections[0].id}"
            for prefix, connections in found.items()
        }

    def discovered(self) -> dict[str, set[str]]:
        """Provider -> model ids that its connections name, beside those of the catalogue."""
        found: dict[str, set[str]] = {}
        for connection in self.store.connections.all():
            found.setdefault(connection.provider, set()).update(connection.models)
        return found

    def mark(self, connection_id: str, **state: Any) -> None:
        """Note a connection's health; built-in ones have no row to note it in."""
        self.planner.forget()
        if connection_id not in self._builtin:
            if "cooldown_until" in state:
                self.resilience.noted(connection_id, state["cooldown_until"])
            self.store.connections.mark(connection_id, **state)

    def _changed(self) -> None:
        """Connections, keys or settings changed, here or in another process."""
        self.planner.forget()
        self.preferences.refresh()
        self.resilience.load(self.store.connections.all())

    def authenticate(self, token: str | None) -> Caller:
        """The caller behind a credential.

        Raises Unauthenticated, in the same words whether it is missing, unknown, revoked or expired. With
        ``require_api_key`` off (loopback only) a missing one gives the anonymous caller of the model API.
        """
        if token:
            key = self.store.keys.find(token)
            if key is not None:
                return Caller.of(key)
        elif not self.settings.require_api_key:
            return Caller.anonymous(("chat",))
        raise Unauthenticated("a valid API key is needed: send it as `Authorization: Bearer …`; `hubroute keys create NAME` makes one")

    def context(self, caller: Caller, door: str, *, session: str = "") -> Context:
        """A fresh context for one call through a door."""
        return Context(self, caller, self.clock.new_id("req_"), door, session=session)

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
        self.allow(skill, ctx)
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
        self._audit(skill, data, ctx, began, None)
        return result

    async def stream(self, skill: Skill, data: object, ctx: Context) -> AsyncGenerator[Any]:
        """Run a streaming skill; the same path as :meth:`call`, one item at a time."""
        self.allow(skill, ctx)
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

    def allow(self, skill: Skill, ctx: Context) -> None:
        """Raise Forbidden, and record the attempt, when the caller lacks a scope of the skill."""
        if not skill.scopes <= ctx.caller.scopes:
            missing = sorted(skill.scopes - ctx.caller.scopes)
            error = Forbidden(f"{skill.name} needs the scope {', '.join(missing)}, which this key does not hold", data={"missing": missing})
            self._audit(skill, None, ctx, self.clock.monotonic(), error)
            raise error
        if skill.audit is Audit.FULL and self.store.queue.failing:
            # Fail closed on changes that could not be recorded; traffic goes on (SEC-82).
            raise Unavailable("the audit log cannot be written now, so nothing is changed; see the store's state in /ready and the log")

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

    def _audit(self, skill: Skill, data: object, ctx: Context, began: float, error: HubError | None) -> None:
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
        )

    def _record(self, skill: str, ctx: Context, error: HubError | None, **more: Any) -> None:
        self.store.audit.add(
            AuditRow(
                at=self.clock.now_ms(),
                request_id=ctx.request_id,
                door=ctx.door,
                caller=ctx.caller.name,
                key_id=ctx.caller.key_id,
                skill=skill,
                outcome="ok" if error is None else "denied" if isinstance(error, Forbidden) else "error",
                error_code="" if error is None else error.code,
                **more,
            )
        )


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
