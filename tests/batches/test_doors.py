"""Batches at the other doors: the command line, and MCP with a resource that tells of progress."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.batches.test_batches import line
from tests.fakes.command import hubroute, serving
from tests.fakes.hub import running_hub
from tests.fakes.mcp import client
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

DEMO: dict[str, Any] = {"model": "demo/demo-echo", "messages": [{"role": "user", "content": "hello"}]}


def test_the_command_line(tmp_path: Path) -> None:
    """Create and watch, list, read, cancel what is over; a wrong file is named by line; without a hub nobody waits."""
    data, file = tmp_path / "data", tmp_path / "in.jsonl"
    file.write_text("\n".join(line(f"r{at}", **DEMO) for at in range(5)))
    with serving(data):
        done = hubroute(data, "batches", "create", str(file), "--watch", "--json")
        assert done.returncode == 0, done.stderr
        batch = json.loads(done.stdout)
        assert (batch["status"], batch["request_counts"]) == ("completed", {"total": 5, "completed": 5, "failed": 0})
        assert "completed: 5 completed, 0 failed of 5" in done.stderr
        listed = hubroute(data, "batches", "list").stdout.splitlines()
        assert listed[1].split("\t")[:6] == [batch["id"], "completed", "/v1/chat/completions", "5", "5", "0"]
        lines = [json.loads(one) for one in hubroute(data, "batches", "output", batch["id"]).stdout.splitlines()]
        assert [one["custom_id"] for one in lines] == [f"r{at}" for at in range(5)]
        over = hubroute(data, "batches", "cancel", batch["id"])
        assert (over.returncode, "completed already" in over.stderr) == (1, True)
        file.write_text(f"{line('a', **DEMO)}\n{{")
        wrong = hubroute(data, "batches", "create", str(file))
        assert (wrong.returncode, "line 2 is cut off" in wrong.stderr) == (1, True)
    alone = hubroute(data, "batches", "watch", batch["id"])
    assert (alone.returncode, "hubroute serve" in alone.stderr) == (1, True)


async def test_over_mcp(tmp_path: Path) -> None:
    """A file and a batch by tools; whoever listens to the batch's resource hears of it until it is over, another key does not see it."""
    async with running_hub(tmp_path) as running, FaultUpstream() as upstream:
        upstream.answer(good())
        await connect(running, upstream)
        await running.hub.preferences.change({"mcpProfile": "all"})
        content = "\n".join(line(f"r{at}") for at in range(20)).encode()
        async with client(running, await running.key("*")) as mcp:
            file = await _tool(mcp, "hubroute_file_upload", file=base64.b64encode(content).decode(), purpose="batch")
            heard = asyncio.Event()
            asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
            batch = await _tool(mcp, "hubroute_batch_create", **asked)
            uri = f"hub://batches/{batch['id']}"

            async def listen() -> None:
                async with mcp.listen(resource_subscriptions=[uri]) as events:
                    async for _ in events:
                        heard.set()

            async with anyio.create_task_group() as group:
                group.start_soon(listen)
                with anyio.fail_after(20):
                    await heard.wait()
                    while (await _read(mcp, uri))["status"] != "completed":
                        await asyncio.sleep(0.05)
                group.cancel_scope.cancel()
            assert (await _tool(mcp, "hubroute_batch_get", id=batch["id"]))["request_counts"]["completed"] == 20
        async with client(running, await running.key("*")) as other:
            assert (await other.call_tool("hubroute_batch_get", {"id": batch["id"]})).is_error


async def _tool(mcp: Any, tool: str, **data: Any) -> Any:
    result = await mcp.call_tool(tool, data)
    assert not result.is_error, result
    return result.structured_content


async def _read(mcp: Any, uri: str) -> Any:
    return json.loads((await mcp.read_resource(uri)).contents[0].text)
