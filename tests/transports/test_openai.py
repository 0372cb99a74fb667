"""The OpenAI door end to end: real hub, real sockets, an upstream that misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import USAGE, chunk, chunks, completion, connect, good, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ASK = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
SETTINGS: dict[str, Any] = {"first_byte_timeout": 0.4, "idle_timeout": 0.4, "connect_timeout": 1.0}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, **SETTINGS) as hub:
        yield hub


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.answer(good())
        yield server


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as session:
        yield session


async def _rows(running: Running) -> list[Any]:
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=50, offset=0)
    return rows


def _events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


async def test_answer_passes_through_untouched_and_is_priced(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """D20, D17: same dialect, same bytes; the usage row has each token once and a price."""
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", json={**ASK, "vendor_extra": {"kept": [1, 2.50]}})
    assert answer.status_code == 200
    assert answer.json() == completion()
    sent = upstream.requests[0]
    assert sent.target == "/v1/chat/completions"
    assert sent.json() == {**ASK, "model": "gpt-4o-mini", "vendor_extra": {"kept": [1, 2.50]}}
    assert sent.headers["authorization"] == "Bearer sk-upstream-secret-0001"
    assert answer.headers["x-omniroute-provider"] == "openai"
    assert answer.headers["x-omniroute-tokens-in"] == "100"
    row = (await _rows(running))[0]
    assert (row.usage.input, row.usage.cache_read, row.usage.output, row.usage.reasoning) == (60, 40, 20, 5)
    assert row.cost == pytest.approx((60 * 0.15 + 40 * 0.075 + 20 * 0.6) / 1e6)
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx(row.cost, abs=1e-10)
    assert (row.outcome, row.status, row.door) == ("ok", 200, "openai")


async def test_stream_passes_through_without_the_usage_nobody_asked_for(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    await connect(running, upstream)
    upstream.answer(stream("Hel", "lo 日本"))
    answer = await client.post("/v1/chat/completions", json={**ASK, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = _events(answer.text)
    assert events[-1] == "[DONE]"
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events[:-1]) == "Hello 日本"
    assert all(event["choices"] for event in events[:-1])
    assert upstream.requests[0].json()["stream_options"] == {"include_usage": True}
    row = (await _rows(running))[0]
    assert (row.usage.prompt, row.usage.output, row.stream, row.outcome) == (100, 20, True, "ok")
    assert row.cost is not None
    assert row.ttft_ms is not None


async def test_usage_in_the_stream_is_kept_when_asked_for(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    await connect(running, upstream)
    upstream.answer(stream("x"))
    answer = await client.post("/v1/chat/completions", json={**ASK, "stream": True, "stream_options": {"include_usage": True}})
    assert _events(answer.text)[-2]["usage"] == USAGE


@pytest.mark.parametrize(
    "fault",
    [
        faults.reset_before_head(),
        faults.close_before_head(),
        faults.silent(),
        faults.malformed_json(),
        faults.html(),
        faults.bad_chunks(),
        faults.huge_head(200_000),
        faults.cut(json.dumps(completion()).encode(), at=60),
        faults.head_then_silent(body=b'{"id": "half'),
        faults.json_answer({"error": {"message": "overloaded"}}),
        faults.json_answer({"error": {"message": "boom"}}, status=500),
        faults.json_answer({"error": {"message": "slow down"}}, status=429),
        faults.json_answer({"error": {"message": "bad key"}}, status=401),
    ],
    ids=[
        "reset",
        "closed",
        "silent",
        "malformed",
        "html",
        "chunks",
        "head",
        "truncated",
        "stalled",
        "error-200",
        "500",
        "429",
        "401",
    ],
)
async def test_fault_before_the_first_byte_falls_back(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, fault: faults.Behaviour
) -> None:
    """REL-01, REL-02, REL-03: the client sees one clean answer, the record says what happened."""
    async with FaultUpstream() as bad:
        bad.answer(fault)
        await connect(running, bad)
        await connect(running, upstream)
        answer = await client.post("/v1/chat/completions", json=ASK)
        assert answer.status_code == 200
        assert answer.json() == completion()
        assert len(upstream.requests) == 1
        row = (await _rows(running))[0]
        assert (row.outcome, row.fallbacks) == ("ok", 1)
        decision = await running.hub.store.decisions.get(answer.headers["x-request-id"])
        assert decision is not None
        assert decision.attempts[0].kind != "ok"
        assert decision.attempts[1].kind == "ok"
        # The next request leaves the failing connection alone.
        before = len(bad.requests)
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200
        assert len(bad.requests) == before


@pytest.mark.parametrize(
    "fault",
    [
        faults.silent(),
        faults.comments_only(every=0.05),
        faults.sse([json.dumps({"error": {"message": "overloaded", "code": 503}})], end=b""),
        faults.reset_after_head(),
        faults.sse([], end=b""),
        faults.html(),
    ],
    ids=["silent", "comments", "error-event", "reset", "empty", "html"],
)
async def test_stream_that_fails_before_its_first_event_falls_back(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, fault: faults.Behaviour
) -> None:
    """REL-01, REL-02: nothing was sent yet, so the next connection answers."""
    upstream.answer(stream("good"))
    async with FaultUpstream() as bad:
        bad.answer(fault)
        await connect(running, bad)
        await connect(running, upstream)
        answer = await client.post("/v1/chat/completions", json={**ASK, "stream": True})
        assert answer.status_code == 200
        events = _events(answer.text)
        assert events[-1] == "[DONE]"
        assert any("good" in json.dumps(event) for event in events)


@pytest.mark.parametrize("then", ["reset", "close"])
async def test_stream_cut_in_the_middle_ends_with_an_error_event(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, then: str
) -> None:
    """REL-01: after the first byte a dialect-correct error event, never a silent stop; what was consumed is billed."""
    await connect(running, upstream)
    upstream.answer(faults.cut_sse(chunks("one ", "two ")[:3], last=b'data: {"id": "half', then=then))
    answer = await client.post("/v1/chat/completions", json={**ASK, "stream": True})
    events = _events(answer.text)
    assert "error" in events[-1]
    assert events[-1]["error"]["message"]
    assert "[DONE]" not in events
    row = (await _rows(running))[0]
    assert row.outcome == "error"
    assert row.usage.estimated
    assert row.usage.output > 0
    assert row.cost is not None


async def test_stream_that_ends_without_its_end_mark_is_not_passed_off_as_complete(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    """REL-01: clean framing, but the model never finished."""
    await connect(running, upstream)
    upstream.answer(faults.sse([chunk({"role": "assistant", "content": "partly"})], end=b""))
    events = _events((await client.post("/v1/chat/completions", json={**ASK, "stream": True})).text)
    assert "error" in events[-1]


async def test_caller_error_is_returned_as_it_came_and_not_retried(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    """A 400 is the caller's: one upstream call, the provider's own status and message."""
    upstream.answer(faults.json_answer({"error": {"message": "max_tokens is too large", "type": "invalid_request_error"}}, status=400))
    await connect(running, upstream)
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 400
    assert "max_tokens is too large" in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert len(upstream.requests) == 1


async def test_last_real_error_is_what_the_client_sees(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    # Nobody waits for longer than this inside the hub.
    await running.hub.preferences.change({"resilienceSettings": {"waitForCooldown": {"maxRetryWaitSec": 6}}})
    upstream.answer(faults.json_answer({"error": {"message": "You exceeded your rate"}}, status=429, headers=[("retry-after", "7")]))
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert "You exceeded your rate" in answer.json()["error"]["message"]
    again = await client.post("/v1/chat/completions", json=ASK)
    assert again.status_code == 429
    assert 1 <= int(again.headers["retry-after"]) <= 8, "the wait that was asked for, and a little chance"
    assert len(upstream.requests) == 1, "a connection on cooldown is not called"


async def test_provider_that_echoes_our_key_does_not_leak_it(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """SEC-25."""
    upstream.answer(faults.json_answer({"error": {"message": "Incorrect API key provided: sk-upstream-secret-0001"}}, status=401))
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 401
    assert "sk-upstream-secret" not in answer.text
    connection = running.hub.store.connections.all()[0]
    assert connection.test_status == "expired"
    assert "sk-upstream-secret" not in connection.last_error


async def test_client_that_leaves_while_waiting_frees_the_upstream(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    """REL-06: non-stream wait; upstream closed within a second, one usage row marked cancelled."""
    running.hub.chat.engine._timeouts = type(running.hub.chat.engine._timeouts)(1, 30, 30)  # pyright: ignore[reportPrivateUsage]
    upstream.answer(faults.silent())
    await connect(running, upstream)
    task = asyncio.create_task(client.post("/v1/chat/completions", json=ASK))
    await upstream.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await upstream.closed_by_client(timeout=1.0)
    row = await _settled(running)
    assert (row.outcome, row.status) == ("cancelled", 499)


async def test_client_that_leaves_mid_stream_is_billed_for_what_came(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    """REL-06, D22."""
    upstream.answer(stream(*(["word "] * 200), delay=0.02))
    await connect(running, upstream)
    async with client.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as answer:
        lines = answer.aiter_lines()
        for _ in range(8):
            await anext(lines)
    assert await upstream.closed_by_client(timeout=1.0)
    row = await _settled(running)
    assert row.outcome == "cancelled"
    assert row.usage.estimated
    assert 0 < row.usage.output < 200


async def _settled(running: Running) -> Any:
    for _ in range(100):
        if rows := await _rows(running):
            return rows[0]
        await asyncio.sleep(0.02)
    raise AssertionError("no usage row was written")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{not json", None),
        (b"[]", None),
        (b'"text"', None),
        (b"{}", "model"),
        (b'{"model": 7, "messages": [{"role":"user","content":"x"}]}', "model"),
        (b'{"model": "openai/gpt-4o-mini"}', "messages"),
        (b'{"model": "openai/gpt-4o-mini", "messages": []}', "messages"),
        (b'{"model": "openai/gpt-4o-mini", "messages": "hi"}', "messages"),
    ],
)
async def test_bad_body_is_a_400_that_names_the_field(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, body: bytes, field: str | None
) -> None:
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == field
    assert not upstream.requests
    assert not await _rows(running)


async def test_unknown_model_names_what_to_do(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", json={**ASK, "model": "no-such-model-at-all"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    answer = await client.post("/v1/chat/completions", json={**ASK, "model": "anthropic/claude-opus-4-1"})
    assert answer.status_code == 503
    assert "hubroute providers add anthropic" in answer.json()["error"]["message"]


async def test_body_over_the_limit_is_refused_before_it_is_read(running: Running, client: httpx.AsyncClient) -> None:
    """REL-08: 50 MB, with and without an announced length."""
    big = b'{"model": "demo", "messages": [{"role": "user", "content": "' + b"x" * 50_000_000 + b'"}]}'
    answer = await client.post("/v1/chat/completions", content=big)
    assert answer.status_code == 413
    assert "HUBROUTE_MAX_BODY_MB" in answer.json()["error"]["message"]

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield b"x" * 1_000_000

    answer = await client.post("/v1/chat/completions", content=pieces())
    assert answer.status_code == 413


async def test_demo_answers_until_a_provider_is_connected(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """D3."""
    answer = await client.post("/v1/chat/completions", json={**ASK, "model": "gpt-4o"})
    assert answer.status_code == 200
    assert answer.headers["x-omniroute-provider"] == "demo"
    assert answer.json()["choices"][0]["message"]["content"]
    await connect(running, upstream)
    answer = await client.post("/v1/chat/completions", json=ASK)
    assert answer.headers["x-omniroute-provider"] == "openai"


async def test_key_with_a_model_list_is_held_to_it(running: Running, upstream: FaultUpstream) -> None:
    await connect(running, upstream)
    token = await running.key("chat", allowed_models=("openai/gpt-4o*",))
    async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {token}"}) as client:
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200
        refused = await client.post("/v1/chat/completions", json={**ASK, "model": "openai/o3"})
        assert refused.status_code == 403
        listed = (await client.get("/v1/models")).json()["data"]
        assert listed
        assert all(model["root"].startswith("gpt-4o") for model in listed)


async def test_concurrent_requests_each_leave_one_row(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    await connect(running, upstream)
    upstream.script(lambda request: stream("a", "b") if request.json().get("stream") else good())
    answers = await asyncio.gather(*(client.post("/v1/chat/completions", json={**ASK, "stream": bool(number % 2)}) for number in range(40)))
    assert all(answer.status_code == 200 for answer in answers)
    assert len({answer.headers["x-request-id"] for answer in answers}) == 40
    rows = await _rows(running)
    assert len(rows) == 40
    assert sum(row.cost or 0 for row in rows) == pytest.approx(40 * (60 * 0.15 + 40 * 0.075 + 20 * 0.6) / 1e6)
