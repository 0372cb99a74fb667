"""Keys: made, found, changed, ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.access.scopes import ALL
from hub.errors import BadRequest, Conflict, NotFound
from hub.store import Store
from hub.store.keys import checksum

if TYPE_CHECKING:
    from hub.settings import Settings
    from tests.hub.store.conftest import HeldClock

pytestmark = pytest.mark.anyio


async def test_a_token_has_its_form_and_is_found_again_after_a_restart(settings: Settings, clock: HeldClock) -> None:
    first = Store(settings, clock)
    await first.open()
    key, token = await first.keys.create("laptop", grants=["read:*", "chat"], allowed_models=["north/*"], no_log=True)
    await first.close()
    prefix, public, rest = token.split("_")
    assert (prefix, len(public), len(rest)) == ("hr", 12, 38)
    assert checksum(token[:-6]) == token[-6:]
    assert key.prefix == f"hr_{public}"
    assert {"chat", "read:quota"} <= key.scopes
    second = Store(settings, clock)
    await second.open()
    try:
        assert second.keys.all() == [key]
        found = second.keys.find(token)
        assert found is not None
        assert (found.id, found.allowed_models, found.no_log) == (key.id, ("north/*",), True)
    finally:
        await second.close()


@pytest.mark.parametrize("token", ["", "hr_x", "x" * 5000, "\ud800", "hr_\x00", "' OR 1=1 --"])
async def test_an_unknown_token_finds_nothing(store: Store, token: str) -> None:
    await store.keys.create("laptop", grants=["chat"])
    assert store.keys.find(token) is None


async def test_revoked_expired_and_deleted_keys_are_not_found(store: Store, clock: HeldClock) -> None:
    revoked, first = await store.keys.create("a", grants=["chat"])
    _, second = await store.keys.create("b", grants=["chat"], expires_at=clock.now + 10)
    deleted, third = await store.keys.create("c", grants=["chat"])
    assert all(store.keys.find(token) for token in (first, second, third))
    ids = [key.id for key in store.keys.all()]
    assert [key.id for key in map(store.keys.valid, ids) if key is not None] == ids
    ended = await store.keys.revoke(revoked.id)
    assert (ended.active, ended.revoked_at) == (False, clock.now)
    await store.keys.delete(deleted.id)
    clock.now += 10
    assert not any(store.keys.find(token) for token in (first, second, third))
    assert not any(map(store.keys.valid, [*ids, "", "owner"]))
    with pytest.raises(Conflict):
        await store.keys.update(revoked.id, active=True)
    for act in (store.keys.delete, store.keys.revoke, store.keys.update):
        with pytest.raises(NotFound):
            await act(deleted.id)
    with pytest.raises(NotFound):
        store.keys.get(deleted.id)


async def test_an_update_takes_effect_at_once(store: Store) -> None:
    key, token = await store.keys.create("a", grants=["chat"])
    changed = await store.keys.update(key.id, name="b", grants=["owner"], allowed_models=["x"], no_log=True, expires_at=None)
    found = store.keys.find(token)
    assert found is not None
    assert (found.name, found.scopes, found.allowed_models, found.no_log) == ("b", ALL, ("x",), True)
    assert changed.grants == ("owner",)
    await store.keys.update(key.id, active=False)
    assert store.keys.find(token) is None
    await store.keys.update(key.id, active=True)
    assert store.keys.find(token) is not None


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("a", {"grants": ["chat", "fly"]}, "'fly'; known are.*read:health"),
        ("a", {"grants": []}, "at least one"),
        ("", {"grants": ["chat"]}, "name must not be empty"),
        ("a\nb", {"grants": ["chat"]}, "control character"),
        ("a\ud800", {"grants": ["chat"]}, "Unicode"),
        ("x" * 201, {"grants": ["chat"]}, "longer than 200"),
        ("a", {"grants": ["chat"], "expires_at": -1}, "expires_at must be"),
        ("a", {"grants": ["chat"], "allowed_models": [""]}, "allowed_models must not be empty"),
        ("a", {"grants": ["chat"], "token": "short"}, "too short"),
        ("a", {"grants": ["chat"], "token": "hr_abcdefghijkl_" + "0" * 38}, "checksum"),
    ],
)
async def test_bad_input_is_refused_and_nothing_is_stored(store: Store, name: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        await store.keys.create(name, **options)  # type: ignore[arg-type]
    assert store.keys.all() == []


async def test_a_field_that_cannot_be_changed_is_named(store: Store) -> None:
    key, _ = await store.keys.create("a", grants=["chat"])
    with pytest.raises(BadRequest, match="digest cannot be changed; these can: active, allowed_models"):
        await store.keys.update(key.id, digest="0")


async def test_a_token_of_another_form_can_be_brought_in_once(store: Store) -> None:
    key, token = await store.keys.create("seed", grants=["chat"], token="sk-0123456789abcdef")
    assert token == "sk-0123456789abcdef"
    assert store.keys.find(token) == key.__class__(
        **{**{n: getattr(key, n) for n in key.__struct_fields__}, "last_used_at": 1_800_000_000_000}
    )
    assert "0123456789" not in key.prefix
    with pytest.raises(Conflict):
        await store.keys.create("again", grants=["chat"], token=token)


async def test_the_last_use_is_noted_once_a_minute_and_kept(settings: Settings, clock: HeldClock) -> None:
    store = Store(settings, clock)
    await store.open()
    key, token = await store.keys.create("a", grants=["chat"])
    began = clock.now
    for _ in range(3):
        store.keys.find(token)
        clock.now += 1_000
    assert store.queue.depth == 1
    assert store.keys.get(key.id).last_used_at == began
    clock.now = began + 60_000
    store.keys.find(token)
    await store.close()
    again = Store(settings, clock)
    await again.open()
    assert again.keys.get(key.id).last_used_at == began + 60_000
    await again.close()


async def test_the_token_is_nowhere_in_the_database(store: Store) -> None:
    """SEC-22: only a keyed digest is kept."""
    _, token = await store.keys.create("a", grants=["chat"])
    rows = await store._database.read(lambda link: [link.run("SELECT * FROM api_keys"), link.run('SELECT * FROM "values"')])
    assert token not in str(rows)
    assert token.split("_")[2] not in str(rows)
