"""Makes the order of a past request again from its decision record, which holds all that its strategy knew (D21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import BadRequest
from hub.records import Connection, Decision
from hub.routing.strategy import Facts, Option, Sight, Strategy
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping


class Replay(msgspec.Struct, frozen=True):
    """``order`` are places in the record's candidates, ``options`` the same as targets."""

    decision: Decision
    order: list[int]
    options: list[Option]

    @property
    def same(self) -> bool:
        """Whether it is the recorded order."""
        return self.order == self.decision.order


def replay(decision: Decision, strategy: Strategy, connections: Mapping[str, Connection]) -> Replay:
    """Order the candidates that were in the order then. Connections that are gone stand in by name, without a secret.

    Raises BadRequest for a record that this version cannot read.
    """
    options: dict[int, Option] = {}
    # In the order in which they were considered, which is what the strategy was given.
    for index in sorted(decision.order):
        one = decision.candidates[index]
        connection = connections.get(one.connection_id) or Connection(
            id=one.connection_id, provider=one.provider, name=one.connection, secret=Secret("")
        )
        try:
            sight = Sight(**one.facts)
        except TypeError as error:
            raise _unreadable(decision, error) from None
        options[index] = Option(
            connection, one.provider, one.model, key=one.step or one.connection_id, weight=one.weight, label=one.step, sight=sight
        )
    try:
        facts = Facts(**decision.inputs)
    except TypeError as error:
        raise _unreadable(decision, error) from None
    ordered = strategy.order(list(options.values()), facts)
    places = {id(option): index for index, option in options.items()}
    return Replay(decision, [places[id(option)] for option in ordered], ordered)


def _unreadable(decision: Decision, error: TypeError) -> BadRequest:
    return BadRequest(
        f"the record of {decision.request_id} is from another version and cannot be ordered again ({error})", field="requestId"
    )
