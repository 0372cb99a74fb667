"""Shapes of OpenAI's API that several skills answer in: a page of a list, and what was deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=BaseModel)


class Page(BaseModel, Generic[Item]):
    """A page of a list, with the ids at its ends; ``has_more`` says that the list goes on after it."""

    object: str = "list"
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """What was deleted: its id, and what it was."""

    id: str
    object: str
    deleted: bool = True


def ends(found: Sequence[_Named], limit: int) -> dict[str, str | bool | None]:
    """What a :class:`Page` says of its first ``limit`` items; one more may have been looked up, which tells that there are more."""
    shown = found[:limit]
    first, last = (shown[0].id, shown[-1].id) if shown else (None, None)
    return {"first_id": first, "last_id": last, "has_more": len(found) > limit}
