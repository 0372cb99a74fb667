"""The side of a sync that asks: another hub in the cloud's place, which this one compares itself with now and then."""

from __future__ import annotations

import asyncio
import secrets as chance
from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson

from hub.errors import BadRequest, Conflict, HubError, NotConfigured, UpstreamFailed
from hub.fetch import exchange
from hub.log import logger
from hub.outbound.address import LOOPBACK, parse_url
from hub.outbound.base import OutboundError
from hub.process.background import Regularly
from hub.sync import sealing
from hub.sync.merging import Conflict as Clash
from hub.sync.merging import Item, merge
from hub.sync.serving import Refused, opened, write

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.events import Events
    from hub.outbound.client import Outbound
    from hub.settings import Settings
    from hub.store import Store
    from hub.sync.items import Items
    from hub.sync.merging import Merge
    from hub.sync.serving import Serving

log = logger("hub.sync")
_PEER, _BASE = "sync.peer", "sync.base"
_PLACE = f"values/{_PEER}/token"
_MOST = 32 * 2**20
_LOOK_SECONDS = 60.0
_MINUTE_MS = 60_000
_PATH = "/api/sync/bundle"


class Peer(msgspec.Struct, kw_only=True):
    """The other hub. ``token`` is sealed; times in epoch milliseconds."""

    url: str
    token: str
    minutes: int = 0
    last_at: int | None = None
    fault: str = ""


class Seen(msgspec.Struct, kw_only=True):
    """What the other hub said: its version, its key, what the token may, and its items."""

    version: str
    recipient: str
    secrets: bool
    write: bool
    items: dict[str, Item]


class Report(msgspec.Struct, kw_only=True):
    """What a sync has done, or would do. Names of what was written and deleted on each side."""

    dry_run: bool
    here: list[str]
    there: list[str]
    gone_here: list[str]
    gone_there: list[str]
    conflicts: list[Clash]
    refused: list[Refused]
    secrets: bool
    write: bool


class Syncing:
    """One per process; one sync at a time in it."""

    def __init__(
        self, store: Store, items: Items, serving: Serving, outbound: Outbound, clock: Clock, events: Events, settings: Settings
    ) -> None:
        self._store = store
        self._items = items
        self._serving = serving
        self._outbound = outbound
        self._clock = clock
        self._events = events
        self._settings = settings
        self._turn = asyncio.Lock()
        self._looks = Regularly("the sync with the other hub", self.tick, every=_LOOK_SECONDS)

    @property
    def peer(self) -> Peer | None:
        """The other hub, None while there is none."""
        stored = self._store.values.get(_PEER)
        return None if stored is None else msgspec.convert(stored, Peer)

    def open(self) -> bool:
        """Begin to look at the clock; False where that was begun already. On the event loop."""
        return self._looks.start()

    async def close(self) -> None:
        """End the loop. May be called twice."""
        await self._looks.close()

    async def enable(self, url: str, token: str, minutes: int) -> Report:
        """Sync with another hub from now on, every so many minutes (0: when asked to); syncs once. Raises as :meth:`sync`."""
        url, token = (url or self._settings.sync_url).rstrip("/"), token or self._settings.sync_token
        if not url or not token:
            raise UpstreamFailed("no other hub is named: give url and token, or set HUBROUTE_SYNC_URL and HUBROUTE_SYNC_TOKEN", field="url")
        self._allowed(url)
        peer = Peer(url=url, token=self._store.seal(token, _PLACE), minutes=minutes)
        await self._see(peer)
        kept = self.peer
        if kept is None or kept.url != url:
            await self._store.values.delete(_BASE)
        await self._keep(peer)
        return await self.sync()

    async def verify(self) -> Seen:
        """Ask the other hub, and change nothing. Raises as :meth:`sync`."""
        return await self._see(self._named())

    async def disable(self) -> bool:
        """Forget the other hub; whether there was one."""
        there = self.peer is not None
        if there:
            await self._store.values.delete(_PEER)
            await self._store.values.delete(_BASE)
        return there

    async def sync(self, *, dry_run: bool = False) -> Report:
        """Compare with the other hub and make both the same, as far as the token may.

        Raises NotConfigured without another hub, UpstreamFailed when it cannot be reached, refuses the token or answers something else,
        Conflict when it is changed at the same moment again and again.
        """
        peer = self._named()
        if self._turn.locked():
            raise Conflict("a sync is at work; wait for its end")
        async with self._turn:
            try:
                report = await self._again(peer, dry_run=dry_run)
            except HubError as error:
                if not dry_run:
                    await self._keep(msgspec.structs.replace(peer, fault=error.message))
                raise
            if not dry_run:
                await self._keep(msgspec.structs.replace(peer, last_at=self._clock.now_ms(), fault=""))
                self._events.emit("sync.done", here=len(report.here), there=len(report.there), conflicts=len(report.conflicts))
            return report

    async def tick(self) -> bool:
        """Sync when it is time, in one process only; whether it was."""
        peer = self.peer
        if peer is None or not peer.minutes:
            return False
        if not await self._store.state.claim("sync", "last", self._clock.now_ms(), peer.minutes * _MINUTE_MS):
            return False
        await self.sync()
        return True

    async def _again(self, peer: Peer, *, dry_run: bool) -> Report:
        for _ in range(3):
            try:
                return await self._once(peer, dry_run=dry_run)
            except Conflict as error:
                log.info("the other hub was changed meanwhile; comparing again", reason=error.message)
        raise Conflict("the other hub is changed all the time; try again later", retry_after=60)

    async def _once(self, peer: Peer, *, dry_run: bool) -> Report:
        seen = await self._see(peer)
        token = self._token(peer)
        base: dict[str, str] = self._store.values.get(_BASE, {})
        here = self._items.all(secrets=seen.secrets, token=token)
        found = merge(base, here, seen.items)
        if not seen.write:
            found.there, found.gone_there = [], []
        report = _report(found, seen, dry_run=dry_run)
        if dry_run:
            return report
        # The other hub first: when it has changed meanwhile, nothing was done here.
        if found.there or found.gone_there:
            report.refused += await self._push(peer, seen, found)
        report.refused += await write(self._items, found.here, found.gone_here)
        await self._remember(peer, base, seen)
        return report

    async def _remember(self, peer: Peer, base: dict[str, str], before: Seen) -> None:
        """What both have the same now; of the rest what was known of it stays."""
        after = await self._see(peer) if before.write else before
        here = self._items.all(secrets=before.secrets, token=self._token(peer))
        same = {key: one.print for key, one in here.items() if key in after.items and after.items[key].print == one.print}
        open_ = {key: value for key, value in base.items() if key not in same and (key in here or key in after.items)}
        await self._store.values.set(_BASE, open_ | same)

    async def _push(self, peer: Peer, seen: Seen, found: Merge) -> list[Refused]:
        token = self._token(peer)
        value = {"puts": [msgspec.to_builtins(one) for one in found.there], "gone": found.gone_there}
        sealed = sealing.seal(value, to=seen.recipient, token=token, about={"direction": "push", "version": seen.version})
        answer = await self._asked(peer, "POST", {"base": seen.version, "bundle": sealed}, {})
        return opened(answer.get("refused", []), list[Refused])

    async def _see(self, peer: Peer) -> Seen:
        nonce = chance.token_urlsafe(16)
        headers = {"x-sync-recipient": self._serving.public_key(), "x-sync-nonce": nonce}
        answer = await self._asked(peer, "GET", None, headers)
        try:
            version = str(answer["version"])
            about = {"direction": "pull", "version": version, "nonce": nonce}
            value = sealing.unseal(answer["bundle"], secret=self._serving.secret_key(), token=self._token(peer), about=about)
            items: list[Item] = opened(value["items"], list[Item])
            recipient = sealing.known_key(str(answer["recipient"]))
        except (KeyError, TypeError, BadRequest) as error:
            why = error.message if isinstance(error, HubError) else "it answers something else"
            raise UpstreamFailed(f"the other hub's bundle cannot be used: {why}") from error
        return Seen(
            version=version,
            recipient=recipient,
            secrets=bool(answer.get("secrets")),
            write=bool(answer.get("write")),
            items={one.key: one for one in items},
        )

    async def _asked(self, peer: Peer, method: str, body: object, headers: dict[str, str]) -> dict[str, Any]:
        """One request to the other hub. Raises UpstreamFailed, Conflict where it says so."""
        headers = {"x-sync-token": self._token(peer), **headers}
        url = f"{peer.url}{_PATH}"
        private = self._private(peer.url)
        try:
            answer = await exchange(self._outbound, method, url, headers=headers, body=body, most=_MOST, private=private)
        except OutboundError as error:
            raise UpstreamFailed(f"the other hub cannot be reached: {error.message}") from error
        try:
            told: Any = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            told = None
        if answer.status == 409:
            raise Conflict("the other hub was changed meanwhile")
        if answer.status != 200 or not isinstance(told, dict):
            raise UpstreamFailed(f"the other hub answers {answer.status}{_reason(told)}", upstream_status=answer.status)
        return told  # pyright: ignore[reportUnknownVariableType] - JSON edge

    def _allowed(self, url: str) -> None:
        """Raise BadRequest for an address that no token may be sent to: without https, unless it is this machine and that is allowed."""
        origin, target = parse_url(url, field="url")
        if target != "/" or "?" in url:
            raise BadRequest("name the other hub by its origin, such as https://hub.example.com", field="url")
        if origin.scheme != "https" and not (origin.host in LOOPBACK and self._private(url)):
            raise BadRequest("the other hub's address must begin with https://", field="url")

    def _private(self, url: str) -> bool:
        return self._settings.allow_private or url == self._settings.sync_url.rstrip("/")

    def _token(self, peer: Peer) -> str:
        return self._store.unseal(peer.token, _PLACE).reveal()

    def _named(self) -> Peer:
        peer = self.peer
        if peer is None:
            raise NotConfigured('sync is off: POST /api/sync/cloud {"action": "enable", "url": …, "token": …} names the other hub')
        return peer

    async def _keep(self, peer: Peer) -> None:
        if self.peer != peer:
            await self._store.values.set(_PEER, msgspec.to_builtins(peer))


def _report(found: Merge, seen: Seen, *, dry_run: bool) -> Report:
    return Report(
        dry_run=dry_run,
        here=[f"{one.kind} {one.name}" for one in found.here],
        there=[f"{one.kind} {one.name}" for one in found.there],
        gone_here=found.gone_here,
        gone_there=found.gone_there,
        conflicts=found.conflicts,
        refused=[],
        secrets=seen.secrets,
        write=seen.write,
    )


def _reason(told: Any) -> str:
    """What another hub says went wrong, in either of the forms of its errors."""
    for words in (("error", "message"), ("error",)):
        found = told
        for word in words:
            found = cast("dict[str, Any]", found).get(word) if isinstance(found, dict) else None
        if isinstance(found, str):
            return f": {found[:300]}"
    return ""
