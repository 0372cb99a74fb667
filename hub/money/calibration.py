"""How far estimates of what a call costs fall short of what providers bill, learned per provider and model.

A bound counts tokens by rule of thumb, so a provider may bill more. Until the first call of a group has been
settled nobody knows; from then on bounds are raised by the worst that was seen, and a quarter for luck.
"""

from __future__ import annotations

_KEPT = 4096  # groups come from requests: what is remembered of them is bounded
_LUCK = 1.25
_FADES = 0.998


class Calibration:
    """The worst ratio of cost to estimate by group; it fades by and by."""

    def __init__(self) -> None:
        self._worst: dict[str, float] = {}

    def factor(self, group: str) -> float | None:
        """What to multiply an estimate with, at least 1; None while nothing is known of the group."""
        worst = self._worst.get(group)
        return None if worst is None else max(1.0, worst * _LUCK)

    def learn(self, group: str, estimate: float, cost: float) -> None:
        """A call that was estimated at so much has cost so much."""
        if estimate <= 0:
            return
        worst = self._worst.get(group)
        if worst is None and len(self._worst) >= _KEPT:
            self._worst.pop(next(iter(self._worst)))
        self._worst[group] = max(cost / estimate, (worst or 0.0) * _FADES)
