"""Who may come to the doors at all, by IP address: lists, bans for a time, and whose word on a client's address is believed.

Asked before anybody is authenticated. Nothing is worked out while the filter is off and nobody is banned.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hub.errors import BadRequest, Conflict, Forbidden
from hub.outbound.address import forms, network
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.clock import Clock
    from hub.outbound.address import Address
    from hub.store import Store

_NAME = "ip-filter"
_ID = "ipf_1"
#: Verdicts that are kept, by the address as it came.
_KEPT = 4096
_MOST_FORWARDED = 32


class Ban(Body):
    """One address that is shut out for a time. Times in epoch milliseconds."""

    ip: str = Field(description="The address.")
    until: int = Field(description="When it may come again.")
    reason: str = Field(default="", description="Why, for people.")
    at: int = Field(default=0, description="Since when.")


class Rules(Body):
    """What is stored. The lists are kept while the filter is off."""

    enabled: bool = Field(default=False, description="Whether the lists count.")
    mode: Literal["blacklist", "whitelist"] = Field(default="blacklist", description="Which list counts.")
    blacklist: tuple[str, ...] = Field(default=(), description="Who is refused.")
    whitelist: tuple[str, ...] = Field(default=(), description="Who alone is let in.")
    bans: tuple[Ban, ...] = Field(default=(), description="Who is refused for a time, in either mode and while the lists are off.")


class Networks:
    """A set of networks that is asked at most once for each length of prefix in it, however many there are."""

    def __init__(self, written: Iterable[str]) -> None:
        self._by_length: dict[tuple[int, int], set[int]] = {}
        for text in written:
            one = network(text, "networks")
            shift = one.max_prefixlen - one.prefixlen
            self._by_length.setdefault((one.version, shift), set()).add(int(one.network_address) >> shift)

    def __bool__(self) -> bool:
        return bool(self._by_length)

    def __contains__(self, address: Address) -> bool:
        number, version = int(address), address.version
        return any(version == of and number >> shift in known for (of, shift), known in self._by_length.items())


class _Verdicts:
    """Rules made ready to ask."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._black = Networks(rules.blacklist if rules.enabled and rules.mode == "blacklist" else ())
        self._white = Networks(rules.whitelist if rules.enabled and rules.mode == "whitelist" else ())
        self._closed = rules.enabled and rules.mode == "whitelist"
        self._bans = {address: ban.until for ban in rules.bans for address in forms(ban.ip)[:1]}
        self._kept: dict[str, tuple[Address | None, bool]] = {}
        self.active = bool(self._black) or self._closed or bool(self._bans)

    def refuses(self, text: str, now_ms: int) -> bool:
        """Whether an address may not come in. This machine always may; an address that nobody knows is on no list."""
        kept = self._kept.get(text)
        if kept is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            kept = self._kept[text] = self._judged(forms(text))
        banned, listed = kept
        return listed or (banned is not None and self._bans[banned] > now_ms)

    def _judged(self, found: list[Address]) -> tuple[Address | None, bool]:
        """The address by which somebody is or was banned, and whether the lists refuse him."""
        if found and found[0].is_loopback:
            return None, False
        return next((address for address in found if address in self._bans), None), self._listed(found)

    def _listed(self, found: list[Address]) -> bool:
        if self._closed:
            return not found or found[0] not in self._white
        return any(address in self._black for address in found)


class AddressFilter:
    """The filter of a hub. Doors ask :meth:`check` while :attr:`active`; the rules follow changes of other processes."""

    def __init__(self, store: Store, clock: Clock, *, trusted: str) -> None:
        self._documents = store.collection("ip-filter", what="filter", prefix="ipf_", body=Rules)
        self._clock = clock
        self._trusted = Networks(one for one in trusted.split(",") if one.strip())
        self._verdicts = _Verdicts(Rules())
        self._version = -1
        self._changing = asyncio.Lock()
        #: Whether the word of any proxy is believed.
        self.trusting = bool(self._trusted)
        #: Whether anybody may be refused now.
        self.active = False

    def refresh(self) -> None:
        """Take over what is stored, after every change."""
        if self._documents.version != self._version:
            self._version = self._documents.version
            self._verdicts = _Verdicts(self.rules)
            self.active = self._verdicts.active

    @property
    def rules(self) -> Rules:
        """What is stored."""
        found = self._documents.peek(_ID)
        return found.body if found is not None else Rules()

    def live_bans(self) -> list[Ban]:
        """The bans that are not over."""
        now = self._clock.now_ms()
        return [ban for ban in self.rules.bans if ban.until > now]

    def check(self, address: str) -> None:
        """Raise Forbidden for a client that may not come in. The words are the same for every reason."""
        if self._verdicts.refuses(address, self._clock.now_ms()):
            raise Forbidden("this hub takes no requests from your address", code="address_refused")

    async def change(self, change: Callable[[Rules], Rules], *, asker: str, force: bool) -> Rules:
        """Store what ``change`` makes of the rules. ``asker`` is the address of who asks, empty for this machine.

        Raises BadRequest where it would shut out the one who asks, unless ``force`` says that this is meant, and what ``change`` raises.
        """

        def checked(kept: Rules) -> Rules:
            now = self._clock.now_ms()
            made = change(kept.model_copy(update={"bans": tuple(ban for ban in kept.bans if ban.until > now)}))
            if not force and asker and _Verdicts(made).refuses(asker, now):
                words = f"this would shut out {asker}, from where you ask; let it in first, or send force: true if it is meant"
                raise BadRequest(words, field="force", code="would_shut_out")
            return made

        async with self._changing:
            if self._documents.peek(_ID) is None:
                checked(Rules())
                with suppress(Conflict):  # another process may be first
                    await self._documents.create(_NAME, Rules(), document_id=_ID)
            await self._documents.edit(_ID, checked)
        self.refresh()
        return self.rules

    def client(self, peer: str, forwarded: Callable[[], str], *, believed: bool = False) -> str:
        """The address of the client behind a connection from ``peer``: what a trusted proxy says, else the peer.

        ``forwarded`` gives the value of X-Forwarded-For. It is read from its end, past the proxies that are trusted too; what stands
        before is the client's own word. ``believed`` trusts this peer whatever the settings say (a tunnel of the hub's own).
        """
        if not believed and not (self._trusted and self._trusts(peer)):
            return peer
        hops = [_bare(hop.strip()) for hop in forwarded().split(",")][-_MOST_FORWARDED:]
        if hops == [""]:
            return "" if believed else peer
        hop = next((one for one in reversed(hops) if not self._trusts(one)), hops[0])
        # What is no address is nobody's: it must not pass for the proxy's own.
        return hop if forms(hop) else ""

    def _trusts(self, text: str) -> bool:
        found = forms(text)
        return bool(found) and found[0] in self._trusted


def is_local(text: str) -> bool:
    """Whether an address is this machine's own loopback."""
    found = forms(text)
    return bool(found) and found[0].is_loopback


def _bare(hop: str) -> str:
    """An address without the port that some proxies write after it."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
