"""What an owner may say of a connection's health: that it is well again, or that it is to rest until a time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from hub.records import TestStatus
from hub.routing.cooldown import Cooling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.call import Hub
    from hub.records import Connection

#: Fields that only the hub fills; null clears what it noted.
_FOUND_OUT = ("lastError", "lastErrorAt", "lastErrorType", "lastErrorSource", "errorCode", "lastTested")
_SETTABLE = (TestStatus.ACTIVE, TestStatus.UNKNOWN)
_CLEAR: dict[str, Any] = {"last_error": "", "last_error_at": None, "cooldown_until": None, "backoff_level": 0}
_RESTED = "rested by its owner"


class Health:
    """The health part of a change, checked when it is made and put into force by :meth:`apply`.

    ``given`` holds the wire's fields that were sent. Raises BadRequest naming one that is not for a caller to say.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        for name in _FOUND_OUT:
            if given.get(name) is not None:
                raise BadRequest(f"{name} is what the hub finds out; send null to clear it", field=name)
        if given.get("healthCheckInterval"):
            raise BadRequest(
                "healthCheckInterval must be 0: connections are tested on request and watched by their traffic", field="healthCheckInterval"
            )
        status = given.get("testStatus")
        if status is not None and status not in _SETTABLE:
            raise BadRequest(
                f"testStatus can be set to {' or '.join(_SETTABLE)}, which clears every mark; the hub finds out the others",
                field="testStatus",
            )
        self._status = None if status is None else TestStatus(status)
        self._error = "lastError" in given
        self._until = "rateLimitedUntil" in given
        self._rest = _moment(given.get("rateLimitedUntil"))

    def apply(self, hub: Hub, connection: Connection) -> None:
        """Put it into force, at once."""
        now_ms = hub.clock.now_ms()
        if self._status is not None:
            hub.resilience.clear_connection(connection.id)
            hub.targets.forgive(connection.id)
            hub.mark(connection.id, test_status=self._status, **_CLEAR)
        elif self._error:
            hub.mark(connection.id, last_error="", last_error_at=None)
        if self._rest is not None and self._rest > now_ms:
            until = hub.clock.monotonic() + (self._rest - now_ms) / 1000
            hub.resilience.cooldowns.restore(connection.id, Cooling(until, 0, _RESTED, soft=False))
            hub.mark(connection.id, test_status=TestStatus.UNAVAILABLE, last_error=_RESTED, last_error_at=now_ms, cooldown_until=self._rest)
        elif self._until and self._status is None:
            hub.resilience.clear_connection(connection.id)
            cooled = connection.test_status is TestStatus.UNAVAILABLE
            hub.mark(
                connection.id, **_CLEAR if cooled else {}, **{"test_status": TestStatus.UNKNOWN} if cooled else {"cooldown_until": None}
            )


def _moment(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadRequest("rateLimitedUntil must be a time in ISO 8601, or null to end a cooldown", field="rateLimitedUntil") from None
