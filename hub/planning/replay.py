"""Makes the orders of a past request again from its decision record, which holds all that its strategies knew (D21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import BadRequest
from hub.records import Connection, Decision
from hub.routing.strategy import Facts, Option, Sight, named
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.records import Candidate, Level
    from hub.routing.strategy import Strategy


class Again(msgspec.Struct, frozen=True):
    """One order made again: the keys of its options as recorded, and as they come out now."""

    level: Level
    recorded: list[str]
    order: list[str]

    @property
    def same(self) -> bool:
        """Whether the order is the recorded one."""
        return self.recorded == self.order


class Replay(msgspec.Struct, frozen=True):
    """``levels`` are the orders that strategies made, of targets and of their connections; ``options`` the targets as they were tried."""

    decision: Decision
    levels: list[Again]
    options: list[Option]

    @property
    def same(self) -> bool:
        """Whether every order comes out as recorded. A request whose order left nothing to chance or circumstance has none, and is."""
        return all(level.same for level in self.levels)


def replay(decision: Decision, strategies: Mapping[str, Strategy], connections: Mapping[str, Connection]) -> Replay:
    """Order again what was ordered then. Connections that are gone stand in by name, without a secret.

    Raises BadRequest for a record that this version cannot read, or a strategy that it does not have.
    """
    options = [_option(one, connections) for one in decision.candidates]
    known = {option.connection.id: option for option in options} | {option.key: option for option in options}
    levels = [_again(level, strategies, known, decision) for level in decision.levels]
    return Replay(decision, levels, [options[index] for index in decision.order])


def _option(one: Candidate, connections: Mapping[str, Connection]) -> Option:
    connection = connections.get(one.connection_id) or Connection(
        id=one.connection_id, provider=one.provider, name=one.connection, secret=Secret("")
    )
    return Option(connection, one.provider, one.model, key=one.step or one.connection_id)


def _again(level: Level, strategies: Mapping[str, Strategy], known: Mapping[str, Option], decision: Decision) -> Again:
    strategy = named(strategies, level.strategy)
    try:
        sights = [Sight(**sight) for sight in level.sights] or [Sight() for _ in level.given]
        facts = Facts(**level.facts)
    except TypeError as error:
        raise BadRequest(
            f"the record of {decision.request_id} is from another version and cannot be ordered again ({error})", field="requestId"
        ) from None
    weights = level.weights or [0.0] * len(level.given)
    options = [_stand_in(key, known.get(key), weight, sight) for key, weight, sight in zip(level.given, weights, sights, strict=True)]
    return Again(level, [level.given[place] for place in level.order], [option.key for option in strategy.order(options, facts)])


def _stand_in(key: str, option: Option | None, weight: float, sight: Sight) -> Option:
    """An option of a level: a target that was looked at, or the head of a nested combo, which stands for several."""
    connection = option.connection if option is not None else Connection(id=key, provider="", name=key, secret=Secret(""))
    provider, model = (option.provider, option.model) if option is not None else ("", "")
    return Option(connection, provider, model, key, weight, sight=sight)
