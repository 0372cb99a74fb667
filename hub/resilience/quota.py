"""What providers say of their limits: read from the headers of their answers, kept per connection and over restarts.

Known by pattern, not by vendor: ``x-ratelimit-{limit,remaining,used,reset}-{requests,tokens}`` and the same words in another
order with a prefix (``…-ratelimit-requests-remaining``), the plain draft ``ratelimit-remaining``, shares such as
``…-ratelimit-…-5h-utilization`` (0 to 1), and the windows of plans ``x-…-primary-used-percent`` with ``-reset-after-seconds``
and ``-window-minutes``. A window whose reset has passed is full again.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec

from hub.clock import LAST_MS, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from hub.records import Connection, ConnectionRules
    from hub.store.state import State

_KIND = "quota"
_FIRST: Callable[[tuple[bytes, bytes]], bytes] = itemgetter(0)
_WORDS = re.compile(rb"rate[-_]?limit[-_]?(.*)$")
_PLAN = re.compile(rb"(?:x-)?(.*?)-?(used-percent|reset-after-seconds|reset-at|window-minutes)$")
_FIELDS = {b"limit": "limit", b"remaining": "remaining", b"reset": "reset", b"used": "used", b"utilization": "share"}
_PLAN_FIELDS = {b"used-percent": "percent", b"reset-after-seconds": "reset", b"reset-at": "reset", b"window-minutes": "minutes"}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SPANS = re.compile(rf"(?:{_SPAN.pattern}\s*)+")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: Other words for the windows of plans (routing.md 6.5).
_SAME = {
    "5h": "session", "five_hour": "session", "fivehour": "session", "session_5h": "session", "300m": "session", "5_hour": "session",
    "7d": "weekly", "seven_day": "weekly", "sevenday": "weekly", "week": "weekly", "weekly_7d": "weekly", "10080m": "weekly",
    "7_day": "weekly", "1w": "weekly",
}  # fmt: skip
#: What a provider may say and be believed: counts that a double holds exactly, moments that have a date.
_LARGEST = 2**53
#: Windows kept of one connection; providers name few, and models few more.
_MOST = 64
#: How long a window is believed whose provider does not say when it resets.
_TRUST_MS = 60_000
#: A connection's windows are stored at most this often, and only after they moved by this much.
_STORE_MS = 5000
_MOVED_PERCENT = 1.0
_MOVED_MS = 5000
#: From which share a window is passed over with ``preflight``, and from which its owner is told, where it lasts this long.
_FULL = 98.0
_WARN = 80.0
_LONG_MS = 600_000


_REQUESTS = "requests"


class Window(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One limit of a connection as its provider stated it at ``seen_at`` (ms); ``reset_at`` None where it did not say.

    ``model`` is set for counts, which providers keep per model, where the caller knew it. A limit that is stated as a share has
    100 as its ``limit`` and ``share`` true.
    """

    name: str
    limit: int
    remaining: float
    reset_at: int | None
    seen_at: int
    model: str = ""
    share: bool = False
    warned: bool = False
    spent: bool = False

    @property
    def percent(self) -> float:
        """How much is left, 0 to 100."""
        return 100.0 * max(0, min(self.remaining, self.limit)) / self.limit if self.limit else 0.0

    @property
    def used(self) -> float:
        """How much is used, 0 to 100."""
        return 100.0 - self.percent

    def holds(self, now_ms: int) -> bool:
        """Whether this still says something: its reset is to come, or it was seen a moment ago."""
        return self.reset_at > now_ms if self.reset_at is not None else now_ms - self.seen_at < _TRUST_MS


class _Kept(msgspec.Struct):
    """The windows of one connection by name and model. ``settled`` are the shares and resets as they were stored at ``stored_at``."""

    windows: dict[tuple[str, str], Window] = msgspec.field(default_factory=dict[tuple[str, str], Window])
    settled: dict[tuple[str, str], tuple[float, int | None]] = msgspec.field(
        default_factory=dict[tuple[str, str], tuple[float, int | None]]
    )
    stored_at: int = 0
    moved: bool = False


def window_name(text: str) -> str:
    """The one name of a window: ``5h``, ``five_hour``, ``session (5h)`` are session; ``7d``, ``seven_day`` weekly; others as they are."""
    plain = re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_")
    return _SAME.get(plain, text.strip().lower())


class Quotas:
    """The windows of every connection that stated some. All but :meth:`observe` of headers with limits cost a dict look-up.

    ``state`` keeps them over restarts, ``emit`` hears of ``quota.warning`` and ``quota.exceeded``, ``learned`` of each count of
    *requests*: the connection, limit, what is left, and when it is full again (epoch ms).
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        state: State | None = None,
        emit: Callable[..., None] | None = None,
        learned: Callable[[str, int, int, int | None], None] | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._state = state
        self._emit = emit
        self._learned = learned
        self._kept: dict[str, _Kept] = {}

    def open(self) -> None:
        """Take over the windows of before the restart."""
        if self._state is None:
            return
        for connection_id, (windows, _) in self._state.take(_KIND, list[Window]).items():
            kept = self._kept[connection_id] = _Kept()
            for window in windows[:_MOST]:
                kept.windows[window.name, window.model] = window
            _settle(kept, 0)

    def observe(self, connection_id: str, headers: Collection[tuple[bytes, bytes]], now_ms: int, model: str = "") -> None:
        """Read an answer's headers; about a microsecond when they hold no limits. ``model`` is the one that answered."""
        names = b"\n".join(map(_FIRST, headers))
        if b"limit" not in names and b"-used-percent" not in names:
            return
        for name, facts in _collected(headers).items():
            window = _window(name, facts, now_ms)
            if window is not None:
                self._keep(connection_id, window, "" if window.share else model)
                self._tell(connection_id, window)
        kept = self._kept.get(connection_id)
        if kept is not None and kept.moved and now_ms - kept.stored_at >= _STORE_MS:
            self._store(connection_id, kept, now_ms)

    def _tell(self, connection_id: str, window: Window) -> None:
        if self._learned is not None and window.name == _REQUESTS and not window.share:
            self._learned(connection_id, window.limit, round(window.remaining), window.reset_at)

    def _keep(self, connection_id: str, window: Window, model: str) -> None:
        kept = self._kept.setdefault(connection_id, _Kept())
        window.model = model
        key = (window.name, model)
        old = kept.windows.pop(key, None)
        # An owner was told of this window, and it has not been full again since.
        window.warned = old is not None and old.warned and window.used >= _WARN and old.holds(window.seen_at)
        window.spent = old is not None and old.spent and old.holds(window.seen_at)
        kept.windows[key] = window
        if len(kept.windows) > _MOST:
            del kept.windows[next(iter(kept.windows))]
        kept.moved = kept.moved or _moved(kept.settled.get(key), window)

    def _store(self, connection_id: str, kept: _Kept, now_ms: int) -> None:
        _settle(kept, now_ms)
        if self._state is not None:
            windows = list(kept.windows.values())
            until = max(window.reset_at or window.seen_at + _TRUST_MS for window in windows)
            self._state.put(_KIND, connection_id, windows, until=until)

    def flush(self) -> None:
        """Store what moved since it was stored last; before the store closes."""
        for connection_id, kept in self._kept.items():
            if kept.moved:
                self._store(connection_id, kept, self._clock.now_ms())

    def windows(self, connection_id: str, now_ms: int) -> list[Window]:
        """The windows of a connection, the tightest first; one whose reset has passed is full again and left out."""
        kept = self._kept.get(connection_id)
        if kept is None:
            return []
        live = [window for window in kept.windows.values() if window.reset_at is None or window.reset_at > now_ms]
        return sorted(live, key=lambda window: window.percent)

    def tightest(self, connection_id: str, now_ms: int) -> Window | None:
        """The window with the least left; one whose reset has passed is full again and not shown."""
        return next(iter(self.windows(connection_id, now_ms)), None)

    def left(self, connection_id: str, now_ms: int | None = None, *, model: str = "") -> float | None:
        """Per cent left in the tightest window that concerns a model (any, where none is named); None when none is known."""
        window = self._concerning(connection_id, now_ms, model)
        return None if window is None else window.percent

    def resets_in(self, connection_id: str, now_ms: int | None = None, *, model: str = "") -> float | None:
        """Seconds until that window is full again; None when it is not known."""
        window = self._concerning(connection_id, now_ms, model)
        if window is None or window.reset_at is None:
            return None
        return (window.reset_at - (self._clock.now_ms() if now_ms is None else now_ms)) / 1000

    def _concerning(self, connection_id: str, now_ms: int | None, model: str) -> Window | None:
        kept = self._kept.get(connection_id)
        if kept is None:
            return None
        now = self._clock.now_ms() if now_ms is None else now_ms
        return min(_live(kept, model, now), key=lambda window: window.percent, default=None)

    def exhausted(self, connection: Connection, now_ms: int, *, model: str = "") -> bool:
        """Whether the provider said that nothing is left for a model, and that is not over yet."""
        kept = self._kept.get(connection.id)
        return kept is not None and any(window.percent <= 0 for window in _live(kept, model, now_ms))

    def preflight(self, connection: Connection, model: str, now_ms: int) -> str:
        """Why a connection is not to be called now for the sake of its quota, by what is left and its owner's rules; empty when it may.

        Emits ``quota.exceeded`` once for a window that forbids it, and ``quota.warning`` once for a long window that is used to 80 %,
        where the connection has a rule about its quota.
        """
        kept = self._kept.get(connection.id)
        if kept is None:
            return ""
        for window in _live(kept, model, now_ms):
            reason = _full(window, connection.rules)
            if reason:
                if not window.spent:
                    window.spent = kept.moved = True
                    self._say("quota.exceeded", connection, window)
                return reason
            if not window.warned and window.used >= _WARN:
                self._warn(connection, kept, window)
        return ""

    def _warn(self, connection: Connection, kept: _Kept, window: Window) -> None:
        rules = connection.rules
        if not rules.preflight and not rules.limit_percent:
            return
        if window.reset_at is not None and window.reset_at - window.seen_at < _LONG_MS:
            return
        window.warned = kept.moved = True
        self._say("quota.warning", connection, window)

    def _say(self, kind: str, connection: Connection, window: Window) -> None:
        if self._emit is not None:
            self._emit(
                kind,
                connection_id=connection.id,
                connection=connection.name,
                provider=connection.provider,
                window=window.name,
                model=window.model,
                used_percent=round(window.used, 1),
                reset_at=window.reset_at,
            )

    def forget(self, connection_id: str) -> None:
        """Drop what is known of a connection, here and in the store."""
        if self._kept.pop(connection_id, None) is not None and self._state is not None:
            self._state.drop(_KIND, connection_id)

    def keep_only(self, connection_ids: Collection[str]) -> None:
        """Drop what is known of connections that are gone."""
        for connection_id in [known for known in self._kept if known not in connection_ids]:
            self.forget(connection_id)


def _live(kept: _Kept, model: str, now_ms: int) -> Iterator[Window]:
    """The windows that say something now and concern a model; a limit of nothing is none that could be used up."""
    return (
        window
        for window in kept.windows.values()
        if window.limit and (not model or not window.model or window.model == model) and window.holds(now_ms)
    )


def _settle(kept: _Kept, now_ms: int) -> None:
    kept.settled = {key: (window.percent, window.reset_at) for key, window in kept.windows.items()}
    kept.stored_at, kept.moved = now_ms, False


def _moved(settled: tuple[float, int | None] | None, window: Window) -> bool:
    if settled is None:
        return True
    percent, reset_at = settled
    far = (reset_at is None) != (window.reset_at is None) or abs((reset_at or 0) - (window.reset_at or 0)) > _MOVED_MS
    return far or abs(percent - window.percent) >= _MOVED_PERCENT


def _full(window: Window, rules: ConnectionRules) -> str:
    """Why a window is used up, by what is left and the rules; empty when it is not."""
    used = window.used
    if used >= 100.0:
        return f"quota: the provider says that nothing is left of {window.name}"
    if rules.limit_percent and used >= rules.limit_percent and (not rules.limit_windows or window.name in rules.limit_windows):
        return f"quota: {window.name} is used to {used:.0f} %, and the owner's limit is {rules.limit_percent} %"
    return f"quota: {window.name} is used to {used:.0f} %" if rules.preflight and used >= _FULL else ""


def _collected(headers: Collection[tuple[bytes, bytes]]) -> dict[str, dict[str, str]]:
    """Window -> what the headers say of it."""
    found: dict[str, dict[str, str]] = {}
    for name, value in headers:
        meant = _meaning(name)
        if meant is not None:
            found.setdefault(meant[0], {})[meant[1]] = value.decode("latin-1").strip()
    return found


@lru_cache(maxsize=1024)
def _meaning(name: bytes) -> tuple[str, str] | None:
    """The window and the fact that a header of this name states; kept, for providers send the same few names with every answer."""
    words = _WORDS.search(name)
    return _stated(words.group(1)) if words is not None else _of_plan(name)


def _stated(name: bytes) -> tuple[str, str] | None:
    words = re.split(rb"[-_]", name)
    field = next((word for word in words if word in _FIELDS), None)
    if field is None:
        return None
    window = b"-".join(word for word in words if word not in _FIELDS and word != b"unified").decode("latin-1") or _REQUESTS
    return window_name(window), _FIELDS[field]


def _of_plan(name: bytes) -> tuple[str, str] | None:
    """``x-<vendor>-<window>-<field>``: one word of a vendor before the window, where there are two."""
    match = _PLAN.fullmatch(name)
    if match is None:
        return None
    vendor, dash, rest = match.group(1).partition(b"-")
    window = (rest if dash else vendor).decode("latin-1")
    return (window_name(window), _PLAN_FIELDS[match.group(2)]) if window else None


def _window(name: str, facts: dict[str, str], now_ms: int) -> Window | None:
    """A window of what was said about it; None when that is not enough, or makes no sense."""
    reset_at = _moment(facts.get("reset", ""), now_ms)
    try:
        if "percent" in facts or "share" in facts:
            used = float(facts["percent"]) if "percent" in facts else 100.0 * float(facts["share"])
            if not math.isfinite(used) or used < 0:
                return None
            named = _by_length(name, facts.get("minutes", ""))
            return Window(
                name=named, limit=100, remaining=round(100.0 - min(used, 100.0), 4), reset_at=reset_at, seen_at=now_ms, share=True
            )
        limit = int(float(facts["limit"]))
        remaining = int(float(facts["remaining"])) if "remaining" in facts else limit - int(float(facts["used"]))
    except (KeyError, ValueError, OverflowError):
        return None
    if max(limit, remaining) > _LARGEST or limit < 0:
        return None
    return Window(name=name, limit=limit, remaining=remaining, reset_at=reset_at, seen_at=now_ms)


def _by_length(name: str, minutes: str) -> str:
    """A plan's first and second window by how long they are: five hours is session, seven days weekly."""
    front, dash, last = name.rpartition("-")
    if last not in ("primary", "secondary"):
        return name
    named = window_name(f"{minutes.partition('.')[0]}m")
    return front + dash + named if named in ("session", "weekly") else name


def _moment(text: str, now_ms: int) -> int | None:
    """A reset in any of its forms (seconds to go, epoch seconds or ms, ISO 8601, ``1m30s``) as epoch ms."""
    try:
        at = _counted(float(text), now_ms)
    except ValueError:
        at = _written(text, now_ms)
    return round(at) if 0 <= at <= LAST_MS else None


def _counted(number: float, now_ms: int) -> float:
    if number > 1e11:
        return number
    return number * 1000 if number > 1e9 else now_ms + number * 1000


def _written(text: str, now_ms: int) -> float:
    """A moment in ISO 8601 or a span such as ``1m30s``; NaN for anything else."""
    if _SPANS.fullmatch(text):
        return now_ms + sum(float(number) * _UNIT_MS[unit] for number, unit in _SPAN.findall(text))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000
