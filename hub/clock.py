"""Time and randomness, as one object that a test can hold still."""

from __future__ import annotations

import itertools
import os
import random
import time

#: The first and the last second that have a date (years 1 and 9999), in milliseconds since 1970.
FIRST_MS, LAST_MS = -62_135_596_800_000, 253_402_300_799_000


class Clock:
    """Wall time for records, monotonic time for waits, and process-unique ids.

    Timeouts, cooldowns and rate windows use :meth:`monotonic` (REL-12); only what a person reads
    or what must survive a restart uses :meth:`now_ms`.
    """

    def __init__(self) -> None:
        self.random = random.Random(os.urandom(16))
        self._prefix = os.urandom(6).hex()
        self._count = itertools.count(1)

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    def new_id(self, prefix: str) -> str:
        """An id unique across processes and restarts, cheap enough for every request. Not a secret."""
        return f"{prefix}{self._prefix}{next(self._count):06x}"
