"""From a model string to the targets that may serve it, in order, each exclusion with its reason (D21)."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from hub.errors import Forbidden, NotConfigured, RateLimited, Unavailable
from hub.records import TERMINAL, Candidate, Connection
from hub.routing.resolve import Resolution
from hub.routing.strategy import Facts, Option
from hub.targets import builtin_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hub.clock import Clock
    from hub.providers.catalog import Catalog, ProviderRow
    from hub.records import Caller
    from hub.routing.cooldown import Cooldowns
    from hub.routing.resolve import Resolver
    from hub.routing.strategy import Strategy

AUTO = "auto"
_MOST_KEPT = 1024


_ANYWHERE = Resolution(provider="", model=AUTO, rule=AUTO, why="'auto' stands for the first connection that can take the call")


@dataclass(frozen=True, slots=True)
class Plan:
    """The targets of one request: ``options`` in the order they are tried, ``candidates`` with all that were looked at.

    ``last_resort`` says that its one option is cooling, and tried only because nothing else is left. Requests
    that find the same state share a plan, so nobody changes one.
    """

    resolution: Resolution
    strategy: str
    options: list[Option]
    candidates: list[Candidate]
    order: list[int]
    last_resort: bool = False


class Planner:
    """Makes plans. Reads only memory: the catalogue, the connections' current state, cooldowns."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        resolver: Resolver,
        connections: Callable[[str], Sequence[Connection]],
        cooldowns: Cooldowns,
        connected: Callable[[], frozenset[str]],
        strategies: Mapping[str, Strategy],
        formats: frozenset[str],
        clock: Clock,
        builtins: bool = True,
    ) -> None:
        self._catalog = catalog
        self._resolver = resolver
        self._connections = connections
        self._connected = connected
        self._cooldowns = cooldowns
        self._strategies = strategies
        self._formats = formats
        self._clock = clock
        self._resolved: dict[str, Resolution] = {}
        self._kept: dict[tuple[str, str, str, frozenset[str]], Plan] = {}
        self._builtin = {row.id: (builtin_connection(row),) for row in catalog.providers.values() if row.builtin and builtins}

    def forget(self) -> None:
        """Drop kept resolutions and plans, after connections, their marks, aliases or settings changed."""
        self._resolved.clear()
        self._kept.clear()

    def resolve(self, model: str) -> Resolution:
        """Where a model string leads.

        Raises BadRequest, AmbiguousModel or UnknownModel, and NotConfigured for a model whose wire format no adapter speaks.
        """
        found = self._resolved.get(model)
        if found is None:
            found = _ANYWHERE if model == AUTO else self._resolver.resolve(model)
            self._require_adapter(found)
            if len(self._resolved) > 1024:
                self._resolved.clear()
            self._resolved[model] = found
        return found

    def plan(
        self, model: str, caller: Caller, *, strategy: str = "priority", connection_id: str = "", needs: frozenset[str] = frozenset()
    ) -> Plan:
        """The targets of a model string for a caller, best first.

        ``auto`` stands for every connection's own choice of model; ``needs`` are abilities it must have.
        Raises Forbidden for a model outside the key's list, NotConfigured when the provider has no
        connection, RateLimited or Unavailable with ``retry_after`` when every one is out of action.
        """
        if caller.allowed_models:
            require_allowed(model, caller.allowed_models)
        key = (model, strategy, connection_id, needs)
        quiet = self._cooldowns.quiet
        plan = self._kept.get(key) if quiet else None
        if plan is None:
            plan = self._make(model, strategy, connection_id, needs)
            if quiet and self._strategies[strategy].steady and len(self._kept) < _MOST_KEPT:
                self._kept[key] = plan
        return plan

    def _make(self, model: str, strategy: str, connection_id: str, needs: frozenset[str]) -> Plan:
        resolution = self.resolve(model)
        places = self._anywhere(needs) if resolution.rule == AUTO else self._places(resolution)
        now = self._clock.monotonic()
        wanted = connection_id or resolution.connection
        reasons = [self._reason(place.connection, wanted, now) for place in places]
        usable = [index for index, reason in enumerate(reasons) if not reason]
        last_resort = not usable
        if last_resort:
            usable = self._last_resort(places, reasons, now)
        if not usable:
            raise self._exhausted(resolution, places, reasons, now)
        facts = Facts(seed=self._clock.random.getrandbits(32))
        ordered = self._strategies[strategy].order([places[index] for index in usable], facts)
        candidates, order = _record(places, reasons, ordered)
        return Plan(resolution, strategy, ordered, candidates, order, last_resort)

    def _places(self, resolution: Resolution) -> list[Option]:
        """Every connection of one provider, with the model asked for."""
        connections = self._builtin.get(resolution.provider) or self._connections(resolution.provider)
        if not connections:
            raise self._nothing(resolution.provider)
        return [Option(connection, resolution.provider, resolution.model) for connection in connections]

    def _anywhere(self, needs: frozenset[str]) -> list[Option]:
        """One option for each connection whose provider chats, with the model it prefers among those that can do what is needed."""
        found: list[Option] = []
        for provider in sorted(self._connected()):
            row = self._catalog.find(provider)
            if row is None or row.format not in self._formats:
                continue
            for connection in self._builtin.get(provider) or self._connections(provider):
                model = preferred_model(row, connection, needs, self._formats)
                if model:
                    found.append(Option(connection, provider, model))
        if not found:
            raise NotConfigured(
                "no connection offers a model for 'auto'; add one with `hubroute providers add`, or name a model", field="model"
            )
        found.sort(key=lambda one: (one.connection.priority, one.connection.created_at, one.connection.id))
        return found

    def _require_adapter(self, resolution: Resolution) -> None:
        row = self._catalog.find(resolution.provider)
        if row is None:  # 'auto' names no provider
            return
        wire = _wire(row, resolution.model)
        if wire not in self._formats:
            words = f"{resolution.model!r} of {row.name} speaks the wire format {wire!r}, for which this version has no chat adapter"
            raise NotConfigured(f"{words}; choose another {'model' if row.format in self._formats else 'provider'}", field="model")

    def _reason(self, connection: Connection, wanted: str, now: float) -> str:
        """Why a connection cannot be used now; empty when it can."""
        if not connection.active:
            return "switched off"
        if wanted and connection.id != wanted:
            return "another connection was asked for"
        if connection.test_status in TERMINAL:
            return f"{connection.test_status.value}: {connection.last_error or 'needs a person'}"
        cooling = self._cooldowns.of(connection.id, now)
        return f"cooling down: {cooling.reason}" if cooling else ""

    def _last_resort(self, places: Sequence[Option], reasons: list[str], now: float) -> list[int]:
        """With nothing else left, the connection that recovers soonest from a failure which a retry may survive is tried
        after all; one of them, so that a failing provider gets no more calls than its clients make (REL-04)."""
        soft = [
            (state.until, index)
            for index, place in enumerate(places)
            if reasons[index].startswith("cooling") and (state := self._cooldowns.of(place.connection.id, now)) and state.soft
        ]
        if not soft:
            return []
        _, index = min(soft)
        reasons[index] = ""
        return [index]

    def _nothing(self, provider: str) -> NotConfigured:
        row = self._catalog.get(provider)
        return NotConfigured(
            f"no connection for {row.name}; add one with `hubroute providers add {row.id} --name main --api-key …`", field="model"
        )

    def _exhausted(self, resolution: Resolution, places: Sequence[Option], reasons: Sequence[str], now: float) -> RateLimited | Unavailable:
        """Every target is known dead: say so at once, each with its reason, and when to come back."""
        # A cooldown that is not the reason ends without making its connection usable.
        states = [
            self._cooldowns.of(place.connection.id, now) if reason.startswith("cooling") else None
            for place, reason in zip(places, reasons, strict=True)
        ]
        waits = [state.until - now for state in states if state]
        rows = [
            {"connection": place.connection.name, "reason": reason, "retryAfter": round(state.until - now, 1) if state else None}
            for place, reason, state in zip(places, reasons, states, strict=True)
        ]
        kind = RateLimited if waits and len(waits) == len(places) else Unavailable
        listing = "; ".join(f"{row['connection']}: {row['reason']}" for row in rows)
        return kind(
            f"no connection can take {resolution.model} now ({listing})",
            retry_after=min(waits) if waits else None,
            data={"targets": rows},
        )


def require_allowed(model: str, patterns: Sequence[str]) -> None:
    """Raise Forbidden for a model that none of a key's patterns covers."""
    if not any(fnmatchcase(model, pattern) for pattern in patterns):
        raise Forbidden(f"this key may not use model {model!r}; its list is {', '.join(patterns)}", field="model")


def preferred_model(row: ProviderRow, connection: Connection, needs: frozenset[str], formats: frozenset[str]) -> str:
    """The model a connection uses when none is named: its default, else the provider's first chat model with the abilities
    needed. Models that speak none of these wire formats are passed over."""
    if connection.default_model:
        names = [connection.default_model]
    elif connection.models:
        able = _able(row, needs)
        names = sorted(connection.models, key=lambda name: able.index(name) if name in able else len(able))
    else:
        names = _able(row, needs)
    return next((name for name in names if _wire(row, name) in formats), "")


def _able(row: ProviderRow, needs: frozenset[str]) -> list[str]:
    """The provider's chat models with these abilities."""
    return [model.id for model in row.models if model.kind == "chat" and needs.issubset(model.caps)]


def _wire(row: ProviderRow, model: str) -> str:
    """The wire format of a model: its own, else its provider's."""
    listed = row.model(model)
    return (listed.wire if listed else "") or row.format


def _record(places: Sequence[Option], reasons: Sequence[str], ordered: list[Option]) -> tuple[list[Candidate], list[int]]:
    """All that was looked at, and the order as places in it."""
    candidates = [
        Candidate(
            provider=place.provider,
            model=place.model,
            connection_id=place.connection.id,
            connection=place.connection.name,
            excluded=reason,
        )
        for place, reason in zip(places, reasons, strict=True)
    ]
    index = {id(place): number for number, place in enumerate(places)}
    order = [index[id(option)] for option in ordered]
    for number, option in zip(order, ordered, strict=True):
        if option.score is not None:
            candidates[number].score, candidates[number].factors = option.score, dict(option.factors)
    return candidates, order
