"""Connections: sealed secrets, order, health marks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import BadRequest, NotFound
from hub.records import ConnectionRules, TestStatus
from hub.store import Store

if TYPE_CHECKING:
    from hub.settings import Settings
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio
CANARY = "sk-canary-8f2c17aa90"


async def reopened(settings: Settings, clock: HeldClock) -> Store:
    store = Store(settings, clock)
    await store.open()
    return store


async def test_everything_survives_a_restart_and_secrets_are_sealed(settings: Settings, clock: HeldClock) -> None:
    """SEC-22, SEC-23: the database holds no secret in plain text."""
    store = await reopened(settings, clock)
    made = await store.connections.create(
        provider="north",
        name="work",
        secret=CANARY,
        base_url="https://north.test/v1",
        data={"region": "eu"},
        priority=3,
        allow_private=True,
        proxy=f"http://u:{CANARY}@proxy.test:1",
        default_model="m1",
        models=["m1", "m2"],
        auth_type="bearer",
    )
    rows = await store._database.read(lambda link: link.run("SELECT * FROM connections"))
    assert CANARY not in str(rows)
    assert CANARY not in repr(made)
    await store.close()
    store = await reopened(settings, clock)
    found = store.connections.get(made.id)
    assert found == made
    assert found.secret.reveal() == CANARY
    assert found.proxy is not None
    assert found.proxy.reveal().startswith("http://u:sk")
    await store.close()


async def test_a_providers_connections_come_by_priority_and_age(store: Store, clock: HeldClock) -> None:
    made = []
    for name, priority in (("late", 2), ("old", 1), ("young", 1)):
        clock.now += 1
        made.append(await store.connections.create(provider="north", name=name, secret="k", priority=priority))
    other = await store.connections.create(provider="east", name="x", secret="k")
    await store.connections.update(made[1].id, active=False)
    assert [item.name for item in store.connections.of("north")] == ["old", "young", "late"]
    assert [item.provider for item in store.connections.all()] == ["east", "north", "north", "north"]
    await store.connections.delete(other.id)
    assert store.connections.of("east") == ()
    with pytest.raises(NotFound):
        await store.connections.delete(other.id)
    with pytest.raises(NotFound):
        await store.connections.update(other.id, name="y")


async def test_marks_are_seen_at_once_and_stored_behind(settings: Settings, clock: HeldClock) -> None:
    store = await reopened(settings, clock)
    made = await store.connections.create(provider="north", name="a", secret="k")
    store.connections.mark(made.id, test_status=TestStatus.UNAVAILABLE, last_error="slow\x00down", cooldown_until=99, backoff_level=2)
    store.connections.mark(made.id, last_error_at=98)
    store.connections.mark("con_gone", backoff_level=1)
    assert store.connections.of("north")[0].cooldown_until == 99
    assert store.queue.depth == 1
    renamed = await store.connections.update(made.id, name="b")
    assert (renamed.name, renamed.backoff_level) == ("b", 2)
    await store.close()
    store = await reopened(settings, clock)
    found = store.connections.get(made.id)
    assert (found.test_status, found.last_error, found.last_error_at, found.cooldown_until) == ("unavailable", "slow\ufffddown", 98, 99)
    assert store.connections.of("north") == (found,)
    with pytest.raises(BadRequest):
        store.connections.mark(made.id, name="c")
    await store.close()


async def test_a_new_secret_clears_the_marks_for_good(settings: Settings, clock: HeldClock) -> None:
    store = await reopened(settings, clock)
    made = await store.connections.create(provider="north", name="a", secret="old")
    store.connections.mark(made.id, test_status=TestStatus.EXPIRED, last_error="refused", cooldown_until=99)
    assert (await store.connections.update(made.id, secret=None, name="b")).test_status == TestStatus.EXPIRED
    store.connections.mark(made.id, backoff_level=4)
    changed = await store.connections.update(made.id, secret="new")
    assert (changed.test_status, changed.last_error, changed.cooldown_until, changed.backoff_level) == ("unknown", "", None, 0)
    await store.close()
    store = await reopened(settings, clock)
    found = store.connections.get(made.id)
    assert (found.test_status, found.backoff_level, found.secret.reveal()) == ("unknown", 0, "new")
    await store.close()


async def test_swapped_secrets_do_not_open(settings: Settings, clock: HeldClock) -> None:
    """SEC-23: a sealed secret is bound to its row and column; the connection says so, the others work."""
    store = await reopened(settings, clock)
    first = await store.connections.create(provider="north", name="a", secret="one", proxy="http://p.test:1")
    second = await store.connections.create(provider="north", name="b", secret="two")
    third = await store.connections.create(provider="north", name="c", secret="three")
    await store._database.write(
        lambda link: link.run(
            "UPDATE connections SET secret = (SELECT c.secret FROM connections c WHERE c.id = ?) WHERE id = ?", first.id, second.id
        )
    )
    await store._database.write(lambda link: link.run("UPDATE connections SET secret = proxy WHERE id = ?", first.id))
    await store.close()
    store = await reopened(settings, clock)
    for broken in (first, second):
        found = store.connections.get(broken.id)
        assert (found.secret.reveal(), found.test_status) == ("", TestStatus.EXPIRED)
        assert "enter it again" in found.last_error
    assert store.connections.get(third.id).secret.reveal() == "three"
    await store.connections.update(first.id, secret="one again")
    assert store.connections.get(first.id).test_status == TestStatus.UNKNOWN
    await store.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "name must not be empty"),
        ({"provider": "a\nb"}, "provider holds a control"),
        ({"secret": "a\r\nX-Evil: 1"}, "secret holds a control"),
        ({"priority": -1}, "priority must be"),
        ({"data": {"region": "x\x00"}}, "data holds"),
        ({"models": ["m"] * 1001}, "more than 1000"),
    ],
)
async def test_bad_input_is_refused(store: Store, changes: dict[str, object], words: str) -> None:
    """SEC-29: a credential is one line."""
    given = {"provider": "north", "name": "a", "secret": "k", **changes}
    with pytest.raises(BadRequest, match=words):
        await store.connections.create(**given)  # type: ignore[arg-type]
    assert store.connections.all() == []


async def test_a_service_account_keeps_its_lines(store: Store) -> None:
    made = await store.connections.create(provider="north", name="a", secret='{\n "key": "x"\n}\n')
    assert made.secret.reveal() == '{\n "key": "x"\n}'


async def test_a_connection_that_goes_right_after_a_mark_does_not_keep_the_store_waiting(store: Store) -> None:
    """Its mark is forgotten; nobody may wait for it to be stored."""
    made = await store.connections.create(provider="north", name="gone", secret="k")
    store.connections.mark(made.id, last_error="503")
    await store.connections.delete(made.id)
    async with asyncio.timeout(5):
        await store.flush()


async def test_a_mark_replaces_one_connection_and_a_reload_keeps_what_did_not_change(store: Store, clock: HeldClock) -> None:
    made = []
    for number in range(5):
        clock.now += 1
        made.append(await store.connections.create(provider="north", name=str(number), secret="k", extra_secrets=["one", "two"]))
    before = store.connections.of("north")
    assert store.connections.of("north") is before
    store.connections.mark(made[3].id, backoff_level=2)
    after = store.connections.of("north")
    assert [one.name for one in after] == ["0", "1", "2", "3", "4"]
    assert [new is old for new, old in zip(after, before, strict=True)] == [True, True, True, False, True]
    assert before[3].backoff_level == 0
    await store.connections.update(made[4].id, priority=0)
    store.connections.mark(made[0].id, backoff_level=1)
    await store.connections.delete(made[1].id)
    assert [(one.name, one.backoff_level) for one in store.connections.of("north")] == [("4", 0), ("0", 1), ("2", 0), ("3", 2)]
    kept = store.connections.of("north")
    await store.flush()
    await store._reload()
    again = store.connections.of("north")
    assert [new is old for new, old in zip(again, kept, strict=True)] == [True] * 4
    assert [secret.reveal() for secret in again[1].extra_secrets] == ["one", "two"]


async def test_new_further_keys_clear_the_marks(store: Store) -> None:
    made = await store.connections.create(provider="north", name="a", secret="k", active=False, rules=ConnectionRules(max_concurrent=2))
    assert (made.active, made.rules.max_concurrent) == (False, 2)
    store.connections.mark(made.id, test_status=TestStatus.EXPIRED)
    assert (await store.connections.update(made.id, rules=ConnectionRules(tier="pro"))).test_status == TestStatus.EXPIRED
    assert (await store.connections.update(made.id, extra_secrets=["other"])).test_status == TestStatus.UNKNOWN


async def test_a_change_during_a_reload_is_not_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was acknowledged stays in memory, although rows that were read before it are taken over after it."""
    read, made = store._database.read, list[str]()

    async def read_and_change(work: Any) -> Any:
        rows = await read(work)
        if not made:
            made.append("")
            made[0] = (await store.connections.create(provider="north", name="meanwhile", secret="sk-1")).id
        return rows

    for at in (1, 2):
        made.clear()
        reads = 0

        async def nth(work: Any, *, at: int = at) -> Any:
            nonlocal reads
            reads += 1
            return await (read_and_change(work) if reads == at else read(work))

        monkeypatch.setattr(store._database, "read", nth)
        await store._reload()
        assert store.connections.get(made[0]).name == "meanwhile"
        await store._reload()
        assert store.connections.get(made[0]).name == "meanwhile"
