"""What the formats share whose providers work on a job while one asks how it is getting on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from hub.errors import UpstreamFailed
from hub.outbound.base import OutboundError
from hub.providers.base import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.media.order import Line
    from hub.outbound.base import Outgoing

Result = TypeVar("Result")

#: Seconds between two looks: at first, and at most.
_SOON, _LATER = 0.2, 5.0
#: Why nobody waits for a job any more that may still be going on: not that it failed.
LEFT = (asyncio.CancelledError, UpstreamFailed, OutboundError)
BLOCKED = "content_policy_violation"


async def finished(line: Line, look: Callable[[], Awaitable[Result | None]], *, withdraw: Outgoing | None = None) -> Result:
    """What a job comes to: ``look`` gives None until it is done, and raises when it failed.

    Whoever stops waiting, because the client left or time is over, sends ``withdraw`` where the vendor has that (REL-06).
    """
    wait = _SOON
    try:
        while (found := await look()) is None:
            await line.pause(wait)
            wait = min(wait * 1.5, _LATER)
    except LEFT:
        if withdraw is not None:
            await line.withdraw(withdraw)
        raise
    return found


def blocked(line: Line, words: str) -> Exception:
    """The error for a job that the provider's moderation stopped: the caller's, wherever it went next."""
    return line.refuse(Failure(FailureKind.CALLER, 400, words, code=BLOCKED))


def broken(line: Line, words: str) -> Exception:
    """The error for a job that the provider gave up: another may do it."""
    return line.refuse(Failure(FailureKind.SERVER, 502, words or "the job failed", code="job_failed"))
