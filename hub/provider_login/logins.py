"""Logins at providers as one part of the hub: clients, accounts, the flow, and the ports that wait for a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.provider_login.accounts import Accounts
from hub.provider_login.clients import Clients
from hub.provider_login.flow import ProviderFlow
from hub.provider_login.listener import Listeners
from hub.provider_login.model import need

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hub.clock import Clock
    from hub.events import Events
    from hub.outbound.client import Outbound
    from hub.provider_login.flow import Begun
    from hub.provider_login.model import Facts
    from hub.providers.catalog import Catalog
    from hub.settings import Settings
    from hub.store.store import Store


class ProviderLogins:
    """Made before the store is opened; :meth:`refresh` after each change, :meth:`close` with the hub."""

    def __init__(
        self,
        store: Store,
        outbound: Outbound,
        events: Events,
        clock: Clock,
        settings: Settings,
        catalog: Catalog,
        mark: Callable[..., None],
        agents: Callable[[], Iterable[tuple[str, str]]],
    ) -> None:
        self.clients = Clients(store, settings, catalog, agents)
        self.accounts = Accounts(store, outbound, events, clock, catalog, mark, self.clients)
        self.flow = ProviderFlow(self.clients, self.accounts, store, outbound, clock)
        self.listeners = Listeners()
        self._clock = clock

    async def listen(self, provider: str, facts: Facts, principal: str, *, port: int = 0) -> tuple[Begun, int]:
        """Begin a login whose answer comes back to a port of this machine; the port. Raises what :meth:`ProviderFlow.authorize` raises."""
        row, sign_in = self.clients.sign_in(provider)
        need(sign_in, "code", row.name)
        self.clients.known(row)

        async def take(answer: Mapping[str, str], address: str) -> None:
            await self.flow.arrived(row.id, answer, address)

        address = await self.listeners.start(sign_in.loopback, port, 600.0, take)
        number = int(address.rpartition(":")[2].partition("/")[0])
        try:
            return await self.flow.authorize(row.id, facts, principal, address), number
        except BaseException:
            self.listeners.stop(number)
            raise

    def refresh(self) -> None:
        """Connections or accounts may have changed, here or in another process."""
        self.accounts.refresh()

    async def close(self) -> None:
        """Wait nowhere any more; refreshes under way are finished."""
        await self.listeners.close()
        await self.accounts.close()
