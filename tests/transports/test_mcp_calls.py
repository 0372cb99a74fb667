"""What a client learns of the call it made, and that leaving it stops the provider: real SDK clients over every transport."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client

from tests.fakes.desk import HI, error, open_desk
from tests.fakes.hub import impatient
from tests.fakes.mcp import SSE, client
from tests.fakes.upstream import head_then_silent, silent
from tests.fakes.vendor import good
from transports.control import Listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.desk import Desk

pytestmark = pytest.mark.anyio

ROUTE = "omniroute_route_request"
#: Transport and protocol era; the older HTTP transport knows the older era only.
WAYS = [("http", "auto"), ("http", "legacy"), ("sse", "legacy"), ("stdio", "auto"), ("stdio", "legacy")]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        await impatient(made.running)
        listener = Listener(made.running.hub, made.running.url)
        await listener.open(tmp_path / "data")
        try:
            yield made
        finally:
            await listener.close(tmp_path / "data")


@asynccontextmanager
async def connected(desk: Desk, way: str, mode: str, **options: Any) -> AsyncIterator[Client]:
    """The SDK's client; over stdio it starts ``hubroute mcp``, which finds the hub by its folder."""
    token = await desk.running.key("*")
    if way == "http":
        async with client(desk.running, token, mode=mode, **options) as mcp:
            yield mcp
        return
    target: Any = sse_client(desk.running.url + SSE, headers={"authorization": f"Bearer {token}"})
    if way == "stdio":
        folder = str(desk.running.hub.settings.data_dir)
        environment = {**os.environ, "HUBROUTE_DATA_DIR": folder}
        target = StdioServerParameters(command=sys.executable, args=["-m", "hub", "mcp"], env=environment, cwd=os.getcwd())
    async with Client(target, mode=mode, **options) as mcp:
        yield mcp


def ask(model: str) -> dict[str, Any]:
    return {"model": model, "messages": HI}


@pytest.mark.parametrize(("way", "mode"), WAYS)
@pytest.mark.parametrize("stuck", [silent, head_then_silent])
async def test_leaving_a_call_hangs_up_on_the_provider(desk: Desk, way: str, mode: str, stuck: Any) -> None:
    """REL-06: cancelled, or its stream closed, a call ends upstream within a second; it is billed and recorded as cancelled."""
    upstream = desk.upstreams["openrouter"]
    upstream.answer(stuck())
    async with connected(desk, way, mode) as mcp:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(mcp.call_tool, ROUTE, ask("openrouter/a"))
                await upstream.received()
                assert not upstream.closed.is_set()
                group.cancel_scope.cancel()
            assert await upstream.closed_by_client(timeout=1.0)
        upstream.answer(good())
        assert not (await mcp.call_tool(ROUTE, ask("openrouter/a"))).is_error, "the connection to the client goes on"
    rows = (await desk.running.hub.store.usage.page(limit=10))[0]
    assert [row.outcome for row in rows] == ["ok", "cancelled"]
    assert desk.running.hub.ledger.running == {}


@pytest.mark.parametrize(("way", "mode"), [("http", "auto"), ("http", "legacy"), ("sse", "legacy")])
async def test_a_client_that_is_gone_hangs_up_too(desk: Desk, way: str, mode: str) -> None:
    """REL-06: the whole client goes away in the middle of a call."""
    upstream = desk.upstreams["openrouter"]
    upstream.answer(silent())
    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                async with connected(desk, way, mode) as mcp:
                    await mcp.call_tool(ROUTE, ask("openrouter/a"))

            group.start_soon(call)
            await upstream.received()
            group.cancel_scope.cancel()
        assert await upstream.closed_by_client(timeout=1.0)


class Log:
    """What a client was told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    async def __call__(self, params: types.LoggingMessageNotificationParams) -> None:
        assert params.logger == "routing"
        self.seen.append((params.level, params.data))

    @property
    def levels(self) -> list[str]:
        return [level for level, _ in self.seen]


async def level(mcp: Client, name: types.LoggingLevel) -> None:
    """As the era's clients do; the SDK's own method warns that the era is over."""
    await mcp.session.send_request(types.SetLevelRequest(params=types.SetLevelRequestParams(level=name)), types.EmptyResult)


async def fallen(desk: Desk) -> str:
    """A new combo whose first target fails, with a model that no call has tried before; its name."""
    name = f"two{len(desk.running.hub.combos.all())}"
    await desk.combo(name, f"openrouter/{name}", "together/b")
    desk.upstreams["openrouter"].answer(error(404, "no such model, sk-or-v1-0123456789abcdef0123456789abcdef"))
    return name


@pytest.mark.parametrize("way", ["http", "sse", "stdio"])
async def test_sessions_hear_from_their_level_on(desk: Desk, way: str) -> None:
    log = Log()
    async with connected(desk, way, "legacy", logging_callback=log) as mcp:
        assert mcp.server_capabilities is not None
        assert mcp.server_capabilities.logging is not None
        for name, heard in (
            ("", ["warning"]), ("debug", ["debug", "info", "warning"]), ("info", ["info", "warning"]), ("error", []), ("emergency", []),
        ):  # fmt: skip
            if name:
                await level(mcp, name)  # pyright: ignore[reportArgumentType] - a level
            log.seen.clear()
            result = await mcp.call_tool(ROUTE, ask(await fallen(desk)))
            assert not result.is_error, result
            assert log.levels == heard, "and all of it before the result"
        await level(mcp, "warning")
        name = await fallen(desk)
        await mcp.call_tool(ROUTE, ask(name))
    _, told = log.seen[-1]
    assert told["message"].startswith(f"fallback from openrouter/{name} to together/b: ")
    assert (told["from"], told["to"]) == (f"openrouter/{name}", "together/b")
    assert told["request"].startswith("req_")
    assert "0123456789abcdef" not in str(log.seen), "SEC-25: no credential in a message"


@pytest.mark.parametrize("way", ["http", "stdio"])
async def test_the_newest_revision_hears_only_what_it_asked_for(desk: Desk, way: str) -> None:
    log = Log()
    async with connected(desk, way, "auto", logging_callback=log) as mcp:
        await mcp.call_tool(ROUTE, ask(await fallen(desk)))
        assert log.seen == []
    for wanted, heard in (("warning", ["warning"]), ("debug", ["debug", "info", "warning"]), ("critical", [])):
        log.seen.clear()
        async with connected(desk, way, "auto", logging_callback=log, log_level=wanted) as mcp:
            await mcp.call_tool(ROUTE, ask(await fallen(desk)))
        assert log.levels == heard


async def test_each_call_tells_its_own_caller_only(desk: Desk) -> None:
    """SEC-55: sessions at once, each hears of its own calls."""
    logs = [Log() for _ in range(6)]

    async def one(log: Log, model: str) -> None:
        async with connected(desk, "http", "legacy", logging_callback=log) as mcp:
            await level(mcp, "info")
            for _ in range(5):
                await mcp.call_tool(ROUTE, ask(model))

    await asyncio.gather(*(one(log, f"together/only-{number}") for number, log in enumerate(logs)))
    for number, log in enumerate(logs):
        assert {told["to"] for _, told in log.seen} == {f"together/only-{number}"}
        assert len(log.seen) == 5
