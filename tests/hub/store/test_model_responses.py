"""Kept answers of the Responses API, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.store import model_responses
from hub.store.model_responses import ModelResponse

if TYPE_CHECKING:
    from hub.store import Store
    from tests.fakes.clock import HeldClock

pytestmark = pytest.mark.anyio


def row(name: str, *, key: str = "k", before: str = "", at: int = 0, status: str = "completed", **more: Any) -> ModelResponse:
    facts = {"body": '{"output":["\\u0000 æ"]}', "input": "[]", "created_at": at, "alive_at": at, "expires_at": 1 << 50, **more}
    return ModelResponse(id=name, key_id=key, previous_id=before, status=status, **facts)


async def test_each_key_finds_its_own(store: Store) -> None:
    kept = store.model_responses
    await kept.put(row("a"))
    found = await kept.find("a", "k")
    assert found == row("a")
    assert await kept.find("a", "other") is None
    assert not await kept.delete("a", "other")
    assert await kept.chain("a", "other") == []
    assert await kept.delete("a", "k")
    assert await kept.find("a", "k") is None


async def test_a_conversation_is_put_together_and_ends_where_one_is_missing_or_it_turns_in_a_circle(store: Store) -> None:
    kept = store.model_responses
    for one in (row("a"), row("b", before="a"), row("c", before="b"), row("x", before="y"), row("y", before="x"), row("z", before="gone")):
        await kept.put(one)
    assert [one.id for one in await kept.chain("c", "k")] == ["a", "b", "c"]
    assert [one.id for one in await kept.chain("x", "k")] == ["y", "x"]
    assert [one.id for one in await kept.chain("z", "k")] == ["z"]


async def test_the_oldest_make_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_responses, "MOST_KEPT", 2)
    kept = store.model_responses
    for number in range(4):
        await kept.put(row(f"r{number}", at=number))
    await kept.put(row("theirs", key="other"))
    assert [await kept.find(f"r{number}", "k") is not None for number in range(4)] == [False, False, True, True]


async def test_work_ends_once(store: Store, clock: HeldClock) -> None:
    kept = store.model_responses
    await kept.put(row("a", status="in_progress"))
    assert await kept.alive("a")
    assert not await kept.end("a", "other", "failed", "{}")
    assert await kept.end("a", "k", "cancelled", "{}")
    assert not await kept.end("a", "k", "completed", "{}"), "it was cancelled before"
    assert not await kept.alive("a")
    found = await kept.find("a", "k")
    assert found is not None
    assert (found.status, found.body) == ("cancelled", "{}")


async def test_what_is_past_its_time_is_not_found(store: Store, clock: HeldClock) -> None:
    await store.model_responses.put(row("a", expires_at=clock.now_ms() - 1))
    assert await store.model_responses.find("a", "k") is None
