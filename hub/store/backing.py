"""Backups of a store that is open: taken while it serves, tried before they are put back, put back while it serves."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub import vault as vaults
from hub.errors import HubError
from hub.store import deferred, schema
from hub.store.database import DatabaseDamaged
from hub.store.sqlite import Sqlite
from hub.vault import Vault, WrappedKey, WrongMasterKey

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from pathlib import Path

    from hub.store.archive import Counts
    from hub.store.database import Driver, Link
    from hub.store.store import Store

#: The two values of the vault: the wrapped data key, and the pepper that it seals.
DATA_KEY, PEPPER = "vault.data_key", "vault.pepper"


class Trial(msgspec.Struct, kw_only=True):
    """What opening an archive on the side has shown. ``vault`` are the rows of the vault that fit the master key at hand.

    ``readable`` says whether stored secrets can be read afterwards, ``own`` whether the archive is of this very hub,
    ``chained`` whether the audit log of now goes on: its chain is keyed with the vault's pepper, which comes with a vault.
    """

    rows: dict[str, list[dict[str, Any]]]
    vault: dict[str, str]
    readable: bool
    own: bool
    chained: bool
    pepper: bytes
    counts: Counts


def snapshot(driver: Driver, target: Path) -> None:
    """Write everything that is committed now to a new file. Call it in a thread. Raises HubError, OSError."""
    try:
        link = driver.connect(writer=False)
        try:
            revision = schema.current(link) or schema.HEAD
            link.raw.rollback()
            deferred.archive().make(driver, link, target, revision)
        finally:
            link.raw.close()
    except driver.errors as error:
        raise driver.explain(error) from error


def before_migration(driver: Callable[[], Driver], store: Store) -> Callable[[Link, str], None]:
    """What keeps a backup of a database that is about to be brought to a newer schema."""

    def keep(link: Link, revision: str) -> None:
        made = driver()
        archive = deferred.archive()
        draft = store.shelf.write(lambda target: archive.make(made, link, target, revision))
        store.shelf.keep(draft, "before-migration", store.now_ms(), schema=revision, database=made.dialect, connections=connections(draft))

    return keep


def connections(archive: Path) -> int:
    """How many connections an archive of any revision holds."""
    link = Sqlite(archive).connect(writer=False)
    try:
        return link.run("SELECT count(*) AS found FROM connections")[0]["found"]
    finally:
        link.raw.close()


async def tried(store: Store, archive: Path, hot: Callable[[Link], dict[str, list[dict[str, Any]]]]) -> Trial:
    """Open an archive (made anew, at the newest schema) as a store of its own, and throw that away. Raises what a bad row raises."""

    def read() -> tuple[dict[str, list[dict[str, Any]]], Counts]:
        link = Sqlite(archive).connect(writer=False)
        try:
            return hot(link), deferred.archive().counts(cast("sqlite3.Connection", link.raw))
        except sqlite3.Error as error:
            raise DatabaseDamaged(f"a row cannot be read: {error}") from error
        finally:
            link.raw.close()

    rows, counts = await asyncio.to_thread(read)
    values = {row["name"]: row["value"] for row in rows["values"]}
    here = {row["name"]: row["value"] for row in await store.vault_rows()}
    vault = _fitting(store, values, here)
    found = Trial(rows=rows, vault=vault or here, readable=vault is not None, own=False, chained=False, pepper=b"", counts=counts)
    rows["values"] = [row for row in rows["values"] if row["name"] not in found.vault]
    rows["values"] += [{"name": name, "value": value, "updated_at": 0} for name, value in found.vault.items()]
    try:
        found.pepper = store.pepper_of(rows)
    except (HubError, msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
        raise DatabaseDamaged(f"a row cannot be read: {error}") from error
    found.chained = found.pepper == store.pepper
    found.own = found.readable and found.chained
    return found


def _fitting(store: Store, values: dict[str, str], here: dict[str, str]) -> dict[str, str] | None:
    """The rows of the vault with which an archive's secrets can be read here; None where they cannot."""
    if not {DATA_KEY, PEPPER} <= values.keys():
        return None
    wrapped = _wrapped(values[DATA_KEY])
    if wrapped.key_id == _wrapped(here[DATA_KEY]).key_id:
        # The same data key, which may have been wrapped with another master key since.
        return {DATA_KEY: here[DATA_KEY], PEPPER: values[PEPPER]}
    try:
        Vault.unlock(wrapped, vaults.masters(vaults.source(store.settings)))
    except WrongMasterKey:
        return None
    return {name: values[name] for name in (DATA_KEY, PEPPER)}


def _wrapped(text: str) -> WrappedKey:
    try:
        return msgspec.json.decode(text, type=WrappedKey)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise DatabaseDamaged("the row of the vault cannot be read") from error
