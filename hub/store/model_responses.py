"""Answers of the Responses API that are kept for their caller: to go on from, to be asked for again, or because work on them goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.database import Database, Link

#: Answers kept for one key; the oldest make way.
MOST_KEPT = 5000
#: Turns of a conversation that are put together again.
MOST_TURNS = 500
_COLUMNS = ("id", "key_id", "previous_id", "status", "body", "input", "created_at", "alive_at", "expires_at")
_PUT = columns.insert("model_responses", _COLUMNS) + " ON CONFLICT (id) DO NOTHING"
_FIND = "SELECT * FROM model_responses WHERE id = ? AND key_id = ? AND expires_at > ?"
_END = "UPDATE model_responses SET status = ?, body = ? WHERE id = ? AND key_id = ? AND status IN ('queued', 'in_progress') RETURNING id"
_ALIVE = "UPDATE model_responses SET alive_at = ? WHERE id = ? AND status IN ('queued', 'in_progress') RETURNING id"
_DELETE = "DELETE FROM model_responses WHERE id = ? AND key_id = ? RETURNING id"
_TRIM = (
    "DELETE FROM model_responses WHERE id IN "
    "(SELECT id FROM model_responses WHERE key_id = ? ORDER BY created_at DESC, id LIMIT 100 OFFSET ?) RETURNING id"
)


class ModelResponse(msgspec.Struct, kw_only=True):
    """A kept answer. ``body`` is the response object and ``input`` the list of its turn's items, both JSON. Times in epoch ms."""

    id: str
    key_id: str
    previous_id: str
    status: str
    body: str
    input: str
    created_at: int
    alive_at: int
    expires_at: int


class ModelResponses:
    """The table of kept answers. Whoever asks names its key and finds no other's."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def put(self, row: ModelResponse) -> None:
        """Keep a new answer; stored when this returns."""
        values = [getattr(row, name) for name in _COLUMNS]

        def work(link: Link) -> None:
            link.run(_PUT, *(columns.text(value) if isinstance(value, str) else value for value in values))
            link.run(_TRIM, columns.text(row.key_id), MOST_KEPT)

        await self._database.write(work)

    async def find(self, response_id: str, key_id: str) -> ModelResponse | None:
        """A key's answer, unless it is past its time."""
        now = self._clock.now_ms()
        return await self._database.read(lambda link: _found(link, response_id, key_id, now))

    async def several(self, response_ids: list[str], key_id: str) -> list[ModelResponse]:
        """Those of these answers that are a key's, without those past their time."""
        now = self._clock.now_ms()
        return await self._database.read(lambda link: [row for one in response_ids if (row := _found(link, one, key_id, now)) is not None])

    async def chain(self, response_id: str, key_id: str) -> list[ModelResponse]:
        """A key's answer and those before it in its conversation, the oldest first; none where it is not there, ends where one is missing.

        At most :data:`MOST_TURNS`.
        """
        now = self._clock.now_ms()

        def work(link: Link) -> list[ModelResponse]:
            rows: dict[str, ModelResponse] = {}
            at = response_id
            while at and at not in rows and len(rows) < MOST_TURNS and (row := _found(link, at, key_id, now)) is not None:
                rows[at], at = row, row.previous_id
            return list(rows.values())[::-1]

        return await self._database.read(work)

    async def end(self, response_id: str, key_id: str, status: str, body: str) -> bool:
        """Work on an answer is over; False where it was over or deleted already."""
        return bool(
            await self._database.write(
                lambda link: link.run(_END, status, columns.text(body), columns.text(response_id), columns.text(key_id))
            )
        )

    async def alive(self, response_id: str) -> bool:
        """Say that work on an answer goes on; False where nobody wants it any more."""
        now = self._clock.now_ms()
        return bool(await self._database.write(lambda link: link.run(_ALIVE, now, columns.text(response_id))))

    async def delete(self, response_id: str, key_id: str) -> bool:
        """Delete a key's answer; whether it was there."""
        return bool(await self._database.write(lambda link: link.run(_DELETE, columns.text(response_id), columns.text(key_id))))


def _found(link: Link, response_id: str, key_id: str, now: int) -> ModelResponse | None:
    rows: list[dict[str, Any]] = link.run(_FIND, columns.text(response_id), columns.text(key_id), now)
    return ModelResponse(**{name: rows[0][name] for name in _COLUMNS}) if rows else None
