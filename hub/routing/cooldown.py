"""Connection cooldown: how long a connection is left alone after a failure (routing.md 3.3).

``cooldown = base * 2 ** min(level, steps)``, or exactly what the upstream asked for, within a cap.
The first failure waits the base; a success clears everything. When the wait is over one request at a
time probes the connection until one succeeds, so that a crowd that waited does not storm it (REL-04).
Pure state with time and chance given, so that property tests can hold both.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A wait is longer or shorter by up to this share, so that many hubs do not come back at one moment; seconds at most after a hint.
JITTER = 0.1
_LATEST = 30.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: first wait, number of doublings, the longest wait that is believed from an upstream, and of a probe.

    ``hints`` says whether an upstream's own word on the wait counts.
    """

    base: float = 3.0
    steps: int = 5
    cap: float = 3600.0
    probe: float = 15.0
    hints: bool = True

    def wait(self, level: int, spread: float = 0.0) -> float:
        """Seconds for a level of failures; ``spread`` is chance from -1 to 1."""
        return min(self.base * 2 ** min(level, self.steps), max(self.cap, self.base)) * (1 + JITTER * spread)

    def believed(self, hint: float | None, source: str) -> float | None:
        """A wait that counts in place of the steps: an upstream's own where hints are used, or one of a rule of ours."""
        return hint if hint is not None and hint > 0 and (self.hints or source == "rule") else None


def after_hint(wait: float, spread: float) -> float:
    """Seconds for a wait that an upstream asked for: never less than it, and a little more as ``spread`` (-1 to 1) has it."""
    return wait + min(wait * JITTER, _LATEST) * abs(spread)


@dataclass(slots=True)
class Cooling:
    """A connection's state: not before ``until`` (monotonic seconds), because of ``reason``.

    ``soft`` marks failures that a retry may well survive (the network, a 5xx): such a connection is
    still tried when nothing else is left. ``since`` is when it failed; ``source`` where the wait is from: header, text, rule, backoff.
    """

    until: float
    level: int
    reason: str
    soft: bool
    probed_until: float = 0.0
    since: float = 0.0
    source: str = "backoff"
    probe: float = 15.0


class Cooldowns:
    """The cooldowns of all connections of this process; ``states`` is the same dictionary for good, to be read only."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self.states: dict[str, Cooling] = {}

    @property
    def quiet(self) -> bool:
        """Whether no connection has failed since it last succeeded."""
        return not self.states

    def __contains__(self, connection_id: str) -> bool:
        return connection_id in self.states

    def of(self, connection_id: str, now: float) -> Cooling | None:
        """The state of a connection that is cooling at ``now``."""
        state = self.states.get(connection_id)
        return state if state is not None and state.until > now else None

    def blocks(self, connection_id: str, now: float, *, last_resort: bool = False) -> bool:
        """Whether a request may not call this connection at ``now``; see :meth:`admit`."""
        state = self.states.get(connection_id)
        if state is None:
            return False
        if state.until > now:
            return not (last_resort and state.soft)
        return state.probed_until > now

    def admit(self, connection_id: str, now: float, *, last_resort: bool = False) -> bool:
        """Whether a request may call this connection now; asked right before the call.

        False while it cools, unless it is the ``last_resort`` and its failure was soft, and while another
        request probes it after a cooldown. True for the one that may probe it next.
        """
        if self.blocks(connection_id, now, last_resort=last_resort):
            return False
        state = self.states.get(connection_id)
        if state is not None and state.until <= now:
            state.probed_until = now + state.probe
        return True

    def release(self, connection_id: str) -> None:
        """A request that was admitted was not made after all: the next one may probe."""
        state = self.states.get(connection_id)
        if state is not None:
            state.probed_until = 0.0

    def soft(self, connection_id: str) -> bool:
        """Whether a connection's last failure is one that a retry may survive."""
        state = self.states.get(connection_id)
        return state is not None and state.soft

    def fail(
        self,
        connection_id: str,
        now: float,
        *,
        reason: str,
        soft: bool,
        hint: float | None = None,
        backoff: Backoff | None = None,
        spread: float = 0.0,
        source: str = "header",
    ) -> Cooling:
        """Record a failure. One that comes while the connection is cooling already changes nothing (a burst counts once).

        ``hint`` are the seconds that the upstream asked for, said in ``source``; ``backoff`` is that of the connection's profile;
        ``spread`` is chance from -1 to 1 that moves the end of the wait, after a hint only later.
        """
        state = self.states.get(connection_id)
        if state is not None and state.until > now:
            return state
        rules = backoff or self._backoff
        level = state.level + 1 if state is not None else 0
        believed = rules.believed(hint, source)
        if believed is not None:
            level, wait = 0, after_hint(min(believed, rules.cap), spread)
        else:
            wait, source = rules.wait(level, spread), "backoff"
        cooling = Cooling(now + wait, level, reason, soft, since=now, source=source, probe=rules.probe)
        self.states[connection_id] = cooling
        return cooling

    def restore(self, connection_id: str, cooling: Cooling) -> None:
        """Take over a state that was stored before a restart."""
        self.states[connection_id] = cooling

    def clear(self, connection_id: str) -> bool:
        """Forget a connection's failures, after a success or by hand. True when there were any."""
        return self.states.pop(connection_id, None) is not None

    def forget(self, before: float) -> list[str]:
        """Drop what ended before this moment and was never tried again; whose it was."""
        gone = [key for key, state in self.states.items() if state.until < before]
        for key in gone:
            del self.states[key]
        return gone

    def active(self, now: float) -> dict[str, Cooling]:
        """Every connection that is cooling at ``now``."""
        return {key: state for key, state in self.states.items() if state.until > now}
