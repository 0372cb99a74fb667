"""What needs a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.records import TestStatus
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def needs(running: Running) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = await client.get("/api/attention", headers=await running.headers("manage"))
    assert answer.status_code == 200
    return answer.json()["items"]


async def asked(running: Running, skill: str, **data: Any) -> Any:
    from hub.records import Caller

    return await running.hub.call(running.hub.find(skill), data, running.hub.context(Caller.owner(), "cli"))


async def test_from_an_empty_hub_to_one_with_troubles(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running:
        assert [one["kind"] for one in await needs(running)] == ["setup"]
        made = await asked(running, "connections-create", provider="openai", name="mine", apiKey="sk-x")
        assert await needs(running) == []
        running.hub.mark(running.hub.store.connections.get(made.id).id, test_status=TestStatus.EXPIRED)
        (dead,) = await needs(running)
        assert (dead["kind"], dead["id"], dead["severity"]) == ("connection", made.id, "error")
        await asked(running, "connections-update", id=made.id, isActive=False)
        assert await needs(running) == []
        key = await asked(running, "keys-create", name="spender", scopes=["chat"])
        await asked(running, "budgets-set", apiKeyId=key.id, dailyLimitUsd=100, warningThreshold=0.001)
        assert await needs(running) == []
        await asked(running, "pricing-set", prices={"demo": {"demo": {"input": 60_000.0, "output": 0.0}}})
        async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {key.key}"}) as client:
            body = {"model": "demo/demo", "max_tokens": 1, "messages": [{"role": "user", "content": "one two three four five six seven"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        (low,) = await needs(running)
        assert (low["kind"], low["name"], low["severity"]) == ("budget", "spender", "warning")


async def test_it_takes_the_owner(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.get("/api/attention")).status_code == 401
        assert (await client.get("/api/attention", headers=await running.headers("read:health"))).status_code == 403
