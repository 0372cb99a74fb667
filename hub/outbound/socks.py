"""httpcore's SOCKS pool, whose connections come to an end when their handshake does not.

httpcore 1.0 keeps the place of a connection whose handshake was cancelled, for ever: its deadline passes here by cancelling. The socket
itself is closed by whoever sent the request (:class:`hub.outbound.breadth.Progress`), since httpcore leaves that open as well.
Imported at the first request that goes through such a proxy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpcore

if TYPE_CHECKING:
    from httpcore import AsyncConnectionInterface, Origin, Request, Response


class SocksPool(httpcore.AsyncSOCKSProxy):
    """The pool of one SOCKS proxy."""

    def create_connection(self, origin: Origin) -> AsyncConnectionInterface:
        """A connection that is not open yet."""
        return _Ending(super().create_connection(origin))


class _Ending(httpcore.AsyncConnectionInterface):
    """A connection that has expired once its first request did not get as far as an answer."""

    def __init__(self, inner: AsyncConnectionInterface) -> None:
        self._inner = inner
        self._answered = False
        self._failed = False

    async def handle_async_request(self, request: Request) -> Response:
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException:
            self._failed = not self._answered
            raise
        self._answered = True
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def info(self) -> str:
        return self._inner.info()

    def can_handle_request(self, origin: Origin) -> bool:
        return self._inner.can_handle_request(origin)

    def is_available(self) -> bool:
        return not self._failed and self._inner.is_available()

    def has_expired(self) -> bool:
        return self._failed or self._inner.has_expired()

    def is_idle(self) -> bool:
        return self._failed or self._inner.is_idle()

    def is_closed(self) -> bool:
        return self._inner.is_closed()
