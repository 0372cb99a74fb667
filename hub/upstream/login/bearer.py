"""The access token of a login on each request of a session. Imported with the session's client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from mcp.client.auth import utils

from hub.errors import HubError
from hub.grants.model import scopes_of
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.upstream.login.logins import Logins

log = logger("hub.upstream.login")


class Bearer(httpx2.Auth):
    """Sends the token that is valid now, and renews it once when the server refuses it.

    Raises nothing: the client's task group would end with it, and with it the session. What the server said is noted for the
    call under way.
    """

    def __init__(self, logins: Logins, identity: str, url: str) -> None:
        self._logins = logins
        self._identity = identity
        self._origin = _origin(httpx2.URL(url))

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """One request, and at most one repetition."""
        if _origin(request.url) != self._origin:
            yield request  # a token is for its own server and for nobody that it points to
            return
        serial = self._put(request)
        response = yield request
        if response.status_code == 401 and serial and await self._renewed(serial):
            self._put(request)
            response = yield request
        if response.status_code == 401:
            await self._note(())
        elif response.status_code == 403 and utils.extract_field_from_www_auth(response, "error") == "insufficient_scope":
            await self._note(scopes_of(utils.extract_scope_from_www_auth(response)))

    def _put(self, request: httpx2.Request) -> int:
        try:
            token, serial = self._logins.access(self._identity)
        except HubError as error:
            log.warning("a login is gone while its session is open", reason=error.message)
            return 0
        request.headers["authorization"] = f"Bearer {token}"
        return serial

    async def _renewed(self, serial: int) -> bool:
        try:
            return await self._logins.renewed(self._identity, serial)
        except HubError as error:
            log.warning("a refused token could not be renewed", reason=error.message)
            return False

    async def _note(self, scopes: tuple[str, ...]) -> None:
        try:
            await self._logins.refused(self._identity, scopes)
        except HubError as error:
            log.warning("a refused token could not be noted", reason=error.message)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
