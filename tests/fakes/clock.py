"""A clock that a test holds still and moves by hand."""

from __future__ import annotations

import random

from hub.clock import Clock

START_MS = 1_800_000_000_000


class Still(Clock):
    """Wall time and monotonic time start apart and move together by :meth:`advance`; chance repeats."""

    def __init__(self, now_ms: int = START_MS) -> None:
        super().__init__()
        self.random = random.Random(7)
        self.wall_ms = now_ms
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self.wall_ms += round(seconds * 1000)
        self.seconds += seconds
