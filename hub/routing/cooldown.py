"""Connection cooldown: how long a connection is left alone after a failure (routing.md 3.3).

``cooldown = base * 2 ** min(level, steps)``, or exactly what the upstream asked for, within a cap.
The first failure waits the base; a success clears everything. When the wait is over one request at a
time probes the connection until one succeeds, so that a crowd that waited does not storm it (REL-04).
Pure state with the time given, so that property tests can hold the clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: first wait, number of doublings, the longest wait that is believed from an upstream, and of a probe."""

    base: float = 3.0
    steps: int = 5
    cap: float = 3600.0
    probe: float = 15.0


@dataclass(slots=True)
class Cooling:
    """A connection's state: not before ``until`` (monotonic seconds), because of ``reason``.

    ``soft`` marks failures that a retry may well survive (the network, a 5xx): such a connection is
    still tried when nothing else is left.
    """

    until: float
    level: int
    reason: str
    soft: bool
    probed_until: float = 0.0


class Cooldowns:
    """The cooldowns of all connections of this process."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._states: dict[str, Cooling] = {}

    @property
    def quiet(self) -> bool:
        """Whether no connection has failed since it last succeeded."""
        return not self._states

    def of(self, connection_id: str, now: float) -> Cooling | None:
        """The state of a connection that is cooling at ``now``."""
        state = self._states.get(connection_id)
        return state if state is not None and state.until > now else None

    def admit(self, connection_id: str, now: float, *, last_resort: bool = False) -> bool:
        """Whether a request may call this connection now; asked right before the call.

        False while it cools, unless it is the ``last_resort`` and its failure was soft, and while another
        request probes it after a cooldown. True for the one that may probe it next.
        """
        state = self._states.get(connection_id)
        if state is None:
            return True
        if state.until > now:
            return last_resort and state.soft
        if state.probed_until > now:
            return False
        state.probed_until = now + self._backoff.probe
        return True

    def soft(self, connection_id: str) -> bool:
        """Whether a connection's last failure is one that a retry may survive."""
        state = self._states.get(connection_id)
        return state is not None and state.soft

    def fail(self, connection_id: str, now: float, *, reason: str, soft: bool, hint: float | None = None) -> Cooling:
        """Record a failure. One that comes while the connection is cooling already changes nothing (a burst counts once)."""
        state = self._states.get(connection_id)
        if state is not None and state.until > now:
            return state
        level = state.level + 1 if state is not None else 0
        if hint is not None and hint > 0:
            level, wait = 0, min(hint, self._backoff.cap)
        else:
            wait = min(self._backoff.base * 2 ** min(level, self._backoff.steps), self._backoff.cap)
        cooling = Cooling(now + wait, level, reason, soft)
        self._states[connection_id] = cooling
        return cooling

    def restore(self, connection_id: str, cooling: Cooling) -> None:
        """Take over a state that was stored before a restart."""
        self._states[connection_id] = cooling

    def clear(self, connection_id: str) -> bool:
        """Forget a connection's failures, after a success or by hand. True when there were any."""
        return self._states.pop(connection_id, None) is not None

    def active(self, now: float) -> dict[str, Cooling]:
        """Every connection that is cooling at ``now``."""
        return {key: state for key, state in self._states.items() if state.until > now}
