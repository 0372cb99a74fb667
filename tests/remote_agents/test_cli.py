"""``hubroute agents`` as its own process, beside an agent in this one."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes.command import ROOT
from tests.fakes.sdk_agent import sdk_agent

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def start(folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """The command, started."""
    pipe = asyncio.subprocess.PIPE
    line = (sys.executable, "-m", "hub", "--data-dir", str(folder), "agents", *arguments)
    return await asyncio.create_subprocess_exec(*line, cwd=ROOT, stdout=pipe, stderr=pipe)


async def hubroute(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""
    process = await start(folder, *arguments)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_add_call_change_and_remove(tmp_path: Path) -> None:
    """SEC-60, SEC-61 from the owner's side, and a conversation on the command line."""
    async with sdk_agent() as remote:
        refused = await hubroute(tmp_path, "add", "far", remote.url)
        assert (refused[0], "private" in refused[2]) == (1, True)
        code, out, err = await hubroute(tmp_path, "add", "far", remote.url, "--allow-private", "--credential", "hush-hush-8")
        assert (code, "pending" in out, "agent-far__talk" in out, "hush" in out + err) == (0, True, True, False)
        assert "not allowed yet" in (await hubroute(tmp_path, "call", "far", "echo hi"))[2]
        assert "approved" in (await hubroute(tmp_path, "approve", "far"))[1]
        code, out, err = await hubroute(tmp_path, "call", "far", "ask")
        assert (code, out) == (0, "which city?\n")
        handle = err.split("--task ")[1].split()[0]
        code, out, err = await hubroute(tmp_path, "call", "far", "echo Paris", "--task", handle)
        assert (code, out.splitlines()[0]) == (0, "you said Paris")
        assert remote.asked[0].context_id == remote.asked[1].context_id
        events = [json.loads(line) for line in (await hubroute(tmp_path, "call", "far", "echo hi", "--json"))[1].splitlines()]
        assert events[-1]["reply"]["text"] == "you said hi"
        assert (await hubroute(tmp_path, "diff", "far"))[0] == 0
        remote.card["description"] = "Knows more."
        code, out, _ = await hubroute(tmp_path, "diff", "far")
        assert (code, "/description" in out) == (1, True)
        assert json.loads((await hubroute(tmp_path, "list", "--json"))[1])[0]["standing"] == "changed"
        assert "changed" in (await hubroute(tmp_path, "show", "far"))[1]
        assert (await hubroute(tmp_path, "remove", "far"))[0] == 0
        assert "no remote agents yet" in (await hubroute(tmp_path, "list"))[2]


async def test_an_interrupt_cancels_there(tmp_path: Path) -> None:
    """REL-06: Ctrl-C stops the agent before the command is gone; a call that does not wait leaves it at work."""
    async with sdk_agent() as remote:
        await hubroute(tmp_path, "add", "far", remote.url, "--allow-private", "--approve")
        process = await start(tmp_path, "call", "far", "hold")
        await asyncio.wait_for(remote.entered.wait(), 30)
        process.send_signal(signal.SIGINT)
        await asyncio.wait_for(remote.cancelled.wait(), 30)
        await process.communicate()
        assert process.returncode == 130
        remote.cancelled.clear()
        code, _, err = await hubroute(tmp_path, "call", "far", "hold", "--wait", "1")
        assert (code, "the task is working" in err, remote.cancelled.is_set()) == (0, True, False)
        remote.open.set()
        handle = err.split("--task ")[1].split()[0]
        assert (await hubroute(tmp_path, "call", "far", "--task", handle))[1] == "first second\n"


async def test_wrong_use_says_what_to_do(tmp_path: Path) -> None:
    for line, words in (
        (("approve", "nowhere"), "agents list"),
        (("call", "x", "@/no/such/file"), "cannot read"),
        (("call", "x", "y", "--data", "[1]"), "not a JSON object"),
        (("add", "x", "https://example.com", "--trusted-key", "nonsense"), "not valid JSON"),
        (("add", "x", "https://example.com", "--header", "hush-hush-9"), "name=value"),
    ):
        code, _, err = await hubroute(tmp_path, *line)
        assert code in (1, 2)
        assert words in err
        assert "hush" not in err
