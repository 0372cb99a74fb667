"""Model lockout: one model of one connection is left alone, the others of the account go on (routing.md 3.5); so with a service.

The wait is what the upstream asked for, else ``base * 2 ** (n - 1)`` for the n-th failure up to the last
step. Failures count together while less than the window lies between the end of one lock and the next
failure. When the wait is over one request at a time probes. Pure state with time and chance given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hub.routing.cooldown import Backoff, after_hint

#: What stands before the name of a service where a model's would be. No model is called so.
_SERVICE = "service:"
#: Locks that are remembered; beyond, the oldest go: models are named by callers.
MOST = 2000
#: No lock is longer than a day and its jitter; seconds.
LONGEST = 86_400.0

#: Provider, connection id, model; or, for a service of a connection, a name by :func:`of_service` in its place.
Triple: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class Lock:
    """A model that is not called before ``until`` (monotonic seconds). ``count`` failures made it; ``since`` is the last one's moment.

    ``stale`` is when the count is forgotten; ``source`` is where the wait is from: header, text, rule, backoff.
    """

    until: float
    count: int
    reason: str
    since: float
    source: str
    stale: float
    probe: float = 15.0
    probed_until: float = 0.0


class Lockouts:
    """The locked models of all connections of this process, the last that failed at the end.

    ``states`` is the same dictionary for good, to be read only.
    """

    def __init__(self) -> None:
        self.states: dict[Triple, Lock] = {}

    @property
    def quiet(self) -> bool:
        """Whether no model has been locked since it last answered."""
        return not self.states

    def __contains__(self, triple: Triple) -> bool:
        return triple in self.states

    def of(self, triple: Triple, now: float) -> Lock | None:
        """The lock of a model that is locked at ``now``."""
        lock = self.states.get(triple)
        return lock if lock is not None and lock.until > now else None

    def blocks(self, triple: Triple, now: float, *, last_resort: bool = False) -> bool:
        """Whether a model may not be called at ``now``: it is locked, or another request probes it.

        ``last_resort`` passes the lock of a service, whose failures a retry may survive, and never that of a model.
        """
        lock = self.states.get(triple)
        if lock is None:
            return False
        return lock.probed_until > now or (lock.until > now and not (last_resort and is_service(triple)))

    def admit(self, triple: Triple, now: float, *, last_resort: bool = False) -> bool:
        """Whether a request may call this model now, asked right before the call. True for the one that may probe next."""
        if self.blocks(triple, now, last_resort=last_resort):
            return False
        lock = self.states.get(triple)
        if lock is not None:
            lock.probed_until = now + lock.probe
        return True

    def release(self, triple: Triple) -> None:
        """A request that was admitted was not made after all: the next one may probe."""
        lock = self.states.get(triple)
        if lock is not None:
            lock.probed_until = 0.0

    def fail(
        self,
        triple: Triple,
        now: float,
        *,
        reason: str,
        backoff: Backoff,
        window: float,
        hint: float | None = None,
        spread: float = 0.0,
        source: str = "header",
    ) -> Lock:
        """Record a failure. One that comes while the model is locked changes nothing (a burst counts once).

        ``hint`` are seconds, said in ``source``; ``window`` is how far apart failures may lie to count together; ``spread`` is
        chance from -1 to 1 that moves the end, after a hint only later.
        """
        before = self.states.get(triple)
        if before is not None and before.until > now:
            return before
        count = before.count + 1 if before is not None and now < before.stale else 1
        believed = backoff.believed(hint, source)
        if believed is not None:
            wait = after_hint(min(believed, LONGEST), spread)
        else:
            wait, source = backoff.wait(count - 1, spread), "backoff"
        until = now + wait
        lock = Lock(until, count, reason, now, source, stale=until + window, probe=backoff.probe)
        self.restore(triple, lock)
        return lock

    def restore(self, triple: Triple, lock: Lock) -> None:
        """Take over a lock that was stored, or made in another process."""
        self.states.pop(triple, None)
        self.states[triple] = lock
        if len(self.states) > MOST:
            del self.states[next(iter(self.states))]

    def clear(self, triple: Triple) -> bool:
        """Unlock a model, after a success or by hand. True when there was something to forget."""
        return self.states.pop(triple, None) is not None

    def find(self, provider: str = "", connection_id: str = "", model: str = "") -> list[Triple]:
        """The remembered models that fit; what is left empty fits all."""
        wanted = (provider, connection_id, model)
        return [triple for triple in self.states if all(not want or want == have for want, have in zip(wanted, triple, strict=True))]

    def forget(self, now: float) -> None:
        """Drop the locks whose count is stale."""
        for triple in [triple for triple, lock in self.states.items() if lock.stale <= now]:
            del self.states[triple]

    def active(self, now: float) -> dict[Triple, Lock]:
        """Every model that is locked at ``now``."""
        return {triple: lock for triple, lock in self.states.items() if lock.until > now}


def of_service(provider: str, connection_id: str, service: str) -> Triple:
    """The place of a whole service of a connection among the locks."""
    return provider, connection_id, f"{_SERVICE}{service}"


def is_service(triple: Triple) -> bool:
    """Whether a lock is that of a service."""
    return triple[2].startswith(_SERVICE)


def until_midnight(now_ms: int) -> float:
    """Seconds to the next midnight of UTC, when a daily quota is taken to begin anew."""
    return (86_400_000 - now_ms % 86_400_000) / 1000
