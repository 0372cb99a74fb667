"""What is asked of a vendor's own batch service, in no dialect. One file of ``hub/providers/batches`` speaks each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import Usage
    from hub.media.order import Line
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target
    from hub.uploads import Upload


class Unsure(Exception):
    """A vendor cannot say yet whether a batch was made; ask again later."""


class State(msgspec.Struct, frozen=True):
    """Whether a vendor's batch is over, and then where its results are to be read."""

    over: bool
    places: tuple[str, ...] = ()


class Outcome(msgspec.Struct, frozen=True):
    """What came of a request, by the name that it was sent under: an answer with its ``status``, or an error without one."""

    name: str
    status: int = 0
    body: bytes = b""
    request_id: str = ""
    code: str = ""
    message: str = ""


@runtime_checkable
class Service(Protocol):
    """One vendor's batch service. What a :class:`hub.media.order.Line` raises passes through every method that is given one.

    ``endpoints`` maps the addresses that it takes to the dialect of their requests, empty where there is one only. ``frame`` is what comes
    before the requests of an upload, between them and after them; ``most`` bounds an upload in bytes and ``most_lines`` in requests.
    """

    name: str
    endpoints: Mapping[str, str]
    frame: tuple[bytes, bytes, bytes]
    most: int
    most_lines: int

    def request(self, name: str, endpoint: str, body: bytes, model: str) -> bytes:
        """A request of the upload, as JSON on one line. ``body`` is the client's; ``model`` replaces the one that it names."""
        ...

    async def submit(self, line: Line, endpoint: str, upload: Upload, marker: str) -> str:
        """Make a batch, and its id. ``marker`` is what :meth:`find` knows it by, and how the names of its requests begin."""
        ...

    async def find(self, line: Line, marker: str, since: int) -> str:
        """The id of the batch that was made with a marker after ``since`` (epoch ms), empty for none. Raises Unsure."""
        ...

    async def state(self, line: Line, batch_id: str) -> State:
        """How far a batch is."""
        ...

    async def cancel(self, line: Line, batch_id: str) -> None:
        """Have a batch end early; :meth:`state` says when it has."""
        ...

    def read(self, target: Target, place: str) -> Outgoing:
        """The request for results: JSON lines, each for :meth:`outcome`."""
        ...

    def outcome(self, text: bytes) -> Outcome | None:
        """What a line of results says; None where it says that the request was never tried. Raises UpstreamFailed."""
        ...

    def usage(self, endpoint: str, body: bytes) -> Usage | None:
        """The usage that an answer states. Raises UpstreamFailed for a body that is no answer."""
        ...
