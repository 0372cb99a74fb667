"""Calls of other processes reach who watches: two real ones on PostgreSQL, bounded, and honest about what is left out."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub import elsewhere
from hub.elsewhere import Elsewhere, Told, packed, unpacked
from hub.engine.inflight import InFlight
from hub.errors import Unavailable
from hub.store.notices import LONGEST
from tests.fakes.clock import Still
from tests.fakes.command import answer, serving
from tests.fakes.database import postgres_database
from tests.hub.store.rows import usage_row

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from hub.records import UsageRow

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _watched(http: httpx.AsyncClient, **query: Any) -> AsyncGenerator[AsyncIterator[dict[str, Any]]]:
    """What the live list tells."""

    async def told(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
        async for line in lines:
            if line.startswith("data:"):
                yield json.loads(line[5:])

    async with http.stream("GET", "/api/usage/live", params=query) as response:
        assert response.status_code == 200
        yield told(response.aiter_lines())


async def _until(news: AsyncIterator[dict[str, Any]], wanted: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    async with asyncio.timeout(15):
        async for one in news:
            if wanted(one):
                return one
    raise AssertionError("the stream ended")


async def test_calls_of_another_process_are_seen_as_they_end(tmp_path: Path) -> None:
    """Filtered as those at home are, each once, and both ways."""
    with postgres_database() as url:
        env = {"HUBROUTE_DATABASE_URL": url, "HUBROUTE_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode()}
        with serving(tmp_path / "a", **env) as one, serving(tmp_path / "b", **env) as two:
            key = answer(tmp_path / "a", "keys", "create", "owner", "--scopes", "*", **env)["key"]
            options: Any = {"headers": {"authorization": f"Bearer {key}"}, "timeout": 30}
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            async with httpx.AsyncClient(base_url=one.url, **options) as here, httpx.AsyncClient(base_url=two.url, **options) as there:
                while (await there.get("/v1/models")).status_code == 401:
                    await asyncio.sleep(0.05)
                async with _watched(here) as news, _watched(there, model="no-such") as others:
                    await _until(news, lambda one: one["others"] == 1)
                    ids: set[str] = set()
                    for client in (there, here, there):
                        ids.add((await client.post("/v1/chat/completions", json=body)).headers["x-request-id"])
                    seen: list[str] = []
                    await _until(news, lambda one: seen.extend(row["requestId"] for row in one["calls"]) or len(seen) >= 3)
                    assert sorted(seen) == sorted(ids)
                    assert (await _until(others, lambda one: one["others"] == 1))["calls"] == []
                two.process.kill()
                async with _watched(here) as news:
                    assert await _until(news, lambda one: one["others"] == 0)


async def test_a_hub_alone_has_no_others(tmp_path: Path) -> None:
    with serving(tmp_path / "a") as served:
        key = answer(tmp_path / "a", "keys", "create", "owner", "--scopes", "*")["key"]
        async with (
            httpx.AsyncClient(base_url=served.url, headers={"authorization": f"Bearer {key}"}, timeout=20) as http,
            _watched(http) as news,
        ):
            assert (await anext(news))["others"] == 0


class _Board:
    """Notices that everybody hears at once; ``away`` is a database that cannot be reached."""

    def __init__(self) -> None:
        self.shared = self.hearing = True
        self.away = False
        self.refused = 0
        self.told: list[str] = []
        self.hears: list[Callable[[str], None]] = []

    async def tell(self, messages: list[str]) -> None:
        if self.away:
            self.refused += 1
            raise Unavailable("gone")
        self.told += messages
        for heard in self.hears:
            for message in messages:
                heard(message)

    def listen(self, heard: Callable[[str], None]) -> None:
        self.hears.append(heard)

    async def close(self) -> None:
        self.hears.clear()


async def test_a_storm_elsewhere_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """REL: nothing is told while nobody watches; then so much at most; every call is told or counted; nobody is told for ever."""
    monkeypatch.setattr(elsewhere, "_PAUSE_SECONDS", 0.001)
    board, clock = _Board(), Still()
    calls: list[Callable[[UsageRow], None]] = []
    busy = Elsewhere(board, clock, process="busy", on_call=calls, inflight=InFlight())  # type: ignore[arg-type]
    watcher = Elsewhere(board, clock, process="watcher", on_call=[], inflight=InFlight())  # type: ignore[arg-type]
    busy.open()
    watcher.open()
    assert calls == []
    seen: list[UsageRow] = []
    left = [0]

    def heard(rows: list[UsageRow], left_out: int) -> None:
        seen.extend(rows)
        left[0] += left_out

    async def settled(wanted: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not wanted():
                await asyncio.sleep(0.001)

    with watcher.watching(heard):
        await settled(lambda: bool(calls))
        await settled(lambda: watcher.others == 1)
        for number in range(1000):
            calls[0](usage_row(number))
        await settled(lambda: len(seen) + left[0] == 1000)
        assert seen[-1].request_id == usage_row(999).request_id, "the newest are kept"
        assert len(seen) == 200
        board.away = True
        calls[0](usage_row(1))
        await settled(lambda: board.refused > 0)
        board.away = False
        await settled(lambda: left[0] == 801)
        board.hearing = False
        assert watcher.others is None, "it is said that others cannot be heard"
        board.hearing = True
    clock.seconds += 60
    await settled(lambda: calls == [])
    assert watcher.others is None or watcher.others == 0
    told = len(board.told)
    await asyncio.sleep(0.02)
    assert len(board.told) == told
    await asyncio.gather(busy.close(), watcher.close())


@given(st.lists(st.text(max_size=3000), max_size=60), st.integers(0, 10**6))
def test_messages_fit_and_lose_nothing(models: list[str], left_out: int) -> None:
    rows = [usage_row(number, requested_model=model.encode("utf-8", "replace").decode()) for number, model in enumerate(models)]
    messages = packed(Told("me", True, 3, left_out), rows)
    assert all(len(one) <= LONGEST and one.isascii() for one in messages)
    told = [one for one in map(unpacked, messages) if one is not None]
    assert len(told) == len(messages)
    assert [row for one in told for row in one.calls] == rows
    assert sum(one.left_out for one in told) == left_out


@given(st.text(max_size=200))
def test_what_others_say_on_the_channel_does_no_harm(message: str) -> None:
    assert unpacked(message) is None


def test_a_call_too_large_for_a_message_is_counted() -> None:
    row = usage_row(1, requested_model=random.Random(1).randbytes(20_000).hex())
    told = unpacked(packed(Told("me"), [row, usage_row(2)])[0])
    assert told is not None
    assert (told.calls, told.left_out) == ([], 1)
