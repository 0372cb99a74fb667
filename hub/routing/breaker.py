"""Provider breaker: when a provider as a whole is left alone after requests failed one after the other (routing.md 3.2).

CLOSED counts consecutive failures and opens at the threshold. OPEN turns half-open by itself once the
reset time has passed since the last failure; one request at a time may then probe. A probe that fails
opens it again, a success closes it in any state. Pure state with the time given (REL-05).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Providers whose failures are remembered; beyond, the one that failed longest ago is forgotten.
MOST = 1000


class BreakerState(StrEnum):
    """The three states, in the seed's words."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


@dataclass(frozen=True, slots=True)
class Trip:
    """When a breaker opens, and for how many seconds; ``probe`` is how long a probe may take before the next one is let through."""

    threshold: int = 12
    reset: float = 30.0
    probe: float = 60.0


@dataclass(slots=True)
class Breaker:
    """One provider's failures in a row. Moments are monotonic seconds; ``since`` is when it opened, ``until`` when it may be probed."""

    failures: int = 0
    open: bool = False
    since: float = 0.0
    until: float = 0.0
    last: float = 0.0
    reason: str = ""
    probe: float = 60.0
    probed_until: float = 0.0

    def state(self, now: float) -> BreakerState:
        """Its state at ``now``."""
        if not self.open:
            return BreakerState.CLOSED
        return BreakerState.OPEN if self.until > now else BreakerState.HALF_OPEN


class Breakers:
    """The breakers of all providers of this process; ``states`` and ``opened`` are the same for good, to be read only."""

    def __init__(self) -> None:
        self.states: dict[str, Breaker] = {}
        self.opened: set[str] = set()

    @property
    def quiet(self) -> bool:
        """Whether every breaker is closed."""
        return not self.opened

    def __contains__(self, provider: str) -> bool:
        return provider in self.states

    def get(self, provider: str) -> Breaker | None:
        """A provider's failures, if its last request failed."""
        return self.states.get(provider)

    def state(self, provider: str, now: float) -> BreakerState:
        """The state of a provider's breaker at ``now``."""
        found = self.states.get(provider)
        return BreakerState.CLOSED if found is None else found.state(now)

    def blocks(self, provider: str, now: float) -> bool:
        """Whether no request may go to this provider at ``now``: it is open, or another request probes it."""
        found = self.states.get(provider)
        return found is not None and found.open and (found.until > now or found.probed_until > now)

    def admit(self, provider: str, now: float) -> bool:
        """Whether a request may go to this provider now, asked right before the call. True for the one that may probe next."""
        found = self.states.get(provider)
        if found is None or not found.open:
            return True
        if self.blocks(provider, now):
            return False
        found.probed_until = now + found.probe
        return True

    def release(self, provider: str) -> None:
        """A request that was admitted was not made after all: the next one may probe."""
        found = self.states.get(provider)
        if found is not None:
            found.probed_until = 0.0

    def fail(self, provider: str, now: float, trip: Trip, *, reason: str) -> bool:
        """Count a failed request. True when the breaker opened by it, from closed or half-open."""
        found = self.states.pop(provider, None) or Breaker()
        was = found.state(now)
        self.states[provider] = found  # last in order: it failed last
        found.failures += 1
        found.last, found.reason, found.probe, found.probed_until = now, reason, trip.probe, 0.0
        if found.open or found.failures >= trip.threshold:
            if not found.open:
                found.open, found.since = True, now
                self.opened.add(provider)
            found.until = now + trip.reset
        self._bound()
        return found.open and was is not BreakerState.OPEN

    def succeed(self, provider: str) -> Breaker | None:
        """Forget a provider's failures, after a success or by hand; what they were."""
        self.opened.discard(provider)
        return self.states.pop(provider, None)

    def restore(self, provider: str, breaker: Breaker) -> None:
        """Take over a state that was stored, or made in another process."""
        self.states[provider] = breaker
        (self.opened.add if breaker.open else self.opened.discard)(provider)
        self._bound()

    def all(self) -> dict[str, Breaker]:
        """Every provider whose last request failed."""
        return dict(self.states)

    def _bound(self) -> None:
        if len(self.states) > MOST:
            self.succeed(next(iter(self.states)))
