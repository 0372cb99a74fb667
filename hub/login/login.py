"""The parts of the owner's login, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.login.sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.preferences import Preferences
    from hub.settings import Settings
    from hub.store.store import Store


class Login:
    """Who may use the dashboard. ``sessions`` are the browsers that are logged in."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, preferred: Callable[[], Preferences]) -> None:
        self._settings = settings
        self._preferred = preferred
        self.sessions = Sessions(store, clock, settings)

    @property
    def optional(self) -> bool:
        """Whether browsers of this machine need no login: the owner's wish, which counts on loopback only."""
        return not self._preferred().require_login and self.may_be_optional

    @property
    def may_be_optional(self) -> bool:
        """Whether the owner may do without a login: nobody but this machine reaches the hub, and no proxy speaks for others."""
        return self._settings.local_only and not self._settings.public_url
