"""Batches through OpenAI's SDK, on both databases: every request answered once, whatever is asked of it meanwhile."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import openai
import pytest

from hub.money.budgets import Budget
from tests.fakes.hub import impatient
from tests.fakes.upstream import Behaviour, FaultUpstream, json_answer
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    import httpx

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Exchange, Received

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
OVER = {"completed", "failed", "expired", "cancelled"}


def line(name: str, url: str = CHAT, **body: Any) -> str:
    """A request of the input."""
    chat = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": name}]}
    return json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body or chat})


async def upload(sdk: openai.AsyncOpenAI, lines: Iterable[str], purpose: Any = "batch") -> str:
    """An input file; its id."""
    made = await sdk.files.create(file=("in.jsonl", "\n".join(lines).encode()), purpose=purpose)
    return made.id


async def begun(sdk: openai.AsyncOpenAI, lines: Iterable[str], endpoint: Any = CHAT, **more: Any) -> str:
    """A batch of these requests; its id."""
    file = await upload(sdk, lines)
    return (await sdk.batches.create(input_file_id=file, endpoint=endpoint, completion_window="24h", **more)).id


async def ended(sdk: openai.AsyncOpenAI, batch_id: str, seconds: float = 40) -> Any:
    """The batch, once it is over."""
    async with asyncio.timeout(seconds):
        while (batch := await sdk.batches.retrieve(batch_id)).status not in OVER:
            await asyncio.sleep(0.05)
    return batch


async def lines_of(sdk: openai.AsyncOpenAI, file_id: str | None) -> list[Any]:
    """The lines of an output or error file; none without a file."""
    if file_id is None:
        return []
    return [json.loads(one) for one in (await sdk.files.content(file_id)).text.splitlines()]


@pytest.fixture
async def upstream(running: Running) -> AsyncIterator[FaultUpstream]:
    """A provider whose every answer is the same."""
    async with FaultUpstream() as server:
        server.answer(good())
        await connect(running, server)
        yield server


def prompts(upstream: FaultUpstream) -> Counter[str]:
    """How often each prompt came."""
    return Counter(request.json()["messages"][-1]["content"] for request in upstream.requests)


async def test_a_batch_through_the_sdk(running: Running, sdk: openai.AsyncOpenAI, upstream: FaultUpstream) -> None:
    """Made, worked off, read: each request once in the output, in the order of the input, each with a usage row of its own."""
    names = [f"r{at}" for at in range(40)]
    made = await sdk.batches.retrieve(await begun(sdk, map(line, names), metadata={"job": "nightly"}))
    assert (made.object, made.endpoint, made.completion_window, made.metadata) == ("batch", CHAT, "24h", {"job": "nightly"})
    assert made.expires_at == made.created_at + 86_400
    batch = await ended(sdk, made.id)
    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    assert batch.request_counts.to_dict() == {"total": 40, "completed": 40, "failed": 0}
    assert None not in (batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    found = await lines_of(sdk, batch.output_file_id)
    assert [one["custom_id"] for one in found] == names
    assert {(one["response"]["status_code"], one["error"]) for one in found} == {(200, None)}
    assert all(one["response"]["body"]["choices"][0]["message"]["content"] for one in found)
    assert len({one["id"] for one in found}) == len({one["response"]["request_id"] for one in found}) == 40
    assert prompts(upstream) == Counter(names)
    rows, total = await running.hub.store.usage.page(limit=100, door="batch")
    assert total == 40
    assert {row.request_id for row in rows} == {one["response"]["request_id"] for one in found}
    assert batch.usage.input_tokens == sum(row.usage.prompt for row in rows)
    output = await sdk.files.retrieve(batch.output_file_id)
    assert (output.purpose, output.expires_at) == ("batch_output", output.created_at + 30 * 86_400)
    assert [one.id async for one in sdk.batches.list()] == [made.id]
    gone = await sdk.delete(f"/batches/{made.id}", cast_to=object)
    assert gone == {"id": made.id, "object": "batch", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        await sdk.batches.retrieve(made.id)


async def test_what_is_wrong_is_named_by_line_and_nothing_is_created(
    running: Running, sdk: openai.AsyncOpenAI, client: httpx.AsyncClient
) -> None:
    """Truncated JSONL, double ids, other urls, no file, another's file, another purpose, too many lines."""
    good_line = line("a")
    cases: list[tuple[list[str], int, str]] = [
        ([good_line, line("b")[:-30]], 2, "invalid_json_line"),
        ([good_line, "", good_line], 3, "duplicate_custom_id"),
        ([good_line, line("b", url="/v1/embeddings")], 2, "mismatched_url"),
        ([good_line, line("b").replace("POST", "GET")], 2, "invalid_method"),
        ([line("").replace('"custom_id": ""', '"custom_id": 7')], 1, "missing_required_parameter"),
        ([line("b", messages=[])], 1, "missing_required_parameter"),
        ([line("b", model="m", stream=True)], 1, "invalid_request"),
        (['{"custom_id": "c", "method": "POST", "url": "/v1/chat/completions"}'], 1, "missing_required_parameter"),
        (["[1]"], 1, "invalid_json_line"),
    ]
    for lines, number, code in cases:
        with pytest.raises(openai.BadRequestError) as refused:
            await begun(sdk, lines)
        body: Any = refused.value.body
        assert (body["code"], body["param"]) == (code, "input_file_id"), body
        assert f"line {number} " in body["message"]
        assert (body["details"]["errors"][0]["line"], body["details"]["errors"][0]["code"]) == (number, code)
    with pytest.raises(openai.BadRequestError, match="empty"):
        await begun(sdk, ["", ""])
    with pytest.raises(openai.BadRequestError, match="line 50001 is beyond the 50000"):
        await begun(sdk, (line(str(at), model="m") for at in range(50_001)))
    with pytest.raises(openai.BadRequestError, match="line 101 names one model more"):
        await begun(sdk, (line(str(at), model=f"m{at}", messages=[]) for at in range(150)))
    with pytest.raises(openai.BadRequestError, match="uploaded for user_data"):
        await sdk.batches.create(
            input_file_id=await upload(sdk, [good_line], "user_data"), endpoint="/v1/chat/completions", completion_window="24h"
        )
    mine = await upload(sdk, [good_line])
    ask = {"input_file_id": mine, "endpoint": CHAT, "completion_window": "24h"}
    stranger, nothing = [
        (await client.post("/v1/batches", json=ask | {"input_file_id": file_id})).json()["error"] for file_id in (mine, f"file-{'0' * 32}")
    ]
    assert {**stranger, "message": ""} == {**nothing, "message": ""}
    assert stranger["code"] == "file_not_found"
    for field, value in (("endpoint", "/v1/search"), ("completion_window", "1h"), ("metadata", {"k": "v" * 513}), ("metadata", [1])):
        wrong = await client.post("/v1/batches", json=ask | {field: value})
        assert (wrong.status_code, wrong.json()["error"]["param"].split(".")[0]) == (400, field)
    assert await running.hub.store.batches.worked_on() == []
    assert await running.hub.store.batches.left() == []
    assert (await client.get("/v1/batches")).json() == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


async def test_a_key_keeps_to_its_models(running: Running) -> None:
    """A line with a model outside the key's list is named; batches of other keys are not there (SEC-04)."""
    key = await running.key("chat", allowed_models=("openai/gpt-4o*",))
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as sdk:
        with pytest.raises(openai.BadRequestError, match="line 2 names 'groq/x'"):
            await begun(sdk, [line("a"), line("b", model="groq/x", messages=[])])


async def test_cancel_ends_what_runs(running: Running, sdk: openai.AsyncOpenAI, client: httpx.AsyncClient) -> None:
    """REL-06: the calls end within a second; what was answered is in the output, the rest in the error file; another key cannot."""
    quick = {"r0", "r1", "r2"}

    def behave(request: Received) -> Behaviour:
        return good() if request.json()["messages"][-1]["content"] in quick else stalled()

    async with FaultUpstream() as upstream:
        upstream.script(behave)
        await connect(running, upstream)
        batch_id = await begun(sdk, (line(f"r{at}") for at in range(60)))
        async with asyncio.timeout(20):
            while (counts := (await sdk.batches.retrieve(batch_id)).request_counts) is None or counts.completed != 3:
                await asyncio.sleep(0.05)
        for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
            assert (await client.request(method, f"/v1/batches/{batch_id}{path}")).status_code == 404
        input_file = (await sdk.batches.retrieve(batch_id)).input_file_id
        with pytest.raises(openai.ConflictError, match="still reads this file"):
            await sdk.files.delete(input_file)
        with pytest.raises(openai.ConflictError):
            await sdk.delete(f"/batches/{batch_id}", cast_to=object)
        began = time.monotonic()
        assert (await sdk.batches.cancel(batch_id)).status == "cancelling"
        async with asyncio.timeout(5):
            while upstream.open:
                await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1
        batch = await ended(sdk, batch_id)
        assert (batch.status, batch.cancelled_at is not None) == ("cancelled", True)
        assert {one["custom_id"] for one in await lines_of(sdk, batch.output_file_id)} == quick
        bad = await lines_of(sdk, batch.error_file_id)
        assert {one["custom_id"] for one in bad} == {f"r{at}" for at in range(60)} - quick
        assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
        with pytest.raises(openai.BadRequestError, match="cancelled already"):
            await sdk.batches.cancel(batch_id)
        assert (await sdk.files.delete(input_file)).deleted


def stalled() -> Behaviour:
    """A provider that never answers."""

    async def run(exchange: Exchange) -> None:
        await exchange.hold()

    return Behaviour(run)


async def test_who_is_busy_is_asked_again_and_who_refuses_is_not(running: Running, sdk: openai.AsyncOpenAI) -> None:
    """A provider's 429 is waited out; its 400 stands in the error file; every request has one usage row."""
    tries: Counter[str] = Counter()

    def behave(request: Received) -> Behaviour:
        name = request.json()["messages"][-1]["content"]
        tries[name] += 1
        if name == "bad":
            return json_answer({"error": {"message": "no such thing", "code": "nope"}}, status=400)
        if name == "busy" and tries[name] < 3:
            return json_answer({"error": {"message": "slow down"}}, status=429, headers=[("retry-after", "1")])
        return good()

    async with FaultUpstream() as upstream:
        upstream.script(behave)
        await connect(running, upstream)
        await impatient(running)
        batch = await ended(sdk, await begun(sdk, [line("bad"), line("busy"), *(line(f"r{at}") for at in range(5))]))
    assert (batch.status, batch.request_counts.to_dict()) == ("completed", {"total": 7, "completed": 6, "failed": 1})
    (bad,) = await lines_of(sdk, batch.error_file_id)
    assert (bad["custom_id"], bad["response"]["status_code"], bad["error"]) == ("bad", 400, None)
    assert "no such thing" in bad["response"]["body"]["error"]["message"]
    assert {one["custom_id"] for one in await lines_of(sdk, batch.output_file_id)} == {"busy", *(f"r{at}" for at in range(5))}
    assert (await running.hub.store.usage.page(door="batch"))[1] == 7


async def test_a_budget_holds(running: Running, upstream: FaultUpstream) -> None:
    """Requests beyond the key's budget fail with the budget's error, and no dollar more is spent."""
    key = await running.hub.store.keys.create("limited", grants=("chat",))
    await running.hub.budgets.put(key[0].id, Budget(daily_limit_usd=0.0001))
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key[1], max_retries=0) as sdk:
        chat: dict[str, Any] = {"model": "openai/gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "x"}]}
        batch = await ended(sdk, await begun(sdk, (line(f"r{at}", **chat) for at in range(30))))
        bad = await lines_of(sdk, batch.error_file_id)
    assert batch.status == "completed"
    assert 0 < batch.request_counts.failed < 30
    assert {(one["response"]["status_code"], one["response"]["body"]["error"]["code"]) for one in bad} == {(429, "budget_exceeded")}
    spent = (await running.hub.store.usage.totals(since=0, key_id=key[0].id))["cost"]
    assert 0 < spent <= 0.0001


async def test_a_batch_ends_with_its_key(running: Running) -> None:
    """Revoked meanwhile: nothing more is asked in its name, and the batch says why it failed."""
    key, secret = await running.hub.store.keys.create("short", grants=("chat",))
    async with FaultUpstream() as upstream:
        upstream.answer(stalled())
        await connect(running, upstream)
        async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=secret, max_retries=0) as sdk:
            batch_id = await begun(sdk, (line(f"r{at}") for at in range(30)))
            async with asyncio.timeout(20):
                while not upstream.open:
                    await asyncio.sleep(0.05)
        await running.hub.store.keys.revoke(key.id)
        async with asyncio.timeout(20):
            while (found := await running.hub.store.batches.find(batch_id, key.id)) is None or found.status != "failed":
                await asyncio.sleep(0.05)
        assert found.facts.errors[0]["code"] == "invalid_api_key"
        assert not upstream.open
        asked = len(upstream.requests)
        await asyncio.sleep(0.6)
        assert len(upstream.requests) == asked


async def test_every_endpoint_that_the_hub_serves(running: Running, sdk: openai.AsyncOpenAI) -> None:
    """Responses, completions, messages and embeddings answer in their own shapes."""
    shapes: dict[str, tuple[dict[str, Any], Callable[[Any], object]]] = {
        "/v1/responses": ({"model": "demo/demo-echo", "input": "hi"}, lambda body: body["output_text"]),
        "/v1/completions": ({"model": "demo/demo-echo", "prompt": "hi"}, lambda body: body["choices"][0]["text"]),
        "/v1/messages": (
            {"model": "demo/demo-echo", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
            lambda body: body["content"][0]["text"],
        ),
        "/v1/embeddings": ({"model": "demo/demo-embed", "input": "hi"}, lambda body: body["data"][0]["embedding"]),
    }
    for url, (body, read) in shapes.items():
        batch = await ended(sdk, await begun(sdk, [line("one", url, **body)], url))
        found = [*await lines_of(sdk, batch.output_file_id), *await lines_of(sdk, batch.error_file_id)]
        assert found[0]["response"]["status_code"] == 200, (url, found)
        assert read(found[0]["response"]["body"])
