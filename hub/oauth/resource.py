"""The hub as an OAuth resource server: from an access token to a caller, and what clients are told of where to get one (RFC 9728)."""

from __future__ import annotations

import asyncio
import importlib
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from hub.errors import Conflict, Unavailable
from hub.log import logger
from hub.money.budgets import Budget
from hub.oauth.discovery import places
from hub.oauth.keycache import KeyCache
from hub.oauth.refused import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hub.clock import Clock
    from hub.money.budgets import Budgets
    from hub.oauth.issuer import Issuer
    from hub.oauth.verifier import Checked, Verifier
    from hub.outbound.client import Outbound
    from hub.records import Caller

log = logger("hub.oauth")

#: Tokens whose check is remembered.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Login:
    """An issuer for an agent card. ``openid`` says that its metadata is in OpenID's form; else it has the two addresses of OAuth."""

    metadata_url: str
    openid: bool
    authorization_url: str
    token_url: str
    scopes: tuple[str, ...]


class ResourceServer:
    """Takes access tokens of the configured issuers. ``active`` is False when there are none, and then it does nothing.

    ``blocked`` gives the ids of principals that the owner shut out. A token is checked once and remembered by its digest, until
    it ends or its issuer's keys change.
    """

    def __init__(
        self, issuers: Sequence[Issuer], *, outbound: Outbound, clock: Clock, budgets: Budgets, blocked: Callable[[], Iterable[str]]
    ) -> None:
        self.active = bool(issuers)
        self.issuers = {one.issuer: one for one in issuers}
        self.caches = {one.issuer: KeyCache(one, outbound, clock) for one in issuers}
        #: Parts of the hub that are resources of their own, as paths; the hub as a whole is the empty one.
        self.resources: frozenset[str] = frozenset({""})
        self._clock = clock
        self._budgets = budgets
        self._blocked = blocked
        self._verifier: Verifier | None = None
        self._checked: dict[bytes, Checked] = {}
        self._first: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Fetch every issuer's keys in the background, so that the first caller need not wait; on the event loop."""
        if self.active:
            self._first = asyncio.create_task(self._greet())

    async def close(self) -> None:
        """End what is fetched now."""
        if self._first is not None:
            self._first.cancel()
            with suppress(asyncio.CancelledError):
                await self._first
        for cache in self.caches.values():
            await cache.close()

    def takes(self, token: str) -> bool:
        """Whether a credential is one to look at here: three parts with dots between them, while there are issuers."""
        return self.active and token.count(".") == 2

    async def caller(self, token: str, audiences: frozenset[str]) -> Caller:
        """The caller that a token stands for at a resource which has these names.

        Raises Unauthenticated, always in the same words, and Unavailable while the issuer's keys or the principal's budget cannot be had.
        """
        try:
            found = await self._found(token)
            self._fit(found, audiences)
        except TokenRefused as error:
            # Anybody can send a token that nobody signed; what an issuer signed is for the operator to see.
            (log.info if error.trusted else log.debug)("access token refused", reason=error.why)
            raise
        return found.caller

    def still(self, caller: Caller, *, renewed: bool) -> bool:
        """Whether a caller is good now: its issuer, itself, and its token unless that may have been ``renewed``."""
        good = caller.issuer in self.issuers and caller.key_id not in self._blocked()
        return good and (renewed or self._clock.now_ms() < caller.ends_ms)

    def name_of(self, key_id: str) -> str:
        """The name of a principal that was here lately; of others their id."""
        return next((one.caller.name for one in self._checked.values() if one.caller.key_id == key_id), key_id)

    def document(self, resource: str) -> dict[str, Any]:
        """The metadata of a resource, named by its whole address (RFC 9728, 2)."""
        offered = [name for issuer in self.issuers.values() for name in issuer.offered]
        return {
            "resource": resource,
            "authorization_servers": list(self.issuers),
            "scopes_supported": list(dict.fromkeys(offered)),
            "bearer_methods_supported": ["header"],
            "resource_name": "HubRoute",
        }

    def wanted(self, missing: Iterable[str], issuer: str = "") -> list[str]:
        """The scopes that a client should ask for to get ours that are missing; of the first issuer while it has no token of any."""
        chosen = self.issuers.get(issuer) or next(iter(self.issuers.values()))
        if not issuer and chosen.ask:
            return list(chosen.ask)
        return chosen.asking(frozenset(missing))

    @property
    def logins(self) -> tuple[Login, ...]:
        """How agents log in at each issuer, as far as is known now."""
        return tuple(_login(cache) for cache in self.caches.values())

    async def _found(self, token: str) -> Checked:
        digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        found = self._checked.get(digest)
        if found is not None and self._clock.now_ms() < found.caller.ends_ms and found.cache.holds(found.keys):
            return found
        found = await (self._verifier or await self._loaded()).check(token)
        await self._welcome(found.caller)
        self._checked.pop(digest, None)
        while len(self._checked) >= _REMEMBERED:
            del self._checked[next(iter(self._checked))]
        self._checked[digest] = found
        return found

    def _fit(self, found: Checked, audiences: frozenset[str]) -> None:
        """Raise TokenRefused for a token that is for somebody else (RFC 8707, 2), or whose principal is shut out."""
        if found.audiences.isdisjoint(audiences) and found.audiences.isdisjoint(self.issuers[found.caller.issuer].audience):
            raise TokenRefused(f"it is for {', '.join(sorted(found.audiences))[:300]}, not for {min(audiences)}", trusted=True)
        if found.caller.key_id in self._blocked():
            raise TokenRefused(f"{found.caller.key_id} is blocked", trusted=True)

    async def _welcome(self, caller: Caller) -> None:
        """Give a principal the budget of its issuer, unless it has one."""
        limit = self.issuers[caller.issuer].daily_usd
        if limit is None or self._budgets.find(caller.key_id) is not None:
            return
        try:
            await self._budgets.put(caller.key_id, Budget(daily_limit_usd=limit))
        except Conflict:
            # Two tokens of one principal at once; where the other came to another process, its budget is not known here yet.
            if self._budgets.find(caller.key_id) is None:
                raise Unavailable("the budget of this principal is being made; try again in a moment", retry_after=1) from None

    async def _loaded(self) -> Verifier:
        module = await asyncio.to_thread(importlib.import_module, "hub.oauth.verifier")
        made: Verifier = module.Verifier(self.caches, self._clock)
        self._verifier = made
        return made

    async def _greet(self) -> None:
        await self._loaded()
        for cache in self.caches.values():
            with suppress(Unavailable):  # the cache has logged why; callers try again
                await cache.current()


def _login(cache: KeyCache) -> Login:
    found, scopes = cache.metadata, tuple(cache.issuer.offered)
    if found is None or found.openid or not (found.authorization_endpoint and found.token_endpoint):
        # Until the issuer was heard, the place where OpenID puts its metadata is the best that is known.
        url = found.found_at if found is not None and found.openid else places(cache.issuer.issuer)[-1][0]
        return Login(url, True, "", "", scopes)
    return Login(found.found_at, False, found.authorization_endpoint, found.token_endpoint, scopes)
