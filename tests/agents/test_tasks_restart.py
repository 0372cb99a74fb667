"""Agent tasks over restarts and in several processes: what is stored, what a crash leaves, what is kept up and cleared away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.call import Hub
from hub.clock import Clock
from hub.errors import BadRequest, Conflict, NotFound, Unavailable
from hub.records import TaskRow
from hub.store import Store
from hub.tasks.task import KEEP_MS, OPEN_MS, LiveTask, Outcome, State
from hub.tasks.tasks import LiveTasks
from tests.fakes.agent import agent_skills
from tests.fakes.database import make_settings, postgres_database

pytestmark = pytest.mark.anyio

MESSAGE = {"messageId": "m1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}


class Time(Clock):
    """A clock that a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Any:
    if request.param == "sqlite":
        yield ""
    else:
        with postgres_database() as address:
            yield address


@pytest.fixture
async def store(tmp_path: Any, url: str) -> Any:
    opened = Store(make_settings(tmp_path, url), Clock())
    await opened.open()
    yield opened
    await opened.close()


def tasks_of(store: Store, clock: Clock | None = None) -> LiveTasks:
    return LiveTasks(store, clock or Clock())


async def begun(tasks: LiveTasks, task_id: str, work: Any) -> LiveTask:
    live = tasks.make(task_id, "key", "slow", context_id="c", asked={"skill": "slow", "messages": []})
    await tasks.begin(live, MESSAGE, work)
    return live


async def forever(live: LiveTask) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


async def at_once(live: LiveTask) -> Outcome:
    live.add({"artifactId": "a", "parts": [{"text": "done"}]})
    return Outcome(State.COMPLETED, metadata={"model": "m"})


async def ask_back(live: LiveTask) -> Outcome:
    return Outcome(State.INPUT_REQUIRED, "which one?")


async def test_a_task_outlives_its_process(store: Store) -> None:
    tasks = tasks_of(store)
    await tasks.settled(await begun(tasks, "t1", at_once))
    again = await tasks_of(store).find("t1", "key")
    assert again.state is State.COMPLETED
    assert again.row.task["artifacts"][0]["parts"] == [{"text": "done"}]
    assert again.row.task["metadata"] == {"model": "m"}
    with pytest.raises(NotFound):
        await tasks_of(store).find("t1", "another key")
    with pytest.raises(BadRequest, match="already ended"):
        await tasks.cancel(again)


async def test_a_paused_task_goes_on_in_another_process(store: Store) -> None:
    tasks = tasks_of(store)
    await tasks.settled(await begun(tasks, "t1", ask_back))
    other = tasks_of(store)
    live = await other.find("t1", "key")
    assert live.row.task["status"]["message"]["parts"] == [{"text": "which one?"}]
    await other.begin(live, {**MESSAGE, "messageId": "m2"}, at_once)
    row = await other.settled(live)
    assert row.state == State.COMPLETED
    assert [message["role"] for message in row.task["history"]] == ["ROLE_USER", "ROLE_AGENT", "ROLE_USER"]


async def test_what_a_crash_left_working_fails_at_the_next_start(store: Store) -> None:
    """REL-19: on SQLite all of it, as nobody else can work there; on PostgreSQL what no process keeps up."""
    crashed = tasks_of(store)
    lost = await begun(crashed, "t1", forever)
    await store.tasks.save(lost.snapshot())
    clock = Time()
    clock.ahead = 5
    tasks = tasks_of(store, clock)
    await tasks.open()
    expected = State.WORKING if store.postgres else State.FAILED
    assert (await tasks.find("t1", "key")).state is expected
    await tasks.close()
    clock.ahead = 100_000
    tasks = tasks_of(store, clock)
    found = await tasks.find("t1", "key")
    assert found.state is State.FAILED
    assert found.row.task["error"]["code"] == "lost"
    assert (await store.tasks.get("t1", "key")).state == State.FAILED  # pyright: ignore[reportOptionalMemberAccess] - it is there
    await crashed.close()


async def test_another_process_neither_cancels_nor_watches_work(store: Store) -> None:
    tasks, other = tasks_of(store), tasks_of(store)
    live = await begun(tasks, "t1", forever)
    seen = await other.find("t1", "key")
    assert seen.state is State.WORKING
    with pytest.raises(Unavailable):
        await other.cancel(seen)
    with pytest.raises(Unavailable):
        async with other.following(seen, patient=True):
            pass
    assert (await tasks.cancel(live)).state == State.CANCELED


async def test_an_orderly_stop_fails_what_works(store: Store) -> None:
    tasks = tasks_of(store)
    await tasks.open()
    live = await begun(tasks, "t1", forever)
    await tasks.close()
    row = await store.tasks.get("t1", "key")
    assert row is not None
    assert (row.state, row.task["error"]["code"]) == (State.FAILED, "stopped")
    assert not live.busy


async def test_work_is_kept_up_and_old_tasks_go(store: Store) -> None:
    clock = Time()
    tasks = tasks_of(store, clock)
    live = await begun(tasks, "working", forever)
    await tasks.settled(await begun(tasks, "paused", ask_back))
    await tasks.settled(await begun(tasks, "ended", at_once))
    clock.ahead = OPEN_MS + 1000
    await tasks._touch()  # pyright: ignore[reportPrivateUsage] - what the background loop does every 30 s
    await tasks._sweep()  # pyright: ignore[reportPrivateUsage] - and every hour
    assert (await tasks_of(store, clock).find("working", "key")).state is State.WORKING
    assert (await tasks.find("paused", "key")).row.task["error"]["message"] == "Task expired"
    assert (await tasks.find("ended", "key")).state is State.COMPLETED
    clock.ahead = KEEP_MS + 2000
    await tasks._sweep()  # pyright: ignore[reportPrivateUsage] - the same
    with pytest.raises(NotFound):
        await tasks.find("ended", "key")
    await tasks.cancel(live)


async def test_nothing_leaves_an_ended_state(store: Store) -> None:
    """REL-19."""
    tasks = tasks_of(store)
    live = await begun(tasks, "t1", at_once)
    await tasks.settled(live)
    with pytest.raises(Conflict):
        live.move(State.WORKING)


async def test_cancel_races_completion(store: Store) -> None:
    """REL-19: whichever is first wins, and both the answer and the store say the same."""
    tasks = tasks_of(store)
    for number in range(20):
        gate = asyncio.Event()

        async def work(live: LiveTask, gate: asyncio.Event = gate) -> Outcome:
            await gate.wait()
            return Outcome(State.COMPLETED)

        live = await begun(tasks, f"t{number}", work)
        gate.set()
        for _ in range(number % 4):
            await asyncio.sleep(0)
        try:
            state = (await tasks.cancel(live)).state
        except BadRequest:
            state = State.COMPLETED.value
        await tasks.settled(live)
        row = await store.tasks.get(f"t{number}", "key")
        assert isinstance(row, TaskRow)
        assert row.state == state == live.state


async def test_restarted_hub_answers_a_repeated_message_from_the_store(tmp_path: Any) -> None:
    from agents.executor import Executor
    from agents.message import Said
    from hub.records import Caller

    said = Said(message=MESSAGE, metadata={})
    caller = Caller(key_id="k", name="k", scopes=frozenset({"execute:completions", "mcp:connect"}))
    ids: list[str] = []
    for _ in range(2):
        hub = Hub(make_settings(tmp_path), skills=agent_skills())
        await hub.open()
        live = await Executor(hub).send(said, hub.context(caller, "a2a"))
        assert isinstance(live, LiveTask)
        await hub.tasks.settled(live)
        ids.append(live.row.id)
        total = (await hub.tasks.page("k"))[1]
        await hub.close()
    assert ids[0] == ids[1]
    assert total == 1
