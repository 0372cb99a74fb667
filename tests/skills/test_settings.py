"""Settings that change while the hub runs: merged, checked as a whole, taken back, and stored by no halves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running_hub(tmp_path) as running,
        httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as made,
    ):
        yield made


async def test_a_part_of_an_object_is_changed_and_taken_back(client: httpx.AsyncClient) -> None:
    patch = {"resilienceSettings": {"connectionCooldown": {"apikey": {"baseCooldownMs": 50}}}, "stickyRoundRobinLimit": 1}
    changed = await client.patch("/api/settings", json=patch)
    assert changed.status_code == 200, changed.text
    found = (await client.get("/api/settings")).json()
    assert found["resilienceSettings"]["connectionCooldown"]["apikey"] == {
        "baseCooldownMs": 50,
        "useUpstreamRetryHints": True,
        "maxBackoffSteps": 5,
    }
    assert found["resilienceSettings"]["connectionCooldown"]["oauth"]["baseCooldownMs"] == 5000
    back = {"resilienceSettings": {"connectionCooldown": {"apikey": {"baseCooldownMs": None}}}, "stickyRoundRobinLimit": None}
    assert (await client.patch("/api/settings", json=back)).status_code == 200
    found = (await client.get("/api/settings")).json()
    assert found["resilienceSettings"]["connectionCooldown"]["apikey"]["baseCooldownMs"] == 3000
    assert found["stickyRoundRobinLimit"] == 3


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"stickyRoundRobinLimit": -1, "stripModelPrefix": True}, "stickyRoundRobinLimit"),
        ({"noSuchThing": 1, "stripModelPrefix": True}, "noSuchThing"),
        ({"fallbackStrategy": "fusion", "stripModelPrefix": True}, "fallbackStrategy"),
        ({"budgetZone": "Mars/Olympus", "stripModelPrefix": True}, "budgetZone"),
        ({"responseCache": {"semantic": {"enabled": True}}, "stripModelPrefix": True}, "responseCache"),
    ],
)
async def test_a_wrong_patch_names_its_field_and_changes_nothing(client: httpx.AsyncClient, patch: dict[str, object], field: str) -> None:
    refused = await client.patch("/api/settings", json=patch)
    assert refused.status_code == 400, refused.text
    assert field in refused.text
    assert (await client.get("/api/settings")).json()["stripModelPrefix"] is False


async def test_changes_at_the_same_moment_are_all_kept(client: httpx.AsyncClient) -> None:
    patches = [{"stickyRoundRobinLimit": 7}, {"stripModelPrefix": True}, {"blockedProviders": ["groq"]}, {"idempotencyHours": 3}]
    answers = await asyncio.gather(*(client.patch("/api/settings", json=patch) for patch in patches))
    assert [answer.status_code for answer in answers] == [200] * 4
    found = (await client.get("/api/settings")).json()
    assert {name: found[name] for patch in patches for name in patch} == {name: value for patch in patches for name, value in patch.items()}
