"""How a hub is reached and how it reaches out: who may come in, what it is called outside, which proxies its calls go through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.access.address_filter import AddressFilter
from hub.proxies.pool import Proxies
from hub.proxies.watch import Watch
from hub.tunnels.tunnels import Tunnels

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.outbound.client import Outbound
    from hub.planning.targets import Targets
    from hub.settings import Settings
    from hub.store import Store
    from hub.store.documents import Documents


class Borders:
    """The part of a hub that stands between it and the network."""

    def __init__(self, settings: Settings, store: Store, outbound: Outbound, clock: Clock) -> None:
        self.settings = settings
        self.addresses = AddressFilter(store, clock, trusted=settings.trusted_proxies)
        #: Each says why the hub must not be reachable from outside yet, or nothing. What adds a way in adds its own.
        self.openings: list[Callable[[], str]] = [self._open_doors]
        self.tunnels = Tunnels(settings, self.locked_down)
        self.proxies = Proxies(store)
        self.proxy_watch = Watch(self.proxies, store, outbound, clock, settings)

    def locked_down(self) -> list[str]:
        """Why this hub must not be reachable from outside; empty where every door asks who comes."""
        return [words for opening in self.openings if (words := opening())]

    @property
    def base_url(self) -> str:
        """How clients reach this hub: the public URL that is set, else the tunnel that is open, else where it listens."""
        return (not self.settings.public_url and self.tunnels.url) or self.settings.base_url

    async def open_borders(self) -> None:
        """Begin to look after the proxies, and end what a hub that was killed left behind."""
        await self.tunnels.open()
        self.proxy_watch.open()

    def refresh_borders(self, combos: Documents[Any], targets: Targets) -> None:
        """What owners write down changed, here or in another process."""
        self.addresses.refresh()
        self.tunnels.refresh()
        if self.proxies.refresh(combos):
            targets.clear()

    def _open_doors(self) -> str:
        if self.settings.test_profile:
            return "test_profile shows fixtures; start the hub without it"
        return "" if self.settings.require_api_key else "the model API takes requests without a key; set HUBROUTE_REQUIRE_API_KEY=true"
