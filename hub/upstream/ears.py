"""What one session hears of at its server without asking: changed lists, and the resources that somebody here watches.

Servers with a handshake tell of lists unasked, and of resources that were subscribed to. Those of 2026-07-28 tell what a listen
stream asked for; it is opened anew when that changes, or when it breaks off.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hub.errors import HubError
from hub.log import logger, masked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.client import Client

log = logger("hub.upstream")

#: Seconds until a stream that broke off is opened again, at first and at most.
_PAUSE, _LONGEST_PAUSE = 1.0, 60.0


class Ears:
    """Of one session. What is heard goes the way of all notifications, through the session's gate."""

    def __init__(self, name: str, client: Client, ask: Callable[[Any], Awaitable[Any]]) -> None:
        self._name = name
        self._client = client
        self._ask = ask
        self._uris: frozenset[str] = frozenset()
        self._stream: asyncio.Task[None] | None = None
        self._modern = client.protocol_version in MODERN_PROTOCOL_VERSIONS
        declared = client.server_capabilities
        kinds = {"tools": declared.tools, "prompts": declared.prompts, "resources": declared.resources}
        self._lists = {f"{kind}_list_changed": True for kind, one in kinds.items() if one is not None and one.list_changed}
        self._subscribes = declared.resources is not None and bool(declared.resources.subscribe)

    def begin(self) -> None:
        """Hear of changed lists."""
        if self._modern and (self._lists or self._uris):
            self._stream = asyncio.create_task(self._listen())

    async def watch(self, uris: frozenset[str]) -> None:
        """Hear of these resources from now on, and of no others."""
        before, self._uris = self._uris, uris
        if not self._subscribes or before == uris:
            return
        if self._modern:
            await self.close()
            self.begin()
            return
        for uri in sorted(uris - before):
            await self._tell(types.SubscribeRequest(params=types.SubscribeRequestParams(uri=uri)))
        for uri in sorted(before - uris):
            await self._tell(types.UnsubscribeRequest(params=types.UnsubscribeRequestParams(uri=uri)))

    async def close(self) -> None:
        """Hear nothing any more."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.cancel()
            await asyncio.wait([stream])

    async def _tell(self, request: Any) -> None:
        try:
            await self._ask(request)
        except HubError as error:
            log.warning("a server takes no subscription", server=self._name, reason=error.message)

    async def _listen(self) -> None:
        pause = _PAUSE
        while True:
            try:
                async with self._client.listen(**self._lists, resource_subscriptions=sorted(self._uris)) as events:
                    pause = _PAUSE
                    async for _ in events:
                        pass  # heard already, in the gate
            except ListenNotSupportedError:
                return
            except MCPError as error:
                if error.code == types.METHOD_NOT_FOUND:
                    return
                log.warning("a server's listen stream is refused", server=self._name, reason=masked(error.message)[:300])
            except (SubscriptionLost, TimeoutError):
                log.info("a server's listen stream broke off", server=self._name)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
