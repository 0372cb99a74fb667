"""From a request to the targets that may serve it, in order, each exclusion with its reason (D21).

The tree of a model string (:mod:`hub.planning.roots`) is kept; what this adds is the state of the moment: who is
out of action, whom the session used before, and the order that the strategies make of the rest.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hub.engine.refusal import refusal
from hub.planning.affinity import COMBO
from hub.planning.kept import ANOTHER, Kept, by_session, direct, keep, nested, noted, scored, stands_for, told, use, watched
from hub.planning.query import Plan, Query, require_allowed
from hub.planning.roots import AUTO, Leaf
from hub.planning.senses import Moment
from hub.providers.catalog import CHAT
from hub.records import Level
from hub.routing.intent import task_of
from hub.routing.strategy import Facts, Option, named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hub.clock import Clock
    from hub.planning.affinity import Sessions
    from hub.planning.comboboard import ComboBoard
    from hub.planning.kept import Heads
    from hub.planning.roots import Group, Root, Roots
    from hub.planning.senses import Senses
    from hub.preferences import Preferences
    from hub.resilience.quota import Quotas
    from hub.resilience.resilience import Block, Resilience
    from hub.routing.resolve import Resolution
    from hub.routing.strategy import Strategy

_MOST_KEPT = 1024
#: What strategies see of prices.
_PRICES = frozenset({"price", "input_price"})


@dataclass(slots=True)
class _Work:
    """One plan under way."""

    query: Query
    now: float
    now_ms: int
    places: dict[int, int]
    reasons: list[str]
    blocks: list[Block | None]
    levels: list[Level] = field(default_factory=list[Level])
    tagged: bool = False


class Doubts(Protocol):
    """What is known of models that did not work when somebody tried them."""

    @property
    def demotes(self) -> bool:
        """Whether they are tried last."""
        ...

    def doubts(self) -> Mapping[tuple[str, str], str]:
        """Why, in words, by provider and model."""
        ...


class Planner:
    """Makes plans. Reads only memory."""

    def __init__(
        self,
        *,
        roots: Roots,
        strategies: Mapping[str, Strategy],
        resilience: Resilience,
        quotas: Quotas,
        senses: Senses,
        board: ComboBoard,
        sessions: Sessions,
        preferences: Callable[[], Preferences],
        clock: Clock,
    ) -> None:
        self._roots = roots
        self._strategies = strategies
        self._resilience = resilience
        self._quotas = quotas
        self._senses = senses
        self._board = board
        self._sessions = sessions
        self._preferences = preferences
        self._clock = clock
        #: What assessments found wrong with models, where somebody tells it.
        self.doubts: Doubts | None = None
        self._kept: dict[tuple[str, str, frozenset[str], bool, str], Kept] = {}
        #: ``@provider`` -> how often its connections were put in order by turns.
        self._account_turns: dict[str, int] = {}

    def forget(self) -> None:
        """Drop kept trees and plans, after connections, their marks, combos, aliases or preferences changed."""
        self._kept.clear()

    def resolve(self, model: str, service: str = CHAT) -> Resolution:
        """Where a model string leads. Raises what :meth:`hub.planning.roots.Roots.make` raises."""
        return self._tree(model, "", frozenset(), direct=False, service=service).root.resolution

    async def prepare(self, query: Query) -> None:
        """Look up, before :meth:`plan`, the prices that the order may go by. Raises what :meth:`hub.planning.roots.Roots.make` raises."""
        kept = self._tree(query.model, query.strategy, query.needs, direct=query.direct, service=query.service)
        if kept.by_price or query.tier:
            await self._senses.learn_prices(kept.all)

    def plan(self, query: Query) -> Plan:
        """The targets of a request, best first.

        Raises Forbidden for a model outside the key's list, NotConfigured when there is no connection, RateLimited
        or Unavailable with ``retry_after`` when every one is out of action.
        """
        caller = query.caller
        if caller.allowed_models and not query.admitted:
            require_allowed(query.model, caller.allowed_models)
        kept = self._tree(query.model, query.strategy, query.needs, direct=query.direct, service=query.service)
        calm = query.plain and not kept.watched and self._resilience.quiet
        if not calm or query.session or not kept.steady or self._doubts():
            return self._make(kept, query, calm=calm)
        if kept.plan is None:
            kept.plan = self._make(kept, query, calm=True)
        return kept.plan

    def _tree(self, model: str, strategy: str, needs: frozenset[str], *, direct: bool, service: str) -> Kept:
        key = (model, strategy, needs, direct, service)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._prepared(self._roots.make(model, needs, direct=direct, service=service), strategy)
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept

    def _prepared(self, root: Root, strategy: str) -> Kept:
        use(root, strategy)
        return keep(root, steady=not by_session(root) and self._steady(root.group), by_price=self._by_price(root.group))

    def _by_price(self, item: Group | Leaf) -> bool:
        """Whether an order in a tree may go by price, be it by a strategy or by what an ``auto`` name asks for."""
        if isinstance(item, Leaf):
            return not _PRICES.isdisjoint(self._accounts(item).sees)
        only = item.auto is not None and bool(item.auto.only)
        return only or not _PRICES.isdisjoint(self._of(item.strategy).sees) or any(map(self._by_price, item.items))

    def _steady(self, item: Group | Leaf) -> bool:
        """Whether the order of a tree never changes while nothing is wrong."""
        if isinstance(item, Leaf):
            return len(item.options) < 2 or self._accounts(item).steady
        return self._of(item.strategy).steady and not item.config.health_check_enabled and all(map(self._steady, item.items))

    def _of(self, name: str) -> Strategy:
        return named(self._strategies, name)

    def _accounts(self, leaf: Leaf) -> Strategy:
        preferences = self._preferences()
        return self._of(leaf.accounts or preferences.provider_strategies.get(leaf.provider, preferences.fallback_strategy))

    def _make(self, kept: Kept, query: Query, *, calm: bool) -> Plan:
        root = kept.root
        work = _Work(
            query,
            self._clock.monotonic(),
            self._clock.now_ms(),
            kept.places,
            list(kept.reasons),
            [],
        )
        candidates, usable, heads, last_resort = kept.candidates, kept.usable, kept.heads, False
        if not (calm and usable):
            usable, last_resort = self._usable(kept, work)
            candidates, heads = told(kept, work.reasons), None
        heads = heads or self._heads(root.group, usable, work)
        options = self._in_session(root, self._ordered(root.group, heads, work), query)
        if doubts := self._doubts():
            candidates, options = noted(candidates, doubts), self._demoted(options, doubts)
        return Plan(
            resolution=root.resolution,
            strategy=root.group.strategy if root.name else self._accounts(root.leaves[0]).name,
            options=options,
            candidates=scored(candidates, options, work.places),
            order=[work.places[id(option)] for option in options],
            last_resort=last_resort,
            levels=work.levels,
            mode=self._of(root.group.strategy).mode,
            name=root.name,
            combo=root.combo,
            config=root.group.config if root.name else None,
        )

    def _doubts(self) -> Mapping[tuple[str, str], str]:
        """What assessments found wrong with models, by provider and model."""
        return self.doubts.doubts() if self.doubts is not None else {}

    def _demoted(self, options: list[Option], doubts: Mapping[tuple[str, str], str]) -> list[Option]:
        """The options with those in doubt last, where the owner wants that."""
        if self.doubts is None or not self.doubts.demotes:
            return options
        return sorted(options, key=lambda option: (option.provider, option.model) in doubts)

    def _usable(self, kept: Kept, work: _Work) -> tuple[frozenset[int], bool]:
        """Identities of the options that may be called now, and whether that is a last resort. Raises what :func:`refusal` makes."""
        self._exclude(kept.root, work)
        usable = frozenset(id(option) for option, reason in zip(kept.all, work.reasons, strict=True) if not reason)
        if usable:
            return usable, False
        usable = self._last_resort(kept.all, work)
        if not usable:
            raise refusal(kept.root, kept.all, work.reasons, work.blocks, work.now)
        return usable, True

    def _in_session(self, root: Root, options: list[Option], query: Query) -> list[Option]:
        """The options with the one first that a conversation is kept at."""
        if by_session(root):
            session = self._session(query, wanted=True)
            pinned = self._sessions.pinned(session, COMBO + root.name) if session else None
            options.sort(key=lambda option: option.key != pinned)
        return options

    def _exclude(self, root: Root, work: _Work) -> None:
        """Add the reasons of the moment to those that always hold."""
        place = 0
        # Tags that no connection has restrict nothing (routing.md 2.6).
        work.tagged = bool(work.query.tags) and any(_tagged(option, work.query) for leaf in root.leaves for option in leaf.options)
        for leaf in root.leaves:
            for option in leaf.options:
                block = None
                if not work.reasons[place]:
                    block = self._resilience.blocked(option.connection, option.provider, option.model, work.query.service)
                    work.reasons[place] = self._narrowed(option, leaf, work) or (block.reason if block else self._short_of(option, work))
                work.blocks.append(block)
                place += 1
        self._choose(root.group, work)

    def _choose(self, group: Group, work: _Work) -> None:
        """An ``auto`` name with ``:free`` or ``:pro`` leaves out the other accounts, as long as it has one of its own."""
        only = group.auto.only if group.auto is not None else ""
        if only:
            usable = [option for option in direct(group) if not work.reasons[work.places[id(option)]]]
            others = [option for option in usable if not self._senses.within(only, option)]
            for option in others if len(others) < len(usable) else ():
                work.reasons[work.places[id(option)]] = f"{group.name} wants other accounts"
        for item in nested(group):
            self._choose(item, work)

    def _narrowed(self, option: Option, leaf: Leaf, work: _Work) -> str:
        """Why the request itself does not want an option."""
        query = work.query
        wanted = query.connection_id or leaf.wanted
        if wanted and option.connection.id != wanted:
            return ANOTHER
        allowed = query.caller.limits.connections
        if allowed and option.connection.id not in allowed:
            return "this key may not use it"
        if work.tagged and not _tagged(option, query):
            return f"it lacks the tags asked for ({', '.join(query.tags)})"
        return _TOO_DEAR[query.tier] if query.tier and not self._senses.within(query.tier, option) else ""

    def _short_of(self, option: Option, work: _Work) -> str:
        return self._quotas.preflight(option.connection, option.model, work.now_ms) if watched(option) else ""

    def _last_resort(self, options: Sequence[Option], work: _Work) -> frozenset[int]:
        """With nothing else left, the option that recovers soonest from a failure which a retry may survive is tried
        after all; one of them, so that a failing provider gets no more calls than its clients make (REL-04)."""
        soft = [
            (block.until, place)
            for place, block in enumerate(work.blocks)
            if block is not None and block.soft and work.reasons[place] == block.reason
        ]
        if not soft:
            return frozenset()
        _, place = min(soft)
        work.reasons[place] = ""
        return frozenset({id(options[place])})

    def _heads(self, group: Group, usable: frozenset[int], work: _Work) -> Heads:
        """The targets of a group that may be called, each by an option that stands for it, and the options of each by its identity."""
        heads: list[Option] = []
        tails: dict[int, list[Option]] = {}
        for item in group.items:
            tail = self._turns(item, usable, work) if isinstance(item, Leaf) else self._inner(item, usable, work)
            if tail:
                heads.append(stands_for(group, item, tail[0]))
                tails[id(heads[-1])] = tail
        return heads, tails

    def _inner(self, group: Group, usable: frozenset[int], work: _Work) -> list[Option]:
        return self._ordered(group, self._heads(group, usable, work), work)

    def _ordered(self, group: Group, found: Heads, work: _Work) -> list[Option]:
        """The options of a group's targets in the order in which they are tried."""
        heads, tails = found
        board = f"{group.name} {group.key}".rstrip()
        ordered = self._by(self._of(group.strategy), heads, Moment(work.query.ask, board, work.now), work, group)
        if group.config.health_check_enabled and group.name:
            ordered.sort(key=lambda option: not self._senses.healthy(option))
        _score_first(heads, tails)
        return [option for head in ordered for option in tails[id(head)]]

    def _turns(self, leaf: Leaf, usable: frozenset[int], work: _Work) -> list[Option]:
        """The usable connections of a target, by turns; the one that the session used before comes first."""
        options = [option for option in leaf.options if id(option) in usable]
        if len(options) < 2:
            return options
        ordered = self._by(self._accounts(leaf), options, Moment(work.query.ask, f"@{leaf.provider}", work.now), work, None)
        session = self._session(work.query, wanted=not self._accounts(leaf).steady)
        pinned = self._sessions.pinned(session, leaf.provider) if session else None
        if pinned is not None and ordered[0].connection.id != pinned:
            ordered.sort(key=lambda option: option.connection.id != pinned)
        return ordered

    def _session(self, query: Query, *, wanted: bool) -> str:
        """The request's session. One that the client did not name is told by its words where it is wanted: accounts would else
        take turns, or a combo keeps conversations where their prompt is cached."""
        ask = query.ask
        if query.session or ask is None or query.peek or ask.session or not wanted:
            return query.session or (ask.session if ask is not None else "")
        ask.session_id = self._sessions.fingerprint(ask)
        ask.session = self._sessions.of(query.caller, ask.session_id)
        return ask.session

    def _by(self, strategy: Strategy, options: list[Option], moment: Moment, work: _Work, group: Group | None) -> list[Option]:
        if strategy.steady or len(options) < 2:
            return strategy.order(options, _NO_FACTS) if len(options) > 1 else list(options)
        facts = self._facts(strategy, moment, work, group)
        moment.task = facts.task
        if strategy.sees:
            self._senses.look(options, strategy.sees, moment)
        ordered = strategy.order(options, facts)
        work.levels.append(_level(strategy, facts, options, ordered, nested=group is not None))
        return ordered

    def _facts(self, strategy: Strategy, moment: Moment, work: _Work, group: Group | None) -> Facts:
        """The facts that a strategy asks for; what it does not ask for is not found out."""
        found: dict[str, Any] = {name: self._fact(name, moment, work, group) for name in strategy.knows}
        return Facts(**found)

    def _fact(self, name: str, moment: Moment, work: _Work, group: Group | None) -> Any:
        made = _FACTS.get(name)
        if made is not None:
            return made(group)
        return getattr(self, f"_{name}")(moment, work, group)

    def _seed(self, moment: Moment, work: _Work, group: Group | None) -> int:
        return self._clock.random.getrandbits(32)

    def _turn(self, moment: Moment, work: _Work, group: Group | None) -> int:
        if group is None:
            turn = self._account_turns.get(moment.board, 0)
            if not work.query.peek:
                self._account_turns[moment.board] = turn + 1
            return turn
        return self._board.turns(moment.board) if work.query.peek else self._board.turn(moment.board)

    def _sticky(self, moment: Moment, work: _Work, group: Group | None) -> int:
        return 1 if group is not None else max(1, self._preferences().sticky_round_robin_limit)

    def _deck(self, moment: Moment, work: _Work, group: Group | None) -> int:
        return zlib.crc32(moment.board.encode())

    def _last_good(self, moment: Moment, work: _Work, group: Group | None) -> str:
        return self._board.last_good(moment.board)

    def _task(self, moment: Moment, work: _Work, group: Group | None) -> str:
        auto = group.auto if group is not None else None
        if auto is not None and auto.task:
            return auto.task
        return task_of(work.query.ask.last_words()) if work.query.ask is not None else "default"

    def _pack(self, moment: Moment, work: _Work, group: Group | None) -> str:
        auto = group.auto if group is not None else None
        return work.query.pack or (auto.pack if auto is not None else "") or (group.config.mode_pack or "" if group is not None else "")

    def _exploration(self, moment: Moment, work: _Work, group: Group | None) -> float:
        if group is None:
            return 0.0
        if group.auto is not None and group.auto.exploration is not None:
            return group.auto.exploration
        return group.config.exploration_rate or 0.0

    def _tools(self, moment: Moment, work: _Work, group: Group | None) -> bool:
        return work.query.ask is not None and bool(work.query.ask.request().tools)

    def _tokens(self, moment: Moment, work: _Work, group: Group | None) -> int:
        return work.query.ask.prompt_tokens() if work.query.ask is not None else 0


_NO_FACTS = Facts()
#: Facts that come from the configuration of a group alone.
_FACTS: dict[str, Callable[[Group | None], Any]] = {
    "weights": lambda group: group.config.weights.model_dump(by_alias=True) if group and group.config.weights else {},
    "variant": lambda group: (group.auto.variant if group.auto else "") or group.config.router_strategy or "rules" if group else "rules",
    "budget_cap": lambda group: group.config.budget_cap if group else None,
}


#: Why a target is left out while a budget is spent.
_TOO_DEAR = {
    "cheap": "the budget is spent, and it lets only cheap models through",
    "free": "the budget is spent, and it lets only free models through",
}


def _tagged(option: Option, query: Query) -> bool:
    """Whether a connection has the tags that a request asks for."""
    found = [tag in option.connection.rules.tags for tag in query.tags]
    return all(found) if query.all_tags else any(found)


def _score_first(heads: Iterable[Option], tails: Mapping[int, Sequence[Option]]) -> None:
    """What a target scored is shown at the connection that stands for it."""
    for head in heads:
        first = tails[id(head)][0]
        if first is not head:
            first.score, first.factors = head.score, head.factors


def _level(strategy: Strategy, facts: Facts, options: Sequence[Option], ordered: Sequence[Option], *, nested: bool) -> Level:
    """The record of an order, with all that it was made from. ``nested``: of a combo's targets, not of a provider's connections."""
    given = {id(option): number for number, option in enumerate(options)}
    weights = [option.weight for option in options]
    return Level(
        strategy=strategy.name,
        facts=facts.inputs(strategy.knows),
        given=[option.key if nested else option.connection.id for option in options],
        weights=weights if any(weights) else [],
        sights=[_seen(option, strategy.sees) for option in options] if strategy.sees else [],
        order=[given[id(option)] for option in ordered],
    )


def _seen(option: Option, sees: frozenset[str]) -> dict[str, Any]:
    return {name: getattr(option.sight, name) for name in sees}


__all__ = ["AUTO", "Planner"]
