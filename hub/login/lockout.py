"""Failed logins slow the next ones down, at the account and from each address, longer each time (SEC-06).

A try is counted before it is looked at, in the database: a crowd of tries at once, a restart or another process gives nobody more of
them. Success forgets. Tries from an address where the owner is logged in do not wait for those from elsewhere, so that a stranger
cannot lock the owner out of a hub at home.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from hub.errors import RateLimited

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.logins import Tries
    from hub.store.store import Store

#: How the account is called where it is locked.
ACCOUNT = "login:owner"
_ADDRESS = "login:"
#: Tries that wait for nothing.
FREE = 5
_FIRST_MS = 10_000
_MOST_MS = {True: 15 * 60_000, False: 60 * 60_000}
_FORGET_MS = 24 * 3_600_000


def wait_ms(name: str, failures: int) -> int:
    """How long to wait after so many failures."""
    if failures < FREE:
        return 0
    return min(_FIRST_MS << min(failures - FREE, 20), _MOST_MS[name == ACCOUNT])


class Lockout:
    """Asked before a password is looked at: :meth:`admit`; told how that went: :meth:`clear`, :meth:`release`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._rows = store.logins
        self._clock = clock

    async def admit(self, address: str) -> None:
        """Count a try as failed. Raises RateLimited when it comes too early; it is not counted then."""
        now = self._clock.now_ms()
        until = await self._rows.count(ACCOUNT, _name(address), address, now=now, wait=wait_ms, forget_at=now + _FORGET_MS)
        if until > now:
            wait = (until - now + 999) // 1000
            raise RateLimited(f"too many failed logins; try again in {wait} s", code="login_locked", retry_after=wait)

    async def clear(self, address: str) -> None:
        """The try went well: those before it are forgotten."""
        await self._rows.forget((ACCOUNT, _name(address)))

    async def release(self, address: str) -> None:
        """The try was neither good nor bad; it does not count."""
        await self._rows.uncount((ACCOUNT, _name(address)), self._clock.now_ms())

    async def locked(self) -> list[Tries]:
        """Who has to wait now."""
        return await self._rows.waiting(self._clock.now_ms())

    async def unlock(self, name: str = "") -> bool:
        """Let one (by the name in :meth:`locked`) or all try anew; whether anything was known of it."""
        return await self._rows.forget((name,) if name else ())


def _name(address: str) -> str:
    """What stands for an address: of IPv6 the network that one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return f"{_ADDRESS}{address[:100] or 'unknown'}"
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        return f"{_ADDRESS}{mapped or ipaddress.ip_network((int(found), 64), strict=False)}"
    return f"{_ADDRESS}{found}"
