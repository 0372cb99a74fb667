"""Batches through OpenAI's SDK, on both databases: every request answered once, whatever is asked of it meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from tests.fakes.hub import Running

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
