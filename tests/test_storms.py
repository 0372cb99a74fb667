"""Providers that refuse or flap under load: no amplification, cooldowns honoured, quick recovery (REL-04, REL-05)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ASK = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}]}
RATE = 200


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=64)
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20, limits=limits) as session:
        yield session


async def _storm(client: httpx.AsyncClient, seconds: float) -> list[tuple[float, int]]:
    """Open-loop calls at RATE; when each was answered, from the start, and with what status."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int) -> tuple[float, int]:
        await asyncio.sleep(number / RATE)
        status = (await client.post("/v1/chat/completions", json=ASK)).status_code
        return loop.time() - began, status

    return sorted(await asyncio.gather(*(one(number) for number in range(round(RATE * seconds)))))


async def _set(running: Running, **settings: Any) -> None:
    """Change settings of resilience, in the names of the wire."""
    await running.hub.preferences.change({"resilienceSettings": settings})


def _limited(retry_after: str | None) -> faults.Behaviour:
    headers = [("retry-after", retry_after)] if retry_after else []
    return faults.json_answer({"error": {"message": "rate limit reached"}}, status=429, headers=headers)


@pytest.mark.parametrize("retry_after", [None, "1", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "99999999999", "soon", "2.5"])
async def test_429_storm_is_not_amplified(running: Running, client: httpx.AsyncClient, retry_after: str | None) -> None:
    """REL-04: every account answers 429; upstream calls stay below 1.2 times the client calls, and all clients see a 429."""
    async with FaultUpstream() as one, FaultUpstream() as two, FaultUpstream() as three:
        for upstream in (one, two, three):
            upstream.answer(_limited(retry_after))
            await connect(running, upstream)
        answers = await _storm(client, 1.0)
        upstream_calls = sum(len(upstream.requests) for upstream in (one, two, three))
        assert {status for _, status in answers} == {429}
        assert upstream_calls <= 1.2 * len(answers)
        # Past the first burst a cooling account is left alone.


async def test_traffic_returns_soon_after_the_window(running: Running, client: httpx.AsyncClient) -> None:
    """REL-04: recovery within twice the window, and one probe at a time opens the connection again."""
    async with FaultUpstream() as upstream:
        limited = True

        def behave(request: Any) -> faults.Behaviour:
            return _limited("1") if limited else good()

        upstream.script(behave)
        await connect(running, upstream)
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 429
        limited = False
        before = len(upstream.requests)
        answers = await _storm(client, 2.0)
        first = next(at for at, status in answers if status == 200)
        assert 0.5 < first < 3.0  # twice the window, and a busy machine
        # On a slow machine all who came in time are among those who may wait, and nobody is refused.
        assert all(at < first + 1.0 for at, status in answers if status != 200)
        assert len(upstream.requests) - before == sum(status == 200 for _, status in answers)


async def test_crowd_that_waited_sends_one_probe(running: Running, client: httpx.AsyncClient) -> None:
    """REL-05: half-open probes are single-flight, also for those who wait for the end of the probe."""
    await _set(running, waitForCooldown={"maxRetries": 2})
    async with FaultUpstream() as upstream:
        upstream.answer(_limited("1"), faults.silent(), good())
        await connect(running, upstream)
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 429
        await asyncio.sleep(1.05)
        calls = [asyncio.create_task(client.post("/v1/chat/completions", json=ASK)) for _ in range(20)]
        await upstream.received(2)
        done, pending = await asyncio.wait(calls, timeout=5, return_when=asyncio.ALL_COMPLETED)
        assert len(pending) == 1
        assert {task.result().status_code for task in done} == {429}
        assert len(upstream.requests) == 2
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)


async def test_traffic_leaves_a_flapping_provider(running: Running, client: httpx.AsyncClient) -> None:
    """REL-05: half of the answers of the first account are 5xx; clients see none of them, and the healthy one is not starved."""
    async with FaultUpstream() as flapping, FaultUpstream() as healthy:
        count = 0

        def flap(request: Any) -> faults.Behaviour:
            nonlocal count
            count += 1
            return good() if count % 2 else faults.json_answer({"error": {"message": "boom"}}, status=500)

        flapping.script(flap)
        healthy.answer(good())
        await connect(running, flapping)
        await connect(running, healthy)
        answers = await _storm(client, 1.0)
        assert {status for _, status in answers} == {200}
        assert len(healthy.requests) > 100
        assert len(flapping.requests) + len(healthy.requests) <= 1.2 * len(answers)


async def test_sole_account_that_fails_gets_one_call_for_each_of_its_clients(running: Running, client: httpx.AsyncClient) -> None:
    """REL-05: with nothing else left a soft failure does not shut the door, and is not amplified either, as long as no breaker opens."""
    await _set(running, providerBreaker={"apikey": {"failureThreshold": 1000}})
    async with FaultUpstream() as upstream:
        upstream.answer(faults.json_answer({"error": {"message": "boom"}}, status=503))
        await connect(running, upstream)
        answers = await _storm(client, 0.5)
        assert {status for _, status in answers} == {503}
        assert len(upstream.requests) <= 1.2 * len(answers)
        upstream.answer(good())
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 200


async def test_breaker_takes_the_load_off_a_provider_that_fails(running: Running, client: httpx.AsyncClient) -> None:
    """REL-05: after the threshold a failing provider gets no more calls, everybody is told when to come back, and one probe opens it."""
    await _set(running, providerBreaker={"apikey": {"failureThreshold": 5, "resetTimeoutMs": 1000}}, waitForCooldown={"enabled": False})
    async with FaultUpstream() as upstream:
        upstream.answer(faults.json_answer({"error": {"message": "boom"}}, status=503))
        await connect(running, upstream)
        answers = [await client.post("/v1/chat/completions", json=ASK) for _ in range(20)]
        assert {answer.status_code for answer in answers} == {503}
        assert len(upstream.requests) == 5
        assert {answer.headers["retry-after"] for answer in answers[5:]} == {"1"}
        upstream.answer(good())
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 503
        assert len(upstream.requests) == 5
        await asyncio.sleep(1.0)
        assert {status for _, status in await _storm(client, 0.2)} == {200}
