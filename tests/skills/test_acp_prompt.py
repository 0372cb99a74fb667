"""Agents of this machine at work: real child processes that speak ACP, driven through every door."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from hub.errors import HubError
from tests.fakes.acp_agent import install
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in PATH with an agent; the home folder is empty."""
    folder = tmp_path / "bin"
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HUBROUTE_TEST_SECRET", "nobody sees this")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    monkeypatch.setenv("GEMINI_API_KEY", "the agent's own")
    install(folder, "gemini")
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "notes.txt").write_text("one\ntwo\nthree\n")
    return folder


@pytest.fixture
async def running(tools: Path, tmp_path: Path, work: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, acp_enabled=True, acp_folders=str(work)) as made:
        yield made
        assert not leftovers(tools)


def leftovers(tools: Path) -> list[psutil.Process]:
    """Children of this process that are agents, zombies too."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children(recursive=True):
        try:
            if child.status() == psutil.STATUS_ZOMBIE or str(tools) in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


async def ask(running: Running, prompt: str, **more: Any) -> Any:
    """Prompt the agent as the owner and give the report."""
    hub = running.hub
    key = hub.authenticate(await running.key("process"))
    return await hub.call(hub.find("acp-prompt"), {"agent": "gemini-cli", "prompt": prompt, **more}, hub.context(key, "test"))


async def refused(running: Running, prompt: str, **more: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        await ask(running, prompt, **more)
    return caught.value


async def test_a_prompt_is_answered(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("process"), timeout=30) as http:
        answer = await http.post("/api/acp/prompt", json={"agent": "gemini-cli", "prompt": "hello"})
    assert answer.json() == {
        "agent": "gemini-cli",
        "text": "Hello, wörld",
        "stopReason": "end_turn",
        "tools": [{"title": "Look around", "kind": "read", "status": "completed"}],
        "refused": [],
        "tokens": {"input": 11, "output": 7},
    }


async def test_a_prompt_streams(running: Running) -> None:
    async with (
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("process"), timeout=30) as http,
        http.stream("POST", "/api/acp/prompt/stream", json={"agent": "gemini-cli", "prompt": "hello"}) as answer,
    ):
        items = [json.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: ")]
    assert [one["text"] for one in items if one["text"]] == ["Hel", "lo, ", "wörld"]
    assert items[0]["thought"] == "hm"
    assert items[1]["plan"] == ["[pending] say hello"]
    assert items[-1]["stopReason"] == "end_turn"


async def test_it_is_off_until_the_owner_allows_it(tools: Path, tmp_path: Path) -> None:
    """SEC-30"""
    async with running_hub(tmp_path) as running:
        error = await refused(running, "hello")
        assert (error.status, error.code) == (503, "acp_disabled")
        assert "HUBROUTE_ACP_ENABLED" in error.message


async def test_a_key_needs_the_scope_by_name(running: Running) -> None:
    """SEC-03, SEC-30: an operator may do much, but run no programs."""
    for scopes, status in (("operator", 403), ("process", 200), ("manage", 200)):
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(scopes), timeout=30) as http:
            answer = await http.post("/api/acp/prompt", json={"agent": "gemini-cli", "prompt": "hi"})
            assert answer.status_code == status, scopes


async def test_the_environment_is_fixed(running: Running, tools: Path) -> None:
    """SEC-30: nothing of the hub's gets through but what the agent's row names."""
    env = json.loads((await ask(running, "env")).text)
    env.pop("LC_CTYPE", None)  # Python's own
    env.pop("__CF_USER_TEXT_ENCODING", None)
    assert set(env) <= {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TERM", "NO_COLOR", "GEMINI_API_KEY"}
    assert env["PATH"].startswith(str(tools))
    assert env["GEMINI_API_KEY"] == "the agent's own"


async def test_without_a_folder_it_works_in_an_empty_one_that_goes_away(running: Running) -> None:
    there, told, capabilities = json.loads((await ask(running, "cwd")).text)
    assert there == told
    assert capabilities == {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False}
    assert not Path(there).exists()


async def test_it_works_in_a_folder_of_the_list_and_in_no_other(running: Running, work: Path, tmp_path: Path) -> None:
    """SEC-30, SEC-41"""
    inner = work / "inner"
    inner.mkdir()
    (work / "way-out").symlink_to(tmp_path)
    for folder in (work, inner, work / ".." / "work"):
        assert json.loads((await ask(running, "cwd", folder=str(folder))).text)[0] == str(folder.resolve())
    for folder in (tmp_path, work / "..", work / "way-out", Path(f"{work}x"), Path("/")):
        error = await refused(running, "cwd", folder=str(folder))
        assert (error.status, error.code) == (403, "acp_folder_not_allowed")
        assert "HUBROUTE_ACP_FOLDERS" in error.message
    assert (await refused(running, "cwd", folder="work")).status == 400
    assert (await refused(running, "cwd", folder=str(work / "absent"))).status == 400


async def test_permissions_are_refused_with_the_reason(running: Running) -> None:
    report = await ask(running, "permission execute")
    assert report.text == "no"
    assert [(one.title, one.kind) for one in report.refused] == [("Run make", "execute")]
    assert "HUBROUTE_ACP_PERMISSIONS" in report.refused[0].reason


@pytest.mark.parametrize(("mode", "reads", "runs"), [("refuse", "no", "no"), ("read", "yes", "no"), ("all", "yes", "yes")])
async def test_permissions_go_by_the_owner_s_rule(tools: Path, tmp_path: Path, work: Path, mode: str, reads: str, runs: str) -> None:
    async with running_hub(tmp_path, acp_enabled=True, acp_folders=str(work), acp_permissions=mode) as running:
        assert (await ask(running, "permission read")).text == reads
        assert (await ask(running, "permission execute")).text == runs
        read = (await ask(running, f"read {work}/notes.txt", folder=str(work))).text
        assert read == ("one\ntwo\nthree\n" if mode != "refuse" else "error: files are not read through this client")
        written = (await ask(running, f"write {work}/new.txt", folder=str(work))).text
        assert written == ("written" if mode == "all" else "error: files are not written through this client")
        assert (work / "new.txt").exists() is (mode == "all")
        assert (await ask(running, "terminal")).text == "error -32601"


async def test_files_outside_the_folder_stay_out_of_reach(tools: Path, tmp_path: Path, work: Path) -> None:
    """SEC-41: links and '..' are resolved first."""
    (tmp_path / "secret").write_text("secret")
    (work / "link").symlink_to(tmp_path / "secret")
    async with running_hub(tmp_path, acp_enabled=True, acp_folders=str(work), acp_permissions="all") as running:
        for path in (f"{work}/link", f"{work}/../secret", f"{tmp_path}/secret", "notes.txt", f"{work}x/a"):
            for word in ("read", "write"):
                answer = (await ask(running, f"{word} {path}", folder=str(work))).text
                assert answer in ("error: path is outside the work folder", "error: path must be absolute"), (word, path)
    assert (tmp_path / "secret").read_text() == "secret"


async def test_a_caller_who_leaves_ends_the_turn_and_the_process(running: Running, tools: Path) -> None:
    """REL-06, REL-18"""
    async with (
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("process"), timeout=30) as http,
        http.stream("POST", "/api/acp/prompt/stream", json={"agent": "gemini-cli", "prompt": "slow"}) as answer,
    ):
        async for line in answer.aiter_lines():
            if "working" in line:
                break
        assert len(leftovers(tools)) == 1
    await gone(running, tools)


async def gone(running: Running, tools: Path) -> None:
    """Wait until no agent is left."""
    until = time.monotonic() + 10
    while (running.hub.agents.running or leftovers(tools)) and time.monotonic() < until:
        await asyncio.sleep(0.05)
    assert not leftovers(tools)


async def test_an_agent_that_does_not_listen_is_killed_with_its_children(running: Running, tools: Path) -> None:
    """REL-18: neither session/cancel nor SIGTERM helps; the whole group ends and is reaped."""
    install(tools, "goose", "stubborn")
    hub = running.hub
    pids: list[int] = []

    async def follow() -> None:
        caller = hub.authenticate(await running.key("process"))
        data = {"agent": "goose", "prompt": "stubborn"}
        async for piece in hub.stream(hub.find("acp-prompt-stream"), data, hub.context(caller, "test")):
            pids.extend(map(int, piece.text.split()))

    task = asyncio.create_task(follow())
    while not pids:
        await asyncio.sleep(0.02)
    assert all(map(psutil.pid_exists, pids))
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()  # twice: the end goes on in a task of its own
    await asyncio.wait([task])
    await gone(running, tools)
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)


async def test_a_turn_has_a_limit(running: Running, tools: Path) -> None:
    began = time.monotonic()
    error = await refused(running, "slow", seconds=0.3)
    assert (error.status, error.code) == (504, "gateway_timeout")
    assert time.monotonic() - began < 5
    await gone(running, tools)


async def test_an_agent_that_crashes_says_why_without_its_secrets(running: Running) -> None:
    """REL-18, SEC-22"""
    error = await refused(running, "crash")
    assert (error.status, error.code) == (502, "agent_lost")
    assert "the disk is full" in error.message
    assert "sk-abc" not in error.message


async def test_an_error_of_the_agent_is_passed_on(running: Running) -> None:
    error = await refused(running, "fail")
    assert (error.code, error.message) == ("agent_failed", "the agent Gemini CLI failed: the model is overloaded")


async def test_what_is_no_json_is_passed_over(running: Running) -> None:
    """REL-18: garbage on stdout."""
    assert (await ask(running, "garbage")).text == "fine"


async def test_a_flood_is_read_whole_and_in_order(running: Running) -> None:
    """REL-18: notifications come faster than they are read."""
    assert (await ask(running, "flood 20000")).text == "".join(f"{number} " for number in range(20000))


async def test_a_line_that_is_too_long_ends_the_agent(running: Running, tools: Path) -> None:
    error = await refused(running, f"long {9 * 1024 * 1024}")
    assert "too long" in error.message
    await gone(running, tools)


@pytest.mark.parametrize(
    ("mode", "status", "words"),
    [
        ("signed-out", 503, "is not signed in"),
        ("future", 502, "speaks version 99"),
        ("silent", 504, "did not begin a session"),
        ("mute", 504, "did not begin a session"),
    ],
)
async def test_handshakes_that_fail(
    running: Running, tools: Path, monkeypatch: pytest.MonkeyPatch, mode: str, status: int, words: str
) -> None:
    """REL-18: never answers initialize, wrong version, wants a person."""
    import hub.acp.session

    monkeypatch.setattr(hub.acp.session, "HANDSHAKE", 1.0 if status == 504 else 60.0)
    install(tools, "goose", mode)
    error = await refused(running, "hello", agent="goose")
    assert error.status == status
    assert words in error.message
    await gone(running, tools)


@pytest.mark.parametrize("mode", ["", "old-models"])
async def test_a_model_can_be_chosen(running: Running, tools: Path, mode: str) -> None:
    install(tools, "goose", mode)
    assert (await ask(running, "model", agent="goose", model="large")).text == "large"
    assert (await ask(running, "model", agent="goose", model="default")).text == "small"
    error = await refused(running, "model", agent="goose", model="huge")
    assert (error.status, error.field) == (400, "model")
    assert "small, large" in error.message


async def test_an_agent_without_a_choice_of_models_says_so(running: Running, tools: Path) -> None:
    install(tools, "goose", "no-models")
    assert "write 'default'" in (await refused(running, "model", agent="goose", model="large")).message


async def test_only_so_many_work_at_once(tools: Path, tmp_path: Path) -> None:
    """SEC B8"""
    async with running_hub(tmp_path, acp_enabled=True, acp_sessions=1) as running:
        task = asyncio.create_task(ask(running, "slow"))
        while not running.hub.agents.running:
            await asyncio.sleep(0.02)
        error = await refused(running, "hello")
        assert (error.status, error.retry_after) == (503, 10)
        task.cancel()
        await asyncio.wait([task])
        assert (await ask(running, "hello")).text == "Hello, wörld"


async def test_a_hub_that_closes_ends_its_agents(tools: Path, tmp_path: Path) -> None:
    """REL-18: nothing outlives the hub."""
    async with running_hub(tmp_path, acp_enabled=True) as running:
        task = asyncio.create_task(ask(running, "slow"))
        while not any(session._turn for session in running.hub.agents._sessions):  # it works, and has not only been started
            await asyncio.sleep(0.02)
        assert len(leftovers(tools)) == 1
    await asyncio.wait([task])
    assert task.result().stop_reason == "cancelled"
    assert not leftovers(tools)


async def test_unknown_agents_and_those_that_cannot_be_driven(running: Running, tools: Path) -> None:
    install(tools, "aider")
    assert (await refused(running, "x", agent="nobody")).status == 404
    for agent, words in (("aider", "No way to start it over ACP"), ("opencode", "not in PATH"), ("claude", "claude-agent-acp")):
        error = await refused(running, "x", agent=agent)
        assert error.code == "agent_not_runnable"
        assert words in error.message


async def test_the_first_that_can_be_driven_is_asked_when_none_is_named(running: Running, tools: Path) -> None:
    report = await ask(running, "hello", agent="")
    assert (report.agent, report.text) == ("gemini-cli", "Hello, wörld")
    (tools / "gemini").unlink()
    assert "no agent that can be driven" in (await refused(running, "hello", agent="")).message


async def test_an_agent_of_one_s_own_is_driven_until_its_file_changes(tools: Path, tmp_path: Path) -> None:
    """SEC-30"""
    program = install(tools, "mine")
    async with running_hub(tmp_path, acp_enabled=True, acp_custom_agents=True) as running:
        await running.hub.agents.add("mine", name="Mine", binary=str(program), version_command="mine --version", alias="mine")
        assert (await ask(running, "hello", agent="mine")).text == "Hello, wörld"
        program.write_text(program.read_text() + "# changed\n")
        assert "changed since it was allowed" in (await refused(running, "hello", agent="mine")).message


async def test_it_is_an_mcp_tool(running: Running) -> None:
    headers = {**await running.headers("process", "mcp:connect"), "accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as http:
        params = {"name": "hubroute_agent_prompt", "arguments": {"agent": "gemini-cli", "prompt": "hello", "confirm": True}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        begun = await http.post("/api/mcp/stream", json=_initialize())
        more = {"mcp-session-id": begun.headers["mcp-session-id"]} if "mcp-session-id" in begun.headers else {}
        answer = await http.post("/api/mcp/stream", json=body, headers=more)
    assert "Hello, w" in answer.text


def _initialize() -> dict[str, Any]:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}


async def test_it_is_an_a2a_skill_that_streams(running: Running) -> None:
    headers = {**await running.headers("process", "mcp:connect"), "a2a-version": "1.0"}
    message = {
        "messageId": "m1",
        "role": "ROLE_USER",
        "parts": [{"text": "hello"}],
        "metadata": {"skill": "local-agent", "agent": "gemini-cli"},
    }
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        task = (await http.post("/a2a", json=body)).json()["result"]["task"]
        assert task["status"]["state"] == "TASK_STATE_COMPLETED"
        assert task["artifacts"][0]["parts"][0]["text"] == "Hello, wörld"
        body = {"jsonrpc": "2.0", "id": 2, "method": "SendStreamingMessage", "params": {"message": {**message, "messageId": "m2"}}}
        streamed = (await http.post("/a2a", json=body)).text
    assert streamed.count("artifactUpdate") >= 3


def test_the_shipped_agents_are_the_seed_s_fourteen() -> None:
    from hub.acp.rows import AgentList

    rows = {row.id: row for row in AgentList.load().agents}
    assert len(rows) == 14
    assert {name for name, row in rows.items() if row.acp is None} == {"aider", "forge", "amazon-q", "interpreter", "warp"}
    assert all(row.version_command == f"{row.binary} --version" and row.protocol == "stdio" for row in rows.values())
    assert os.sep not in "".join(row.binary for row in rows.values())
