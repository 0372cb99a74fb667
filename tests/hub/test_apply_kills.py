"""REL-09: a hub killed while it takes over what comes from elsewhere: an import is whole or not there, a sync is finished by the next."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.call import Hub
from hub.settings import Settings
from tests.fakes.command import LIMIT, Served, serving
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

MANY = 12
MODELS = {"a": ["openai/gpt-4o"], "b": ["openai/gpt-4o-mini", "openai/gpt-4o"]}


async def _ok(client: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    found = await client.request(method, path, **options)
    assert found.is_success, f"{method} {path}: {found.text}"
    return found


async def _wave(client: httpx.AsyncClient, name: str, ids: list[str]) -> list[str]:
    """Combos and connections of one of two states: what is there is changed, what is not is made."""
    made: list[str] = []
    for number in range(MANY):
        body = {"name": f"{name}{number}", "models": MODELS[name], "strategy": "priority"}
        path = f"/api/combos/{ids[number]}" if ids else "/api/combos"
        made.append((await _ok(client, "PUT" if ids else "POST", path, json=body)).json()["id"])
    return made


async def _seen(client: httpx.AsyncClient) -> dict[str, list[str]]:
    listed = (await _ok(client, "GET", "/api/combos")).json()["combos"]
    return {one["name"]: [step["model"] for step in one["models"]] for one in listed}


@asynccontextmanager
async def _opened(data: Path) -> AsyncIterator[Hub]:
    """A hub of that folder in this process."""
    hub = Hub(Settings(data_dir=data))
    await hub.open()
    yield hub
    await hub.close()


async def _owner(data: Path) -> dict[str, str]:
    async with _opened(data) as hub:
        _, secret = await hub.store.keys.create("owner", grants=["manage"])
    return {"authorization": f"Bearer {secret}"}


async def _kill(served: Served, work: Callable[[], Awaitable[None]]) -> None:
    """Do this over and over until the hub is killed somewhere in the middle."""
    await work()  # once to its end, so that the next has something to change

    async def again() -> None:
        while True:
            await work()

    task = asyncio.create_task(again())
    await asyncio.sleep(random.uniform(0.05, 0.4))
    assert not task.done(), task
    served.process.kill()
    with pytest.raises(httpx.TransportError):
        await task


async def test_an_import_is_whole_or_not_there(tmp_path: Path) -> None:
    data = tmp_path / "data"
    headers = await _owner(data)
    with serving(data, HUBROUTE_DEMO="on") as served:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
            files: list[bytes] = []
            ids: list[str] = []
            for name in MODELS:
                ids = await _wave(client, name, ids)
                files.append((await _ok(client, "GET", "/api/db-backups/export")).content)

            async def work() -> None:
                for content in files:
                    raw = {"content-type": "application/octet-stream"}
                    await _ok(client, "POST", "/api/db-backups/import", content=content, headers=raw)

            await _kill(served, work)
    async with _opened(data) as hub:
        found = {one.name: [step.model for step in one.body.models] for one in hub.combos.all()}
    assert found in [{f"{name}{number}": models for number in range(MANY)} for name, models in MODELS.items()]


async def test_a_sync_is_finished_by_the_next(tmp_path: Path) -> None:
    """Each thing is old or new as a whole, none is there twice, and one sync later both hubs have the same."""
    data, env = tmp_path / "data", {"HUBROUTE_DEMO": "on", "HUBROUTE_ALLOW_PRIVATE": "true"}
    headers = await _owner(data)
    async with (
        running_hub(tmp_path / "cloud") as cloud,
        httpx.AsyncClient(base_url=cloud.url, headers=await cloud.headers(), timeout=LIMIT) as there,
    ):
        token = (await _ok(there, "POST", "/api/sync/tokens", json={"name": "own"})).json()["token"]
        ids = await _wave(there, "a", [])
        turn = itertools.cycle("ba")
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
                await _ok(client, "POST", "/api/sync/cloud", json={"action": "enable", "url": cloud.url, "token": token})

                async def work() -> None:
                    await _wave(there, next(turn), ids)
                    await _ok(client, "POST", "/api/sync/cloud", json={"action": "sync"})

                await _kill(served, work)
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
                left = await _seen(client)
                assert sorted(name[1:] for name in left) == sorted(str(number) for number in range(MANY))
                assert all(models == MODELS[name[0]] for name, models in left.items()), left
                await _ok(client, "POST", "/api/sync/cloud", json={"action": "sync"})
                assert await _seen(client) == await _seen(there)
