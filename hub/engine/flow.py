"""The two ways a stream goes through the hub: the provider's own bytes, or decoded into events (D20).

Both give their first item only when something worth sending has arrived, so that a stream which fails
at once can still go to another target; and both lose patience with an upstream that sends keep-alive
comments and nothing else (REL-02).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import ChatEvent, Failed, Started, Used
from hub.errors import HubError, UpstreamFailed
from hub.outbound.base import Fault, OutboundError
from hub.providers.base import Failure, FailureKind
from hub.secret import MASK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.clock import Clock
    from hub.engine.attempts import Run
    from hub.outbound.base import Incoming, Timeouts
    from hub.providers.base import Decoder, Watcher


class Passed(Exception):
    """Nobody could be tried; ``shown`` is what the client gets when nothing changes by waiting."""

    def __init__(self, shown: HubError) -> None:
        super().__init__(shown.message)
        self.shown = shown


class Refused(Exception):
    """A target said no before its answer began; carries what it means and what the client would see."""

    def __init__(self, failure: Failure, error: HubError) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.error = error


class Patience:
    """How long an upstream may send nothing of use. The connection's own timers only see silence."""

    __slots__ = ("_began", "_clock", "_limit", "_next")

    def __init__(self, clock: Clock, timeouts: Timeouts) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._limit = timeouts.first_byte
        self._next = timeouts.idle

    def useful(self) -> None:
        """Something for the client arrived; the wait starts anew."""
        self._began = self._clock.monotonic()
        self._limit = self._next

    def idle(self, *, started: bool) -> None:
        """Only keep-alives arrived. Raises OutboundError once that went on for too long."""
        if self._clock.monotonic() - self._began > self._limit:
            fault = Fault.IDLE_TIMEOUT if started else Fault.FIRST_BYTE_TIMEOUT
            raise OutboundError(fault, f"the provider sent nothing but keep-alives for {self._limit:g} s", started=started, reached=True)


async def pass_through(incoming: Incoming, watcher: Watcher, run: Run, patience: Patience, *, hidden: bytes = MASK) -> AsyncIterator[bytes]:
    """The provider's own bytes, watched for usage and for how they end.

    Comments before the first event are dropped, our credential (``hidden``) is masked (SEC-25). Raises
    Refused for a stream whose first event is an error, UpstreamFailed for one that is over before the
    answer is complete.
    """
    first = True
    async for chunk in incoming:
        data = watcher.feed(chunk.replace(hidden, MASK))
        run.passed(len(chunk))
        if _says_nothing(data):
            patience.idle(started=not first)
            if first or not data:
                continue
        else:
            patience.useful()
            if first:
                first = False
                _begin(watcher, run)
        yield data
    data = watcher.end()
    if first:
        _begin(watcher, run)
    if not watcher.finished:
        raise UpstreamFailed(*_INCOMPLETE[first])
    if data:
        yield data
    if watcher.failure is not None:
        run.provider_failed(watcher.failure)


async def translate(
    incoming: Incoming, decoder: Decoder, run: Run, patience: Patience, *, hidden: bytes = MASK
) -> AsyncIterator[list[ChatEvent]]:
    """The provider's stream decoded into events; one list for each read (performance rule 9).

    Our credential (``hidden``) is masked (SEC-25). Raises Refused when the first event is an error,
    UpstreamFailed for a stream without events.
    """
    first = True
    async for chunk in incoming:
        events = decoder.feed(chunk.replace(hidden, MASK))
        run.passed(len(chunk))
        if not events:
            patience.idle(started=not first)
            continue
        _note(events, run, first=first)
        if first:
            run.first_byte()
            first = False
        patience.useful()
        yield events
    events = decoder.end()
    _note(events, run, first=first)
    if first and not events:
        raise UpstreamFailed(*_INCOMPLETE[True])
    if events:
        yield events


_INCOMPLETE = {
    True: ("the provider answered with an empty stream",),
    False: ("the provider ended its stream before the answer was complete",),
}


def _says_nothing(data: bytes) -> bool:
    """Whether there is no data, or only comments of an event stream."""
    if not data:
        return True
    if data[0] != _COLON:
        return False
    return all(line.startswith(b":") or not line.strip() for line in data.split(b"\n"))


_COLON = ord(":")


def _begin(watcher: Watcher, run: Run) -> None:
    """The first thing of use is here; if it is an error, the stream never began."""
    if watcher.failure is not None:
        raise Refused(watcher.failure, UpstreamFailed(watcher.failure.message, code=watcher.failure.code or None))
    run.first_byte()


def _note(events: list[ChatEvent], run: Run, *, first: bool) -> None:
    """Keep the usage of a batch; a failure before anything was sent is raised so that the next target is tried."""
    for event in events:
        if isinstance(event, Used):
            run.usage = event.usage
        elif isinstance(event, Started):
            run.usage = event.usage or run.usage
        elif isinstance(event, Failed):
            failure = Failure(FailureKind.SERVER, event.status, event.message, code=event.code, retry_after=event.retry_after)
            if first:
                raise Refused(failure, UpstreamFailed(event.message, code=event.code or None))
            run.provider_failed(failure)
