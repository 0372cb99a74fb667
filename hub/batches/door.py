"""What batches need of the doors: to answer a request that came in no connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from hub.errors import HubError
    from hub.records import Caller


class Reply(msgspec.Struct):
    """An answer as a client would have had it; ``error`` is what it tells of, where it was one of ours."""

    status: int
    body: bytes
    request_id: str
    error: HubError | None = None


class Door(Protocol):
    """Answers requests inside the process."""

    def serves(self, path: str) -> bool:
        """Whether a POST to this address is answered at all."""
        ...

    async def answer(self, caller: Caller, path: str, body: bytes) -> Reply:
        """Answer a request of a caller who is known already. Raises nothing but what a cancelled task raises."""
        ...
