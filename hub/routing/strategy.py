"""What a routing strategy is: a pure function that orders options by the facts it asked for (style.md 5).

The same strategies order the targets of a combo and the connections of a provider. A strategy names the
facts it reads; the planner gathers just those, the decision record keeps them, and from the record the
same order can be made again (D21).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from hub.errors import BadRequest
from hub.routing.chance import Chance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.records import Connection

Mode = Literal["fallback", "fusion", "pipeline"]


class Sight(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of an option now. None is unknown; only the facts that a strategy reads are filled in.

    ``price`` and ``input_price`` are US dollars per million tokens (60 % input and 40 % output; input alone), ``context`` tokens,
    ``latency`` (p95) and ``deviation`` milliseconds, ``success`` the share of calls that worked, ``health`` 1 closed, 0.5 half open,
    0 open; ``quota`` per cent left in the tightest window, ``resets_in`` seconds until it is full again; ``uses`` calls so far,
    ``last_used`` epoch milliseconds (0 never), ``running`` calls under way, ``backoff`` the level of a connection's last cooldown,
    ``trouble`` how bad its last error was and how fresh it is, 0 to 1; ``fit`` for the kind of work, 0 to 1; ``tier`` of the account,
    ultra 1, pro 0.67, standard 0.33, free 0; ``warm`` the share of the prompt that its provider has likely cached, 0 to 1;
    ``tools`` whether the model can call tools.
    """

    price: float | None = None
    input_price: float | None = None
    context: int | None = None
    latency: float | None = None
    deviation: float | None = None
    success: float | None = None
    health: float = 1.0
    quota: float | None = None
    resets_in: float | None = None
    uses: int = 0
    last_used: int = 0
    running: int = 0
    backoff: int = 0
    trouble: float = 0.0
    fit: float = 0.5
    tier: float = 0.33
    warm: float = 0.0
    tools: bool = True


SIGHTS = frozenset(Sight.__struct_fields__)


@dataclass(slots=True)
class Option:
    """One target that may be tried. ``key`` names it within its plan (the execution key of a combo's target, else the connection).

    ``score`` and ``factors`` are filled by strategies that score, for the decision record.
    """

    connection: Connection
    provider: str
    model: str
    key: str = ""
    weight: float = 0.0
    label: str = ""
    sight: Sight = field(default_factory=Sight)
    score: float | None = None
    factors: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Facts:
    """What a strategy may know besides the options.

    ``seed`` starts the chance of this one order, ``turn`` counts the requests of this combo (or of this provider's accounts), ``sticky``
    is for how many turns round-robin stays. ``last_good`` is the key of the option that answered last. ``deck`` seeds what must stay the
    same from turn to turn (the shuffled decks of strict-random). ``weights``, ``variant``, ``pack``, ``exploration`` and ``budget_cap``
    configure ``auto``; ``task`` is the kind of work (coding, analysis, simple, default), ``tools`` whether the request offers tools,
    ``tokens`` the length of the prompt in tokens.
    """

    seed: int = 0
    turn: int = 0
    sticky: int = 1
    deck: int = 0
    last_good: str = ""
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    pack: str = ""
    variant: str = "rules"
    exploration: float = 0.0
    budget_cap: float | None = None
    task: str = "default"
    tools: bool = False
    tokens: int = 0

    @property
    def chance(self) -> Chance:
        """Chance, the same again for the same seed."""
        return Chance(self.seed)

    def inputs(self, names: frozenset[str]) -> dict[str, Any]:
        """These facts for the decision record, as plain JSON values, to make the same order again with ``Facts(**inputs)``."""
        return {name: _plain(getattr(self, name)) for name in sorted(names)}


def _plain(value: Any) -> Any:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value


@dataclass(frozen=True, slots=True)
class Strategy:
    """A named way to order options, which come in their stored order. ``order`` returns every option exactly once.

    ``sees`` names the :class:`Sight` facts and ``knows`` the :class:`Facts` that it reads. ``steady`` promises that the same options in
    the same order always give the same order, so that a plan may be kept: it sees and knows nothing. ``mode`` says how the order is
    run: one after the other until one answers, all at once with a judge (fusion), or each on the answer before it (pipeline).
    ``accounts`` marks those that can also order the connections of a provider. ``aliases`` are further names that may be written for it.
    """

    name: str
    summary: str
    order: Callable[[Sequence[Option], Facts], list[Option]]
    sees: frozenset[str] = frozenset()
    knows: frozenset[str] = frozenset()
    mode: Mode = "fallback"
    accounts: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def steady(self) -> bool:
        """Whether the order depends on the options and nothing else."""
        return not self.sees and not self.knows


def named(strategies: Mapping[str, Strategy], name: str) -> Strategy:
    """The strategy of this name or alias. Raises BadRequest naming those there are."""
    found = strategies.get(name)
    if found is None:
        found = next((one for one in strategies.values() if name in one.aliases), None)
    if found is None:
        raise BadRequest(f"no routing strategy {name!r}; there are {', '.join(sorted(strategies))}", field="strategy")
    return found
