"""Where the audit log has got to, written down outside of its table: whoever puts back an older table, and its head with it, is found out.

An anchor is the number and hash of the last row, and the digest of an export up to it, which anybody can make again without a key. It goes
into a file of the data folder that is only ever appended to, into the log, and to webhooks as ``audit.anchor``.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import msgspec

from hub.errors import HubError
from hub.log import logger
from hub.process.background import Regularly
from hub.store.audit import step

if TYPE_CHECKING:
    from pathlib import Path

    from hub.clock import Clock
    from hub.events import Events
    from hub.store import Store
    from hub.store.audit import Chain

log = logger("hub.anchors")

FILE = "audit-anchors.jsonl"
_FIRST_SECONDS = 60.0
_EVERY_SECONDS = 300.0
#: More rows than these are not read when the hub closes; the next start goes on from there.
_MOST_AT_CLOSE = 5000


class Anchor(msgspec.Struct, frozen=True):
    """The audit log at one moment (epoch ms)."""

    at: int
    seq: int
    hash: str
    digest: str


class Report(msgspec.Struct):
    """What was found of log and anchors; ``reason`` is empty where all fits."""

    chain: Chain
    anchors: int
    newest: Anchor | None
    reason: str = ""


class Anchors:
    """The anchors of one data folder."""

    def __init__(self, store: Store, clock: Clock, events: Events, folder: Path) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self.file = folder / FILE
        #: Why the log does not fit its anchors; empty while nothing is known against it.
        self.fault = ""
        self._last: Anchor | None = None
        self._busy = asyncio.Lock()
        self._writes = Regularly("anchoring the audit log", self.write, every=_EVERY_SECONDS, first=_FIRST_SECONDS)

    async def open(self) -> None:
        """Compare the end of the log with the newest anchor, and begin to write further ones."""
        found = await asyncio.to_thread(self._read)
        self._last = max(found, key=lambda one: one.seq, default=None)
        if self._last is not None:
            self._say(await self._missing(self._last))
        self._writes.start()

    async def close(self) -> None:
        """End the loop, after a last anchor where that takes no time."""
        if not await self._writes.close():
            return
        try:
            seq, _ = await self._store.audit.head()
            if seq - (self._last.seq if self._last else 0) <= _MOST_AT_CLOSE:
                await self.write()
        except (HubError, OSError) as error:
            log.warning("the audit log has no last anchor", reason=str(error))

    async def write(self) -> Anchor | None:
        """Write an anchor, unless nothing came since the last one; that one, None where the log is empty or does not fit its anchors."""
        async with self._busy:
            if self.fault:
                return None
            seq, digest, last = (self._last.seq, self._last.digest, self._last.hash) if self._last else (0, "", "")
            end, _ = await self._store.audit.head()
            if end == seq:
                return self._last
            if self._last is not None and end < seq:
                self._say(_rolled_back(self._last, end))
                return None
            end, _ = await self._store.audit.secured()
            while seq < end and (rows := await self._store.audit.after(seq)):
                for row in rows[: end - seq]:
                    digest, last, seq = step(digest, row), row["hash"], row["seq"]
            made = Anchor(self._clock.now_ms(), seq, last, digest)
            await asyncio.to_thread(self._append, made)
            self._last = made
        self._events.emit("audit.anchor", at=made.at, seq=made.seq, hash=made.hash, digest=made.digest)
        return made

    async def examine(self) -> Report:
        """Walk the whole log and compare it with every anchor."""
        found = await asyncio.to_thread(self._read)
        chain = await self._store.audit.examine(frozenset(one.seq for one in found))
        newest = max(found, key=lambda one: one.seq, default=None)
        reason = "" if chain.broken_at is None else f"row {chain.broken_at} is missing or was changed"
        if not reason:
            reason = next((words for one in sorted(found, key=lambda one: one.seq) if (words := _unlike(chain, one))), "")
        self._say(reason)
        return Report(chain, len(found), newest, reason)

    async def renew(self) -> Anchor | None:
        """Put the anchors aside and begin anew: for an owner who restored a backup and knows it. The old file is kept."""
        async with self._busy:
            aside = self.file.with_name(f"audit-anchors.{self._clock.now_ms()}.jsonl")
            await asyncio.to_thread(lambda: self.file.replace(aside) if self.file.exists() else None)
            self._last, self.fault = None, ""
        log.warning("the audit log is anchored anew", kept=aside.name)
        return await self.write()

    async def _missing(self, anchor: Anchor) -> str:
        """Whether the row of an anchor is what it was: in words what is wrong."""
        seq, _ = await self._store.audit.head()
        if seq < anchor.seq:
            return _rolled_back(anchor, seq)
        rows = await self._store.audit.after(anchor.seq - 1)
        if not rows or rows[0]["seq"] != anchor.seq or rows[0]["hash"] != anchor.hash:
            return _changed(anchor)
        return ""

    def _say(self, reason: str) -> None:
        if reason and reason != self.fault:
            log.error("the audit log is not what it was", reason=reason)
            self._events.emit("audit.broken", reason=reason)
        self.fault = reason

    def _read(self) -> list[Anchor]:
        try:
            lines = self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found: list[Anchor] = []
        for text in lines:
            try:
                found.append(msgspec.json.decode(text, type=Anchor))
            except msgspec.DecodeError:  # a line that a kill cut off
                log.warning("a line of the anchors of the audit log cannot be read", file=str(self.file))
        return found

    def _append(self, anchor: Anchor) -> None:
        file = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(file, msgspec.json.encode(anchor) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)


def _unlike(chain: Chain, anchor: Anchor) -> str:
    if anchor.seq > chain.seq:
        return _rolled_back(anchor, chain.seq)
    return "" if chain.found.get(anchor.seq) == (anchor.hash, anchor.digest) else _changed(anchor)


def _rolled_back(anchor: Anchor, seq: int) -> str:
    return f"the log ends at row {seq}, but was anchored at row {anchor.seq}: an older state was put back"


def _changed(anchor: Anchor) -> str:
    return f"row {anchor.seq} is not the one that was anchored: the log up to it was written anew"
