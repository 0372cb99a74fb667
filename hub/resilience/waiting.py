"""Waiting for a connection to come back instead of failing, within bounds (routing.md 3.6).

When every connection of a model is out of action for a short while, a few requests may wait for the first
to return; a crowd may not, and no request waits longer than it would be worth.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.errors import HubError
    from hub.preferences import WaitForCooldown

#: A wait that ends exactly with the cooldown would find it still there.
_MARGIN = 0.02


@dataclass(slots=True)
class Line:
    """How long one request has waited so far. ``name`` is what it waits for."""

    name: str
    waits: int = 0
    waited: float = 0.0


class Waiting:
    """Counts who waits for what."""

    def __init__(self, settings: Callable[[], WaitForCooldown]) -> None:
        self._settings = settings
        self._waiting: dict[str, int] = {}

    async def pause(self, error: HubError, line: Line) -> bool:
        """Wait as long as a refusal says; False at once when the request has to take it for an answer."""
        settings = self._settings()
        seconds = None if error.retry_after is None else error.retry_after + _MARGIN
        if not settings.enabled or seconds is None or line.waits >= settings.max_retries:
            return False
        count = self._waiting.get(line.name, 0)
        if line.waited + seconds > settings.max_retry_wait_sec or count >= settings.max_waiting:
            return False
        self._waiting[line.name] = count + 1
        try:
            await asyncio.sleep(seconds)
        finally:
            left = self._waiting[line.name] - 1
            if left:
                self._waiting[line.name] = left
            else:
                del self._waiting[line.name]
        line.waits += 1
        line.waited += seconds
        return True
