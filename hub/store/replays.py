"""Executions that an idempotency key names: who runs one, and what came of it. The database decides, on one process or many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.database import Database, Link

RUNNING, DONE = "running", "done"
#: A process that was not seen alive for so long is gone, in milliseconds.
GONE_AFTER_MS = 30_000
_COLUMNS = ("id", "request", "state", "reply", "process", "created_at", "expires_at")
_FORGET = "DELETE FROM replays WHERE id = ? AND expires_at <= ?"
_CLAIM = columns.insert("replays", _COLUMNS) + " ON CONFLICT (id) DO NOTHING RETURNING id"
_FIND = "SELECT request, state, reply, process FROM replays WHERE id = ?"
_TAKE_OVER = (
    "UPDATE replays SET request = ?, process = ?, created_at = ?, expires_at = ? WHERE id = ? AND process = ? AND state = ? RETURNING id"
)
_DONE = "UPDATE replays SET state = ?, reply = ?, expires_at = ? WHERE id = ? AND process = ?"
_RELEASE = "DELETE FROM replays WHERE id = ? AND process = ? AND state = ?"
_COUNT = "SELECT COUNT(*) AS entries FROM replays WHERE expires_at > ?"
_PRUNE = "DELETE FROM replays WHERE id IN (SELECT id FROM replays WHERE expires_at <= ? LIMIT ?) RETURNING id"
_BEAT = columns.insert("processes", ("id", "seen_at")) + " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at"
_SEEN = "SELECT seen_at FROM processes WHERE id = ?"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a claim found. With ``token`` the caller runs; else ``state`` says how far the execution is, ``reply`` what came of it."""

    token: str = ""
    request: str = ""
    state: str = ""
    reply: str = ""


class Replays:
    """The table of executions. ``process`` is this process's id; on SQLite every other one is gone (D24)."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.process = clock.new_id("prc_")
        self.shared = database.dialect != "sqlite"

    async def beat(self) -> None:
        """Say that this process is alive; needed where several share the database."""
        now = self._clock.now_ms()
        await self._database.write(lambda link: link.run(_BEAT, self.process, now))

    def token(self) -> str:
        """A name for one execution of this process."""
        return f"{self.process}/{self._clock.new_id('')}"

    async def claim(self, identity: str, request: str, token: str, *, until: int) -> Claim:
        """Become the one who runs, or learn who does or did. An execution whose process is gone may be taken over.

        An execution of this very process counts as gone: the caller knows which of them still run.
        """
        now = self._clock.now_ms()

        def work(link: Link) -> Claim:
            link.run(_FORGET, identity, now)
            if link.run(_CLAIM, identity, request, RUNNING, "", token, now, until):
                return Claim(token=token)
            row = (link.run(_FIND, identity) or [{"request": "", "state": RUNNING, "reply": "", "process": ""}])[0]
            if row["state"] == RUNNING and self._gone(link, row["process"].partition("/")[0], now):
                taken = link.run(_TAKE_OVER, request, token, now, until, identity, row["process"], RUNNING)
                return Claim(token=token) if taken else Claim(request=row["request"], state=RUNNING)
            return Claim(request=row["request"], state=row["state"], reply=row["reply"])

        return await self._database.write(work)

    async def done(self, identity: str, token: str, reply: str, *, until: int) -> None:
        """The execution ended with something to give again."""
        text = columns.text(reply)
        await self._database.write(lambda link: link.run(_DONE, DONE, text, until, identity, token))

    async def release(self, identity: str, token: str) -> None:
        """The execution ended with nothing to give again: the key may run anew."""
        await self._database.write(lambda link: link.run(_RELEASE, identity, token, RUNNING))

    async def count(self) -> int:
        """Keys that are remembered."""
        now = self._clock.now_ms()
        rows: list[dict[str, Any]] = await self._database.read(lambda link: link.run(_COUNT, now))
        return int(rows[0]["entries"])

    async def prune(self, *, batch: int = 500) -> int:
        """Delete what is past its time, in small transactions; how many went."""
        gone = 0
        while True:
            now = self._clock.now_ms()
            rows = await self._database.write(lambda link, now=now: link.run(_PRUNE, now, batch))
            gone += len(rows)
            if len(rows) < batch:
                return gone

    def _gone(self, link: Link, process: str, now: int) -> bool:
        if process == self.process or not self.shared:
            return True
        seen = link.run(_SEEN, process)
        return not seen or seen[0]["seen_at"] < now - GONE_AFTER_MS
