"""What is ordered of a provider besides chats, what comes of it, and the interface of a wire format that makes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from hub.chat import Usage
from hub.money.units import NO_UNITS, Units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hub.outbound.base import Incoming, Outgoing, Socket
    from hub.providers.base import Failure, Target
    from hub.records import Attempt, UsageRow

Value = TypeVar("Value")


@dataclass(slots=True)
class Order:
    """One call of a service. ``job`` is what a format of that service understands (:mod:`hub.media.jobs`).

    ``usage`` and ``units`` are the most that it may use, as far as that can be told before; ``skill`` is its name in
    records. ``seconds`` bounds it as a whole, None leaves that to the settings. ``admitted`` says that the owner wants it,
    whatever the key's list of models says; ``checked`` that list and policies were looked at already.
    """

    service: str
    model: str
    job: Any
    skill: str
    usage: Usage = field(default_factory=Usage)
    units: Units = NO_UNITS
    connection: str = ""
    seconds: float | None = None
    admitted: bool = False
    checked: bool = False
    strategy: str = ""
    stream: bool = False
    session: str = ""
    session_id: str = ""
    chain: Any = None


@dataclass(slots=True)
class Made(Generic[Value]):
    """What a target made of a job. ``usage`` is None where the provider counts no tokens.

    ``dropped`` names what the format could not carry (D20). ``body`` is the rest of an answer that is passed on as it comes;
    ``tally`` says what it came to once it has ended, for providers that tell only then. ``stands`` says that what was made goes on: a
    conversation, whose end is not the format's to tell.
    """

    value: Value
    usage: Usage | None = None
    units: Units = NO_UNITS
    dropped: list[str] = field(default_factory=list[str])
    body: AsyncIterator[bytes] | None = None
    tally: Callable[[], tuple[Usage | None, Units]] | None = None
    stands: bool = False


@dataclass(slots=True)
class Delivered(Generic[Value]):
    """What an order came to. ``row`` is its usage row; ``cost`` in US dollars is known although a body is still to come.

    Iterate ``body`` to its end or close it: only then are the rows written. ``failed`` are the calls that came to nothing before.
    """

    value: Value
    row: UsageRow
    usage: Usage
    units: Units
    cost: float | None
    dropped: list[str]
    body: Body | None = None
    failed: list[Attempt] = field(default_factory=list["Attempt"])


class Body(Protocol):
    """The pieces of an answer on its way."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """The reader has gone, or is done. May be called twice."""
        ...


class Line(Protocol):
    """The way from a format to its target for one try. ``taken`` tells that the provider has begun work that it charges for."""

    target: Target

    def taken(self, usage: Usage, units: Units) -> None: ...

    async def open(self, outgoing: Outgoing, *, most: int = 0) -> Incoming:
        """Send a request; the answer's body is to be read or closed. ``most`` bounds it in bytes where it is not the usual.

        Error statuses and faults on the way are raised as the engine acts on them; a format lets them pass.
        """
        ...

    async def dial(self, outgoing: Outgoing) -> Socket:
        """Open a WebSocket, which whoever orders it closes. Raises as :meth:`open` does."""
        ...

    async def call(self, outgoing: Outgoing) -> bytes:
        """Send a request and read the whole answer, our credential in it masked. Raises as :meth:`open` does."""
        ...

    async def fetched(self, url: str, *, most: int, own: bool = True) -> bytes:
        """A file at an address that an answer names, or with ``own`` False a client. Raises UpstreamFailed, OutboundError."""
        ...

    def refuse(self, failure: Failure) -> Exception:
        """The error for a failure that came inside an answer of status 200; raise it."""
        ...

    async def withdraw(self, outgoing: Outgoing) -> None:
        """Tell the provider that a job is no longer wanted, also while the order is being cancelled (REL-06). Never raises."""
        ...

    async def pause(self, seconds: float) -> None:
        """Wait before asking for a job's state again. Raises UpstreamFailed once the order's time is over."""
        ...


@runtime_checkable
class MediaFormat(Protocol):
    """One wire format of one service. Stateless; one instance serves all requests."""

    service: str
    name: str

    async def make(self, job: Any, target: Target, line: Line) -> Made[Any]:
        """Have a target do a job.

        Raises BadRequest for what the format cannot express at all, naming the field; whatever ``line`` raises; UpstreamFailed
        for an answer that is none of this format.
        """
        ...
