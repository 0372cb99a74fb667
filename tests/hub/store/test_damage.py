"""REL-11: a damaged database is refused with a precise message, and left as it was."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from hub.errors import NotConfigured, Unavailable
from hub.store import Store
from hub.store.database import DatabaseDamaged
from tests.fakes.database import make_settings
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def path(tmp_path: Path, clock: HeldClock) -> Path:
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    for number in range(500):
        store.usage.add(usage_row(number))
    await store.keys.create("a", grants=["chat"])
    await store.close()
    return tmp_path / "data" / "hubroute.db"


def flip(data: bytes) -> bytes:
    """Damage the inside of every page but the first."""
    page = int.from_bytes(data[16:18], "big")
    return data[:page] + b"".join(b"\xff" * 64 + data[at + 64 : at + page] for at in range(page, len(data), page))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda _: b"", "the file is empty"),
        (lambda data: data[: len(data) // 2], "bytes are missing at its end"),
        (lambda data: data[:50], "header is cut off"),
        (flip, "damaged"),
        (lambda _: b"hello " * 1000, "not an SQLite database"),
    ],
)
async def test_a_damaged_file_is_refused(path: Path, tmp_path: Path, clock: HeldClock, harm: Callable[[bytes], bytes], words: str) -> None:
    harmed = harm(path.read_bytes())
    path.write_bytes(harmed)
    with pytest.raises((DatabaseDamaged, NotConfigured), match=words) as caught:
        await Store(make_settings(tmp_path), clock).open()
    assert str(path) in caught.value.message
    assert path.read_bytes() == harmed


async def test_the_message_says_how_to_recover(path: Path, tmp_path: Path, clock: HeldClock) -> None:
    path.write_bytes(b"")
    with pytest.raises(DatabaseDamaged, match=r"backup in its place.*sqlite3 .*\.recover \| sqlite3 saved\.db"):
        await Store(make_settings(tmp_path), clock).open()


async def test_another_programs_database_is_refused(tmp_path: Path, clock: HeldClock) -> None:
    settings = make_settings(tmp_path, f"sqlite:///{tmp_path}/other.db")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE notes (words TEXT)")
    other.close()
    with pytest.raises(NotConfigured, match="another program"):
        await Store(settings, clock).open()


async def test_a_log_without_its_database_is_kept(path: Path, tmp_path: Path, clock: HeldClock) -> None:
    path.with_name("hubroute.db-wal").write_bytes(b"evidence")
    path.unlink()
    with pytest.raises(DatabaseDamaged, match="is missing, but its log"):
        await Store(make_settings(tmp_path), clock).open()
    assert path.with_name("hubroute.db-wal").read_bytes() == b"evidence"


async def test_a_row_that_cannot_be_read_is_named(path: Path, tmp_path: Path, clock: HeldClock) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE api_keys SET grants = '[1'")
    raw.close()
    with pytest.raises(DatabaseDamaged, match="a row that cannot be read"):
        await Store(make_settings(tmp_path), clock).open()
    path.chmod(0o600)


async def test_a_failed_open_frees_the_folder(path: Path, tmp_path: Path, clock: HeldClock) -> None:
    good = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(DatabaseDamaged):
        await Store(make_settings(tmp_path), clock).open()
    path.write_bytes(good)
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    assert len(store.keys.all()) == 1
    await store.close()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("postgresql://postgres:hunter2@127.0.0.1:1/none", Unavailable),
        ("postgresql://postgres:hunter2@127.0.0.1:5432/no_such_database_here", Unavailable),
        ("postgresql://postgres:hunter2@127.0.0.1:5432/x?no_such_option=1", NotConfigured),
    ],
)
async def test_an_absent_postgresql_is_said_without_the_password(
    tmp_path: Path, clock: HeldClock, url: str, error: type[Exception]
) -> None:
    """SEC-22."""
    with pytest.raises(error, match="HUBROUTE_DATABASE_URL") as caught:
        await Store(make_settings(tmp_path, url), clock).open()
    assert "hunter2" not in str(caught.value)
