"""Push notification configs of A2A tasks: their secrets sealed at rest, and which of them still owe the end of their task.

Who asks has made sure that the task is the caller's (SEC-04); nothing here is looked up without a task's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, Unavailable
from hub.log import logger
from hub.records import PushConfig
from hub.secret import Secret
from hub.store import columns
from hub.vault import Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.store.database import Database, Link
    from hub.vault import Vault

log = logger("hub.store")
#: A process that has an ended task's configs to tell has so long for it, in milliseconds, before another may take over.
LEASE_MS = 600_000
_EVER = 2**62

_COLUMNS = ("task_id", "id", "owner", "dialect", "url", "sealed", "created_at", "due_at", "told_at")
_UPSERT = columns.insert("push_configs", _COLUMNS) + (
    " ON CONFLICT (task_id, id) DO UPDATE SET dialect = excluded.dialect, url = excluded.url, sealed = excluded.sealed, "
    "created_at = excluded.created_at, due_at = excluded.due_at, told_at = NULL"
)
_OTHERS = "SELECT COUNT(*) AS configs FROM push_configs WHERE task_id = ? AND id <> ?"
_OF = "SELECT * FROM push_configs WHERE task_id = ? ORDER BY created_at, id"
_GET = "SELECT * FROM push_configs WHERE task_id = ? AND id = ?"
_DELETE = "DELETE FROM push_configs WHERE task_id = ? AND id = ? RETURNING id"
_TOLD = "UPDATE push_configs SET told_at = ? WHERE task_id = ? AND id = ? AND created_at = ?"
_OWED = (
    "SELECT p.* FROM push_configs p JOIN tasks t ON t.id = p.task_id "
    "WHERE p.told_at IS NULL AND p.due_at <= ? AND t.updated_at <= ? AND t.state IN ({}) LIMIT 200"
)
_CLAIM = "UPDATE push_configs SET due_at = ? WHERE task_id = ? AND id = ? AND due_at = ? AND told_at IS NULL RETURNING id"
_PRUNE = (
    "DELETE FROM push_configs WHERE task_id IN "
    "(SELECT p.task_id FROM push_configs p LEFT JOIN tasks t ON t.id = p.task_id WHERE t.id IS NULL LIMIT 500) RETURNING id"
)


class PushConfigs:
    """Configs by task and id. They are read from the database: few tasks have one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._vault: Vault | None = None

    def unlock(self, vault: Vault) -> None:
        """Use this vault for secrets."""
        self._vault = vault

    async def save(self, config: PushConfig, *, most: int) -> None:
        """Store a config or its replacement. Raises BadRequest when its task has ``most`` others."""
        row = (
            config.task_id, config.id, config.owner, config.dialect, config.url, self._sealed(config), config.created_at,
            config.created_at, None,
        )  # fmt: skip

        def work(link: Link) -> None:
            if link.run(_OTHERS, config.task_id, config.id)[0]["configs"] >= most:
                raise BadRequest(f"a task may have {most} push notification configs; delete one first", code="too_many_push_configs")
            link.run(_UPSERT, *row)

        await self._database.write(work)

    async def of(self, task_id: str) -> list[PushConfig]:
        """The configs of a task, the oldest first."""
        rows = await self._database.read(lambda link: link.run(_OF, columns.text(task_id)))
        return self._opened(rows)

    async def get(self, task_id: str, config_id: str) -> PushConfig | None:
        """One config."""
        rows = await self._database.read(lambda link: link.run(_GET, columns.text(task_id), columns.text(config_id)))
        return next(iter(self._opened(rows)), None)

    async def delete(self, task_id: str, config_id: str) -> bool:
        """Forget a config; whether there was one."""
        return bool(await self._database.write(lambda link: link.run(_DELETE, columns.text(task_id), columns.text(config_id))))

    async def told(self, config: PushConfig, at: int) -> None:
        """The end of the task was delivered to this config, or given up. One that has been replaced since is left alone."""
        await self._database.write(lambda link: link.run(_TOLD, at, config.task_id, config.id, config.created_at))

    async def owed(self, states: Sequence[str], *, now: int, alone: bool) -> list[PushConfig]:
        """Take over configs to which the end of their task is owed, that is a task in one of ``states``.

        ``alone`` takes them all: no other process works with this database. Else only those that nobody has seen to for
        :data:`LEASE_MS`, and each is given to one process, for so long from ``now`` (epoch milliseconds).
        """
        due, ended = (_EVER, _EVER) if alone else (now, now - LEASE_MS)
        sql = _OWED.format(", ".join("?" for _ in states))

        def work(link: Link) -> list[dict[str, Any]]:
            rows = link.run(sql, due, ended, *states)
            return [row for row in rows if link.run(_CLAIM, now + LEASE_MS, row["task_id"], row["id"], row["due_at"])]

        return self._opened(await self._database.write(work))

    async def prune(self) -> int:
        """Delete configs whose tasks are gone, in small transactions; how many went."""
        gone = 0
        while rows := await self._database.write(lambda link: link.run(_PRUNE)):
            gone += len(rows)
        return gone

    def _sealed(self, config: PushConfig) -> str:
        if self._vault is None:
            raise Unavailable("the store is not open")
        kept = [config.token.reveal(), config.scheme, config.credentials.reveal(), config.secret.reveal()]
        return self._vault.seal(msgspec.json.encode(kept).decode(), _place(config.task_id, config.id))

    def _opened(self, rows: list[dict[str, Any]]) -> list[PushConfig]:
        """Rows as configs; one whose secrets do not open is left out, since nothing could be sent to it."""
        found: list[PushConfig] = []
        for row in rows:
            if self._vault is None:
                break
            try:
                text = self._vault.open(row["sealed"], _place(row["task_id"], row["id"]))
            except Unreadable:
                log.error("a push notification config cannot be read", task=row["task_id"], config=row["id"])
                continue
            token, scheme, credentials, secret = msgspec.json.decode(text, type=tuple[str, str, str, str])
            found.append(
                PushConfig(
                    **{name: row[name] for name in ("task_id", "id", "owner", "dialect", "url", "created_at", "told_at")},
                    token=Secret(token),
                    scheme=scheme,
                    credentials=Secret(credentials),
                    secret=Secret(secret),
                )
            )
        return found


def _place(task_id: str, config_id: str) -> str:
    return f"push_configs:{task_id}/{config_id}:sealed"
