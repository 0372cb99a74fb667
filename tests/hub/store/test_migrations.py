"""Migrations build what the tables say, and plain SQL names the columns that the tables have."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from hub.errors import NotConfigured
from hub.records import Connection
from hub.store import Store, columns, schema
from hub.store.migration import config
from hub.store.session import engine
from hub.store.tables import Base
from tests.fakes.database import make_settings, postgres_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.settings import Settings
    from hub.store.database import Link
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Settings]:
    """Here a database is empty, without tables."""
    with postgres_database(empty=True) if request.param == "postgresql" else nullcontext("") as url:
        yield make_settings(tmp_path, url)


async def test_migrations_from_empty_equal_the_tables(store: Store) -> None:
    def compare(link: Link) -> list[Any]:
        with engine(link).connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
            return compare_metadata(context, Base.metadata)

    assert await store._database.write(compare) == []


async def test_a_migration_can_be_undone_and_done_again(store: Store) -> None:
    def down_and_up(link: Link) -> list[str | None]:
        found: list[str | None] = []
        for act, target in ((command.downgrade, "base"), (command.upgrade, "head")):
            with engine(link).begin() as connection:
                act(config(connection), target)
            found.append(schema.current(link))
        return found

    assert await store._database.write(down_and_up) == [None, schema.HEAD]


def test_our_list_of_revisions_is_alembics() -> None:
    script = ScriptDirectory.from_config(config())
    assert tuple(revision.revision for revision in reversed(list(script.walk_revisions()))) == schema.REVISIONS


def test_plain_sql_names_the_columns_of_the_tables() -> None:
    tables = Base.metadata.tables
    raw = {"usage": columns.USAGE, "decisions": columns.DECISIONS, "audit_log": columns.AUDIT, "tasks": columns.TASKS}
    for name, names in raw.items():
        assert names == tuple(column.name for column in tables[name].columns), name
    assert set(columns.STATE) < {column.name for column in tables["connections"].columns}
    assert {column.name for column in tables["connections"].columns} == set(Connection.__struct_fields__)


async def test_pending_migrations_are_told_without_opening(settings: Settings, clock: HeldClock) -> None:
    unopened = Store(settings, clock)
    assert await unopened.pending_migrations() == list(schema.REVISIONS)
    await unopened.close()
    store = Store(settings, clock)
    await store.open()
    await store.close()
    unopened = Store(settings, clock)
    assert await unopened.pending_migrations() == []
    await unopened.close()


async def test_a_newer_schema_is_refused_and_left_alone(settings: Settings, clock: HeldClock) -> None:
    """REL-11: newer schema."""
    store = Store(settings, clock)
    await store.open()
    await store._database.write(lambda link: link.run("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    with pytest.raises(NotConfigured, match="schema '9999', newer than this version"):
        await Store(settings, clock).open()


async def test_a_failing_migration_leaves_nothing_behind(tmp_path: Path, clock: HeldClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-09: all of the migrations or none."""

    def dies(*_args: object) -> None:
        raise OSError("killed here")

    with monkeypatch.context() as patch:
        patch.setattr("hub.store.sqlite.deferred.migration", dies)
        with pytest.raises(OSError, match="killed"):
            await Store(make_settings(tmp_path), clock).open()
    assert not (tmp_path / "data" / "hubroute.db").exists()
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    assert (await store.health())["schema"] == schema.HEAD
    await store.close()
