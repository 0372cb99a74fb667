"""A ledger whose rows a test can look at, and requests begun in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from hub.chat import ChatRequest, Message, Role, Text
from hub.context import Context
from hub.engine.ask import ChatAsk
from hub.engine.attempts import Ledger, Run
from hub.engine.inflight import InFlight
from hub.events import Events
from hub.money.prices import Prices
from hub.planning.affinity import Sessions
from hub.planning.comboboard import ComboBoard
from hub.planning.prefixes import Prefixes
from hub.planning.query import Plan
from hub.preferences import ResilienceSettings
from hub.providers.catalog import Catalog
from hub.records import Candidate, Connection, Decision, UsageRow
from hub.resilience.resilience import Resilience
from hub.resilience.telemetry import Telemetry
from hub.routing.cooldown import Cooldowns
from hub.routing.resolve import Resolution
from hub.routing.strategy import Option
from hub.secret import Secret
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.money.budgets import Budgets
    from hub.records import Caller
    from hub.store.latency import LatencyHours
    from hub.store.state import State

CATALOG = Catalog.load()


class Forgetful:
    """State of a hub that has no store: nothing was stored, and nothing is."""

    def take(self, kind: str, type_: type[Any]) -> dict[str, Any]:
        return {}

    def current(self, kind: str, *more: Any) -> dict[str, Any]:
        return {}

    def put(self, kind: str, identity: str, value: object, *, until: int | None = None) -> None: ...

    def drop(self, kind: str, identity: str) -> None: ...

    def follow(self, kind: str) -> None: ...


@dataclass
class Book:
    """Everything that requests leave behind: usage rows, decisions, marks of connections."""

    clock: Still = field(default_factory=Still)
    usage: list[UsageRow] = field(default_factory=list[UsageRow])
    decisions: list[Decision] = field(default_factory=list[Decision])
    marks: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])

    def __post_init__(self) -> None:
        state, events = cast("State", Forgetful()), Events(self.clock)
        self.resilience = Resilience(
            clock=self.clock,
            settings=ResilienceSettings,
            profile=CATALOG.profile,
            per_model=lambda connection: False,
            mark=lambda connection_id, **state: self.marks.append((connection_id, state)),
            state=state,
            events=events,
        )
        self.ledger = Ledger(
            clock=self.clock,
            prices=Prices(CATALOG, dict, clock=self.clock),
            resilience=self.resilience,
            telemetry=Telemetry(self.clock, hours=cast("LatencyHours", None), state=state),
            board=ComboBoard(state, self.clock),
            sessions=Sessions(state, self.clock, ttl_ms=lambda: 0),
            inflight=InFlight(),
            prefixes=Prefixes(self.clock),
            budgets=cast("Budgets", None),  # no call here holds money
            add_usage=self.usage.append,
            add_decision=self.decisions.append,
        )

    @property
    def cooldowns(self) -> Cooldowns:
        """What cools down."""
        return self.resilience.cooldowns

    def begin(self, caller: Caller, *, stream: bool = True) -> Run:
        """A request, planned but not yet sent."""
        request = ChatRequest(model="openai/gpt-4o", messages=[Message(role=Role.USER, parts=[Text("hello there")])], stream=stream)
        run = self.ledger.begin(ChatAsk(request=request), Context(cast("Hub", None), caller, "req_1", "test"))
        resolution = Resolution("openai", "gpt-4o", "explicit", "'openai' names the provider")
        run.planned(
            Plan(
                resolution,
                "priority",
                [option()],
                [Candidate(provider="openai", model="gpt-4o", connection_id="con_a", connection="a")],
                [0],
            )
        )
        return run


def option(name: str = "a", **more: Any) -> Option:
    """One target."""
    return Option(Connection(id=f"con_{name}", provider="openai", name=name, secret=Secret("s"), **more), "openai", "gpt-4o")
