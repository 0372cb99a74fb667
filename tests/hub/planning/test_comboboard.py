"""What is known of combos: counts, turns, the last good target; over a restart, bounded, and cheap on the request path."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from hub.planning.comboboard import ComboBoard
from hub.store import Store
from tests.fakes.clock import Still
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


def note(board: ComboBoard, key: str, *, ok: bool = True, fallback: bool = False, **more: Any) -> None:
    facts = {"status": 200 if ok else 503, "latency_ms": 100, "model": "m", "provider": "p", **more}
    board.note("c", key, ok=ok, fallback=fallback, **facts)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(make_settings(tmp_path), Still())
    await made.open()
    yield made
    await made.close()


async def test_requests_are_counted_once_and_attempts_by_target(store: Store) -> None:
    board = ComboBoard(store.state, Still())
    note(board, "a")
    note(board, "a", ok=False)
    note(board, "b", fallback=True)
    note(board, "a", ok=False)
    tally = board.of("c")
    assert tally is not None
    assert (tally.requests, tally.successes, tally.failures, tally.fallbacks, tally.latency_ms) == (3, 2, 1, 1, 400)
    assert (tally.targets["a"].requests, tally.targets["a"].successes, tally.targets["a"].last_status) == (3, 1, 503)
    assert board.last_good("c") == "b"
    assert board.uses("c", "a") == (3, 1_800_000_000_000)
    assert board.uses("c", "z") == board.uses("z", "a") == (0, 0)
    assert board.last_good("z") == ""
    board.flush()


async def test_turns_are_each_given_once(store: Store) -> None:
    board = ComboBoard(store.state, Still())
    assert [board.turn("c") for _ in range(3)] == [0, 1, 2]
    assert board.turn("other") == 0
    board.flush()


async def test_without_metrics_only_the_last_good_target_is_kept(store: Store) -> None:
    board = ComboBoard(store.state, Still())
    note(board, "a", track=False)
    assert board.last_good("c") == "a"
    assert board.all() == {}
    board.flush()


async def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    for round_ in range(2):
        store = Store(settings, Still())
        await store.open()
        board = ComboBoard(store.state, Still())
        board.load()
        assert board.turn("c") == round_
        assert board.last_good("c") == ("a" if round_ else "")
        note(board, "a")
        board.intent("c", "coding")
        board.flush()
        tally = board.of("c")
        assert tally is not None
        assert (tally.requests, tally.intents) == (round_ + 1, {"coding": round_ + 1})
        await store.close()


async def test_it_is_stored_at_most_once_a_second(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    board = ComboBoard(store.state, Still())
    puts: list[str] = []
    monkeypatch.setattr(store.state, "put", lambda kind, name, value: puts.append(name))
    for _ in range(100):
        note(board, "a")
        board.turn("c")
    assert puts == []
    assert board._timer is not None
    board.flush()
    assert puts == ["c"]
    board.flush()
    assert puts == ["c"]
    assert board._timer is None


async def test_reset_keeps_what_steers(store: Store) -> None:
    board = ComboBoard(store.state, Still())
    note(board, "a")
    board.turn("c")
    assert board.reset("c") == 1
    assert board.reset("unheard of") == 0
    assert (board.last_good("c"), board.turn("c"), board.uses("c", "a")) == ("a", 1, (0, 0))
    note(board, "a")
    assert board.reset() == 1
    assert board.all() == {}
    board.flush()


async def test_a_combo_that_is_renamed_or_gone(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    store = Store(settings, Still())
    await store.open()
    board = ComboBoard(store.state, Still())
    note(board, "a")
    board.flush()
    board.rename("c", "d")
    board.turn("gone")
    board.forget("gone")
    board.flush()
    await store.close()
    store = Store(settings, Still())
    await store.open()
    board = ComboBoard(store.state, Still())
    board.load()
    assert list(board.all()) == ["d"]
    assert board.last_good("d") == "a"
    assert (board.last_good("c"), board.turn("gone")) == ("", 0)
    board.flush()
    await store.close()


async def test_what_is_kept_is_bounded(store: Store) -> None:
    board = ComboBoard(store.state, Still())
    for number in range(2100):
        board.turn(f"c{number}")
    for number in range(700):
        note(board, f"t{number}")
    for number in range(50):
        board.intent("c", f"i{number}")
    tally = board.of("c")
    assert tally is not None
    assert (len(board._tallies), len(tally.targets), len(tally.intents)) == (2000, 600, 32)
    board.flush()


async def test_each_call_on_the_request_path_costs_microseconds(store: Store) -> None:
    """Budget 2 µs each on a quiet machine; the bound here leaves room for a busy one."""
    board = ComboBoard(store.state, Still())
    note(board, "a")
    calls = {
        "turn": lambda: board.turn("c"),
        "last_good": lambda: board.last_good("c"),
        "uses": lambda: board.uses("c", "a"),
        "note": lambda: board.note("c", "a", ok=True, status=200, latency_ms=1, fallback=False, model="m", provider="p"),
    }
    for name, call in calls.items():
        best = 1.0
        for _ in range(5):
            began = time.thread_time()
            for _ in range(2000):
                call()
            best = min(best, (time.thread_time() - began) / 2000)
        assert best < 10e-6, name
    board.flush()
