"""The hot engine: keep-alive HTTP/1.1 pools, one per origin, on httptools and the standard library's TLS.

A request costs a dict look-up, one write and one or two futures: no task, queue, lock or scan.
A redirect is an answer like any other; nothing here follows one (SEC-12).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from hub.outbound.base import Fault, OutboundError
from hub.outbound.dial import connect_deadline, open_socket, start_protocol, tls_context
from hub.outbound.exchange import Connection
from hub.outbound.head import Heads, host_header

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from hub.outbound.address import AddressGuard
    from hub.outbound.base import Origin, Outgoing
    from hub.outbound.exchange import Answer

    Addresses = list[tuple[int, str]]

_MAX_POOLS = 512


@dataclass(frozen=True, slots=True)
class Ages:
    """Seconds: how long a connection may idle and live, and how long a look-up is used again.

    The life limit and the short memory of look-ups let a change of DNS take effect.
    """

    idle: float = 60.0
    life: float = 600.0
    resolved: float = 5.0


class PoolStats(TypedDict):
    """State of one pool; ``opened``, ``reused`` and ``retried`` count since its start."""

    origin: str
    private: bool
    active: int
    idle: int
    waiting: int
    opened: int
    reused: int
    retried: int


class Pool:
    """Connections to one origin. Takes the most recently used first; waits first come, first served at the limit.

    ``active`` counts slots: leased or just being opened. Active and idle together never exceed the limit.
    """

    def __init__(
        self, origin: Origin, private: bool, *, guard: AddressGuard, tls: Callable[[], ssl.SSLContext], limit: int, ages: Ages
    ) -> None:
        self.origin = origin
        self.private = private
        self.heads = Heads(origin)
        self.active = 0
        self.opened = 0
        self.reused = 0
        self.retried = 0
        self._guard = guard
        self._tls = tls
        self._limit = limit
        self._ages = ages
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Connection, None] = {}
        self._open: set[Connection] = set()
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._closing = False
        self._addresses: Addresses = []
        self._addresses_until = 0.0
        self._look_up: asyncio.Task[Addresses] | None = None

    @property
    def unused(self) -> bool:
        """Whether nobody would miss this pool."""
        return not self._open and not self.active and not self._waiters

    async def send(self, request: Outgoing) -> Answer:
        """Send a request; see :meth:`Http1.send`."""
        head = self.heads.build(request)
        connection = self.take() or await self.lease(request.timeouts.connect)
        answer = await connection.exchange(request, head)
        if answer.stale:
            # The upstream closed an idle connection as this request left. Once only, and on a new
            # connection: no byte of an answer has arrived, so repeating is what every client does.
            self.retried += 1
            connection = await self.lease(request.timeouts.connect, fresh=True)
            answer = await connection.exchange(request, head)
        if answer.error is not None and not answer.status:
            raise answer.error
        return answer

    def take(self) -> Connection | None:
        """A live idle connection, leased."""
        if not self._idle:
            return None
        connection, _ = self._idle.popitem()
        self.active += 1
        self.reused += 1
        connection.leased = True
        return connection

    async def lease(self, budget: float, *, fresh: bool = False) -> Connection:
        """A connection with its slot: an idle one, one that another request is done with, or a new one.

        Raises OutboundError(POOL_BUSY) after ``budget`` seconds without a free slot, and what connecting
        raises. ``fresh`` passes idle connections by.
        """
        while not self._closing:
            connection = None if fresh else self.take()
            if connection is not None:
                return connection
            if self.active < self._limit:
                self.active += 1
                return await self._connect(budget)
            connection = await self._queue(budget)
            if connection is None:
                return await self._connect(budget)
            if not connection.closed:
                self.reused += 1
                return connection
        raise OutboundError(Fault.CONNECT_FAILED, "the hub is shutting down")

    # -- what connections report

    def give_back(self, connection: Connection) -> None:
        """See :class:`hub.outbound.exchange.Owner`."""
        now = self._loop.time()
        if self._closing or now - connection.born >= self._ages.life:
            connection.shut()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            return
        self.active -= 1
        connection.leased = False
        connection.idle_since = now
        self._idle[connection] = None
        if self._reaper is None:
            self._reaper = self._loop.call_later(self._ages.idle, self._reap)

    def lost(self, connection: Connection) -> None:
        """See :class:`hub.outbound.exchange.Owner`."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if connection.leased:
            connection.leased = False
            self._free()

    # -- slots

    def _free(self) -> None:
        """A slot without a connection: to the first who waits, else back."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
        else:
            self.active -= 1

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    async def _queue(self, budget: float) -> Connection | None:
        """Wait for a slot. Returns the connection that comes with it, None where one must be opened."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        timer = self._loop.call_later(budget, self._give_up, waiter)
        received = False
        try:
            connection = await waiter
            received = True
        finally:
            timer.cancel()
            if not received:
                self._return(waiter)
        return connection

    def _give_up(self, waiter: asyncio.Future[Connection | None]) -> None:
        if not waiter.done():
            waiter.set_exception(OutboundError(Fault.POOL_BUSY, f"all {self._limit} connections to {self.origin.host} are in use"))

    def _return(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Pass on a slot that was handed to somebody who was cancelled before he could take it."""
        if waiter.cancelled() or not waiter.done() or waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self._free()
        elif not connection.closed:
            self.give_back(connection)

    # -- connecting

    async def _connect(self, budget: float) -> Connection:
        """A new connection for a slot that is held already; the slot is freed when it cannot be had."""
        connected = False
        try:
            connection = await self._dial(budget)
            connected = True
        finally:
            if not connected:
                self._free()
        connection.leased = not connection.closed
        if connection.closed:
            self._free()
            raise OutboundError(Fault.CONNECT_FAILED, f"{self.origin.host} closed the connection at once")
        self.opened += 1
        self._open.add(connection)
        if self._closing:
            connection.shut()
        return connection

    async def _dial(self, budget: float) -> Connection:
        if len(self._idle) + self.active > self._limit:
            next(iter(self._idle)).shut()
        origin = self.origin
        async with connect_deadline(budget, origin.host):
            addresses = await self._resolve()
            sock = await open_socket(addresses, origin.port, budget=budget, where=origin.host)
            tls = self._tls() if origin.scheme == "https" else None
            return await start_protocol(lambda: Connection(self, self._loop), sock, tls=tls, host=origin.host, budget=budget)

    async def _resolve(self) -> Addresses:
        """Checked addresses; many connections opened at once share one look-up."""
        if self._loop.time() < self._addresses_until:
            return self._addresses
        if self._look_up is None:
            self._look_up = asyncio.ensure_future(self._guard.resolve(self.origin, private=self.private))
            self._look_up.add_done_callback(self._resolved)
        return await asyncio.shield(self._look_up)

    def _resolved(self, task: asyncio.Task[Addresses]) -> None:
        self._look_up = None
        if not task.cancelled() and task.exception() is None:
            self._addresses = task.result()
            self._addresses_until = self._loop.time() + self._ages.resolved

    # -- ends

    def _reap(self) -> None:
        """Close what has been idle for too long: the front of the dict, which is in order of idle time."""
        self._reaper = None
        before = self._loop.time() - self._ages.idle
        while self._idle:
            oldest = next(iter(self._idle))
            if oldest.idle_since > before:
                self._reaper = self._loop.call_later(max(oldest.idle_since - before, 0.05), self._reap)
                return
            oldest.shut()

    def close(self) -> None:
        """Close every connection; requests under way fail."""
        self._closing = True
        if self._reaper is not None:
            self._reaper.cancel()
        for connection in list(self._open):
            connection.fail(Fault.CLOSED_BEFORE_ANSWER, "the hub is shutting down")
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(OutboundError(Fault.CONNECT_FAILED, "the hub is shutting down"))
        self._waiters.clear()

    def stats(self) -> PoolStats:
        """The pool's present state."""
        return PoolStats(
            origin=f"{self.origin.scheme}://{host_header(self.origin)}",
            private=self.private,
            active=self.active,
            idle=len(self._idle),
            waiting=sum(1 for waiter in self._waiters if not waiter.done()),
            opened=self.opened,
            reused=self.reused,
            retried=self.retried,
        )


class Http1:
    """:class:`hub.outbound.base.Engine` for direct HTTP/1.1. ``tls`` makes the context, once, at the first need."""

    def __init__(
        self,
        guard: AddressGuard,
        *,
        max_per_origin: int = 512,
        tls: Callable[[], ssl.SSLContext] = tls_context,
        ages: Ages | None = None,
    ) -> None:
        self._guard = guard
        self._limit = max_per_origin
        self._make_tls = tls
        self._context: ssl.SSLContext | None = None
        self._ages = ages or Ages()
        self._pools: dict[tuple[Origin, bool], Pool] = {}
        self._closed = False

    async def send(self, request: Outgoing) -> Answer:
        """See :class:`hub.outbound.base.Engine`. Raises BadRequest too, for values that must not be sent."""
        pool = self._pools.get((request.origin, request.private)) or self._pool(request)
        return await pool.send(request)

    async def aclose(self) -> None:
        """Close every connection; later requests fail."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        # Transports report their end in the next turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    def stats(self) -> list[PoolStats]:
        """One entry per origin."""
        return [pool.stats() for pool in self._pools.values()]

    def _pool(self, request: Outgoing) -> Pool:
        if self._closed:
            raise OutboundError(Fault.CONNECT_FAILED, "the hub is shutting down")
        if len(self._pools) >= _MAX_POOLS:
            self._pools = {key: pool for key, pool in self._pools.items() if not pool.unused}
        pool = Pool(request.origin, request.private, guard=self._guard, tls=self.tls, limit=self._limit, ages=self._ages)
        self._pools[request.origin, request.private] = pool
        return pool

    def tls(self) -> ssl.SSLContext:
        """The context of every connection, made once."""
        if self._context is None:
            self._context = self._make_tls()
        return self._context
