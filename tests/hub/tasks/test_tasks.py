"""Agent tasks while they work: the background loop that keeps them up, faults of work and of the store, pauses that end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import Unavailable
from hub.store import Store
from hub.tasks import tasks as module
from hub.tasks.task import OPEN_MS, LiveTask, Outcome, State
from hub.tasks.tasks import LiveTasks
from tests.fakes.clock import Still
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

MESSAGE = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
async def store(tmp_path: Path, clock: Still) -> AsyncIterator[Store]:
    opened = Store(make_settings(tmp_path), clock)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def tasks(store: Store, clock: Still, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveTasks]:
    monkeypatch.setattr(module, "_TOUCH_SECONDS", 0.005)
    made = LiveTasks(store, clock)
    await made.open()
    yield made
    await made.close()


async def begun(tasks: LiveTasks, work: Any, task_id: str = "t1") -> LiveTask:
    live = tasks.make(task_id, "key", "slow", context_id="c", asked={"skill": "slow", "messages": []})
    await tasks.begin(live, MESSAGE, work)
    return live


async def forever(live: LiveTask) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


async def ask_back(live: LiveTask) -> Outcome:
    return Outcome(State.INPUT_REQUIRED, "which one?")


async def breaks(live: LiveTask) -> Outcome:
    raise RuntimeError("the secret cause")


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


async def stored(store: Store, task_id: str = "t1") -> Any:
    row = await store.tasks.get(task_id, "key")
    assert row is not None
    return row


class Broken:
    """A task store that refuses while it is broken."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
        self.broken = True
        self.calls = 0
        original = store.tasks.save

        async def save(row: Any) -> None:
            self.calls += self.broken
            if self.broken:
                await asyncio.sleep(0)
                raise error
            await original(row)

        monkeypatch.setattr(store.tasks, "save", save)


async def test_work_is_shown_to_be_alive(tasks: LiveTasks, store: Store, clock: Still) -> None:
    live = await begun(tasks, forever)
    clock.advance(50)
    async with asyncio.timeout(5):
        while (await stored(store)).updated_at != clock.now_ms():
            await asyncio.sleep(0.002)
    assert live.busy


async def test_paused_tasks_are_cleared_away_after_a_day(tasks: LiveTasks, store: Store, clock: Still) -> None:
    live = await begun(tasks, ask_back)
    await tasks.settled(live)
    del live
    clock.advance(OPEN_MS / 1000 + 1)
    async with asyncio.timeout(5):
        while (await stored(store)).state != State.FAILED:
            await asyncio.sleep(0.002)
    assert (await stored(store)).task["error"] == {"code": "lost", "message": "Task expired", "kind": "fault"}


@pytest.mark.parametrize(
    ("error", "words"),
    [(Unavailable("the disk is full"), "tasks cannot be kept up to date"), (KeyError("x"), "keeping tasks up to date failed")],
)
async def test_the_loop_outlives_a_fault(
    tasks: LiveTasks,
    store: Store,
    clock: Still,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    words: str,
) -> None:
    await begun(tasks, forever)
    database = Broken(store, monkeypatch, error)
    await until(lambda: database.calls >= 2)
    assert words in caplog.text
    database.broken = False
    clock.advance(40)
    async with asyncio.timeout(5):
        while (await stored(store)).updated_at != clock.now_ms():
            await asyncio.sleep(0.002)


async def test_a_fault_of_the_work_is_its_outcome(tasks: LiveTasks, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    await tasks.settled(await begun(tasks, breaks))
    row = await stored(store)
    assert (row.state, row.task["error"]["code"], row.task["error"]["kind"]) == (State.FAILED, "internal_server_error", "fault")
    assert "secret cause" not in str(row.task)
    assert str(vars(caplog.records[-1])["cause"]) == "the secret cause"


async def test_a_task_that_cannot_be_stored_does_not_begin(tasks: LiveTasks, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC B9: not acknowledged, and its work never runs."""
    ran: list[str] = []

    async def work(live: LiveTask) -> Outcome:
        ran.append(live.row.id)
        return Outcome(State.COMPLETED)

    database = Broken(store, monkeypatch, Unavailable("the disk is full"))
    live = tasks.make("t1", "key", "slow", context_id="c", asked={"skill": "slow", "messages": []})
    with pytest.raises(Unavailable):
        await tasks.begin(live, MESSAGE, work)
    database.broken = False
    await tasks.settled(live)
    assert (live.state, live.row.task["error"]["code"], ran) == (State.FAILED, "not_stored", [])


async def test_an_outcome_that_cannot_be_stored_is_still_told(
    tasks: LiveTasks, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()

    async def work(live: LiveTask) -> Outcome:
        await gate.wait()
        return Outcome(State.COMPLETED)

    live = await begun(tasks, work)
    Broken(store, monkeypatch, Unavailable("the disk is full"))
    gate.set()
    assert (await tasks.settled(live)).state == State.COMPLETED
    assert "task could not be stored" in caplog.text


async def test_a_paused_task_can_be_cancelled(tasks: LiveTasks, store: Store) -> None:
    live = await begun(tasks, ask_back)
    await tasks.settled(live)
    assert (await tasks.cancel(live)).state == State.CANCELED
    assert (await stored(store)).state == State.CANCELED


async def test_the_last_one_who_waits_takes_the_work_along(tasks: LiveTasks) -> None:
    """REL-06: unless it was told to go on without listeners."""
    for detached in (False, True):
        live = await begun(tasks, forever, f"t-{detached}")
        live.detached = detached
        waiting = [asyncio.create_task(tasks.settled(live)) for _ in range(2)]
        await asyncio.sleep(0)
        for number, one in enumerate(waiting):
            one.cancel()
            await asyncio.wait([one])
            assert live.work is not None
            assert (live.attended, live.work.cancelling() > 0) == (1 - number, number == 1 and not detached)
        if not detached:
            await asyncio.wait([live.work])
            assert live.state is State.CANCELED
        else:
            assert live.busy


async def test_streams_are_counted_and_ended(tasks: LiveTasks) -> None:
    live = await begun(tasks, ask_back)
    await tasks.settled(live)
    async with tasks.following(live, patient=True) as items:
        assert tasks.streams == 1
        first = await anext(items)
        assert first is not None
        tasks.end_streams()
        assert [item async for item in items] == []
    assert tasks.streams == 0
