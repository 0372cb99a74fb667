"""REL-09 through the doors: kill -9 of a hub that serves loses nothing it acknowledged, and it starts again as if nothing was."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.clock import Clock
from hub.settings import Settings
from hub.store import Store
from tests.fakes.command import LIMIT, answer, serving
from tests.fakes.database import postgres_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

#: Seconds: the stated window of 50 ms, the transaction under way, and a busy machine.
WINDOW = 0.4
ASK = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


class Acknowledged:
    """What the hub said is done, with when it said so."""

    def __init__(self) -> None:
        self.keys: dict[str, str] = {}
        self.revoked: set[str] = set()
        self.connections: dict[str, str] = {}
        self.requests: list[tuple[float, str]] = []
        self.count = 0

    async def work(self, client: httpx.AsyncClient, number: int) -> None:
        """Change things and chat until the hub is gone."""
        while True:
            made = await _created(client, "/api/keys", {"name": f"k{number}", "scopes": ["chat"]})
            self.keys[made["id"]] = made["key"]
            body = {"provider": "openai", "name": f"c{number}", "apiKey": f"sk-{number}", "isActive": False}
            added = (await _created(client, "/api/providers", body))["connection"]
            self.connections[added["id"]] = f"c{number}"
            asked = await client.post("/v1/chat/completions", json=ASK)
            self.requests.append((time.monotonic(), asked.headers["x-request-id"]))
            if self.count % 3 == 0 and (await client.post(f"/api/keys/{made['id']}/revoke")).status_code == 200:
                self.revoked.add(made["id"])
            self.count += 1


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


async def test_kill_nine_under_load(tmp_path: Path, database: str) -> None:
    data, done = tmp_path / "data", Acknowledged()
    env = {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_DEMO": "on"}
    owner = await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env)
    headers = {"authorization": f"Bearer {owner['key']}"}
    for last in (60, 120):
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
                await _seen(client, done)
                tasks = [asyncio.create_task(done.work(client, number)) for number in range(4)]
                # Some requests must be older than the window, however fast the machine is.
                while done.count < last or not done.requests or done.requests[0][0] > time.monotonic() - 2 * WINDOW:
                    assert not any(task.done() for task in tasks), [task.exception() for task in tasks if task.done()]
                    await asyncio.sleep(0.01)
                killed = time.monotonic()
                served.process.kill()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(error, httpx.TransportError) for error in ended), ended
        await _stored(Settings(data_dir=data, database_url=database), {request for at, request in done.requests if at < killed - WINDOW})
        done.requests.clear()
    with serving(data, **env) as served:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
            await _seen(client, done)
            live = next(secret for key, secret in done.keys.items() if key not in done.revoked)
            dead = next(done.keys[key] for key in done.revoked)
            for secret, status in ((live, 200), (dead, 401)):
                asked = await client.post("/v1/chat/completions", json=ASK, headers={"authorization": f"Bearer {secret}"})
                assert asked.status_code == status
            assert (await client.get("/ready")).json()["status"] == "ready"
            assert await asyncio.to_thread(served.stop) == 0


async def _created(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def _seen(client: httpx.AsyncClient, done: Acknowledged) -> None:
    """Every acknowledged change shows at the door."""
    keys: dict[str, Any] = {key["id"]: key for key in (await client.get("/api/keys", params={"limit": 1000})).json()["keys"]}
    assert set(done.keys) <= set(keys)
    assert not any(keys[key]["isActive"] for key in done.revoked)
    names = {one["id"]: one["name"] for one in (await client.get("/api/providers")).json()["connections"]}
    assert done.connections.items() <= names.items()


async def _stored(settings: Settings, old: set[str]) -> None:
    """Rows older than the window are there, the audit chain is whole, the file is sound."""
    store = Store(settings, Clock())
    await store.open()
    try:
        rows = {row["request_id"] for row in await store._database.read(lambda link: link.run("SELECT request_id FROM usage"))}
        assert old
        assert old <= rows
        assert await store.audit.verify() is None
        if not store.postgres:
            assert await store._database.read(lambda link: link.run("PRAGMA integrity_check")) == [{"integrity_check": "ok"}]
    finally:
        await store.close()
