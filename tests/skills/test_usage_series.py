"""Usage over time: sums in their steps, percentiles across hours, errors by code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.hub import Running, running_hub
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio
HOUR = 3_600_000


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("series")) as hub:
        base = hub.hub.clock.now_ms() // HOUR * HOUR - 10 * HOUR
        for number in range(100):
            failed = number % 20 == 0
            hub.hub.store.usage.add(
                usage_row(
                    number,
                    at=base + (number % 10) * HOUR + number,
                    provider="north",
                    model=f"m{number % 4}",
                    key_id=f"key_{number % 2}",
                    key_name=f"key {number % 2}",
                    cost=None if number % 10 == 9 else 0.5,
                    outcome="error" if failed else "ok",
                    status=502 if failed else 200,
                    error_code="upstream_error" if failed else "",
                    fallbacks=1 if number % 25 == 0 else 0,
                )
            )
        await hub.hub.store.flush()
        yield hub


async def asked(running: Running, *, status: int = 200, **query: Any) -> Any:
    async with httpx.AsyncClient(base_url=running.url) as client:
        answer = await client.get("/api/usage/series", params=query, headers=await running.headers("manage"))
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_hours_add_up_to_the_totals(running: Running) -> None:
    found = await asked(running)
    (line,) = found["lines"]
    assert found["step"] == "hour"
    assert len(found["times"]) in (24, 25)
    assert all(at % HOUR == 0 for at in found["times"])
    totals = await running.hub.store.usage.totals(since=0)
    for name in ("requests", "errors", "fallbacks", "input", "output"):
        assert sum(line[name]) == totals[name], name
    assert sum(line["cost"]) == pytest.approx(totals["cost"])
    assert max(line["requests"]) == 10
    assert found["failures"] == [{"code": "upstream_error", "status": 502, "requests": 5}]


async def test_days_say_the_same_as_hours(running: Running) -> None:
    now = running.hub.clock.now_ms()
    days = await asked(running, **{"from": now - 9 * 24 * HOUR})
    assert days["step"] == "day"
    assert sum(days["lines"][0]["requests"]) == 100


@pytest.mark.parametrize(("by", "names"), [("model", {"m0", "m1", "m2", "m3"}), ("key", {"key 0", "key 1"}), ("source", {"upstream"})])
async def test_what_is_told_apart_has_its_own_line(running: Running, by: str, names: set[str]) -> None:
    found = await asked(running, by=by)
    assert {line["name"] for line in found["lines"]} == names
    assert sum(sum(line["requests"]) for line in found["lines"]) == 100


async def test_what_is_left_over_is_summed_up(running: Running) -> None:
    found = await asked(running, by="model", top=2)
    assert [line["name"] for line in found["lines"]][2:] == ["others"]
    assert sum(sum(line["requests"]) for line in found["lines"]) == 100


async def test_lines_alone_are_the_same_lines(running: Running) -> None:
    whole, lines = await asked(running, by="model"), await asked(running, by="model", linesOnly=True)
    assert lines == {**whole, "latency": None, "failures": None}
    assert "linesOnly" in str(await asked(running, status=400, linesOnly="perhaps"))


async def test_an_empty_window_has_its_steps_and_no_percentiles(running: Running) -> None:
    found = await asked(running, **{"from": "2001-01-01T00:00:00Z", "to": "2001-01-01T06:00:00Z"})
    assert found["lines"][0]["requests"] == [0] * 6
    assert found["latency"]["p50"] == [None] * 6


async def test_percentiles_are_those_of_the_calls_of_each_hour(running: Running) -> None:
    headers = await running.headers("chat")
    async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
        for _ in range(3):
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
    await running.hub.store.flush()
    found = await asked(running)
    assert found["latency"]["p50"][-1] is not None
    assert found["latency"]["p95"][-1] >= found["latency"]["p50"][-1]
    again = await asked(running)
    assert again["latency"]["p50"] == found["latency"]["p50"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": 10, "to": 5}, "from"),
        ({"from": 0, "step": "hour"}, "step"),
        ({"by": "weather"}, "by"),
        ({"top": 0}, "top"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_bad_questions_name_their_field(running: Running, query: dict[str, Any], field: str) -> None:
    assert field in str(await asked(running, status=400, **query))


async def test_it_takes_the_owner(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.get("/api/usage/series")).status_code == 401
        assert (await client.get("/api/usage/series", headers=await running.headers("read:usage"))).status_code == 403
