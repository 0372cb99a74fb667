"""What providers say of their limits: read from the rate-limit headers of their answers, kept per connection.

The families are generic: ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}`` and the same words in
another order with a vendor prefix (``anthropic-ratelimit-requests-remaining``), and the plain draft
``ratelimit-remaining``. Only the tightest window of a connection is shown.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORDS = re.compile(rb"ratelimit[-_]?(.*)$")
_FIELDS = frozenset({b"limit", b"remaining", b"reset"})
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SPANS = re.compile(rf"(?:{_SPAN.pattern}\s*)+")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
#: What a provider may say and be believed: counts that a double holds exactly, moments up to the year 9999.
_LARGEST = 2**53
_LAST_MS = 253_402_300_799_000


class Window(msgspec.Struct, kw_only=True):
    """One limit of a connection as its provider stated it at ``seen_at`` (ms); ``reset_at`` None where it did not say."""

    name: str
    limit: int
    remaining: int
    reset_at: int | None
    seen_at: int

    @property
    def percent(self) -> float:
        """How much is left, 0 to 100."""
        return 100.0 * max(0, min(self.remaining, self.limit)) / self.limit if self.limit else 0.0


class Quotas:
    """The windows of every connection that stated some."""

    def __init__(self) -> None:
        self._windows: dict[str, dict[str, Window]] = {}

    def observe(self, connection_id: str, headers: Iterable[tuple[bytes, bytes]], now_ms: int) -> None:
        """Read an answer's headers; cheap when they hold no limits."""
        found: dict[str, dict[bytes, str]] = {}
        for name, value in headers:
            if b"ratelimit" in name:
                _collect(found, name, value)
        for name, facts in found.items():
            if b"limit" in facts and b"remaining" in facts:
                self._keep(connection_id, name, facts, now_ms)

    def _keep(self, connection_id: str, name: str, facts: dict[bytes, str], now_ms: int) -> None:
        try:
            limit, remaining = int(float(facts[b"limit"])), int(float(facts[b"remaining"]))
        except (ValueError, OverflowError):
            return
        if max(limit, remaining) > _LARGEST or limit < 0:
            return
        window = Window(name=name, limit=limit, remaining=remaining, reset_at=_moment(facts.get(b"reset", ""), now_ms), seen_at=now_ms)
        self._windows.setdefault(connection_id, {})[name] = window

    def tightest(self, connection_id: str, now_ms: int) -> Window | None:
        """The window with the least left; one whose reset has passed is full again and not shown."""
        return min(self.windows(connection_id, now_ms), key=lambda window: window.percent, default=None)

    def windows(self, connection_id: str, now_ms: int) -> list[Window]:
        """Every window that a connection's provider stated and that has not passed."""
        return [window for window in self._windows.get(connection_id, {}).values() if window.reset_at is None or window.reset_at > now_ms]

    def forget(self, connection_id: str) -> None:
        """Drop what is known of a connection."""
        self._windows.pop(connection_id, None)


def _collect(found: dict[str, dict[bytes, str]], name: bytes, value: bytes) -> None:
    match = _WORDS.search(name)
    words = re.split(rb"[-_]", match.group(1)) if match else []
    field = next((word for word in words if word in _FIELDS), None)
    if field is not None:
        window = b"-".join(word for word in words if word not in _FIELDS).decode("latin-1") or "requests"
        found.setdefault(window, {})[field] = value.decode("latin-1").strip()


def _moment(text: str, now_ms: int) -> int | None:
    """A reset in any of its forms (seconds to go, epoch seconds or ms, ISO 8601, ``1m30s``) as epoch ms."""
    try:
        at = _counted(float(text), now_ms)
    except ValueError:
        at = _written(text, now_ms)
    return round(at) if 0 <= at <= _LAST_MS else None


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
