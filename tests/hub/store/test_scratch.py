"""SEC-40: what says that it is a backup is made anew from its rows, or refused with nothing changed."""

from __future__ import annotations

import gzip
import io
import sqlite3
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from hub.store import Store, archive, restoring, scratch, tarball
from hub.store.schema import HEAD
from hub.store.scratch import NotABackup
from hub.store.sqlite import blank
from tests.fakes.database import make_settings
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio
MOST = 64 * 2**20


@pytest.fixture
async def good(tmp_path: Path, clock: HeldClock) -> Path:
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    await store.connections.create(provider="openai", name="a", secret="sk-secret", data={"prefix": "own"})
    for number in range(50):
        store.usage.add(usage_row(number))
    await store.snapshot(tmp_path / "good.sqlite")
    await store.close()
    return tmp_path / "good.sqlite"


def alter(*statements: str) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("PRAGMA writable_schema=ON")
        for statement in statements:
            raw.execute(statement)
        raw.close()

    return harm


def patch(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: (path.write_bytes(change(path.read_bytes())), None)[1]


def flipped(data: bytes) -> bytes:
    page = int.from_bytes(data[16:18], "big")
    return data[:page] + b"".join(b"\xff" * 64 + data[at + 64 : at + page] for at in range(page, len(data), page))


HARMS: list[tuple[str, Callable[[Path], None], str]] = [
    ("empty", patch(lambda _: b""), "0 bytes"),
    ("small", patch(lambda data: data[:2000]), "2000 bytes"),
    ("truncated", patch(lambda data: data[: len(data) // 2 // 4096 * 4096]), "missing at its end"),
    ("text", patch(lambda data: b"x" * len(data)), "not an SQLite database"),
    ("flipped", patch(flipped), "Nothing was changed"),
    ("another program", alter("PRAGMA application_id=1"), "another program"),
    ("trigger", alter("CREATE TRIGGER evil AFTER INSERT ON usage BEGIN DELETE FROM api_keys; END"), "trigger 'evil'"),
    ("view", alter("CREATE VIEW evil AS SELECT 1"), "view 'evil'"),
    ("a view in a table's place", alter("DROP TABLE tasks", "CREATE VIEW tasks AS SELECT 1 AS id"), "view 'tasks'"),
    ("virtual table", alter("CREATE VIRTUAL TABLE evil USING fts5(x)"), "virtual table 'evil'"),
    ("another's table", alter("CREATE TABLE evil (x)"), "table 'evil'"),
    ("a table less", alter("DROP TABLE api_keys"), "lacks the table 'api_keys'"),
    ("a column more", alter("ALTER TABLE usage ADD COLUMN evil"), "column of usage 'evil'"),
    ("a computed column", alter("ALTER TABLE usage ADD COLUMN evil GENERATED ALWAYS AS (1)"), "computed"),
    ("a column less", alter("ALTER TABLE usage DROP COLUMN error_code"), "lacks the column of usage 'error_code'"),
    ("newer", alter("UPDATE alembic_version SET version_num = '9999'"), "newer than this version"),
    ("two versions", alter("INSERT INTO alembic_version VALUES ('0001')"), "which schema"),
    ("no version", alter("DROP TABLE alembic_version"), "alembic_version"),
    ("a blob for a text", alter("UPDATE connections SET name = x'00ff'"), "connections.name is not text"),
    ("a text for a number", alter("UPDATE usage SET at = 'now'"), "usage.at is not integer"),
    ("a number for a flag", alter("UPDATE connections SET active = 7"), "connections.active is not boolean"),
    ("broken UTF-8", alter("UPDATE usage SET model = CAST(x'ff61' AS TEXT)"), "UTF-8"),
    ("an infinite sum", alter("UPDATE usage SET cost = 'much'"), "usage.cost is not real"),
]  # fmt: skip


@pytest.mark.parametrize(("harm", "words"), [(harm, words) for _, harm, words in HARMS], ids=[name for name, _, _ in HARMS])
async def test_what_lies_is_refused(good: Path, tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(good)
    target = tmp_path / "made"
    with pytest.raises(NotABackup, match=words):
        scratch.remade(good, target, most=MOST)
    assert not target.exists()


async def test_a_sound_file_is_made_anew(good: Path, tmp_path: Path) -> None:
    """Also one in WAL mode, as a copy of a running hub's file is, and one whose indexes lie."""
    alter("PRAGMA journal_mode=WAL")(good)
    alter("DROP INDEX ix_usage_at", "CREATE INDEX ix_usage_at ON usage(hex(model))")(good)
    before = good.read_bytes()
    assert scratch.remade(good, tmp_path / "made", most=MOST) == HEAD
    assert good.read_bytes() == before
    raw = sqlite3.connect(tmp_path / "made")
    assert raw.execute("SELECT sql FROM sqlite_master WHERE name = 'ix_usage_at'").fetchone() == ("CREATE INDEX ix_usage_at ON usage (at)",)
    assert archive.counts(raw) == (1, 1, 0, 0)
    assert raw.execute("SELECT count(*) FROM usage").fetchone() == (50,)
    assert raw.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    raw.close()


async def test_too_large_a_file_is_not_read(good: Path, tmp_path: Path) -> None:
    with pytest.raises(NotABackup, match="HUBROUTE_MAX_BACKUP_MB allows 5000"):
        scratch.remade(good, tmp_path / "made", most=5000)


@pytest.mark.parametrize("revision", ["0001", "0003", "0005"])
async def test_an_older_schema_is_brought_up(tmp_path: Path, revision: str) -> None:
    old = tmp_path / "old.sqlite"
    blank(old, revision)
    raw = sqlite3.connect(old, isolation_level=None)
    raw.execute('INSERT INTO "values" VALUES (?, ?, 1)', ("x", '"kept"'))
    raw.close()
    assert scratch.remade(old, tmp_path / "made", most=MOST) == revision
    raw = sqlite3.connect(tmp_path / "made")
    assert raw.execute('SELECT value FROM "values"').fetchall() == [('"kept"',)]
    assert archive.held(raw) == set(archive.tables())
    raw.close()


async def test_no_table_numbers_its_rows_by_itself() -> None:
    """Rows are restored with their keys: a sequence of PostgreSQL would not know of them."""
    from hub.store.tables import Base

    for table in Base.metadata.tables.values():
        if len(table.primary_key) == 1 and (only := next(iter(table.primary_key))).type.python_type is int:
            assert only.autoincrement is False, table.name


def test_every_table_has_its_place_in_a_restore() -> None:
    """A new table is set up by an owner, or happened, or is at work, or belongs to a running process: say which in restoring.py."""
    named = [restoring.SET_UP, restoring.ADDED, restoring.ONGOING, restoring.APART]
    assert set().union(*named) == set(archive.tables())
    assert sum(map(len, named)) == len(archive.tables())


def packed(entries: list[tuple[tarfile.TarInfo, bytes]], kind: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=kind) as tar:
        for info, data in entries:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, data: bytes = b"x" * 5000, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, b"" if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) else data


TARS: list[tuple[str, bytes, str]] = [
    ("dot dot", packed([entry("../storage.sqlite")]), "no full archive has"),
    ("absolute", packed([entry("/etc/cron.d/x")]), "no full archive has"),
    ("a path", packed([entry("x/storage.sqlite")]), "no full archive has"),
    ("symlink", packed([entry("storage.sqlite", type=tarfile.SYMTYPE, linkname="/etc/passwd")]), "no plain file"),
    ("hardlink", packed([entry("storage.sqlite", type=tarfile.LNKTYPE, linkname="/etc/passwd")]), "no plain file"),
    ("device", packed([entry("storage.sqlite", type=tarfile.CHRTYPE)]), "no plain file"),
    ("folder", packed([entry("storage.sqlite", type=tarfile.DIRTYPE)]), "no plain file"),
    ("twice", packed([entry("storage.sqlite"), entry("storage.sqlite")]), "two entries"),
    ("many", packed([entry(f"f{number}", b"") for number in range(10_000)]), "no full archive has"),
    ("a long name", packed([entry("x" * 300)], tarfile.GNU_FORMAT), "no plain file"),
    ("attributes", packed([entry("storage.sqlite", pax_headers={"path": "../x"})], tarfile.PAX_FORMAT), "no plain file"),
    ("without a database", packed([entry("settings.json")]), "it has no storage.sqlite"),
    ("too large", packed([entry("storage.sqlite", bytes(9 * 2**20))]), "bytes; HUBROUTE_MAX_BACKUP_MB"),
    ("cut off", packed([entry("storage.sqlite", b"abc" * 40_000)])[:120], "unpacked|missing"),
    ("no tar", gzip.compress(b"hello" * 1000), "unpacked"),
    ("no gzip", b"\x1f\x8bhello", "unpacked"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "words"), [(data, words) for _, data, words in TARS], ids=[name for name, _, _ in TARS])
async def test_a_full_archive_that_lies_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "x.tar.gz").write_bytes(data)
    with pytest.raises(NotABackup, match=words):
        tarball.unpack(tmp_path / "x.tar.gz", tmp_path / "out", most=8 * 2**20)
    assert {path.name for path in tmp_path.iterdir()} <= {"x.tar.gz", "out"}


async def test_a_bomb_is_stopped_early(tmp_path: Path) -> None:
    """A gigabyte of zeros in a megabyte: stopped at a bound, with little on the disk."""
    info = tarfile.TarInfo("storage.sqlite")
    info.size = 900 * 2**20
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(100):
            file.write(bytes(2**20))
    (tmp_path / "bomb").write_bytes(out.getvalue())
    with pytest.raises(NotABackup, match="unpacks to more"):
        tarball.unpack(tmp_path / "bomb", tmp_path / "out", most=1024 * 2**20)
    assert (tmp_path / "out").stat().st_size < 200 * 2**20
