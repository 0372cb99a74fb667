"""Combos in both databases: several changed and renamed in one transaction, what is known of them, and costs by combo."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import Conflict, NotFound
from hub.planning.comboboard import ComboBoard
from hub.routing.combo import Combo, ComboConfig, Step
from hub.store import Store
from tests.fakes.clock import Still
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from hub.settings import Settings
    from hub.store.documents import Documents

pytestmark = pytest.mark.anyio

BODY = Combo(models=(Step(id="s", model="p/m", weight=2),), config=ComboConfig(max_retries=4), system_message="be brief", sort_order=3)


async def opened(settings: Settings) -> tuple[Store, Documents[Combo]]:
    store = Store(settings, Still())
    combos = store.collection("combo", what="combo", prefix="combo_", body=Combo)
    await store.open()
    return store, combos


async def test_a_rename_with_its_references_is_one_transaction(settings: Settings) -> None:
    store, combos = await opened(settings)
    one, two = await combos.create("one", BODY), await combos.create("two", BODY)
    changed = BODY.model_copy(update={"strategy": "random"})
    with pytest.raises(Conflict, match="there is a combo 'two' already"):
        await combos.replace_all({one.id: changed, two.id: changed}, names={one.id: "two"})
    with pytest.raises(NotFound):
        await combos.replace_all({one.id: changed, "none": changed}, names={one.id: "new"})
    assert {document.name: document.body for document in combos.all()} == {"one": BODY, "two": BODY}
    await combos.replace_all({one.id: changed, two.id: changed}, names={one.id: "new"})
    assert combos.find("one") is None
    await store.close()
    store, combos = await opened(settings)
    assert {document.name: (document.id, document.body) for document in combos.all()} == {
        "new": (one.id, changed),
        "two": (two.id, changed),
    }
    await store.close()


async def test_what_is_known_of_a_combo_is_stored(settings: Settings) -> None:
    store, _ = await opened(settings)
    board = ComboBoard(store.state, Still())
    board.note("[team] fast", "a>b", ok=True, status=200, latency_ms=5, fallback=False, model="m", provider="p")
    board.flush()
    await store.close()
    store, _ = await opened(settings)
    again = ComboBoard(store.state, Still())
    again.load()
    assert again.all() == board.all()
    assert again.last_good("[team] fast") == "a>b"
    await store.close()


async def test_costs_by_combo(settings: Settings) -> None:
    store, _ = await opened(settings)
    for combo, cost in (("a", 0.5), ("a", 0.25), ("b", None), ("", 1.0)):
        store.usage.add(usage_row(combo=combo, cost=cost))
    rows = await store.usage.grouped("combo", since=0)
    assert {row["key"]: row["cost"] for row in rows} == {"a": 0.75, "b": None, "": 1.0}
    await store.close()
