"""A ledger whose rows a test can look at, and requests begun in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from hub.ask import ChatAsk
from hub.attempts import Ledger, Run
from hub.chat import ChatRequest, Message, Role, Text
from hub.context import Context
from hub.prices import Prices
from hub.providers.catalog import Catalog
from hub.query import Plan
from hub.records import Candidate, Connection, Decision, UsageRow
from hub.routing.cooldown import Cooldowns
from hub.routing.resolve import Resolution
from hub.routing.strategy import Option
from hub.secret import Secret
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.records import Caller

CATALOG = Catalog.load()


@dataclass
class Book:
    """Everything that requests leave behind: usage rows, decisions, marks of connections."""

    clock: Still = field(default_factory=Still)
    cooldowns: Cooldowns = field(default_factory=Cooldowns)
    usage: list[UsageRow] = field(default_factory=list[UsageRow])
    decisions: list[Decision] = field(default_factory=list[Decision])
    marks: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])

    def __post_init__(self) -> None:
        self.ledger = Ledger(
            clock=self.clock,
            prices=Prices(CATALOG, dict, clock=self.clock),
            cooldowns=self.cooldowns,
            add_usage=self.usage.append,
            add_decision=self.decisions.append,
            mark=lambda connection_id, **state: self.marks.append((connection_id, state)),
        )

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
