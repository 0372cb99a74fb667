"""What is known of how combos did: counts per combo and target, whose turn it is, who answered last. In memory, stored behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.state import State

KIND = "combo"
_MOST_COMBOS = 2000
_MOST_TARGETS = 600
_MOST_INTENTS = 32
#: A combo is stored at most once in this many seconds; a kill loses no more.
_PAUSE = 1.0


class TargetTally(msgspec.Struct, omit_defaults=True):
    """One target of a combo: attempts at it and how they ended. ``last_used`` is in epoch milliseconds."""

    requests: int = 0
    successes: int = 0
    latency_ms: int = 0
    last_status: int = 0
    last_used: int = 0
    provider: str = ""
    model: str = ""


class Tally(msgspec.Struct, omit_defaults=True):
    """One combo: requests and how they ended, ``fallbacks`` attempts beyond the first, ``latency_ms`` of all attempts together.

    ``targets`` is by execution key, ``last_good`` the key that answered last, ``turn`` how often it was asked for one.
    """

    turn: int = 0
    last_good: str = ""
    requests: int = 0
    successes: int = 0
    fallbacks: int = 0
    latency_ms: int = 0
    last_used: int = 0
    intents: dict[str, int] = {}
    targets: dict[str, TargetTally] = {}

    @property
    def failures(self) -> int:
        """Requests that no target answered."""
        return max(0, self.requests - self.successes)


class ComboBoard:
    """The tallies of all combos, by name. Counters are this process's own; with several on one database each has its turns."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._tallies: dict[str, Tally] = {}
        self._changed: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def load(self) -> None:
        """Take over what was stored; called once the store is open."""
        for name, (tally, _) in self._state.take(KIND, Tally).items():
            self._tallies.setdefault(name, tally)

    def turn(self, name: str) -> int:
        """The number of this request of a combo, counted from 0."""
        tally = self._tallies.get(name) or self._new(name)
        turn = tally.turn
        tally.turn = turn + 1
        self._touch(name)
        return turn

    def turns(self, name: str) -> int:
        """How many requests of a combo were counted so far."""
        tally = self._tallies.get(name)
        return tally.turn if tally is not None else 0

    def last_good(self, name: str) -> str:
        """The execution key of the target that answered last; empty when none has."""
        tally = self._tallies.get(name)
        return tally.last_good if tally is not None else ""

    def uses(self, name: str, key: str) -> tuple[int, int]:
        """Attempts at a target, and when the last one was (epoch ms, 0 never)."""
        tally = self._tallies.get(name)
        target = tally.targets.get(key) if tally is not None else None
        return (target.requests, target.last_used) if target is not None else (0, 0)

    def note(
        self,
        name: str,
        key: str,
        *,
        ok: bool,
        status: int,
        latency_ms: int,
        fallback: bool,
        model: str,
        provider: str,
        track: bool = True,
    ) -> None:
        """An attempt at a target ended. ``fallback`` says that it was not the first of its request.

        Without ``track`` (the combo's ``trackMetrics``) only the last good target is kept.
        """
        tally = self._tallies.get(name) or self._new(name)
        if ok:
            tally.last_good = key
        if track:
            now = self._clock.now_ms()
            target = tally.targets.get(key) or self._new_target(tally, key)
            target.requests += 1
            target.latency_ms += latency_ms
            target.last_status, target.last_used = status, now
            target.provider, target.model = provider, model
            tally.latency_ms += latency_ms
            tally.last_used = now
            if fallback:
                tally.fallbacks += 1
            else:
                tally.requests += 1
            if ok:
                target.successes += 1
                tally.successes += 1
        self._touch(name)

    def intent(self, name: str, task: str) -> None:
        """A request of a combo was for this kind of work."""
        intents = (self._tallies.get(name) or self._new(name)).intents
        if task in intents or len(intents) < _MOST_INTENTS:
            intents[task] = intents.get(task, 0) + 1
            self._touch(name)

    def of(self, name: str) -> Tally | None:
        """The tally of one combo; must not be changed."""
        return self._tallies.get(name)

    def all(self) -> dict[str, Tally]:
        """Every tally that counted something, by combo."""
        return {name: tally for name, tally in sorted(self._tallies.items()) if tally.requests or tally.targets}

    def reset(self, name: str | None = None) -> int:
        """Start the counts of one combo, or of all, anew; how many had any. Turns and the last good target stay: they steer, not report."""
        chosen = [name] if name is not None else list(self._tallies)
        found = 0
        for one in chosen:
            tally = self._tallies.get(one)
            if tally is not None:
                found += 1
                self._tallies[one] = Tally(turn=tally.turn, last_good=tally.last_good)
                self._touch(one)
        return found

    def forget(self, name: str) -> None:
        """A combo is gone, and all that is known of it."""
        self._tallies.pop(name, None)
        self._changed.discard(name)
        self._state.drop(KIND, name)

    def rename(self, old: str, new: str) -> None:
        """A combo has a new name."""
        tally = self._tallies.pop(old, None)
        self._changed.discard(old)
        if tally is not None:
            self._tallies[new] = tally
            self._touch(new)
        self._state.drop(KIND, old)

    def flush(self) -> None:
        """Hand what changed to the store's queue; called by the timer, and before the store is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changed, self._changed = self._changed, set()
        for name in sorted(changed):
            self._state.put(KIND, name, self._tallies[name])

    def _touch(self, name: str) -> None:
        self._changed.add(name)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_PAUSE, self.flush)

    def _new(self, name: str) -> Tally:
        if len(self._tallies) >= _MOST_COMBOS:
            self.forget(min(self._tallies, key=lambda one: self._tallies[one].last_used))
        made = self._tallies[name] = Tally()
        return made

    def _new_target(self, tally: Tally, key: str) -> TargetTally:
        if len(tally.targets) >= _MOST_TARGETS:
            del tally.targets[min(tally.targets, key=lambda one: tally.targets[one].last_used)]
        made = tally.targets[key] = TargetTally()
        return made
