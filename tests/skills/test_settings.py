"""Settings that change while the hub runs: merged, checked as a whole, taken back, and stored by no halves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.hashes import quick_hashes
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


async def test_names_of_the_seed_are_taken_and_what_is_shown_can_be_sent_back(client: httpx.AsyncClient) -> None:
    """Old names lead to where the setting is now; what means nothing here is checked, not stored, and named."""
    told = (await client.patch("/api/settings", json={"theme": "dark", "requestRetry": 1, "stripModelPrefix": True})).json()
    assert told["ignored"] == ["theme"]
    assert (told["requestRetry"], told["resilienceSettings"]["waitForCooldown"]["maxRetries"], told["stripModelPrefix"]) == (1, 1, True)
    assert (await client.patch("/api/settings", json={"theme": "dark"})).status_code == 200
    for wrong in ({"theme": 7}, {"requestRetry": 11}, {"visionBridgeTimeout": 1}, {"requestRetry": 1, "resilienceSettings": 7}):
        refused = await client.patch("/api/settings", json={**wrong, "stripModelPrefix": False})
        assert (refused.status_code, refused.json()["error"]["details"][0]["field"]) == (400, list(wrong)[-1])
    found = (await client.get("/api/settings")).json()
    assert (await client.put("/api/settings", json=found)).status_code == 200
    assert (await client.get("/api/settings")).json() == found
    assert (found["stripModelPrefix"], "theme" in found, "ignored" in found) == (True, False, False)


async def test_the_password_is_a_setting_that_comes_alone(client: httpx.AsyncClient) -> None:
    with quick_hashes():
        assert (await client.get("/api/settings")).json()["hasPassword"] is False
        for wrong in ({"newPassword": "a long password", "theme": "dark"}, {"currentPassword": "x"}, {"newPassword": 7}):
            assert (await client.patch("/api/settings", json=wrong)).status_code == 400
        assert (await client.get("/api/settings")).json()["hasPassword"] is False
        done = await client.patch("/api/settings", json={"newPassword": "a long password of the owner"})
        assert (done.status_code, done.json()["hasPassword"]) == (200, True), done.text
        assert (await client.post("/api/auth/login", json={"password": "a long password of the owner"})).status_code == 200


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
