"""Mappings from models to combos: their life, their order, and what they may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from hub.errors import InvalidInput, NotFound
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def test_over_http(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, httpx.AsyncClient(base_url=hub.url, headers=await hub.headers()) as client:
        combo = (await client.post("/api/combos", json={"name": "c", "models": ["openai/gpt-4o"]})).json()
        made = await client.post("/api/model-combo-mappings", json={"pattern": "gpt-*", "comboId": combo["id"]})
        assert made.status_code == 201
        mapping = made.json()["mapping"]
        assert {name: mapping[name] for name in ("pattern", "comboId", "comboName", "priority", "enabled", "description")} == {
            "pattern": "gpt-*", "comboId": combo["id"], "comboName": "c", "priority": 0, "enabled": True, "description": "",
        }  # fmt: skip
        path = f"/api/model-combo-mappings/{mapping['id']}"
        assert (await client.get(path)).json() == {"mapping": mapping}
        changed = (await client.put(path, json={"enabled": False, "priority": 5})).json()["mapping"]
        assert (changed["enabled"], changed["priority"], changed["pattern"]) == (False, 5, "gpt-*")
        assert (await client.put(path, json={"enbled": False})).status_code == 400
        assert (await client.delete(path)).json() == {"success": True}
        assert (await client.get(path)).status_code == 404
        assert (await client.get("/api/model-combo-mappings")).json() == {"mappings": []}


async def test_higher_first_and_equals_by_age(desk: Desk) -> None:
    await desk.ask("combos-create", name="c")
    for pattern, priority in (("old", 0), ("high", 9), ("new", 0), ("old", 0)):
        await desk.ask("mappings-create", pattern=pattern, comboId="c", priority=priority)
    assert [one.pattern for one in (await desk.ask("mappings-list")).mappings] == ["high", "old", "new", "old"]


async def test_what_is_refused(desk: Desk) -> None:
    with pytest.raises(NotFound) as told:
        await desk.ask("mappings-create", pattern="x", comboId="gone")
    assert told.value.field == "comboId"
    await desk.ask("combos-create", name="c")
    made = await desk.ask("mappings-create", pattern="x", comboId="c")
    with pytest.raises(NotFound):
        await desk.ask("mappings-update", id=made.id, comboId="gone")
    with pytest.raises(InvalidInput):
        await desk.ask("mappings-update", id=made.id)
    with pytest.raises(InvalidInput):
        await desk.ask("mappings-create", pattern="", comboId="c")
    with pytest.raises(NotFound):
        await desk.ask("mappings-delete", id="gone")
