"""Stored push configs on both databases: replaced, limited, unreadable ones, and who sees to what is owed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.errors import BadRequest
from hub.records import PushConfig, TaskRow
from hub.secret import Secret
from hub.store import Store
from hub.store.pushes import LEASE_MS

if TYPE_CHECKING:
    from hub.settings import Settings
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio

ENDED = ["completed", "failed"]


def config(identity: str = "c", *, task: str = "t", at: int = 5, **fields: Any) -> PushConfig:
    plain = {"dialect": "1.0", "url": "https://example.com/", "id": identity, "task_id": task, "owner": "key", "created_at": at}
    secrets = {"token": Secret("tok"), "credentials": Secret("cred"), "secret": Secret("whsec_x"), "scheme": "Bearer"}
    return PushConfig(**{**plain, **secrets, **fields})


def row(identity: str = "t", state: str = "completed", at: int = 5) -> TaskRow:
    return TaskRow(id=identity, owner="key", context_id="c", skill="s", state=state, created_at=at, updated_at=at, task={})


async def test_a_config_comes_back_as_it_was(store: Store) -> None:
    await store.pushes.save(config(), most=10)
    assert await store.pushes.get("t", "c") == config()
    newer = config(at=9, url="https://other.example/", token=Secret("new"))
    await store.pushes.save(newer, most=10)
    await store.pushes.save(config("a", at=9), most=10)
    assert await store.pushes.of("t") == [config("a", at=9), newer]
    assert await store.pushes.of("another") == []
    assert await store.pushes.get("another", "c") is None
    assert [await store.pushes.delete("t", "c") for _ in range(2)] == [True, False]


async def test_a_task_has_so_many_and_no_more(store: Store) -> None:
    await store.pushes.save(config("a"), most=2)
    await store.pushes.save(config("b"), most=2)
    with pytest.raises(BadRequest, match="2 push notification configs"):
        await store.pushes.save(config("c"), most=2)
    await store.pushes.save(config("b", at=6), most=2)
    await store.pushes.save(config("c", task="other"), most=2)


async def test_secrets_do_not_open_in_another_place(store: Store) -> None:
    """SEC-23: a sealed text that was moved to another task's row is unreadable, and the config is left out."""
    await store.pushes.save(config(), most=10)
    await store.pushes.save(config(task="victim"), most=10)
    sql = "UPDATE push_configs SET sealed = (SELECT sealed FROM push_configs WHERE task_id = 't') WHERE task_id = 'victim'"
    await store._database.write(lambda link: link.run(sql))
    assert await store.pushes.of("victim") == []
    assert await store.pushes.of("t") == [config()]


async def test_only_ends_that_were_not_told_are_owed(store: Store) -> None:
    """REL-19: what is owed is told by the end itself, so no crash can part the two."""
    for identity, state in (("done", "completed"), ("told", "completed"), ("works", "working")):
        await store.tasks.save(row(identity, state))
        await store.pushes.save(config(task=identity), most=10)
    await store.pushes.told(config(task="told"), 7)
    told = await store.pushes.get("told", "c")
    assert told == msgspec.structs.replace(config(task="told"), told_at=7)
    # What told an elder of a config tells nothing of its successor.
    await store.pushes.told(config(task="done", at=4), 7)
    assert [one.task_id for one in await store.pushes.owed(ENDED, now=10, alone=True)] == ["done"]


async def test_what_is_owed_goes_to_one_process(settings: Settings, clock: HeldClock) -> None:
    """D24: two processes on one database; another's is taken over when its lease is over, not before."""
    store = Store(settings, clock)
    await store.open()
    other = Store(settings, clock) if settings.postgres else store
    if other is not store:
        await other.open()
    now = clock.now_ms()
    await store.tasks.save(row(at=now))
    await store.pushes.save(config(at=now), most=10)
    assert await store.pushes.owed(ENDED, now=now + LEASE_MS - 1, alone=False) == []
    first = await store.pushes.owed(ENDED, now=now + LEASE_MS, alone=False)
    second = await other.pushes.owed(ENDED, now=now + LEASE_MS + 1, alone=False)
    assert (len(first), len(second)) == (1, 0)
    assert len(await other.pushes.owed(ENDED, now=now + 2 * LEASE_MS, alone=False)) == 1
    if other is not store:
        await other.close()
    await store.close()


async def test_configs_go_with_their_tasks(store: Store) -> None:
    await store.tasks.save(row("kept"))
    for task in ("kept", "gone", "gone too"):
        await store.pushes.save(config(task=task), most=10)
    assert await store.pushes.prune() == 2
    assert await store.pushes.of("kept") == [config(task="kept")]
