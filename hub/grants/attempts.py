"""Logins that wait for an answer: sealed, shared by all processes, and taken once (SEC-52, SEC-55)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.store import Store

T = TypeVar("T", bound=msgspec.Struct)


class Attempts(Generic[T]):
    """The attempts of one kind, by name. Each is kept until its time is over or it is used."""

    def __init__(self, kind: str, body: type[T], store: Store, clock: Clock) -> None:
        self._kind = kind
        self._body = body
        self._store = store
        self._clock = clock
        self._used: dict[str, int] = {}

    async def keep(self, name: str, attempt: T, until: int) -> None:
        """Remember an attempt, or what became of it, where every process finds it: its answer may come back to another one."""
        sealed = self._store.seal(msgspec.json.encode(attempt).decode(), self._place(name))
        self._store.state.put(self._kind, name, sealed, until=until)
        await self._store.flush()

    async def find(self, name: str) -> T | None:
        """An attempt as it is kept now; None when it is over or was never begun."""
        row = (await self._store.state.current(self._kind)).get(name)
        if row is None or name in self._used:
            return None
        sealed = msgspec.json.decode(row, type=str)
        return msgspec.json.decode(self._store.unseal(sealed, self._place(name)).reveal(), type=self._body)

    def used(self, name: str) -> bool:
        """Whether this process has taken an attempt."""
        return name in self._used

    async def use(self, name: str, until: int) -> bool:
        """Take an attempt; whether it was there to take. It counts once on all processes."""
        now = self._clock.now_ms()
        self._used = {one: end for one, end in self._used.items() if end > now}
        if name in self._used:
            return False
        self._used[name] = until
        replays = self._store.replays
        token = replays.token()
        identity = f"{self._kind} {name}"
        if not (await replays.claim(identity, "", token, until=until)).token:
            return False
        await replays.done(identity, token, "", until=until)
        self._store.state.drop(self._kind, name)
        return True

    def _place(self, name: str) -> str:
        return f"{self._kind}/{name}"
