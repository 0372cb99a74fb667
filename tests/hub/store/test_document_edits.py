"""Documents that several change at once: an edit starts from what is stored, whoever stored it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from hub.clock import Clock
from hub.errors import BadRequest, NotFound
from hub.store import Store
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings import Settings
    from hub.store.documents import Documents

pytestmark = pytest.mark.anyio


class Count(BaseModel):
    number: int = 0


async def opened(settings: Settings) -> tuple[Store, Documents[Count]]:
    store = Store(settings, Clock())
    counts = store.collection("count", what="count", prefix="count_", body=Count)
    await store.open()
    return store, counts


def more(body: Count) -> Count:
    return Count(number=body.number + 1)


def wrong(body: Count) -> Count:
    raise BadRequest("no")


async def test_an_edit_of_what_is_stored(settings: Settings) -> None:
    """On both databases: changed, left as it is, refused, and gone; what is left as it is counts as no change."""
    store, counts = await opened(settings)
    made = await counts.create("one", Count())
    assert (await counts.edit(made.id, more)).body.number == 1
    version = counts.version
    assert (await counts.edit(made.id, lambda _: None)).body.number == 1
    assert counts.version == version
    with pytest.raises(BadRequest):
        await counts.edit(made.id, wrong)
    with pytest.raises(NotFound):
        await counts.edit("none", more)
    assert counts.get(made.id).body.number == 1
    await store.close()
    store, counts = await opened(settings)
    assert counts.get(made.id).body.number == 1
    await store.close()


async def test_two_processes_edit_at_once(tmp_path: Path, postgres_url: str) -> None:
    """No edit is lost: each starts from the row as the other left it, though memory follows later."""
    settings = make_settings(tmp_path, postgres_url)
    first, ours = await opened(settings)
    made = await ours.create("one", Count())
    second, theirs = await opened(settings)
    await asyncio.gather(*(counts.edit(made.id, more) for counts in (ours, theirs) for _ in range(10)))
    assert (await ours.edit(made.id, lambda _: None)).body.number == 20
    await asyncio.gather(first.close(), second.close())
