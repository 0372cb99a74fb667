"""One message to a remote agent, followed until the agent pauses or ends.

A stream that breaks is resumed once, then the task is polled. Whoever stops waiting stops the agent: its task is cancelled there,
also when its id is not known yet.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from hub.errors import HubError, NotFound, RateLimited, Unavailable, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from hub.log import logger
from hub.outbound.base import Fault, OutboundError
from hub.remote_agents.client import UNABLE
from hub.remote_agents.gathered import Gathered, Piece, parts_of, text_of
from hub.tasks.task import ENDED, PAUSED, RUNNING, State

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping

    from hub.remote_agents.client import AgentClient

log = logger("hub.remote_agents")

#: Faults of a stream that a second try would only repeat.
_FINAL = frozenset({Fault.TOO_LARGE, Fault.ADDRESS_REFUSED, Fault.BAD_ENCODING})
_STATES = {state.value: state for state in State}
_MOST_ID = 500
#: Words about the progress that one call passes on.
_MOST_WORDS = 500
_LONGEST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: the longest silence of a stream, the pauses between two looks at a task, how long a cancel may take to reach the agent,
    and between two rounds of looking after cards. ``failures`` looks that fail one after another end the wait."""

    idle: float = 120.0
    first_look: float = 0.2
    longest_look: float = 15.0
    failures: int = 5
    leave: float = 10.0
    cards: float = 60.0


class Teller(Protocol):
    """Told of what the agent does, as it does it."""

    async def words(self, text: str) -> None:
        """What the agent says about its progress."""
        ...

    async def piece(self, piece: Piece) -> None:
        """Something that it made."""
        ...


class Turn:
    """Made for one call; :meth:`run` it once. ``state``, ``said`` (parts of the agent's last word) and ``gathered`` tell how it went."""

    def __init__(
        self, client: AgentClient, pace: Pace, teller: Teller, *, task_id: str = "", later: Callable[[Coroutine[Any, Any, None]], None]
    ):
        self.task_id = task_id
        self.context_id = ""
        self.state = State.SUBMITTED
        self.said: list[dict[str, Any]] = []
        self.gathered = Gathered()
        self._client = client
        self._pace = pace
        self._teller: Teller | None = teller
        self._later = later
        self._continued = bool(task_id)
        self._known = asyncio.Event()
        self._words = 0
        self._exact = True

    @property
    def settled(self) -> bool:
        """Whether the agent waits for us, or has ended."""
        return self.state not in RUNNING

    @property
    def text(self) -> str:
        """What the agent made in words; where that is nothing, or it asks for something, what it said last."""
        said = text_of(self.said)
        made = "\n\n".join(text for one in self.gathered.artifacts if (text := text_of(one["parts"])))
        return (said or made) if self.state in PAUSED else (made or said)

    async def run(self, message: Mapping[str, Any] | None, *, streams: bool, seconds: float, patience: float | None = None) -> None:
        """Send a message, or with None only look at the task, and follow it.

        After ``patience`` seconds it returns and leaves the agent to its work, if its task is known by then. After ``seconds`` the task
        is cancelled and UpstreamTimeout raised. Raises what the client raises.
        """
        work = asyncio.ensure_future(self._follow(message, streams=streams))
        # A failure that nobody waits for any more is of no interest.
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        limit = seconds if patience is None else min(patience, seconds)
        try:
            await asyncio.wait({work}, timeout=limit)
        except asyncio.CancelledError:
            self._leave(work)
            raise
        if work.done():
            if work.exception() is not None and self._known.is_set() and not self.settled:
                self._leave(work)
            work.result()
            return
        if limit < seconds and self.task_id:
            self._teller = None
            work.cancel()
            await asyncio.wait({work})
            return
        self._leave(work)
        raise UpstreamTimeout(f"{self._client.access.name} did not finish within {limit:g} s; its task is cancelled")

    def _leave(self, work: asyncio.Future[None]) -> None:
        """Nobody waits any more: stop the agent, in the background."""
        self._teller = None
        self._later(self._stopped(work))

    async def _stopped(self, work: asyncio.Future[None]) -> None:
        try:
            async with asyncio.timeout(self._pace.leave):
                if not self.task_id:
                    # The message may be there already: its task can only be cancelled once its id has come back.
                    known = asyncio.ensure_future(self._known.wait())
                    await asyncio.wait({work, known}, return_when=asyncio.FIRST_COMPLETED)
                    known.cancel()
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})
                if self.task_id and self.state not in ENDED:
                    await self._client.cancel(self.task_id)
        except (HubError, TimeoutError) as error:
            log.warning("a remote task could not be cancelled", agent=self._client.access.name, reason=str(error)[:300])
        finally:
            work.cancel()

    async def _follow(self, message: Mapping[str, Any] | None, *, streams: bool) -> None:
        if message is None:
            await self._look()
        else:
            await self._begin(message, streams=streams)
        if self.settled:
            return
        if not self.task_id:
            raise UpstreamFailed(f"{self._client.access.name} broke off before it named a task")
        if streams:
            await self._resume()
        await self._poll()

    async def _begin(self, message: Mapping[str, Any], *, streams: bool) -> None:
        if streams:
            try:
                await self._listen(self._client.stream(message))
                return
            except OutboundError as error:
                if not error.started or error.fault in _FINAL or not self._known.is_set():
                    raise
                return
            except UpstreamRejected as error:
                if error.code not in UNABLE or self._known.is_set():
                    raise
                # Its card says that it streams, and it does not.
        await self._take(await self._client.send(message))

    async def _resume(self) -> None:
        """Follow the task over a second stream, where the first broke."""
        # What 0.3 sends after this may have been told already or not, there is no way to know: the end says what is missing.
        self._exact = self._client.access.interface.version == "1.0"
        try:
            await self._listen(self._client.subscribe(self.task_id))
        except (OutboundError, UpstreamFailed, NotFound, RateLimited, Unavailable) as error:
            if isinstance(error, OutboundError) and error.fault in _FINAL:
                raise
            log.info("a remote stream could not be resumed", agent=self._client.access.name, reason=error.message)
        if not self._exact and self.settled:
            self._exact = True
            await self._look()

    async def _listen(self, items: AsyncGenerator[dict[str, Any]]) -> None:
        first = True
        async with aclosing(items):
            async for item in items:
                await self._take(item)
                # A task that goes on may be shown once more as it stood before the message.
                if self.state in ENDED or (self.state in PAUSED and not (first and self._continued)):
                    return
                first = False

    async def _poll(self) -> None:
        self._exact = True
        pause, failures = self._pace.first_look, 0
        while not self.settled:
            try:
                await self._look()
                failures = 0
            except NotFound as error:
                raise UpstreamFailed(f"{self._client.access.name} knows its own task no more: {error.message}") from error
            except (OutboundError, UpstreamFailed, RateLimited, Unavailable):
                failures += 1
                if failures >= self._pace.failures:
                    raise
            if not self.settled:
                await asyncio.sleep(pause)
                pause = min(pause * 1.6, self._pace.longest_look)

    async def _look(self) -> None:
        await self._task(await self._client.get(self.task_id))

    async def _take(self, item: Mapping[str, Any]) -> None:
        """One item of an answer. Those of other tasks are nothing to us."""
        for name, take in (
            ("task", self._task),
            ("message", self._message),
            ("statusUpdate", self._status),
            ("artifactUpdate", self._artifact),
        ):
            found: Any = item.get(name)
            if isinstance(found, dict):
                await take(cast("dict[str, Any]", found))
                return

    async def _task(self, task: dict[str, Any]) -> None:
        if not self._ours(task.get("id"), task.get("contextId")):
            return
        for piece in self.gathered.look(task.get("artifacts")):
            await self._tell(piece)
        status: Any = task.get("status")
        history: Any = task.get("history")
        spoken: list[Any] = cast("list[Any]", history) if isinstance(history, list) else []
        last: Any = spoken[-1] if spoken else None
        if isinstance(last, dict) and cast("dict[str, Any]", last).get("role") == "ROLE_AGENT":
            self.said = parts_of(cast("dict[str, Any]", last).get("parts"))
        await self._stand(status)

    async def _message(self, message: dict[str, Any]) -> None:
        """A message instead of a task: that is all."""
        self.said = parts_of(message.get("parts"))
        context: Any = message.get("contextId")
        self.context_id = context if isinstance(context, str) and len(context) <= _MOST_ID else self.context_id
        self.state = State.COMPLETED

    async def _status(self, update: dict[str, Any]) -> None:
        if self._ours(update.get("taskId"), update.get("contextId")):
            await self._stand(update.get("status"))

    async def _artifact(self, update: dict[str, Any]) -> None:
        if self._exact and self._ours(update.get("taskId"), update.get("contextId")):
            await self._tell(self.gathered.update(update))

    async def _stand(self, status: Any) -> None:
        found = cast("dict[str, Any]", status) if isinstance(status, dict) else {}
        word = str(found.get("state", "")).removeprefix("TASK_STATE_").lower().replace("_", "-")
        # A state that nobody knows is one in which it works.
        self.state = _STATES.get(word, State.WORKING)
        message: Any = found.get("message")
        if isinstance(message, dict):
            self.said = parts_of(cast("dict[str, Any]", message).get("parts"))
            if not self.settled:
                await self._progress(text_of(self.said))

    def _ours(self, task_id: Any, context_id: Any) -> bool:
        """Whether something is about this call's task; the first that is named becomes it. Raises UpstreamFailed for an unusable id."""
        if not isinstance(task_id, str) or not 0 < len(task_id) <= _MOST_ID:
            raise UpstreamFailed(f"{self._client.access.name} sent a task without a usable id")
        if not self.task_id:
            self.task_id = task_id
        self._known.set()
        if task_id != self.task_id:
            return False
        if isinstance(context_id, str) and len(context_id) <= _MOST_ID:
            self.context_id = context_id
        return True

    async def _tell(self, piece: Piece) -> None:
        if self._teller is not None and piece.artifact["parts"]:
            await self._teller.piece(piece)

    async def _progress(self, words: str) -> None:
        if self._teller is not None and words and self._words < _MOST_WORDS:
            self._words += 1
            await self._teller.words(words[:_LONGEST_WORDS])
