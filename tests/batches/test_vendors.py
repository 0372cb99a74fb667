"""Batches that a vendor works off itself: at its batch price, each request answered and billed once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from hub.clock import Clock
from hub.money.budgets import Budget
from hub.settings import Settings
from hub.store import Store
from tests.batches.test_batches import CHAT, begun, ended, line, lines_of
from tests.batches.test_crash import client
from tests.fakes.command import LIMIT, answer, serving
from tests.fakes.hub import running_hub
from tests.fakes.upstream import json_answer
from tests.fakes.vendor import connect
from tests.fakes.vendor_batches import AnthropicVendor, OpenAiVendor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Behaviour

pytestmark = pytest.mark.anyio

#: What an answer of the fake costs at gpt-4o-mini's price: 60 plain and 40 cached prompt tokens, 20 of output.
FULL = (60 * 0.15 + 40 * 0.075 + 20 * 0.6) / 1_000_000
#: The same at claude-haiku-4-5's.
MESSAGE = (60 * 1 + 40 * 0.1 + 20 * 5) / 1_000_000
NAMES = [f"r{at}" for at in range(12)]
MESSAGES = "/v1/messages"
ON = {"vendorBatch": "true"}


@pytest.fixture
async def vendor(running: Running) -> AsyncIterator[OpenAiVendor]:
    """OpenAI on loopback, and the hub's one connection to it, whose batches may go there."""
    async with OpenAiVendor() as server:
        await connect(running, server, data=ON)
        yield server


def message(name: str) -> str:
    """A request of the input, for Anthropic."""
    return line(name, MESSAGES, model="anthropic/claude-haiku-4-5", max_tokens=50, messages=[{"role": "user", "content": name}])


async def costs(running: Running) -> list[float | None]:
    """What the requests of batches cost."""
    rows, _ = await running.hub.store.usage.page(limit=100, door="batch", outcome="ok")
    return [row.cost for row in rows]


async def until(reached: Any, seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not reached():
            await asyncio.sleep(0.02)


async def test_a_batch_goes_to_the_vendor_at_half_the_price(running: Running, sdk: openai.AsyncOpenAI, vendor: OpenAiVendor) -> None:
    """One upload, no chat; answers in the order of the input under the client's own names; what failed or expired there says so."""
    vendor.refuses, vendor.lapses = {"r3"}, {"r5"}
    batch = await ended(sdk, await begun(sdk, map(line, NAMES)))
    assert (batch.status, batch.request_counts.to_dict()) == ("completed", {"total": 12, "completed": 10, "failed": 2})
    assert (vendor.submits, sum(vendor.chats.values())) == (1, 0)
    (sent,) = [one["lines"] for one in vendor.batches.values()]
    assert [one["body"]["messages"][-1]["content"] for one in sent] == NAMES
    assert {one["body"]["model"] for one in sent} == {"gpt-4o-mini"}
    good = await lines_of(sdk, batch.output_file_id)
    assert [one["custom_id"] for one in good] == [name for name in NAMES if name not in ("r3", "r5")]
    assert {one["response"]["body"]["choices"][0]["message"]["content"] for one in good} == {"Hello from upstream"}
    refused, lapsed = await lines_of(sdk, batch.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("r3", 400)
    assert (lapsed["custom_id"], lapsed["response"], lapsed["error"]["code"]) == ("r5", None, "batch_expired")
    assert await costs(running) == pytest.approx([FULL / 2] * 10)
    assert batch.usage.input_tokens == 1000
    rows, total = await running.hub.store.usage.page(limit=100, door="batch")
    assert total == 12
    assert {one["response"]["request_id"] for one in good} <= {row.request_id for row in rows}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_anthropic_s_batches(running: Running, sdk: openai.AsyncOpenAI) -> None:
    """Messages at half the price; what failed, expired or was cancelled there says so; what the service refuses is asked for as usual."""
    async with AnthropicVendor() as vendor:
        vendor.refuses, vendor.lapses = {"r3"}, {"r5"}
        await connect(running, vendor, "anthropic", data=ON)
        batch = await ended(sdk, await begun(sdk, map(message, NAMES), MESSAGES))
        assert (batch.status, vendor.submits, sum(vendor.chats.values())) == ("completed", 1, 0)
        good = await lines_of(sdk, batch.output_file_id)
        assert [one["custom_id"] for one in good] == [name for name in NAMES if name not in ("r3", "r5")]
        assert {one["response"]["body"]["content"][0]["text"] for one in good} == {"Hello from upstream"}
        bad = {one["custom_id"]: one["error"]["code"] for one in await lines_of(sdk, batch.error_file_id)}
        assert bad == {"r3": "invalid_request_error", "r5": "batch_expired"}
        assert await costs(running) == pytest.approx([MESSAGE / 2] * 10)
        vendor.held, vendor.polls = True, 0
        cancelled = await begun(sdk, map(message, ["done before", "never"]), MESSAGES)
        await until(lambda: vendor.polls)
        await sdk.batches.cancel(cancelled)
        batch = await ended(sdk, cancelled)
        assert (batch.status, vendor.cancels, batch.request_counts.completed) == ("cancelled", 1, 1)
        vendor.on_submit = lambda made: json_answer({"type": "error", "error": {"type": "x", "message": "no"}}, status=400)
        await ended(sdk, await begun(sdk, map(message, ["usual"]), MESSAGES))
        assert dict(vendor.chats) == {"usual": 1}
        assert sorted(cost or 0.0 for cost in await costs(running)) == pytest.approx([*[MESSAGE / 2] * 11, MESSAGE])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_only_what_says_so_and_leads_to_one_place_goes(running: Running, sdk: openai.AsyncOpenAI) -> None:
    """Without the switch, with two models, with two connections, and for a file that the hub keeps, the hub asks itself."""
    async with OpenAiVendor() as server:
        first = await connect(running, server)
        assert (await ended(sdk, await begun(sdk, [line("no switch")]))).status == "completed"
        await running.hub.store.connections.update(first, data=ON)
        other: dict[str, Any] = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "other"}]}
        await ended(sdk, await begun(sdk, [line("two models"), line("other", **other)]))
        ours: dict[str, Any] = {"model": "openai/gpt-4o-mini", "metadata": {"file_id": "x"}, "messages": [{"role": "user", "content": "o"}]}
        await ended(sdk, await begun(sdk, [line("ours", **ours)]))
        await connect(running, server, data=ON)
        await ended(sdk, await begun(sdk, [line("two connections")]))
        assert (server.submits, sum(server.chats.values())) == (0, 5)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_what_the_vendor_refuses_the_hub_works_off(running: Running, sdk: openai.AsyncOpenAI, vendor: OpenAiVendor) -> None:
    """A 4xx for the whole batch: every request is asked for as usual, at the usual price."""
    vendor.on_submit = lambda made: None if made else json_answer({"error": {"message": "not for this account"}}, status=400)
    batch = await ended(sdk, await begun(sdk, map(line, NAMES)))
    assert (batch.status, batch.request_counts.completed) == ("completed", 12)
    assert dict(vendor.chats) == dict.fromkeys(NAMES, 1)
    assert await costs(running) == pytest.approx([FULL] * 12)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_submit_whose_answer_was_lost_is_not_made_twice(running: Running, sdk: openai.AsyncOpenAI, vendor: OpenAiVendor) -> None:
    """The vendor made the batch and said 500: it is found by its marker."""
    vendor.on_submit = lambda made: json_answer({"error": {"message": "oops"}}, status=500) if made else None
    batch = await ended(sdk, await begun(sdk, map(line, NAMES)))
    assert (batch.status, vendor.submits, sum(vendor.chats.values())) == ("completed", 1, 0)
    assert await costs(running) == pytest.approx([FULL / 2] * 12)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_cancel_is_passed_on(running: Running, sdk: openai.AsyncOpenAI, vendor: OpenAiVendor) -> None:
    """What the vendor had answered is in the output and billed, the rest was cancelled."""
    vendor.held = True
    batch_id = await begun(sdk, map(line, ["done before", *NAMES]))
    await until(lambda: vendor.polls)
    assert (await sdk.batches.cancel(batch_id)).status == "cancelling"
    batch = await ended(sdk, batch_id)
    assert (batch.status, vendor.cancels, sum(vendor.chats.values())) == ("cancelled", 1, 0)
    assert [one["custom_id"] for one in await lines_of(sdk, batch.output_file_id)] == ["done before"]
    bad = await lines_of(sdk, batch.error_file_id)
    assert {one["error"]["code"] for one in bad} == {"batch_cancelled"}
    assert [one["custom_id"] for one in bad] == NAMES
    assert await costs(running) == pytest.approx([FULL / 2])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_the_budget_holds_the_batch_and_pays_what_it_cost(running: Running, vendor: OpenAiVendor) -> None:
    """While it is with the vendor its most is held, so that nothing else may spend it; then what it cost counts, once."""
    key, secret = await running.hub.store.keys.create("limited", grants=("chat",))
    chat: dict[str, Any] = {"model": "openai/gpt-4o-mini", "max_tokens": 1000, "messages": [{"role": "user", "content": "x"}]}
    most = 12 * 1000 * 0.6 / 1_000_000 / 2
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=2 * most))
    vendor.held = True
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=secret, max_retries=0) as sdk:
        batch_id = await begun(sdk, (line(name, **chat) for name in NAMES))
        await until(lambda: vendor.polls)
        account = await running.hub.budgets.state(key.id)
        assert account is not None
        assert account.held >= most * 1_000_000_000
        vendor.held = False
        batch = await ended(sdk, batch_id)
    assert (batch.request_counts.completed, vendor.submits) == (12, 1)
    account = await running.hub.budgets.state(key.id)
    assert account is not None
    assert (account.held, account.windows["daily"].spent) == (0, pytest.approx(6 * FULL * 1_000_000_000, abs=20))


async def test_a_stop_gives_the_money_back_and_the_next_start_takes_it(tmp_path: Path, database: str) -> None:
    """REL-09: stopped in order while the vendor works; the next process holds the batch's price again, waits on, and pays once."""
    chat: dict[str, Any] = {"model": "openai/gpt-4o-mini", "max_tokens": 1000, "messages": [{"role": "user", "content": "x"}]}
    async with OpenAiVendor() as vendor:
        vendor.held = True
        async with running_hub(tmp_path, database_url=database) as first:
            await connect(first, vendor, data=ON)
            key, secret = await first.hub.store.keys.create("limited", grants=("chat",))
            await first.hub.budgets.put(key.id, Budget(daily_limit_usd=0.01))
            async with openai.AsyncOpenAI(base_url=f"{first.url}/v1", api_key=secret, max_retries=0) as sdk:
                batch_id = await begun(sdk, (line(name, **chat) for name in NAMES))
            await until(lambda: vendor.polls)
        vendor.polls = 0
        async with running_hub(tmp_path, database_url=database) as second:
            await until(lambda: vendor.polls, LIMIT)
            account = await second.hub.budgets.state(key.id)
            assert account is not None
            assert (account.held > 0, account.windows["daily"].spent) == (True, 0)
            vendor.held = False
            async with openai.AsyncOpenAI(base_url=f"{second.url}/v1", api_key=secret, max_retries=0) as sdk:
                batch = await ended(sdk, batch_id, LIMIT)
            account = await second.hub.budgets.state(key.id)
            assert account is not None
            assert (account.held, account.windows["daily"].spent) == (0, pytest.approx(6 * FULL * 1_000_000_000, abs=20))
    assert (batch.request_counts.completed, vendor.submits) == (12, 1)


@pytest.mark.parametrize(
    ("database", "made"),
    [("sqlite", OpenAiVendor), ("postgresql", OpenAiVendor), ("sqlite", AnthropicVendor)],
    indirect=["database"],
)
async def test_kill_nine_while_the_vendor_works(tmp_path: Path, database: str, made: type[OpenAiVendor | AnthropicVendor]) -> None:
    """REL-09: killed between the vendor's answer and its storing, then while it polls; resumed, never made again, billed once."""
    data = tmp_path / "data"
    env = {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_DEMO": "off", "HUBROUTE_BATCH_LEASE_SECONDS": "4"}
    owner = (await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env))["key"]
    openai_s = made is OpenAiVendor
    provider, ask, endpoint, cost = ("openai", line, CHAT, FULL) if openai_s else ("anthropic", message, MESSAGES, MESSAGE)
    async with made() as vendor:
        vendor.held = True
        with serving(data, **env) as served:

            def killed(there: bool) -> Behaviour | None:
                if there:
                    served.process.kill()
                return None

            vendor.on_submit = killed
            body = {"provider": provider, "name": "up", "apiKey": "sk-upstream-1", "baseUrl": f"{vendor.url}/v1", "allowPrivate": True}
            async with httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {owner}"}, timeout=LIMIT) as http:
                answered = await http.post("/api/providers", json={**body, "providerSpecificData": {"vendorBatch": True}})
                assert answered.status_code in (200, 201), answered.text
            async with client(served, owner) as sdk:
                batch_id = await begun(sdk, map(ask, NAMES), endpoint)
                await until(lambda: vendor.submits, LIMIT)
                await asyncio.to_thread(served.process.wait, LIMIT)
        vendor.on_submit = lambda there: None
        with serving(data, **env) as served:
            await until(lambda: vendor.polls, LIMIT)
            served.process.kill()
            await asyncio.to_thread(served.process.wait, LIMIT)
        vendor.held = False
        with serving(data, **env) as served:
            async with client(served, owner) as sdk:
                batch = await ended(sdk, batch_id, LIMIT)
                found = await lines_of(sdk, batch.output_file_id)
            assert await asyncio.to_thread(served.stop) == 0
        assert (batch.status, batch.request_counts.completed) == ("completed", 12)
        assert [one["custom_id"] for one in found] == NAMES
        assert (vendor.submits, sum(vendor.chats.values())) == (1, 0)
    store = Store(Settings(data_dir=data, database_url=database), Clock())
    await store.open()
    try:
        rows, total = await store.usage.page(limit=100, door="batch")
        assert (total, [row.cost for row in rows]) == (12, pytest.approx([cost / 2] * 12))
    finally:
        await store.close()
