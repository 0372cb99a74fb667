"""The way from a format to its provider for one try: sends what is right, turns what is wrong into what the engine acts on."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from hub.engine.flow import Refused
from hub.engine.tries import rejected
from hub.errors import BadRequest, UpstreamFailed
from hub.media.reading import content_type
from hub.outbound.address import parse_url
from hub.outbound.base import HandshakeRefused, Limits, OutboundError, Outgoing
from hub.providers._failure import classify
from hub.secret import mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.chat import Usage
    from hub.money.units import Units
    from hub.outbound.base import Incoming, Socket, Timeouts
    from hub.outbound.client import Outbound
    from hub.providers.base import Failure, Target
    from hub.resilience.quota import Quotas


#: Seconds for telling a provider that a job is no longer wanted.
_GOODBYE = 5.0


class Wire:
    """One try of one target."""

    def __init__(
        self,
        target: Target,
        *,
        outbound: Outbound,
        quotas: Quotas,
        now_ms: Callable[[], int],
        timeouts: Timeouts,
        taken: Callable[[Usage, Units], None],
        monotonic: Callable[[], float],
        until: float,
    ) -> None:
        self.target = target
        self._taken = taken
        self._outbound = outbound
        self._quotas = quotas
        self._now_ms = now_ms
        self._timeouts = timeouts
        self._monotonic = monotonic
        self._until = until

    def taken(self, usage: Usage, units: Units) -> None:
        """The provider has begun work that it charges for, whatever becomes of the order."""
        self._taken(usage, units)

    async def open(self, outgoing: Outgoing, *, most: int = 0) -> Incoming:
        """Send a request; the answer's body is to be read or closed. ``most`` bounds it in bytes where it is not the usual.

        Raises Refused for an error status, OutboundError for a fault on the way.
        """
        outgoing.timeouts = self._timeouts
        if most:
            outgoing.limits = Limits(body=most)
        incoming = await self._outbound.send(outgoing)
        self._quotas.observe(self.target.connection_id, incoming.headers, self._now_ms(), model=self.target.model)
        if incoming.status >= 300:
            body = mask(await incoming.read(), self.target.secret)
            failure = classify(incoming.status, incoming.headers, body)
            raise Refused(failure, rejected(failure, self.target, body, content_type(incoming)))
        return incoming

    async def dial(self, outgoing: Outgoing) -> Socket:
        """Open a WebSocket; close it. Raises as :meth:`open` does."""
        outgoing.timeouts = self._timeouts
        try:
            return await self._outbound.websocket(outgoing)
        except HandshakeRefused as refused:
            self._quotas.observe(self.target.connection_id, refused.headers, self._now_ms(), model=self.target.model)
            body = mask(refused.body, self.target.secret)
            failure = classify(refused.status, refused.headers, body)
            raise Refused(failure, rejected(failure, self.target, body, content_type(refused))) from refused

    async def call(self, outgoing: Outgoing) -> bytes:
        """Send a request and read the whole answer, our credential in it masked. Raises as :meth:`open` does."""
        incoming = await self.open(outgoing)
        return mask(await incoming.read(), self.target.secret)

    async def fetched(self, url: str, *, most: int, own: bool = True) -> bytes:
        """A file at an address that an answer names, or with ``own`` False a client; nothing of ours goes along (SEC-10).

        Private addresses are reached only at the origin of a connection that may use them, and never for a client.
        Raises UpstreamFailed, OutboundError.
        """
        try:
            origin, path = parse_url(url)
            private = own and self.target.private and origin == parse_url(self.target.base_url)[0]
        except BadRequest as error:
            raise UpstreamFailed("the file's address is none", code="malformed_answer") from error
        incoming = await self._outbound.send(
            Outgoing(
                origin,
                "GET",
                path,
                [(b"accept", b"*/*"), (b"user-agent", b"hubroute")],
                private=private,
                proxy=self.target.proxy,
                timeouts=self._timeouts,
                limits=Limits(body=most),
            )
        )
        if incoming.status != 200:
            await incoming.close()
            raise UpstreamFailed(f"the file could not be fetched: HTTP {incoming.status}", code="download_failed")
        return await incoming.read()

    def refuse(self, failure: Failure) -> Refused:
        """The error for a failure that came inside an answer of status 200; raise it."""
        return Refused(failure, rejected(failure, self.target, b"", ""))

    async def pause(self, seconds: float) -> None:
        """Wait before asking for a job's state again. Raises UpstreamFailed once the order's time is over."""
        if self._monotonic() + seconds > self._until:
            raise UpstreamFailed(f"{self.target.provider.name} did not finish the job in time", code="job_timeout")
        await asyncio.sleep(seconds)

    async def withdraw(self, outgoing: Outgoing) -> None:
        """Tell the provider that a job is no longer wanted, also while this request is being cancelled (REL-06). Never raises."""
        outgoing.timeouts = self._timeouts
        with anyio.move_on_after(_GOODBYE, shield=True), suppress(OutboundError):
            incoming = await self._outbound.send(outgoing)
            await incoming.close()
