"""How far estimates of what a call costs fall short of what providers bill, learned per provider and model.

A bound counts tokens by rule of thumb, so a provider may bill more. Until a caller's first call of a group has
been settled nobody knows; from then on bounds are raised by the worst that was seen, and a quarter for luck.
"""

from __future__ import annotations

_KEPT = 4096  # groups and callers come from requests: what is remembered of them is bounded
_LUCK = 1.25
_FADES = 0.998


class Calibration:
    """The worst ratio of cost to estimate by group; it fades by and by."""

    def __init__(self) -> None:
        self._worst: dict[str, float] = {}
        self._seen: set[tuple[str, str]] = set()

    def factor(self, caller: str, group: str) -> float | None:
        """What to multiply an estimate with, at least 1; None while nothing is known of the group for this caller."""
        if (caller, group) not in self._seen:
            return None
        return max(1.0, self._worst.get(group, 1.0) * _LUCK)

    def learn(self, caller: str, group: str, estimate: float, cost: float) -> None:
        """A call that was estimated at so much has cost so much."""
        if estimate <= 0:
            return
        if len(self._seen) >= _KEPT:
            self._seen.clear()
        if len(self._worst) >= _KEPT and group not in self._worst:
            self._worst.pop(next(iter(self._worst)))
        self._seen.add((caller, group))
        self._worst[group] = max(cost / estimate, self._worst.get(group, 0.0) * _FADES)
