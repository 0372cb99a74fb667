"""What is asked of the planner, and the plan that it makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from hub.errors import Forbidden
from hub.providers.catalog import CHAT
from hub.records import Candidate, Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.engine.ask import ChatAsk
    from hub.records import Caller
    from hub.routing.combo import Combo, ComboConfig
    from hub.routing.resolve import Resolution
    from hub.routing.strategy import Mode, Option


@dataclass(slots=True)
class Plan:
    """The targets of one request: ``options`` in the order they are tried, ``candidates`` with all that were looked at.

    ``levels`` are the orders that strategies made, each with what it knew. ``last_resort`` says that its one option is out of action, and
    tried only because nothing else is left. Requests that find the same state share a plan, so nobody changes one.
    """

    resolution: Resolution
    strategy: str
    options: list[Option]
    candidates: list[Candidate]
    order: list[int]
    last_resort: bool = False
    levels: list[Level] = field(default_factory=list[Level])
    mode: Mode = "fallback"
    name: str = ""
    combo: Combo | None = None
    config: ComboConfig | None = None


@dataclass(slots=True)
class Query:
    """What a plan is asked for. ``peek`` makes one without counting a turn, for simulations; ``direct`` reads the model as no combo.

    ``pack`` names the weights of ``auto`` instead of the configured ones. ``tier`` is ``cheap`` or ``free`` where a spent budget
    lets only such targets through. ``admitted`` says that the key's list was looked at already, for the name that the client sent.
    ``service`` is what is asked of the model, a chat unless stated (:data:`hub.providers.catalog.KINDS`).
    """

    model: str
    caller: Caller
    strategy: str = ""
    connection_id: str = ""
    needs: frozenset[str] = frozenset()
    session: str = ""
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    ask: ChatAsk | None = None
    peek: bool = False
    direct: bool = False
    pack: str = ""
    tier: str = ""
    admitted: bool = False
    service: str = CHAT

    @property
    def plain(self) -> bool:
        """Whether nothing in the request narrows the choice of connections."""
        return not (self.connection_id or self.tags or self.tier or self.caller.limits.connections)


def require_allowed(model: str, patterns: Sequence[str]) -> None:
    """Raise Forbidden when a key's list has no pattern that a model string fits."""
    if not fits(model, patterns):
        raise Forbidden(f"this key may not use model {model!r}; its list is {', '.join(patterns)}", field="model")


def fits(model: str, patterns: Sequence[str]) -> bool:
    """Whether a key's list has a pattern that a model string fits."""
    return any(fnmatchcase(model, pattern) for pattern in patterns)
