"""Requests that a client names by a key, so that sending one twice does not run it twice (REL-14).

The key is bound to its caller, address and body. The first request runs; what came of it is stored before its
caller has it, and given again to every later one: the answer, or an error that the request itself caused.
Failures that another try may mend leave the key free.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

import msgspec

from hub.caching.coalesce import Flights
from hub.engine.answers import StoredAnswer
from hub.errors import (
    AmbiguousModel,
    BadRequest,
    Conflict,
    HubError,
    TooLarge,
    Unprocessable,
    UnsupportedMedia,
    UpstreamRejected,
)
from hub.log import logger
from hub.store.replays import DONE

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.replays import Claim, Replays

log = logger("hub.idempotency")
#: Statuses that say that the request itself is wrong; it will be wrong the next time too.
_DETERMINISTIC = frozenset({400, 413, 414, 415, 422})
_KINDS: dict[str, type[BadRequest]] = {kind.__name__: kind for kind in (AmbiguousModel, TooLarge, Unprocessable, UnsupportedMedia)}
_MOST_QUIET = 32
_FIRST_POLL, _LONGEST_POLL = 0.05, 1.0


class StoredError(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as its caller saw it. ``kind`` is the class; ``upstream`` the provider's status, with its ``body``."""

    kind: str
    message: str
    code: str
    field: str | None = None
    upstream: int = 0
    body: bytes = b""
    content_type: str = ""

    @classmethod
    def of(cls, error: BaseException) -> StoredError | None:
        """The error for a later request with the same key; None for one that may not come again."""
        if not isinstance(error, HubError) or error.status not in _DETERMINISTIC:
            return None
        made = cls(type(error).__name__, error.message, error.code, error.field)
        if isinstance(error, UpstreamRejected):
            extra = {"upstream": error.upstream_status or 400, "body": error.body, "content_type": error.content_type}
            return msgspec.structs.replace(made, **extra)
        return made if isinstance(error, BadRequest) else None

    def again(self) -> HubError:
        """The error, marked as one that was given before."""
        error: HubError
        if self.upstream:
            error = UpstreamRejected(
                self.message,
                upstream_status=self.upstream,
                body=self.body,
                content_type=self.content_type,
                code=self.code,
                field=self.field,
            )
        else:
            error = _KINDS.get(self.kind, BadRequest)(self.message, code=self.code, field=self.field)
        error.replayed = True
        return error


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of an execution: an answer or an error; neither where the answer was not kept, and ``why``."""

    answer: StoredAnswer | None = None
    error: StoredError | None = None
    why: str = ""


class Execution:
    """The right to run, given by :meth:`Idempotency.begin`. End it with ``done`` or ``release``, on every path."""

    __slots__ = ("flight", "name", "token")

    def __init__(self, name: str, token: str, flight: object) -> None:
        self.name = name
        self.token = token
        self.flight = flight


def name_of(caller: str, endpoint: str, key: str) -> str:
    """The name of an execution: the same key of another caller or at another address is another one."""
    parts = msgspec.json.encode((caller, endpoint, key.encode("utf-8", "surrogatepass")))
    return hashlib.blake2b(parts, digest_size=32).hexdigest()


class Idempotency:
    """Executions by key. ``wait`` is how long a second request waits for the first, in seconds."""

    def __init__(self, replays: Replays, clock: Clock, *, wait: float = 60.0) -> None:
        self._replays = replays
        self._clock = clock
        self._flights: Flights[Outcome] = Flights(clock)
        self._ending: set[asyncio.Task[None]] = set()
        #: The latest outcomes that may not be on disk.
        self._quiet: OrderedDict[str, Outcome] = OrderedDict()
        self.wait = wait

    async def begin(self, name: str, request: str, *, keep_ms: int) -> Execution | Outcome:
        """Become the one who runs, or get what came of the execution.

        Raises Unprocessable when the key came with another body, Conflict with ``retry_after`` when the first
        request takes longer than a second one waits, Unavailable when the database cannot say.
        """
        until = self._clock.monotonic() + self.wait
        pause = _FIRST_POLL
        while True:
            flight = self._flights.of(name)
            if flight is not None:
                _require_same(flight.check, request)
                if not await flight.landed(until - self._clock.monotonic()):
                    raise _still_running()
                if flight.result is not None:
                    return flight.result
                continue
            found = await self._claim(name, request, keep_ms)
            if isinstance(found, Execution):
                return found
            if found.state == DONE:
                _require_same(found.request, request)
                return self._quiet.get(name) or msgspec.json.decode(found.reply, type=Outcome)
            if found.request:
                _require_same(found.request, request)
            if self._clock.monotonic() + pause > until:
                raise _still_running()
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)

    async def done(self, execution: Execution, outcome: Outcome, *, keep_ms: int, memory_only: bool = False) -> None:
        """The execution ended for good; stored when this returns. ``memory_only`` keeps no content on disk.

        A database that fails is said in the log: the answer is there and goes to its caller.
        """
        if self._flights.of(execution.name) is not execution.flight:
            return
        kept = outcome
        if memory_only and outcome.answer is not None:
            kept = Outcome(why="the answers of this API key are not kept for long")
            self._quiet[execution.name] = outcome
            if len(self._quiet) > _MOST_QUIET:
                self._quiet.popitem(last=False)
        try:
            until = self._clock.now_ms() + keep_ms
            await self._replays.done(execution.name, execution.token, msgspec.json.encode(kept).decode(), until=until)
        except (HubError, UnicodeEncodeError, TypeError) as error:
            log.error("what came of an idempotent request cannot be stored; its key may run again", reason=str(error))
        finally:
            self._land(execution, outcome)

    def release(self, execution: Execution) -> None:
        """The execution ended with nothing to give again; who waits for it runs. Safe while the caller is being cancelled."""
        if self._flights.of(execution.name) is not execution.flight:
            return  # it was done or released before
        self._land(execution, None)
        task = asyncio.get_running_loop().create_task(self._forget(execution))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Wait for what is being forgotten."""
        if self._ending:
            await asyncio.wait(self._ending)

    async def _claim(self, name: str, request: str, keep_ms: int) -> Execution | Claim:
        """One claim at a time in this process: those who come meanwhile wait for its flight."""
        execution = Execution(name, self._replays.token(), self._flights.start(name, request))
        try:
            claim = await self._replays.claim(name, request, execution.token, until=self._clock.now_ms() + keep_ms)
        except BaseException:
            # The caller may have left while the claim was being written.
            self.release(execution)
            raise
        if claim.token:
            return execution
        self._land(execution, None)
        return claim

    def _land(self, execution: Execution, outcome: Outcome | None) -> None:
        flight = self._flights.of(execution.name)
        if flight is not None and flight is execution.flight:
            flight.result = outcome
            self._flights.end(execution.name, flight)

    async def _forget(self, execution: Execution) -> None:
        try:
            await self._replays.release(execution.name, execution.token)
        except HubError as error:
            log.warning("an idempotency key could not be freed; it is free when this process has ended", reason=error.message)


def _require_same(kept: str, request: str) -> None:
    if kept != request:
        raise Unprocessable(
            "this Idempotency-Key was used with another request; send a new key with a new request", code="idempotency_mismatch"
        )


def _still_running() -> Conflict:
    return Conflict(
        "the first request with this Idempotency-Key is still under way; ask again in a moment",
        code="idempotency_in_progress",
        retry_after=5,
    )
