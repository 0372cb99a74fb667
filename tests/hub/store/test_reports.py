"""Usage, audit, decisions and tasks: what was stored comes back, summed and filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.errors import BadRequest
from tests.hub.store.rows import audit_row, decision, task, usage_row

if TYPE_CHECKING:
    from hub.store import Store

pytestmark = pytest.mark.anyio
DAY = 86_400_000


async def test_a_usage_row_comes_back_as_it_was(store: Store) -> None:
    row = usage_row(1, ttft_ms=7, fallbacks=2, error_code="x")
    store.usage.add(row)
    assert await store.usage.page() == ([row], 1)


async def test_totals_keep_unknown_cost_unknown(store: Store) -> None:
    """D17: unknown is None, never 0."""
    empty = await store.usage.totals(since=0)
    assert (empty["requests"], empty["cost"], empty["latency_avg_ms"]) == (0, 0.0, None)
    store.usage.add(usage_row(1, cost=None))
    assert (await store.usage.totals(since=0))["cost"] is None
    store.usage.add(usage_row(2, cost=0.5, outcome="error"))
    store.usage.add(usage_row(3, cost=0.25, outcome="cancelled", provider="east", key_id="key_b"))
    totals = await store.usage.totals(since=0)
    assert totals == {
        "requests": 3, "errors": 1, "cancelled": 1, "cost": 0.75, "unpriced": 1, "input": 30, "cache_read": 9, "cache_write": 0,
        "output": 15, "reasoning": 6, "tokens": 54, "latency_avg_ms": 20.0, "fallbacks": 0, "last_at": 1_003,
    }  # fmt: skip
    assert (await store.usage.totals(since=1_002, until=1_003))["requests"] == 1
    assert (await store.usage.totals(since=0, provider="east"))["cost"] == 0.25
    assert (await store.usage.totals(since=0, key_id="key_a"))["requests"] == 2


async def test_groups(store: Store) -> None:
    for number, (provider, at) in enumerate([("north", DAY), ("north", DAY + 5), ("east", 2 * DAY), ("north", 3 * DAY)]):
        store.usage.add(usage_row(number, provider=provider, at=at, key_id=f"key_{provider}", key_name=provider.upper()))
    by_provider = await store.usage.grouped("provider", since=0)
    assert [(row["key"], row["requests"], row["cost"]) for row in by_provider] == [("north", 3, 0.75), ("east", 1, 0.25)]
    by_key = await store.usage.grouped("key_id", since=0, limit=1)
    assert [(row["key"], row["name"]) for row in by_key] == [("key_north", "NORTH")]
    days = await store.usage.grouped("day", since=0, limit=2)
    assert [(row["key"], row["name"], row["requests"]) for row in days] == [
        ("1970-01-03", "1970-01-03", 1),
        ("1970-01-04", "1970-01-04", 1),
    ]
    assert [row["key"] for row in await store.usage.grouped("model", since=0, until=DAY + 1)] == ["m1"]
    with pytest.raises(BadRequest, match="grouped by provider"):
        await store.usage.grouped("door", since=0)  # type: ignore[arg-type]


async def test_pages_and_filters(store: Store) -> None:
    for number in range(5):
        store.usage.add(usage_row(number, outcome="ok" if number % 2 else "error"))
    rows, total = await store.usage.page(limit=2, offset=1)
    assert ([row.request_id for row in rows], total) == (["req_3", "req_2"], 5)
    rows, total = await store.usage.page(outcome="error", since=1_001)
    assert ([row.request_id for row in rows], total) == (["req_4", "req_2"], 2)
    assert await store.usage.page(limit=-5, offset=-5) == ([], 5)
    with pytest.raises(BadRequest, match="cannot filter by cost"):
        await store.usage.page(cost="1")


async def test_latency_percentiles(store: Store) -> None:
    assert await store.usage.latency(0) == {"p50": None, "p95": None, "p99": None, "avg": None, "samples": 0}
    for number in range(1, 101):
        store.usage.add(usage_row(number))
    store.usage.add(usage_row(999, outcome="error"))
    found = await store.usage.latency(0, provider="north")
    assert (found["p50"], found["p95"], found["p99"], found["avg"], found["samples"]) == (510, 960, 1000, 505.0, 100)
    assert (await store.usage.latency(0, provider="east"))["samples"] == 0


async def test_a_decision_is_seen_while_it_waits_and_after(store: Store) -> None:
    store.decisions.add(decision(1))
    assert await store.decisions.get("req_1") == decision(1)
    await store.flush()
    assert await store.decisions.get("req_1") == decision(1)
    assert await store.decisions.get("req_2") is None
    store.decisions.add(decision(1, outcome="error"))
    await store.flush()
    assert await store.decisions.get("req_1") == decision(1, outcome="error")


async def test_the_latest_decisions_waiting_ones_too(store: Store) -> None:
    for number in range(6):
        store.decisions.add(decision(number, key_id=f"key_{number % 2}", outcome="error" if number > 3 else "ok"))
    await store.flush()
    store.decisions.add(decision(6, key_id="key_0", outcome="error"))
    store.decisions.add(decision(2, key_id="key_0", outcome="error"))

    async def ids(**where: Any) -> list[str]:
        return [one.request_id for one in await store.decisions.recent(**where)]

    assert await ids() == [f"req_{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert await ids(limit=2) == ["req_6", "req_5"]
    assert await ids(key_id="key_0") == ["req_6", "req_4", "req_2", "req_0"]
    assert await ids(key_id="key_0", outcome="error") == ["req_6", "req_4", "req_2"]
    assert await ids(key_id="' OR 1=1 --") == []
    await store.flush()
    assert await ids(key_id="key_0", outcome="error") == ["req_6", "req_4", "req_2"]


async def test_old_decisions_are_pruned_in_batches(store: Store) -> None:
    for number in range(25):
        store.decisions.add(decision(number))
    await store.flush()
    assert await store.decisions.prune(1_020, batch=7) == 20
    assert await store.decisions.get("req_19") is None
    assert await store.decisions.get("req_20") is not None


async def test_audit_pages_and_sums(store: Store) -> None:
    for number in range(4):
        store.audit.add(audit_row(number, skill=f"s{number % 2}", outcome=("ok", "error", "denied", "ok")[number]))
    rows, total = await store.audit.page(2, 0)
    assert ([row.request_id for row in rows], total) == (["req_3", "req_2"], 4)
    [found], total = await store.audit.page(skill="s1", outcome="error", key_id="key_a")
    assert (msgspec.structs.replace(found, hash="", prev_hash=""), total) == (
        msgspec.structs.replace(audit_row(1, skill="s1", outcome="error"), seq=2),
        1,
    )
    assert [row.seq for row in (await store.audit.page(success=False))[0]] == [3, 2]
    assert (await store.audit.page(door="rest"))[1] == (await store.audit.stats(0, door="rest"))["calls"] == 0
    assert await store.audit.stats(0) == {
        "calls": 4, "errors": 1, "denied": 1, "avg_duration_us": 40.0, "top": [{"skill": "s0", "calls": 2}, {"skill": "s1", "calls": 2}],
    }  # fmt: skip
    assert (await store.audit.stats(9_999))["avg_duration_us"] is None


@pytest.mark.parametrize(
    ("harm", "seq"),
    [
        ("UPDATE audit_log SET outcome = 'ok' WHERE seq = 3", 3),
        ("UPDATE audit_log SET at = at + 1 WHERE seq = 1", 1),
        ("DELETE FROM audit_log WHERE seq = 2", 2),
        ("DELETE FROM audit_log WHERE seq = 5", 5),
        ("UPDATE audit_log SET seq = 9 WHERE seq = 5", 5),
        ("UPDATE audit_log SET ip = '10.0.0.1' WHERE seq = 2", 2),
        ("UPDATE audit_log SET hash = prev_hash, prev_hash = hash WHERE seq = 4", 4),
    ],
)
async def test_a_changed_or_missing_audit_row_is_found(store: Store, harm: str, seq: int) -> None:
    """SEC-81."""
    for number in range(5):
        store.audit.add(audit_row(number, outcome="error"))
    assert await store.audit.verify() is None
    await store._database.write(lambda link: link.run(harm))
    assert await store.audit.verify() == seq


async def test_tasks_belong_to_their_owner(store: Store) -> None:
    """SEC-04: another's task looks like none, and cannot be overwritten."""
    await store.tasks.save(task(1))
    await store.tasks.save(task(2, owner="key_b", state="completed", context_id="ctx_2"))
    assert await store.tasks.get("task_1", "key_a") == task(1)
    assert await store.tasks.get("task_1", "key_b") is None
    assert await store.tasks.get("task_1", None) == task(1)
    await store.tasks.save(task(1, owner="key_b", state="canceled"))
    assert (await store.tasks.get("task_1", None)) == task(1)
    await store.tasks.save(task(1, state="completed", updated_at=5_000, task={"done": True}))
    found = await store.tasks.get("task_1", "key_a")
    assert found is not None
    assert (found.state, found.task, found.created_at) == ("completed", {"done": True}, 1_000)
    assert await store.tasks.list("key_b") == ([task(2, owner="key_b", state="completed", context_id="ctx_2")], 1)
    assert [row.id for row in (await store.tasks.list(None))[0]] == ["task_1", "task_2"]


async def test_task_lists_counts_and_pruning(store: Store) -> None:
    for number in range(6):
        await store.tasks.save(task(number, state="completed" if number < 4 else "working", skill=f"s{number % 2}"))
    rows, total = await store.tasks.list("key_a", state=["completed"], skill="s1", limit=1)
    assert ([row.id for row in rows], total) == (["task_3"], 2)
    assert [row.id for row in (await store.tasks.list(None, updated_after=1_004))[0]] == ["task_5"]
    assert (await store.tasks.list("key_a", context_id="none"))[1] == 0
    assert await store.tasks.counts() == {"completed": 4, "working": 2}
    assert await store.tasks.counts("key_b") == {}
    assert await store.tasks.delete_finished(1_003) == 3
    assert await store.tasks.counts() == {"completed": 1, "working": 2}


async def test_task_pages_go_on_after_the_last_one_seen(store: Store) -> None:
    for number in range(5):
        await store.tasks.save(task(number, updated_at=1_000 + number // 2))
    first, total = await store.tasks.list("key_a", limit=2)
    second, again = await store.tasks.list("key_a", limit=9, before=(first[-1].updated_at, first[-1].id))
    assert [row.id for row in first + second] == ["task_4", "task_3", "task_2", "task_1", "task_0"]
    assert total == again == 5


async def test_tasks_that_stand_still_are_found(store: Store) -> None:
    await store.tasks.save(task(1, state="working"))
    await store.tasks.save(task(2, state="completed"))
    await store.tasks.save(task(900, state="working"))
    assert [row.id for row in await store.tasks.unchanged(["working", "submitted"], 1_500)] == ["task_1"]
