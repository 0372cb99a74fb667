"""A budget on one call: refused or cut before anything is spent (D22)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import BudgetExceeded
from hub.records import Caller
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good
from transports import health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PROMPT = "word " * 400


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, doors=(health,)) as hub:
        yield hub


@pytest.fixture
async def upstream(running: Running) -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.answer(good())
        await connect(running, server)
        yield server


async def _ask(running: Running, **fields: Any) -> Any:
    hub = running.hub
    ask = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}], **fields}
    return await hub.call(hub.find("smart-routing"), ask, hub.context(Caller.owner(), "test"))


async def test_a_call_that_could_cost_more_is_refused_before_anything_is_sent(running: Running, upstream: FaultUpstream) -> None:
    with pytest.raises(BudgetExceeded) as refusal:
        await _ask(running, budget=0.00001)
    assert refusal.value.field == "budget"
    assert refusal.value.data["estimated"] > 0.00001
    with pytest.raises(BudgetExceeded):
        await _ask(running, budget=0.001, maxTokens=16_000)
    assert not upstream.requests


async def test_open_output_is_cut_to_what_the_budget_pays_for(running: Running, upstream: FaultUpstream) -> None:
    report = await _ask(running, budget=0.001)
    sent = upstream.requests[0].json()
    # 504 prompt tokens at 0.15 and the rest of $0.001 at 0.60 a million
    assert 1300 <= sent["max_tokens"] <= 1600
    assert report.routing.cost <= 0.001
    await _ask(running, budget=100)
    assert upstream.requests[1].json()["max_tokens"] == 16384


async def test_an_unknown_price_cannot_keep_a_budget(running: Running, upstream: FaultUpstream) -> None:
    with pytest.raises(BudgetExceeded, match="unknown"):
        await _ask(running, model="openai/gpt-of-tomorrow-9", budget=1)
    assert not upstream.requests
