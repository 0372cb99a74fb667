"""A receiver of push notifications on loopback: what it was sent, checked as a receiver should check it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hub.signing import verify
from tests.fakes.upstream import FaultUpstream

if TYPE_CHECKING:
    from tests.fakes.upstream import Received


class Receiver(FaultUpstream):
    """A :class:`FaultUpstream` that reads what it gets as push notifications."""

    @property
    def hook(self) -> str:
        """Where to push."""
        return f"{self.url}/hook"

    async def told(self, count: int, timeout: float = 5.0) -> list[Any]:
        """The bodies of the first so many requests."""
        await self.received(count, timeout)
        return [request.json() for request in self.requests]


def signed_by(request: Received, *secrets: str) -> str:
    """The id of a request that one of the secrets signed just now. Raises BadSignature."""
    return verify(secrets, request.headers, request.body, time.time())
