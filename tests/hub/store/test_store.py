"""The life of a store: open, lock, load, health, rotation, close; and what opening one may import."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub.errors import BadRequest, NotConfigured, Unavailable
from hub.store import Store
from hub.store.lock import FolderLock, FolderLocked, holder
from hub.store.schema import HEAD
from hub.vault import WrongMasterKey
from tests.fakes.database import make_settings
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from hub.settings import Settings
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
OPEN_AND_LIST = """
import asyncio, sys
from pathlib import Path
from hub.clock import Clock
from hub.settings import Settings
from hub.store import Store

async def main():
    store = Store(Settings(data_dir=Path(sys.argv[1]), database_url=sys.argv[2]), Clock())
    await store.open()
    assert store.keys.find(sys.argv[3]) is not None
    await store.flush()
    await store.close()

asyncio.run(main())
print(sorted(name for name in ("sqlalchemy", "sqlmodel", "alembic", "keyring", "httpx") if name in sys.modules))
"""


HOLD = """
import sys
from pathlib import Path
from hub.store.lock import FolderLock

FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


async def test_opening_a_migrated_store_imports_no_sql_toolkit(settings: Settings, clock: HeldClock) -> None:
    """performance.md 4, rule 20: cold start, authentication and the first flush go by plain DB-API."""
    store = Store(settings, clock)
    await store.open()
    _, token = await store.keys.create("a", grants=["chat"])
    await store.close()
    arguments = [sys.executable, "-c", OPEN_AND_LIST, str(settings.data_dir), settings.database_url, token]
    done = await asyncio.to_thread(subprocess.run, arguments, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


async def test_a_second_store_on_a_folder_says_who_holds_it(tmp_path: Path, clock: HeldClock) -> None:
    """D24: one owner of a SQLite folder."""
    settings = make_settings(tmp_path)
    first, second = Store(settings, clock), Store(settings, clock)
    await first.open()
    assert holder(settings.data_dir / "hub.lock") == os.getpid()
    with pytest.raises(FolderLocked, match=f"process {os.getpid()}") as caught:
        await second.open()
    assert caught.value.pid == os.getpid()
    assert first.keys.all() == []
    await first.close()
    assert holder(settings.data_dir / "hub.lock") is None
    third = Store(settings, clock)
    await third.open()
    await third.close()


async def test_two_folders_cannot_share_a_database_file(tmp_path: Path, clock: HeldClock) -> None:
    url = f"sqlite:///{tmp_path / 'shared' / 'hub.db'}"
    first = Store(make_settings(tmp_path / "a", url), clock)
    await first.open()
    with pytest.raises(FolderLocked):
        await Store(make_settings(tmp_path / "b", url), clock).open()
    await first.close()


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "hub.lock"
    assert holder(path) is None
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(FolderLocked) as caught:
        FolderLock(path).acquire()
    assert caught.value.pid == child.pid == holder(path)
    child.kill()
    child.wait(10)
    child.stdout.close()
    child.stdin.close()
    FolderLock(path).acquire()


async def test_files_are_the_owners_only(tmp_path: Path, clock: HeldClock) -> None:
    settings = make_settings(tmp_path)
    store = Store(settings, clock)
    await store.open()
    store.usage.add(usage_row())
    await store.flush()
    assert settings.data_dir.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in settings.data_dir.iterdir()} == dict.fromkeys(
        ("hub.lock", "hubroute.db", "hubroute.db-wal", "hubroute.db-shm", "master.key"), 0o600
    )
    await store.close()
    assert sorted(path.name for path in settings.data_dir.iterdir()) == ["hub.lock", "hubroute.db", "master.key"]


async def test_only_the_writer_may_write_or_checkpoint(tmp_path: Path, clock: HeldClock) -> None:
    """libraries.md, trap 3: readers are query_only and never checkpoint."""
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    assert await store._database.read(lambda link: link.run("PRAGMA wal_autocheckpoint")[0]["wal_autocheckpoint"]) == 0
    with pytest.raises(Unavailable, match="read-only"):
        await store._database.read(lambda link: link.run("DELETE FROM usage"))
    writer = store._database._writer
    await store.keys.create("a", grants=["chat"])
    assert store._database._writer is writer
    assert writer is not None
    assert writer.engine is not None
    await store.close()


async def test_health(store: Store) -> None:
    report = await store.health()
    assert (report["ok"], report["dialect"], report["schema"], report["dropped"]) == (True, store.dialect, HEAD, 0)
    assert report["latency_ms"] >= 0
    assert (report["sqlite_version"] is None) == store.postgres
    assert await store.pending_migrations() == []


async def test_listeners_hear_of_changes_after_memory_has_them(store: Store) -> None:
    heard: list[int] = []
    store.on_change(lambda: heard.append(len(store.keys.all())))
    key, _ = await store.keys.create("a", grants=["chat"])
    await store.keys.delete(key.id)
    await store.values.set("x", 1)
    assert heard == [1, 0, 0]


async def test_a_cancelled_change_does_not_leave_memory_behind(store: Store) -> None:
    task = asyncio.create_task(store.keys.create("a", grants=["chat"]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await store._changes.settle()
    rows = await store._database.read(lambda link: link.run("SELECT id FROM api_keys"))
    assert [row["id"] for row in rows] == [key.id for key in store.keys.all()]


async def test_values(settings: Settings, clock: HeldClock) -> None:
    store = Store(settings, clock)
    await store.open()
    assert store.values.get("a", 7) == 7
    await store.values.set("a", {"b": [1, None, "é"]})
    await store.values.set("c", 1)
    await store.values.set("c", 2)
    await store.values.delete("none")
    await store.close()
    store = Store(settings, clock)
    await store.open()
    assert store.values.all() == {"a": {"b": [1, None, "é"]}, "c": 2}
    await store.values.delete("c")
    assert store.values.get("c") is None
    for act in (store.values.set("vault.pepper", 1), store.values.delete("vault.data_key"), store.values.set("", 1)):
        with pytest.raises(BadRequest):
            await act
    await store.close()


async def test_another_master_key_changes_nothing_and_says_what_to_do(settings: Settings, clock: HeldClock) -> None:
    """SEC-23: wrong key, clear error, no data loss."""
    store = Store(settings, clock)
    await store.open()
    made = await store.connections.create(provider="north", name="a", secret="k")
    await store.close()
    path = settings.data_dir / "master.key"
    right = path.read_text()
    for wrong in (base64.b64encode(bytes(32)).decode(), None):
        path.unlink()
        if wrong:
            path.write_text(wrong)
            path.chmod(0o600)
        with pytest.raises(WrongMasterKey, match=r"put that key back .*Nothing was changed"):
            await Store(settings, clock).open()
        assert path.exists() == bool(wrong)
        path.touch(0o600)
    path.write_text(right)
    store = Store(settings, clock)
    await store.open()
    assert store.connections.get(made.id).secret.reveal() == "k"
    await store.close()


@pytest.mark.parametrize("cut", ["", "before the commit", "after the commit"])
async def test_rotation_survives_being_cut_off(settings: Settings, clock: HeldClock, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    """SEC-23: rotation survives a kill at any point."""
    store = Store(settings, clock)
    await store.open()
    made = await store.connections.create(provider="north", name="a", secret="k")
    path = settings.data_dir / "master.key"
    before = path.read_text()

    def dies(*_args: object, **_options: object) -> None:
        raise OSError("killed here")

    with monkeypatch.context() as patch:
        if cut == "before the commit":
            patch.setattr(store._database, "write", dies)
        if cut == "after the commit":
            patch.setattr("hub.vault.KeyFile.promote", dies)
        if cut:
            with pytest.raises(OSError, match="killed"):
                await store.rotate_master_key()
        else:
            await store.rotate_master_key()
    await store.close()
    again = Store(settings, clock)
    await again.open()
    assert again.connections.get(made.id).secret.reveal() == "k"
    await again.close()
    assert (path.read_text() == before) == (cut == "before the commit")


async def test_a_given_master_key_is_rotated_by_its_owner(tmp_path: Path, clock: HeldClock) -> None:
    old, new = (base64.b64encode(bytes([fill]) * 32).decode() for fill in (1, 2))
    store = Store(make_settings(tmp_path, master_key=old), clock)
    await store.open()
    with pytest.raises(BadRequest, match="give the new key"):
        await store.rotate_master_key()
    with pytest.raises(NotConfigured, match="not the base64 of 32 bytes"):
        await store.rotate_master_key("short")
    await store.rotate_master_key(new)
    await store.close()
    assert not (tmp_path / "data" / "master.key").exists()
    with pytest.raises(WrongMasterKey):
        await Store(make_settings(tmp_path, master_key=old), clock).open()
    store = Store(make_settings(tmp_path, master_key=new), clock)
    await store.open()
    await store.close()
