"""The hub of one process, and ``call``: the one path by which every door reaches a skill (D8).

authenticate -> scope, policies -> limits -> run -> settle -> audit. Doors translate and call; they hold no policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from pydantic import BaseModel

from hub.affinity import Sessions
from hub.answers import Answers
from hub.attempts import Ledger
from hub.budgets import Budgets
from hub.clock import Clock
from hub.comboboard import ComboBoard
from hub.context import Context
from hub.embeddings import Embeddings
from hub.engine import ChatEngine
from hub.errors import Cancelled, Forbidden, HubError, Internal, Unauthenticated, Unavailable, UnknownSkill
from hub.events import Events
from hub.inflight import InFlight
from hub.log import logger, masked, secret_name
from hub.outbound.client import Outbound
from hub.plan import Planner
from hub.preferences import PreferenceStore
from hub.prefixes import Prefixes
from hub.errors import Cancelled, Forbidden, HubError, Internal, PolicyDenied, Unauthenticated, Unavailable, UnknownSkill
from hub.limits import Limits
from hub.log import logger, masked, secret_name
from hub.outbound.client import Outbound
from hub.plan import Planner
from hub.policies import Policies
from hub.policy import Policy
from hub.pricebook import PriceBook
from hub.prices import Prices
from hub.providers.base import Adapter
from hub.providers.catalog import Catalog
from hub.quota import Quotas
from hub.records import NO_LIMITS, AuditRow, Caller
from hub.registry import Skills, load
from hub.resilience import Resilience
from hub.routing.combo import Combo, Mapping
from hub.retention import Retention
from hub.routing.cooldown import Cooldowns, Cooling
from hub.routing.resolve import Resolver
from hub.routing.strategy import Strategy
from hub.sameness import Sameness
from hub.semantic import Semantic
from hub.skill import Audit, CostClass
from hub.store import Store
from hub.targets import Targets
from hub.tasks import LiveTasks
from hub.throttle import Throttle
from hub.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from hub.records import Connection, Key
    from hub.ask import ChatAsk
    from hub.records import Connection
    from hub.routing.strategy import Option
    from hub.settings import Settings
    from hub.skill import Skill

T = TypeVar("T")
log = logger("hub.call")

#: The stored value that holds the owner's names of models.
ALIASES = "modelAliases"

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
        self.events = Events(self.clock)
        self.preferences = PreferenceStore(self.store.values)
        self.budgets = Budgets(self.store, self.clock, self.events, lambda: self.preferences.current)
        self.preferences = PreferenceStore(self.store.values)
        self.preferences = PreferenceStore(self.store.values)
        self.telemetry = Telemetry(self.clock, hours=self.store.latency, state=self.store.state)
        self.inflight = InFlight()
        self.retention = Retention(self.store, self.clock, lambda: self.preferences.current.retention)
        self.tasks = LiveTasks(self.store, self.clock)
        self.combos = self.store.collection("combo", what="combo", prefix="combo_", body=Combo)
        self.mappings = self.store.collection("mapping", what="mapping", prefix="map_", body=Mapping)
        #: Held from the check of a change to combos, mappings or aliases until it is stored.
        self.combo_changes = asyncio.Lock()
        self.board = ComboBoard(self.store.state, self.clock)
        self.outbound = Outbound(allow_private=settings.allow_private)
        self.prices = Prices(self.catalog, dict)
        self.preferences = PreferenceStore(self.store.values)
        self.events = Events(self.clock)
        self.resilience = Resilience(
            clock=self.clock,
            settings=lambda: self.preferences.current.resilience_settings,
            profile=self.catalog.profile,
            per_model=lambda connection: self.catalog.per_model(connection.provider, connection.rules.model_quotas),
            mark=self.mark,
            state=self.store.state,
            events=self.events,
            current=self.store.connections.peek,
        )
        self.cooldowns = self.resilience.cooldowns
        self.throttle = Throttle(self.clock)
        self.pricebook = PriceBook(self.store.values, self.catalog)
        self.prices = Prices(self.catalog, lambda: self.pricebook.overrides, synced=lambda: self.pricebook.synced)
        self.cooldowns = Cooldowns()
        self.quotas = Quotas()
        self.cooldowns = Cooldowns()
        self.events = Events(self.clock)
        self.preferences = PreferenceStore(self.store.values)
        self.quotas = Quotas(self.clock, state=self.store.state, emit=self.events.emit)
        self.sessions = Sessions(self.store.state, self.clock, ttl_ms=lambda: self.preferences.current.session_affinity_ttl_ms)
        self.prefixes_warm = Prefixes(self.clock)
        self.targets = Targets(self.catalog)
        self.resolver = Resolver(self.catalog, self.connected, self.prefixes, self.aliases, discovered=self.discovered)
        self.planner = Planner(
            catalog=self.catalog,
            resolver=self.resolver,
            builtins=settings.demo != "off",
            connections=self.store.connections.of,
            cooldowns=self.cooldowns,
            connected=self.connected,
            strategies=self.strategies,
            formats=frozenset(self.adapters),
            clock=self.clock,
        )
        self.ledger = Ledger(
            clock=self.clock,
            prices=self.prices,
            cooldowns=self.cooldowns,
            add_usage=self.store.usage.add,
            add_decision=self.store.decisions.add,
            mark=self.mark,
        )
        self.policies = Policies(
            self.store.collection("policy", what="policy", prefix="pol_", body=Policy),
            clock=self.clock,
            options=self._options,
            prices=self.prices,
            catalog=self.catalog,
        )
        self.limits = Limits(self.store.state, self.clock, shared=self.store.postgres)
        self.chat = ChatEngine(
            planner=self.planner,
            targets=self.targets,
            adapters=self.adapters,
            outbound=self.outbound,
            prices=self.prices,
            quotas=self.quotas,
            ledger=self.ledger,
            settings=settings,
        )
        self.sameness = self._sameness()
        self.closing = False
        #: What doors keep for the life of this hub, by name, and what they want done when it stops and closes.
        self.kept: dict[str, Any] = {}
        self.on_stop: list[Callable[[], None]] = []
        self.on_close: list[Callable[[], Awaitable[None]]] = []
        self._builtin = frozenset(row.id for row in self.catalog.providers.values() if row.builtin)
        #: Connection -> the end of its cooldown as it was last made here or taken over.
        self._cooling: dict[str, int | None] = {}
        #: What is worked out of connections and keys, until one of them changes.
        self._worked_out: dict[str, Any] = {}
        self._callers: dict[str, tuple[Key, Caller]] = {}

    def _sameness(self) -> Sameness:
        """What chats pass through before they are run."""
        embeddings = Embeddings(
            planner=self.planner,
            targets=self.targets,
            adapters=self.adapters,
            outbound=self.outbound,
            prices=self.prices,
            clock=self.clock,
            add_usage=self.store.usage.add,
        )
        return Sameness(
            store=self.store,
            clock=self.clock,
            answers=Answers(self.adapters, self.catalog),
            preferences=lambda: self.preferences.current,
            note=self.ledger.again,
            semantic=Semantic(embeddings, self.clock, lambda: self.preferences.current.response_cache),
        )

    async def open(self) -> None:
        """Open the store and take over what was stored. Raises HubError with what to do when that cannot be."""
        await self.store.open()
        self.quotas.open()
        self.sessions.open()
        self.board.load()
        self.preferences.refresh()
        self.store.on_change(self.preferences.refresh)
        await self.budgets.open()
        await self.telemetry.open()
        await self.tasks.open()
        self.on_stop.append(self.tasks.end_streams)
        self.on_close.append(self.tasks.close)
        self.limits.open()
        self.on_close.append(self.limits.close)
        self.store.on_change(self._changed)
        self._changed()
        await self.sameness.open()
        self.on_close.append(self.sameness.close)
        self.retention.start()

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
        if self.store.unlocked:
            self.quotas.flush()
        self.board.flush()
        await self.budgets.close()
        await self.retention.close()
        self.telemetry.keep()
        await self.store.close()

    def connected(self) -> frozenset[str]:
        """Providers that can be used now: those with an active connection, and the built-in ones as the setting says (D3)."""
        return self._once("connected", self._connected)

    def _connected(self) -> frozenset[str]:
        real = frozenset(connection.provider for connection in self.store.connections.all() if connection.active)
        if self.settings.demo == "on" or (self.settings.demo == "auto" and not real):
            return real | self._builtin
        return real

    def prefixes(self) -> dict[str, str]:
        """Prefixes that owners gave to their own endpoints -> ``provider``, or ``provider/connection`` where one has it alone."""
        return self._once("prefixes", self._prefixes)

    def _prefixes(self) -> dict[str, str]:
        found: dict[str, list[Connection]] = {}
        for connection in self.store.connections.all():
            prefix = connection.data.get("prefix", "")
            if prefix and connection.active:
                found.setdefault(prefix, []).append(connection)
        return {
            prefix: connections[0].provider if len(connections) > 1 else f"{connections[0].provider}/{connections[0].id}"
            for prefix, connections in found.items()
        }

    def aliases(self) -> dict[str, str]:
        """Names that the owner gave to models, exact or with wildcards -> ``provider/model``."""
        return self.store.values.get(ALIASES, {})

    def discovered(self) -> dict[str, set[str]]:
        """Provider -> model ids that its connections name, beside those of the catalogue."""
        return self._once("discovered", self._discovered)

    def _discovered(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for connection in self.store.connections.all():
            found.setdefault(connection.provider, set()).update(connection.models)
        return found

    def _once(self, name: str, work_out: Callable[[], T]) -> T:
        """The result of ``work_out``, kept until connections, keys or settings change."""
        found = self._worked_out.get(name)
        if found is None:
            found = self._worked_out[name] = work_out()
        return found

    def mark(self, connection_id: str, **state: Any) -> None:
        """Note a connection's health; built-in ones have no row to note it in."""
        self.planner.forget()
        if connection_id not in self._builtin:
            if "cooldown_until" in state:
                self.resilience.noted(connection_id, state["cooldown_until"])
            self.store.connections.mark(connection_id, **state)

    def _options(self, model: str, ask: ChatAsk, caller: Caller) -> Sequence[Option]:
        """The targets that a model string leads to now. Raises HubError where it leads nowhere."""
        return self.planner.plan(model, caller, strategy=ask.strategy, connection_id=ask.connection, needs=ask.needs).options

    def _changed(self) -> None:
        """Connections, keys or settings changed, here or in another process."""
        self._worked_out.clear()
        self._callers.clear()
        self.preferences.refresh()
        self.quotas.keep_only({*self._builtin, *(connection.id for connection in self.store.connections.all())})
        self.preferences.refresh()
        self.planner.forget()
        self.preferences.refresh()
        self.resilience.load(self.store.connections.all())
        self.policies.refresh()
        self.limits.refresh(self.store.keys.all())
        if self.pricebook.refresh():
            self.prices.clear()
        now, now_ms = self.clock.monotonic(), self.clock.now_ms()
        for connection in self.store.connections.all():
            until = connection.cooldown_until
            # A cooldown that began here is known better than its row tells: the row's time is the wall clock's.
            if until == self._cooling.get(connection.id):
                continue
            self._cooling[connection.id] = until
            if until is None:
                self.cooldowns.clear(connection.id)
            elif until > now_ms:
                self.cooldowns.restore(
                    connection.id, Cooling(now + (until - now_ms) / 1000, connection.backoff_level, connection.last_error, soft=False)
                )

    def authenticate(self, token: str | None) -> Caller:
        """The caller behind a credential.

        Raises Unauthenticated, in the same words whether it is missing, unknown, revoked or expired. With
        ``require_api_key`` off (loopback only) a missing one gives the anonymous caller of the model API.
        """
        if token:
            key = self.store.keys.find(token)
            if key is not None:
                kept = self._callers.get(key.id)
                if kept is None or kept[0] is not key:
                    kept = self._callers[key.id] = (key, Caller.of(key))
                return kept[1]
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
        self._audit(skill, data, ctx, began, None)
        return result

    async def stream(self, skill: Skill, data: object, ctx: Context) -> AsyncGenerator[Any]:
        """Run a streaming skill; the same path as :meth:`call`, one item at a time."""
        self.allow(skill, ctx)
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

    def allow(self, skill: Skill, ctx: Context) -> None:
        """Raise Forbidden, and record the attempt, when the caller lacks a scope of the skill or a policy denies it."""
        if not skill.scopes <= ctx.caller.scopes:
            missing = sorted(skill.scopes - ctx.caller.scopes)
            error = Forbidden(f"{skill.name} needs the scope {', '.join(missing)}, which this key does not hold", data={"missing": missing})
            self._audit(skill, None, ctx, self.clock.monotonic(), error)
            raise error
        if self.policies.active:
            self._checked(skill, ctx, lambda: self.policies.admit(skill, ctx))
        if skill.audit is Audit.FULL and self.store.queue.failing:
            # Fail closed on changes that could not be recorded; traffic goes on (SEC-82).
            raise Unavailable("the audit log cannot be written now, so nothing is changed; see the store's state in /ready and the log")

    def _enter(self, skill: Skill, ctx: Context) -> None:
        """The door's call begins: what spends money counts against the key's limits, once, whatever it calls in turn."""
        if ctx.skill:
            return
        ctx.skill = skill.name
        if skill.cost is CostClass.METERED and ctx.caller.limits is not NO_LIMITS:
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
            target=error.data["policy"].get("id", "") if isinstance(error, PolicyDenied) else "",
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
