"""What happens in the hub that somebody may want to hear of: a budget that runs low, a breaker that opens.

In memory and at once; who must not miss an event stores it when told.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock

log = logger("hub.events")
_KEPT = 500


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. ``kind`` is dotted words such as ``budget.warning``; ``data`` plain JSON values, nothing secret."""

    id: str
    at: int
    kind: str
    data: dict[str, Any]


class Events:
    """Tells listeners of events and keeps the latest few hundred. Used on the event loop only."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: list[Callable[[Event], None]] = []
        self.recent: deque[Event] = deque(maxlen=_KEPT)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call ``listener`` for each event from now on; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, kind: str, **data: Any) -> None:
        """An event happened."""
        event = Event(id=self._clock.new_id("evt_"), at=self._clock.now_ms(), kind=kind, data=data)
        self.recent.append(event)
        log.info(kind, **data)
        for listener in list(self._listeners):
            listener(event)
