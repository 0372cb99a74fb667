"""Usage pages, logs, exports and what a connection's provider says."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from hub.errors import BadRequest, InvalidInput, NotFound
from hub.export import cell
from hub.skill import Download
from tests.fakes.hub import running_hub
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from pathlib import Path

    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def text_of(file: Download) -> str:
    return b"".join([piece async for piece in file.pieces]).decode()


async def test_history_splits_what_it_totals(desk: Desk) -> None:
    one, two = await desk.connect("main"), await desk.connect("other", "groq")
    desk.used(one)
    desk.used(one, model="m2", days_ago=40)
    desk.used(two, cost=None, key_id="key_b", key_name="ci", days_ago=0.0021)
    desk.used(two, provider="", connection_id="", model="", outcome="error")
    found = await desk.ask("usage-history")
    assert (found.total_requests, found.total_prompt_tokens, found.total_completion_tokens) == (4, 52, 20)
    assert (found.total_cost, found.unpriced_requests) == (0.75, 1)
    assert {name: row.requests for name, row in found.by_provider.items()} == {"openai": 2, "groq": 1}
    assert set(found.by_model) == {"gpt-4o (openai)", "m2 (openai)", "gpt-4o (groq)"}
    account = found.by_account["gpt-4o (groq - other)"]
    assert (account.connection_id, account.account_name, account.raw_model, account.cost) == (two.id, "other", "gpt-4o", 0.0)
    assert {name: (row.api_key_name, row.requests) for name, row in found.by_api_key.items()} == {
        "key_a": ("laptop", 3),
        "key_b": ("ci", 1),
    }
    assert [minute.requests for minute in found.last_10_minutes] == [0, 0, 0, 0, 0, 1, 0, 0, 0, 2]
    week = await desk.ask("usage-history", **{"from": desk.clock.now_ms() - 7 * 86_400_000})
    assert week.total_requests == 3
    wire = found.model_dump(mode="json", by_alias=True)
    assert {"last10Minutes", "byApiKey", "activeRequests", "pending"} <= wire.keys()


async def test_history_shows_what_runs(desk: Desk) -> None:
    one = await desk.connect("main")
    row = usage_row(at=desk.clock.now_ms(), provider="openai", model="gpt-4o", connection_id=one.id)
    desk.hub.inflight.begin(row)
    desk.hub.inflight.begin(usage_row(2, at=desk.clock.now_ms(), provider="", model="", connection_id=""))
    desk.clock.advance(2)
    found = await desk.ask("usage-history")
    assert found.pending.by_model == {"gpt-4o (openai)": 1, "north/m1": 1}
    assert found.pending.by_account == {one.id: {"gpt-4o (openai)": 1}}
    assert [(one.account, one.elapsed_ms) for one in found.active_requests] == [("main", 2000), ("", 2000)]
    desk.hub.inflight.end(row)
    assert len((await desk.ask("usage-history")).active_requests) == 1


async def test_lines_of_text_as_the_seed_writes_them(desk: Desk) -> None:
    one = await desk.connect("main")
    desk.used(one)
    desk.used(one, model="evil\n2027 | x", days_ago=1)
    lines = await desk.ask("usage-logs")
    assert lines == [
        "2027-01-15T08:00:00.000Z | gpt-4o | openai | main | 13 | 5 | 200",
        "2027-01-14T08:00:00.000Z | evil?2027 ? x | openai | main | 13 | 5 | 200",
    ]


async def test_filters_and_pages(desk: Desk) -> None:
    one, two = await desk.connect("main"), await desk.connect("other", "groq")
    for number in range(10):
        desk.used(one if number % 2 else two, request_id=f"req_{number}", days_ago=number, combo="nightly" if number < 2 else "")
    desk.used(one, request_id="bad", outcome="error", status=502, session="s9", days_ago=0.5)
    key, _ = await desk.hub.store.keys.create("ci", grants=["chat"])
    desk.used(one, request_id="mine", key_id=key.id, days_ago=0.25)

    async def found(**ask: Any) -> list[str]:
        return [row.request_id for row in (await desk.ask("usage-logs", format="json", **ask)).rows]

    assert await found(provider="groq", limit=2) == ["req_0", "req_2"]
    assert await found(connection="other", combo="nightly") == await found(connection=two.id, combo="nightly") == ["req_0"]
    assert await found(status=502) == await found(outcome="error") == await found(session="s9") == ["bad"]
    assert await found(key="ci") == await found(key=key.id) == ["mine"]
    day = "2027-01-14T08:00:00Z"
    assert await found(**{"from": day, "model": "gpt-4o"}) == ["req_0", "mine", "bad", "req_1"]
    assert await found(to=day, before="2027-01-12T08:00:00+00:00", limit=1) == ["req_4"]
    seen: list[str] = []
    cursor = None
    while True:
        page = await desk.ask("usage-logs", format="json", limit=5, cursor=cursor)
        assert (page.total, page.total_is_capped) == (12, False)
        seen += [row.request_id for row in page.rows]
        cursor = page.next
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 12


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"format": "xml"}, "format"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"from": "yesterday"}, "from"),
        ({"status": 99}, "status"),
        ({"outcome": "maybe"}, "outcome"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "9" * 30 + ":u1"}, "cursor"),
    ],
)
async def test_wrong_questions_name_the_field(desk: Desk, ask: dict[str, Any], field: str) -> None:
    with pytest.raises((InvalidInput, BadRequest), match=field if "cursor" not in ask else "cursor"):
        await desk.ask("usage-logs", **ask)
    with pytest.raises(NotFound):
        await desk.ask("usage-logs", provider="no-such-provider")


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_cells_that_would_be_formulas_are_text(start: str) -> None:
    """SEC-28."""
    assert cell(start) == f"'{start}"
    assert (cell("gpt-4o"), cell(-1), cell(0.5), cell(None)) == ("gpt-4o", -1, 0.5, "")


async def test_a_file_of_all_calls(desk: Desk) -> None:
    """SEC-28, through the whole way."""
    one = await desk.connect("=main")
    for number in range(30):
        desk.used(one, model="=HYPERLINK(1)" if number == 7 else 'a,"b"', days_ago=number)
    file = await desk.ask("usage-logs", format="csv", limit=5)
    rows = list(csv.DictReader(io.StringIO(await text_of(file))))
    assert len(rows) == 30
    assert (rows[7]["model"], rows[8]["model"], rows[0]["account"], rows[0]["cost"]) == ("'=HYPERLINK(1)", 'a,"b"', "'=main", "0.25")


async def test_exports(desk: Desk) -> None:
    one = await desk.connect("main")
    for number in range(4):
        desk.used(one, days_ago=number / 2)
    assert len(orjson.loads(await text_of(await desk.ask("usage-export", what="calls", format="json")))) == 4
    days = list(csv.DictReader(io.StringIO(await text_of(await desk.ask("usage-export")))))
    assert [(row["time"], row["requests"], row["provider"]) for row in days] == [
        ("2027-01-13T00:00:00Z", "1", "openai"),
        ("2027-01-14T00:00:00Z", "2", "openai"),
        ("2027-01-15T00:00:00Z", "1", "openai"),
    ]
    assert len(orjson.loads(await text_of(await desk.ask("usage-export", what="hours", format="json", model="gpt-4o")))) == 4
    assert await text_of(await desk.ask("usage-export", format="json", model="none")) == "[]"
    with pytest.raises(BadRequest, match="sums are not kept by status"):
        await desk.ask("usage-export", status=200)


async def test_what_a_provider_states_of_a_connection(desk: Desk) -> None:
    one = await desk.connect("main")
    desk.used(one)
    desk.used(one, days_ago=2)
    with pytest.raises(BadRequest, match="has stated no usage"):
        await desk.ask("usage-connection", connectionId=one.id)
    with pytest.raises(NotFound):
        await desk.ask("usage-connection", connectionId="con_none")
    desk.limit(one, 60, 20)
    desk.limit(one, 1000, 900, name=b"tokens")
    found = await desk.ask("usage-connection", connectionId=one.id)
    assert [(window.name, window.used, window.total) for window in found.windows] == [("requests", 40, 60), ("tokens", 100, 1000)]
    assert found.today.requests == 1
    desk.clock.advance(3600)
    with pytest.raises(BadRequest):
        await desk.ask("usage-connection", connectionId=one.id)


async def test_over_http(tmp_path: Path) -> None:
    """The addresses of the seed; a file comes as one, in pieces, and never as a page."""
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as client:
        for number in range(2500):
            running.hub.store.usage.add(usage_row(number, at=running.hub.clock.now_ms() - number))
        assert (await client.get("/api/usage/history")).json()["totalRequests"] == 2500
        for path in ("/api/usage/logs", "/api/usage/request-logs"):
            lines = (await client.get(path)).json()
            assert (len(lines), lines[0].count(" | ")) == (200, 6)
        page = (await client.get("/api/usage/logs?format=json&limit=3&status=200")).json()
        assert (len(page["rows"]), page["total"], page["totalIsCapped"]) == (3, 2500, False)
        async with client.stream("GET", "/api/usage/logs?format=csv") as answer:
            pieces = [piece async for piece in answer.aiter_raw()]
        assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("text/csv; charset=utf-8", "nosniff")
        assert answer.headers["content-disposition"] == 'attachment; filename="calls.csv"'
        assert b"".join(pieces).count(b"\r\n") == 2501
        wrong = await client.get("/api/usage/logs?wrong=1")
        assert (wrong.status_code, wrong.json()["error"]["details"][0]["field"]) == (400, "wrong")
        assert (await client.get("/api/usage/con_none")).status_code == 404
        assert (await client.get("/api/telemetry/summary?windowMs=60000")).json()["count"] == 0
        plain = await running.headers("chat")
        for path in ("history", "logs", "export", "con_none"):
            assert (await client.get(f"/api/usage/{path}", headers=plain)).status_code == 403
