"""Records one request while it runs: references to what is in memory anyway, and so much of each answer as may be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from hub.content.model import Call, Content, part, shares
from hub.secret import MASK, spoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.engine.ask import ChatAsk
    from hub.outbound.base import Headers, Incoming, Outgoing
    from hub.providers.base import Target
    from hub.records import UsageRow

#: Calls of one request that are kept; the last ones.
_MOST_CALLS = 6
#: Held beyond what may be kept, so that a credential at the cut is seen whole.
_MARGIN = 4096


def encoded(ask: ChatAsk) -> bytes:
    """A request that no client wrote, in the internal model. Raises BadRequest for one that cannot be read."""
    return msgspec.json.encode(ask.request())


class Keeper(Protocol):
    """Who is given what was recorded, and says how much may be held in memory until then."""

    def hold(self, size: int) -> bool:
        """Whether so many bytes more may be in memory; they count until :meth:`release`."""
        ...

    def release(self, size: int) -> None:
        """So many bytes were handed on, or are forgotten."""
        ...

    def keep(self, content: Content) -> None:
        """A request is over."""
        ...


class Came:
    """How a request came to a door: its address without credentials, and those of its headers that tell nothing secret."""

    __slots__ = ("headers", "path")

    def __init__(self, path: str, headers: dict[str, str]) -> None:
        self.path = path
        self.headers = headers


class Tape:
    """What is known of a request so far. Ended once, with its usage row, and kept then."""

    __slots__ = ("_body", "_came", "_dialect", "_earlier", "_keeper", "_legs", "_most", "_over", "held")

    def __init__(self, keeper: Keeper, dialect: str, came: Came, body: bytes, most: int) -> None:
        self._keeper = keeper
        self._dialect = dialect
        self._came = came
        self._body = body
        self._most = most
        self._legs: list[Leg] = []
        self._earlier = 0
        self._over = False
        #: Bytes of answers that are in memory because of this.
        self.held = 0

    def calls(self, target: Target, written_in: str, outgoing: Outgoing, *, built_in: bool) -> Leg:
        """A provider is called: give what it answers to :meth:`Leg.hears`."""
        if len(self._legs) == _MOST_CALLS:
            self._release(self._legs.pop(0).held)
            self._earlier += 1
        origin = outgoing.origin
        address = "" if built_in else f"{origin.scheme}://{origin.host}:{origin.port}{outgoing.target.partition('?')[0]}"
        leg = Leg(self, target, written_in, address, outgoing.body if isinstance(outgoing.body, bytes) else b"")
        self._legs.append(leg)
        return leg

    def inner(self, ask: ChatAsk) -> Tape:
        """The tape of a request that is made for this one and recorded by itself."""
        return Tape(self._keeper, "", self._came, encoded(ask), self._most)

    def room(self, data: bytes, held: int) -> bytes:
        """So much of a piece of an answer as may be held beside the bytes of it that are; nothing of what comes after the end."""
        if self._over:
            return b""
        taken = data[: max(0, self._most + _MARGIN - held)]
        if not taken or not self._keeper.hold(len(taken)):
            return b""
        self.held += len(taken)
        return taken

    def ended(self, row: UsageRow) -> None:
        """The request is over; what is kept of it is handed on."""
        if self._over:
            return
        self._over = True
        self._release(self.held)
        bodies = [self._body, *(body for leg in self._legs for body in (leg.sent, leg.answer()))]
        most = shares([len(body) for body in bodies], self._most)
        came = part(self._body, most[0], size=len(self._body))
        calls = [leg.call(most[1 + 2 * place], most[2 + 2 * place]) for place, leg in enumerate(self._legs)]
        self._keeper.keep(
            Content(
                request_id=row.request_id,
                at=row.at,
                key_id=row.key_id,
                dialect=self._dialect,
                path=self._came.path,
                headers=self._came.headers,
                came=came,
                calls=calls,
                earlier=self._earlier,
            )
        )

    def _release(self, size: int) -> None:
        self._keeper.release(size)
        self.held -= size


class Leg:
    """One call to a provider."""

    __slots__ = (
        "_address",
        "_connection_id",
        "_format",
        "_model",
        "_owner",
        "_pieces",
        "_provider",
        "_secret",
        "_status",
        "held",
        "sent",
        "size",
    )

    def __init__(self, owner: Tape, target: Target, written_in: str, address: str, sent: bytes) -> None:
        self._owner = owner
        self._provider, self._model, self._connection_id = target.provider.id, target.model, target.connection_id
        self._format = written_in
        self._address = address
        self._secret = spoken(target.secret)
        self._status: int | None = None
        self._pieces: list[bytes] = []
        self.sent = sent.replace(self._secret, MASK)
        #: Bytes of the answer, and how many of them are here.
        self.size: int = 0
        self.held: int = 0

    def hears(self, incoming: Incoming) -> Incoming:
        """The answer, of which is noted what its reader is given."""
        self._status = incoming.status
        return _Heard(incoming, self)

    def hear(self, data: bytes) -> None:
        """Some of the answer came."""
        if self.held == self.size:
            taken = self._owner.room(data, self.held)
            self._pieces.append(taken)
            self.held += len(taken)
        self.size += len(data)

    def answer(self) -> bytes:
        """What is there of the answer, without our credential, nor half of it at an end that is not the answer's (SEC-25)."""
        data = b"".join(self._pieces).replace(self._secret, MASK)
        return data if self.held == self.size else data[: max(0, len(data) - len(self._secret))]

    def call(self, sent: int, answer: int) -> Call:
        """The call with so many bytes at most of what was sent and answered."""
        return Call(
            provider=self._provider,
            model=self._model,
            connection_id=self._connection_id,
            address=self._address,
            format=self._format,
            sent=part(self.sent, sent, size=len(self.sent)),
            answer=part(self.answer(), answer, size=self.size, cut=self.held < self.size),
            status=self._status,
        )


class _Heard:
    """An answer whose bytes are noted while they are read."""

    __slots__ = ("_incoming", "_leg", "_pieces", "headers", "status")

    def __init__(self, incoming: Incoming, leg: Leg) -> None:
        self._incoming = incoming
        self._leg = leg
        self._pieces: AsyncIterator[bytes] | None = None
        self.status: int = incoming.status
        self.headers: Headers = incoming.headers

    async def read(self) -> bytes:
        body = await self._incoming.read()
        self._leg.hear(body)
        return body

    def __aiter__(self) -> Self:
        self._pieces = aiter(self._incoming)
        return self

    async def __anext__(self) -> bytes:
        pieces = self._pieces = self._pieces or aiter(self._incoming)
        data = await anext(pieces)
        self._leg.hear(data)
        return data

    async def close(self) -> None:
        await self._incoming.close()
