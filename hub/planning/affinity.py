"""Sessions: which conversation a request belongs to, which connection answered it last, and which are under way.

Affinity is a wish and no rule: the planner puts the pinned connection first while it is healthy, and pins the one that
answered instead when it was not (#6219), for every provider alike (#7274). Everything is kept per caller, so that two
keys never share a session, whatever their clients call it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from hub.engine.glance import fingerprint, glance, session_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.engine.ask import ChatAsk
    from hub.records import Caller
    from hub.store.state import State

_KIND = "affinity"
_LONGEST = 64
_UNFIT = re.compile(r"[^A-Za-z0-9._:@/+=-]")
_PINS = 50_000
_LIVE = 10_000
#: A pin that did not change is stored again this often.
_STORE_MS = 60_000
#: A session is over when it was idle for so long (routing.md 1.5).
IDLE_MS = 30 * 60_000
#: Pins of conversations to a target of a combo, which the combo's owner asked for, live as long as a provider's longest cache matters.
_COMBO_MS = 24 * 3_600_000
COMBO = "combo:"


class _Pin(msgspec.Struct, array_like=True):
    """Where a session is pinned, when it was last confirmed and, of what is stored, when that was (ms)."""

    place: str
    at: int
    stored: int = 0


class Live(msgspec.Struct, kw_only=True):
    """A session under way. Times are epoch ms; ``connection_id`` is the one that answered last."""

    id: str
    key_id: str
    created_at: int
    last_active: int
    requests: int = 0
    connection_id: str = ""


class Sessions:
    """The sessions of this process. Look-ups are plain dict reads, fit for the hot path."""

    def __init__(self, state: State, clock: Clock, *, ttl_ms: Callable[[], int], most: int = _PINS) -> None:
        self._state = state
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._most = most
        self._pins: OrderedDict[tuple[str, str], _Pin] = OrderedDict()
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._by_key: dict[str, int] = {}

    def open(self) -> None:
        """Take over the pins of before the restart."""
        stored = self._state.take(_KIND, _Pin)
        for identity, (pin, _) in sorted(stored.items(), key=lambda item: item[1][0].at)[-self._most :]:
            session, _, scope = identity.rpartition("\t")
            self._pins[session, scope] = pin

    def explicit(self, ask: ChatAsk) -> str:
        """The client's own id of its session (a header's, else the body's) as ``ext:…``; empty where it sent none."""
        if ask.hints.session:
            return self.clean(ask.hints.session)
        named = ask.raw.session if ask.raw is not None else None
        if named is None:
            named = session_in(ask)
        return self.clean(named) if named else ""

    def identify(self, ask: ChatAsk) -> str:
        """The effective session id: the client's own, else the fingerprint of the conversation. Reads the body at most once."""
        if ask.hints.session:
            return self.clean(ask.hints.session) or self.fingerprint(ask)
        seen = glance(ask)
        return self.clean(seen.session) or fingerprint(seen)

    def fingerprint(self, ask: ChatAsk) -> str:
        """16 hex digits that stay the same over the turns of a conversation; empty for a request without messages."""
        return fingerprint(glance(ask))

    @staticmethod
    def clean(name: str) -> str:
        """A client's id of a session as we use and echo it: ``ext:`` and at most 64 plain characters.

        One that is too long or has other characters keeps a digest of the whole, so that different ids stay different.
        """
        text = name.strip()
        if not text or text == "ext:":
            return ""
        text = text.removeprefix("ext:")
        plain = _UNFIT.sub("_", text)
        if plain != text or len(plain) > _LONGEST:
            plain = f"{plain[:47]}-{blake2b(text.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"
        return f"ext:{plain}"

    @staticmethod
    def of(caller: Caller, session: str) -> str:
        """The caller's own name of a session, which :meth:`pin`, :meth:`pinned` and :meth:`begin` take; empty for no session."""
        return f"{caller.key_id}\n{session}" if session else ""

    def pinned(self, session: str, scope: str) -> str | None:
        """Where a session is pinned: the connection within a provider, or with ``combo:<name>`` the target's key within a combo."""
        pin = self._pins.get((session, scope))
        if pin is None:
            return None
        return pin.place if self._clock.now_ms() - pin.at < self._life(scope) else None

    def pin(self, session: str, scope: str, place: str) -> None:
        """A place answered a session: prefer it from now on. Does nothing without a session, or while affinity is off."""
        life = self._life(scope)
        if not session or life <= 0:
            return
        now, key = self._clock.now_ms(), (session, scope)
        pin = self._pins.get(key)
        if pin is None:
            pin = self._pins[key] = _Pin(place, now)
            if len(self._pins) > self._most:
                self._pins.popitem(last=False)
        else:
            self._pins.move_to_end(key)
        if pin.place != place or now - pin.stored >= _STORE_MS:
            pin.stored = now
            self._state.put(_KIND, f"{session}\t{scope}", _Pin(place, now, now), until=now + life)
        pin.place, pin.at = place, now

    def unpin(self, session: str, scope: str) -> None:
        """Forget a pin, for instance when a combo no longer has its target."""
        if self._pins.pop((session, scope), None) is not None:
            self._state.drop(_KIND, f"{session}\t{scope}")

    def _life(self, scope: str) -> int:
        return _COMBO_MS if scope.startswith(COMBO) else self._ttl_ms()

    def begin(self, session: str, *, most: int = 0) -> bool:
        """A request of a session begins. False when the session is new and its key has ``most`` of them under way already (0: any)."""
        if not session:
            return True
        now = self._clock.now_ms()
        self._sweep(now)
        live = self._live.get(session)
        if live is None:
            key_id, _, name = session.partition("\n")
            mine = self._by_key.get(key_id, 0)
            if 0 < most <= mine:
                return False
            live = self._live[session] = Live(id=name, key_id=key_id, created_at=now, last_active=now)
            self._by_key[key_id] = mine + 1
            if len(self._live) > _LIVE:
                self._end()
        else:
            self._live.move_to_end(session)
        live.last_active = now
        live.requests += 1
        return True

    def answered(self, session: str, connection_id: str) -> None:
        """A connection answered a request of a session; for the list of sessions."""
        live = self._live.get(session)
        if live is not None:
            live.connection_id = connection_id

    def live(self) -> list[Live]:
        """The sessions under way, the latest first."""
        self._sweep(self._clock.now_ms())
        return list(reversed(self._live.values()))

    def by_key(self) -> dict[str, int]:
        """Key id -> how many sessions it has under way."""
        self._sweep(self._clock.now_ms())
        return dict(self._by_key)

    def _sweep(self, now: int) -> None:
        """End what was idle for too long; the order is that of the last activity."""
        while self._live:
            oldest = next(iter(self._live.values()))
            if now - oldest.last_active < IDLE_MS:
                return
            self._end()

    def _end(self) -> None:
        _, gone = self._live.popitem(last=False)
        left = self._by_key.get(gone.key_id, 0) - 1
        if left > 0:
            self._by_key[gone.key_id] = left
        else:
            self._by_key.pop(gone.key_id, None)
