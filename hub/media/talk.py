"""Conversations over a socket (``realtime``): what is asked for, and what a wire format tells of one that is under way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hub.chat import Usage
    from hub.errors import HubError
    from hub.money.units import Units
    from hub.outbound.base import Socket
    from hub.providers.base import Target


@dataclass(slots=True)
class RealtimeAsk:
    """Which model to talk with. ``headers`` are those of the client's that belong to the dialect, names in lower case."""

    model: str
    connection: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Begun:
    """The model begins an answer, which can use this much at most."""

    id: str
    usage: Usage
    units: Units


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer is over. ``outcome`` is ok, cancelled or error; ``usage`` is None where the provider says none."""

    id: str
    usage: Usage | None
    units: Units
    outcome: str = "ok"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Aside:
    """What another model of the provider has done for the conversation, such as writing down what was said."""

    model: str
    usage: Usage
    units: Units


Turn = Begun | Ended | Aside


class Talk(Protocol):
    """A conversation in the words of a wire format: its socket, and what the messages on it mean for whoever pays."""

    target: Target
    socket: Socket

    def sent(self, message: str | bytes) -> None:
        """Follow a message of the client."""
        ...

    def heard(self, message: str | bytes) -> Turn | None:
        """What a message of the provider means; None for most."""
        ...

    def so_far(self, name: str) -> tuple[Usage, Units]:
        """What an answer under way has used, by estimate."""
        ...

    def told(self, error: HubError) -> str:
        """The message that tells the client of an error."""
        ...
