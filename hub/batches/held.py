"""Usage rows of a batch's item: kept back until what came of it is stored with them, so that a kill bills it once or not at all."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hub.records import UsageRow

#: The rows of the item that this task, or the task that started it, works on.
_ROWS: ContextVar[list[UsageRow] | None] = ContextVar("hubroute.batch_rows", default=None)


def begin() -> list[UsageRow]:
    """From now on the rows of this task go into the list."""
    rows: list[UsageRow] = []
    _ROWS.set(rows)
    return rows


def keeps(row: UsageRow) -> bool:
    """Whether a row was kept back."""
    rows = _ROWS.get()
    if rows is None:
        return False
    rows.append(row)
    return True
