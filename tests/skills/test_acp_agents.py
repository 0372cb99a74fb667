"""Coding agents of this machine: what is found, what may be added, and what no payload gets through."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.acp_agent import install
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

FIELDS = {
    "id": str, "name": str, "binary": str, "versionCommand": str, "providerAlias": str, "spawnArgs": list, "protocol": str,
    "installed": bool, "isCustom": bool,
}  # fmt: skip
MINE = {"id": "My Agent!", "name": "Mine", "binary": "mine", "versionCommand": "mine --version", "spawnArgs": ["acp"]}


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in PATH for agents; the home folder is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("PATH", f"relative:{folder}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(home))
    return folder


async def call(running: Running, method: str, body: Any = None, *, scopes: str = "manage", **query: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(scopes), timeout=30) as http:
        return await http.request(method, "/api/acp/agents", json=body, params=query)


def named(answer: httpx.Response, agent: str) -> dict[str, Any]:
    return next(one for one in answer.json()["agents"] if one["id"] == agent)


async def test_the_list_has_the_seed_s_shape_and_says_why(tools: Path, tmp_path: Path) -> None:
    install(tools, "gemini")
    install(tools, "goose", "no-version")
    (tools / "aider").write_text("not executable")
    async with running_hub(tmp_path) as running:
        answer = await call(running, "GET")
        assert answer.status_code == 200
        agents = answer.json()["agents"]
        assert len(agents) == 14
        for one in agents:
            assert {name: type(one[name]) for name in FIELDS} == FIELDS
        assert answer.json()["summary"] == {"total": 14, "installed": 1, "notFound": 13, "builtIn": 14, "custom": 0}
        gemini = named(answer, "gemini-cli")
        assert (gemini["version"], gemini["installed"], gemini["path"]) == ("1.2.3-beta.1", True, str(tools / "gemini"))
        assert gemini["acp"] == {"runnable": True, "command": [str(tools / "gemini"), "--acp"], "reason": "", "verified": "documented"}
        assert "failed with code 1: no such option" in named(answer, "goose")["reason"]
        assert "not executable" in named(answer, "aider")["reason"]
        assert "not in PATH" in named(answer, "codex")["reason"]
        assert not named(answer, "aider")["acp"]["runnable"]
        assert named(answer, "claude")["spawnArgs"] == ["--print", "--output-format", "json"]


async def test_slow_agents_are_looked_at_side_by_side_and_leave_nothing_behind(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SEC-30, REL-18: a probe has a limit, its whole process group ends, and the hub answers others meanwhile."""
    import psutil

    import hub.acp.local
    from hub.acp.probe import ask_version

    async def impatient(*args: Any, **options: Any) -> Any:
        return await ask_version(*args, **options, seconds=1.0)

    monkeypatch.setattr(hub.acp.local, "ask_version", impatient)
    for name in ("gemini", "goose", "codex", "claude"):
        install(tools, name, "slow-version")
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as http:
        began = time.monotonic()
        import asyncio

        looking = asyncio.create_task(call(running, "GET"))
        await asyncio.sleep(0.3)
        assert (await http.get("/health")).status_code == 200
        answer = await looking
        assert time.monotonic() - began < 3
        assert "within 1 seconds" in named(answer, "goose")["reason"]
        began = time.monotonic()
        await call(running, "GET")
        assert time.monotonic() - began < 0.8, "the second look is answered from memory"
    left = [child for child in psutil.Process().children(recursive=True) if "sleep(600)" in " ".join(child.cmdline())]
    assert not left


async def test_refresh_looks_again(tools: Path, tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running:
        assert not named(await call(running, "GET"), "opencode")["installed"]
        install(tools, "opencode")
        assert not named(await call(running, "GET"), "opencode")["installed"]
        answer = await call(running, "POST", {"action": "refresh"})
        assert answer.json()["refreshed"] is True
        assert "added" not in answer.json()
        assert named(answer, "opencode")["installed"]


async def test_a_program_that_others_can_change_is_not_run(tools: Path, tmp_path: Path) -> None:
    """SEC-30"""
    install(tools, "gemini").chmod(0o777)
    async with running_hub(tmp_path) as running:
        one = named(await call(running, "GET"), "gemini-cli")
        assert "can be changed by everybody" in one["reason"]
        assert not one["installed"]
        assert not one["acp"]["runnable"]


async def test_beyond_loopback_nothing_runs_until_it_is_allowed(tools: Path, tmp_path: Path) -> None:
    """SEC-30: loopback or an explicit opt-in."""
    install(tools, "gemini")
    from hub.call import Hub
    from hub.settings import Settings

    for enabled in (False, True):
        hub = Hub(Settings(data_dir=tmp_path / str(enabled), host="0.0.0.0", acp_enabled=enabled))
        await hub.open()
        try:
            one = next(one for one in await hub.agents.look() if one.row.id == "gemini-cli")
            assert one.installed is enabled
            assert enabled or "HUBROUTE_ACP_ENABLED" in one.reason
        finally:
            await hub.close()


async def test_an_agent_of_one_s_own_is_off_until_it_is_allowed(tools: Path, tmp_path: Path) -> None:
    """SEC-30"""
    install(tools, "mine")
    async with running_hub(tmp_path) as running:
        answer = await call(running, "POST", MINE)
        assert answer.status_code == 403
        assert "HUBROUTE_ACP_CUSTOM_AGENTS" in answer.text


async def test_an_agent_of_one_s_own_comes_changes_and_goes(tools: Path, tmp_path: Path) -> None:
    """SEC-30: the very file that was allowed, by path and digest."""
    program = install(tools, "mine")
    async with running_hub(tmp_path, acp_custom_agents=True) as running:
        answer = await call(running, "POST", MINE)
        assert answer.status_code == 200, answer.text
        assert answer.json()["added"] == {
            "id": "my-agent", "name": "Mine", "binary": "mine", "versionCommand": "mine --version", "providerAlias": "My Agent!",
            "spawnArgs": ["acp"], "protocol": "stdio",
        }  # fmt: skip
        one = named(answer, "my-agent")
        assert (one["installed"], one["isCustom"], one["acp"]["command"]) == (True, True, [str(program), "acp"])
        assert (await call(running, "GET")).json()["summary"]["custom"] == 1
        again = await call(running, "POST", MINE)
        assert (again.status_code, again.json()) == (409, {"error": "there is an agent 'my-agent' already"})
        assert (await call(running, "POST", {**MINE, "id": "Gemini CLI"})).status_code == 409
        program.write_text(program.read_text() + "# another program now\n")
        changed = named(await call(running, "POST", {"action": "refresh"}), "my-agent")
        assert not changed["installed"]
        assert "changed since it was allowed" in changed["reason"]
        assert changed["acp"]["command"] == []
        assert (await call(running, "DELETE")).status_code == 400
        assert (await call(running, "DELETE", id="nobody")).status_code == 404
        assert (await call(running, "DELETE", id="claude")).json() == {"error": "built-in agents cannot be removed"}
        gone = await call(running, "DELETE", id="my-agent")
        assert gone.json()["removed"] == "my-agent"
        assert len(gone.json()["agents"]) == 14
        rows, _ = await running.hub.store.audit.page(skill="acp-agents-add")
        assert {row.outcome for row in rows} == {"ok", "error"}


@pytest.mark.parametrize(
    "change",
    [
        {"versionCommand": "mine -e 'require(1)'"},
        {"versionCommand": "mine --eval=1"},
        {"versionCommand": "mine --version $(touch {mark})"},
        {"versionCommand": "mine --version `touch {mark}`"},
        {"versionCommand": "mine --version; touch {mark}"},
        {"versionCommand": "mine --version\ntouch {mark}"},
        {"versionCommand": "mine --version && touch {mark}"},
        {"versionCommand": "mine --version | touch {mark}"},
        {"versionCommand": "mine --version > {mark}"},
        {"versionCommand": "LD_PRELOAD=./x.so mine --version"},
        {"versionCommand": "PATH=/tmp mine --version"},
        {"versionCommand": "env LD_PRELOAD=./x.so mine --version"},
        {"versionCommand": "other --version"},
        {"versionCommand": "/elsewhere/mine --version"},
        {"versionCommand": "mine"},
        {"versionCommand": "mine 'unfinished"},
        {"versionCommand": "mine install --version"},
        {"binary": "../bin/mine"},
        {"binary": "bin/mine"},
        {"binary": "sh", "versionCommand": "sh --version"},
        {"binary": "/bin/sh", "versionCommand": "/bin/sh --version"},
        {"binary": "python3", "versionCommand": "python3 --version"},
        {"binary": "env", "versionCommand": "env --version"},
        {"binary": "disguise", "versionCommand": "disguise --version"},
        {"binary": "mine;id"},
        {"binary": "mine\n"},
        {"binary": "-mine", "versionCommand": "-mine --version"},
        {"binary": "absent", "versionCommand": "absent --version"},
        {"spawnArgs": ["-e", "code"]},
        {"spawnArgs": ["--eval=code"]},
        {"spawnArgs": ["LD_PRELOAD=./x.so"]},
        {"spawnArgs": ["PATH=/tmp"]},
        {"spawnArgs": ["$(touch {mark})"]},
        {"spawnArgs": ["a\nb"]},
        {"spawnArgs": ["acp; touch {mark}"]},
        {"id": "  "},
        {"id": "!!!"},
        {"name": ""},
        {"protocol": "carrier pigeon"},
    ],
    ids=str,
)
async def test_no_payload_gets_through(tools: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    """SEC-30: `-e`, `--eval`, `$(…)`, `;`, newline, LD_PRELOAD, PATH, interpreters, paths."""
    install(tools, "mine")
    (tools / "disguise").symlink_to("/bin/sh")
    mark = tmp_path / "mark"

    def filled(value: Any) -> Any:
        return [filled(one) for one in value] if isinstance(value, list) else value.replace("{mark}", str(mark))

    async with running_hub(tmp_path, acp_custom_agents=True) as running:
        answer = await call(running, "POST", {**MINE, **{name: filled(value) for name, value in change.items()}})
        if change.get("binary") == "mine\n":  # blanks around a name are no part of it
            assert answer.status_code == 200
            return
        assert answer.status_code == 400, answer.text
        assert (await call(running, "GET")).json()["summary"]["custom"] == 0
    assert not mark.exists()


async def test_only_the_owner_sees_and_changes_them(tools: Path, tmp_path: Path) -> None:
    """SEC-03, SEC-80"""
    async with running_hub(tmp_path, acp_custom_agents=True) as running:
        for method, body in (("GET", None), ("POST", {"action": "refresh"}), ("POST", MINE), ("DELETE", None)):
            assert (await call(running, method, body, scopes="operator", id="x")).status_code == 403
        rows, _ = await running.hub.store.audit.page(skill="acp-agents-add")
        assert {row.outcome for row in rows} == {"denied"}
