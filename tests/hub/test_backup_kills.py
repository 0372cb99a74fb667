"""REL-09: a hub killed in the middle of backups and restores has the old state or the new one, whole, and every backup it told of."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.clock import Clock
from hub.settings import Settings
from hub.store import Store
from hub.store.migration import upgrade
from hub.store.postgres import Postgres
from hub.store.shelf import Shelf, digest
from hub.store.sqlite import blank
from tests.fakes.command import LIMIT, answer, hubroute, serving
from tests.fakes.database import postgres_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
MANY = 15


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


async def test_killed_at_random_moments(tmp_path: Path, database: str) -> None:
    data, env = tmp_path / "data", {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_DEMO": "on"}
    owner = await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env)
    headers = {"authorization": f"Bearer {owner['key']}"}
    states: dict[str, set[str]] = {}
    told: set[str] = set()
    for kill in range(2):
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
                there = await _names(client)
                if kill:
                    assert there in states.values(), (kill, sorted(there))
                    assert (await client.get("/ready")).status_code == 200
                else:
                    # Two states to go between: a change by halves would be neither.
                    for wave in ("a", "b"):
                        for number in range(MANY):
                            body = {"provider": "openai", "name": f"{wave}{number}", "apiKey": "sk-x", "isActive": False}
                            assert (await client.post("/api/providers", json=body)).status_code == 201
                        states[(await client.put("/api/db-backups")).json()["id"]] = await _names(client)
                task = asyncio.create_task(_back_and_forth(client, list(states), told))
                await asyncio.sleep(random.uniform(0.15, 0.5))
                assert not task.done(), task
                served.process.kill()
                with pytest.raises(httpx.TransportError):
                    await task
    store = Store(Settings(data_dir=data, database_url=database), Clock())
    await store.open()
    assert {one.name for one in store.connections.all()} in states.values()
    await store.close()
    shelf = Shelf(data / "backups")
    listed = {one.id: one for one in shelf.all()}
    assert told <= listed.keys()
    for one in listed.values():
        assert digest(shelf.path(one)) == one.sha256
        with sqlite3.connect(shelf.path(one)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    if not database:
        with sqlite3.connect(data / "hubroute.db") as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def _names(client: httpx.AsyncClient) -> set[str]:
    return {one["name"] for one in (await client.get("/api/providers")).json()["connections"]}


async def _back_and_forth(client: httpx.AsyncClient, backups: list[str], told: set[str]) -> None:
    while True:
        for name in backups:
            done = await client.post("/api/db-backups", json={"backupId": name})
            assert done.status_code == 200, done.text
            made = await client.put("/api/db-backups")
            assert made.status_code == 200, made.text
            told.add(made.json()["id"])


def run(data: Path, *args: str) -> Any:
    return answer(data, "backup", *args)


def test_the_command_line_without_a_hub_that_runs(tmp_path: Path) -> None:
    """REL-11: a database that no hub can open is put right with one command, and kept."""
    data, file, whole = tmp_path / "data", tmp_path / "x.sqlite", tmp_path / "x.tar.gz"
    key = answer(data, "keys", "create", "a")["id"]
    made = run(data, "create")["id"]
    run(data, "export", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    refused = hubroute(data, "backup", "export", str(file))
    assert refused.returncode == 2
    assert "is there already" in refused.stderr
    database = data / "hubroute.db"
    database.write_bytes(b"damaged" + database.read_bytes()[7:])
    refused = hubroute(data, "keys", "list")
    assert "hubroute backup restore --offline latest" in refused.stderr
    listed = run(data, "list", "--offline")
    assert [one["id"] for one in listed] == [made]
    done = run(data, "restore", "--offline", "latest")
    assert (done["backupId"], done["secrets"], done["apiKeyCount"]) == (made, "kept", 1)
    assert next(tmp_path.glob("data/backups/damaged-*/hubroute.db")).read_bytes().startswith(b"damaged")
    assert [one["id"] for one in answer(data, "keys", "list")["keys"]] == [key]
    run(data, "export", str(whole), "--full")
    # On another machine, into a folder with nothing in it.
    other = tmp_path / "other"
    done = run(other, "restore", "--offline", str(whole))
    assert done["secrets"].startswith("lost")
    assert [one["name"] for one in answer(other, "keys", "list")["keys"]] == ["a"]
    assert answer(other, "backup", "import", str(file))["secrets"] == "lost"


def test_the_command_line_beside_a_hub_that_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data):
        made = run(data, "create")["id"]
        answer(data, "keys", "create", "later")
        refused = hubroute(data, "backup", "restore", "--offline", made)
        assert refused.returncode == 1
        assert "is in use by process" in refused.stderr
        done = run(data, "restore", made)
        assert done["restored"] is True
        assert "later" not in {one["name"] for one in answer(data, "keys", "list")["keys"]}
        assert run(data, "delete", made) == {"deleted": True, "id": made}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_migration_keeps_the_old_schema(tmp_path: Path, kind: str) -> None:
    """Before a newer version changes a database it keeps a backup, which restores into that version."""
    with postgres_database(empty=True) if kind == "postgresql" else nullcontext("") as database:
        await _migrated(tmp_path, database)


async def _migrated(tmp_path: Path, database: str) -> None:
    settings = Settings(data_dir=tmp_path / "data", database_url=database)
    settings.data_dir.mkdir(mode=0o700)
    if database:
        link = Postgres(database).connect(writer=True)
        upgrade(link, "0005")
        link.raw.close()
    else:
        blank(settings.data_dir / "hubroute.db", "0005")
    store = Store(settings, Clock())
    await store.open()
    await store.close()
    (kept,) = Shelf(settings.data_dir / "backups").all()
    assert (kept.reason, kept.schema, kept.database) == ("before-migration", "0005", "postgresql" if database else "sqlite")
    done = await asyncio.to_thread(answer, settings.data_dir, "backup", "restore", kept.id, HUBROUTE_DATABASE_URL=database)
    assert done["restored"] is True
