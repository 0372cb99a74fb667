"""Two hubs on one PostgreSQL: what is set at one holds at the other within a second (D24)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from hub.records import Caller
from tests.fakes.database import make_settings, postgres_database

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def test_settings_and_combos_follow(tmp_path: Path) -> None:
    with postgres_database() as url:
        one, two = Hub(make_settings(tmp_path, url)), Hub(make_settings(tmp_path, url))
        await one.open()
        await two.open()

        async def ask(skill: str, **fields: Any) -> Any:
            return await one.call(one.find(skill), fields, one.context(Caller.owner(), "test"))

        try:
            await ask("compression-settings-set", patch={"enabled": True, "defaultMode": "lite"})
            routed = (await ask("combos-create", name="routed", models=["demo/demo-echo"])).id
            await ask("compression-combos-create", name="Mine", id="mine", isDefault=True)
            await ask("compression-assignments-set", id="mine", routingComboIds=["routed"])
            for _ in range(60):
                await asyncio.sleep(0.05)
                if two.compression_combos.of_routing(routed) is not None:
                    break
            given = two.compression_combos.of_routing(routed)
            assert given is not None
            assert (given.id, two.compression_combos.default().id) == ("mine", "mine")
            assert two.preferences.current.compression.default_mode == "lite"
            assert one.compressor.mark("") == two.compressor.mark("") != ""  # answers kept by one may be given by the other
        finally:
            await two.close()
            await one.close()
