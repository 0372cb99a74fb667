"""Several changes in one transaction: all of them or none, in the database and in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import NotFound
from hub.wire import Body

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.settings import Settings

from hub.store import Store

pytestmark = pytest.mark.anyio


class Note(Body):
    text: str = ""


async def test_all_or_none(settings: Settings, clock: Clock) -> None:
    store = Store(settings, clock)
    notes = store.collection("note", what="note", prefix="note_", body=Note)
    await store.open()
    try:
        kept = await store.connections.create(provider="other", name="kept", secret="sk-1")
        gone = [(await store.connections.create(provider="mine", name=name, secret="sk-1")).id for name in ("a", "b")]
        note = await notes.create("n", Note(text="x"))
        with pytest.raises(NotFound, match="no note"):
            await store.together(store.connections.removal("mine"), notes.removal("note_none"))
        assert {one.id for one in store.connections.all()} == {kept.id, *gone}
        assert sorted(await store.together(store.connections.removal("mine"), notes.removal(note.id))) == sorted(gone)
        assert ([one.id for one in store.connections.all()], notes.all()) == ([kept.id], [])
    finally:
        await store.close()
    again = Store(settings, clock)
    notes = again.collection("note", what="note", prefix="note_", body=Note)
    await again.open()
    try:
        assert ([one.id for one in again.connections.all()], notes.all()) == ([kept.id], [])
    finally:
        await again.close()
