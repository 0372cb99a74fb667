"""The management API over clients' files: the same engine as ``hubroute connect``, behind the scope ``manage``."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
async def running(tmp_path: Path, home: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, cli_config_home=str(home), public_url="http://hub.test:1") as found:
        yield found


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage"), timeout=20) as made:
        yield made


def _program(home: Path, name: str) -> None:
    path = home / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)


async def test_there_and_back(client: httpx.AsyncClient, running: Running, home: Path) -> None:
    """A key is made for the client, used again, and revoked with the connection."""
    path = home / ".codex" / "config.toml"
    path.parent.mkdir()
    path.write_text('# mine\nmodel = "gpt"\n')
    tried = (await client.post("/api/cli-tools/codex-settings", json={"model": "auto", "dryRun": True})).json()
    assert not tried["changed"]
    assert "+model_provider" in tried["files"][0]["diff"]
    assert path.read_text() == '# mine\nmodel = "gpt"\n'
    made = await client.post("/api/cli-tools/codex-settings", json={"model": "auto", "parts": ["tools", "models"]})
    assert made.status_code == 200, made.text
    tree = tomllib.loads(path.read_text())
    assert tree["model_providers"]["hubroute"]["base_url"] == "http://hub.test:1/v1"
    key = tree["mcp_servers"]["hubroute"]["http_headers"]["Authorization"].removeprefix("Bearer ")
    assert key not in made.text
    assert running.hub.store.keys.find(key) is not None
    again = (await client.post("/api/cli-tools/codex-settings", json={"model": "auto", "parts": ["tools", "models"]})).json()
    assert not again["changed"]
    shown = await client.get("/api/cli-tools/codex-settings")
    assert shown.json()["hasOmniRoute"]
    assert "# mine" in shown.json()["config"]
    assert key not in shown.text
    gone = (await client.delete("/api/cli-tools/codex-settings")).json()
    assert gone["keyId"] == made.json()["keyId"]
    assert path.read_text() == '# mine\nmodel = "gpt"\n'
    assert running.hub.store.keys.find(key) is None


async def test_what_clients_of_the_seed_send(client: httpx.AsyncClient, home: Path) -> None:
    env = {"ANTHROPIC_BASE_URL": "http://else.test/v1", "ANTHROPIC_AUTH_TOKEN": "hr_given_key_0123456789", "ANTHROPIC_MODEL": "auto"}
    made = await client.post("/api/cli-tools/claude-settings", json={"env": env})
    assert made.status_code == 200, made.text
    assert made.json()["keyId"] is None
    found = json.loads((home / ".claude" / "settings.json").read_text())
    assert found["env"] == {**env, "ANTHROPIC_BASE_URL": "http://else.test"}
    assert not (home / ".claude.json").exists()
    shown = (await client.get("/api/cli-tools/claude-settings")).json()
    assert shown["settings"]["env"]["ANTHROPIC_AUTH_TOKEN"] == "…"
    assert shown["settingsPath"].endswith("settings.json")
    for wrong in ({"env": {"PATH": "/x"}}, {"keyId": "k"}, {"baseUrl": "file:///x"}, {"parts": ["all"]}):
        assert (await client.post("/api/cli-tools/claude-settings", json=wrong)).status_code == 400
    opened = await client.post("/api/cli-tools/openclaw-settings", json={"model": "auto", "apiKey": "hr_given_key_0123456789"})
    assert opened.status_code == 200, opened.text
    tree = json.loads((home / ".openclaw" / "openclaw.json").read_text())
    assert tree["agents"]["defaults"]["model"]["primary"] == "hubroute/auto"
    await client.delete("/api/cli-tools/openclaw-settings")
    assert not (home / ".openclaw" / "openclaw.json").exists()


async def test_status_and_runtime(client: httpx.AsyncClient, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are found, never run."""
    _program(home, "qwen")
    _program(home, "other-codex")
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setenv("CLI_CODEX_BIN", str(home / "bin" / "other-codex"))
    found = (await client.get("/api/cli-tools/status")).json()
    assert found["qwen"]["commandPath"] == str(home / "bin" / "qwen")
    assert (found["qwen"]["configStatus"], found["cursor"]["configStatus"]) == ("not_configured", "not_installed")
    await client.post("/api/cli-tools/qwen-settings", json={})
    found = (await client.get("/api/cli-tools/status")).json()
    assert found["qwen"]["configStatus"] == "configured"
    assert found["qwen"]["lastConfiguredAt"]
    one = (await client.get("/api/cli-tools/runtime/codex")).json()
    assert {
        "installed",
        "runnable",
        "command",
        "commandPath",
        "reason",
        "runtimeMode",
        "requiresBinary",
        "toolId",
        "configPath",
        "message",
    } <= set(one)
    assert one["commandPath"].endswith("other-codex")
    droid = (await client.get("/api/cli-tools/droid-settings")).json()
    assert (droid["installed"], droid["reason"], droid["settings"]) == (False, "not_found", None)
    unknown = await client.get("/api/cli-tools/runtime/nothing")
    assert unknown.status_code == 404
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text("{nonsense")
    assert (await client.get("/api/cli-tools/runtime/cursor")).json()["configStatus"] == "unknown"


async def test_copies_are_listed_and_put_back(client: httpx.AsyncClient, home: Path) -> None:
    path = home / ".qwen" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"a": 1}')
    await client.post("/api/cli-tools/qwen-settings", json={"apiKey": "hr_given_key_0123456789"})
    [copy] = (await client.get("/api/cli-tools/backups", params={"tool": "qwen"})).json()["backups"]
    assert (copy["path"], copy["toolId"], copy["size"]) == (str(path), "qwen", 8)
    back = await client.post("/api/cli-tools/backups", json={"tool": "qwen", "backupId": copy["id"]})
    assert back.status_code == 200, back.text
    assert path.read_text() == '{"a": 1}'
    assert len((await client.get("/api/cli-tools/backups")).json()["backups"]) == 2
    for wrong in ("../../x", "1"):
        assert (await client.post("/api/cli-tools/backups", json={"tool": "qwen", "backupId": wrong})).status_code == 404
    assert (await client.post("/api/cli-tools/backups", json={"tool": "../qwen", "backupId": copy["id"]})).status_code == 404


async def test_a_copy_is_not_put_back_through_a_link(client: httpx.AsyncClient, home: Path, tmp_path: Path) -> None:
    """SEC-40"""
    path = home / ".qwen" / "settings.json"
    path.parent.mkdir()
    path.write_text('{"a": 1}')
    await client.post("/api/cli-tools/qwen-settings", json={"apiKey": "hr_given_key_0123456789"})
    [copy] = (await client.get("/api/cli-tools/backups")).json()["backups"]
    outside = tmp_path / "outside.json"
    outside.write_text("theirs")
    path.unlink()
    path.symlink_to(outside)
    refused = await client.post("/api/cli-tools/backups", json={"tool": "qwen", "backupId": copy["id"]})
    assert refused.status_code == 409
    assert outside.read_text() == "theirs"
    assert (await client.post("/api/cli-tools/qwen-settings", json={})).status_code == 409


async def test_a_refused_change_leaves_no_key(client: httpx.AsyncClient, running: Running, home: Path) -> None:
    (home / ".qwen").write_text("in the way")
    before = len(running.hub.store.keys.all())
    refused = await client.post("/api/cli-tools/qwen-settings", json={})
    assert refused.status_code >= 400
    assert all(key.revoked_at for key in running.hub.store.keys.all()[before:] if key.name == "qwen")
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").write_text("// c\n{}")
    refused = await client.post("/api/cli-tools/cursor-settings", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "commented_config")
    assert not [key for key in running.hub.store.keys.all() if key.name == "cursor"]


async def test_only_the_owner_may(running: Running) -> None:
    """SEC-02: nobody reads or writes the owner's files with an operator's key."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("operator"), timeout=20) as operator:
        for method, path in (
            ("GET", "/api/cli-tools/status"),
            ("GET", "/api/cli-tools/claude-settings"),
            ("POST", "/api/cli-tools/claude-settings"),
            ("DELETE", "/api/cli-tools/claude-settings"),
            ("POST", "/api/cli-tools/backups"),
        ):
            assert (await operator.request(method, path, json={} if method == "POST" else None)).status_code == 403, path


async def test_writing_can_be_switched_off(tmp_path: Path, home: Path) -> None:
    async with (
        running_hub(tmp_path, cli_config_home=str(home), cli_allow_config_writes=False) as running,
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage"), timeout=20) as client,
    ):
        for method, path, body in (
            ("POST", "/api/cli-tools/qwen-settings", {}),
            ("DELETE", "/api/cli-tools/qwen-settings", None),
            ("POST", "/api/cli-tools/backups", {"tool": "qwen", "backupId": "1"}),
        ):
            refused = await client.request(method, path, json=body)
            assert refused.status_code == 403, refused.text
            assert "CLI_ALLOW_CONFIG_WRITES" in refused.text
        assert (await client.post("/api/cli-tools/qwen-settings", json={"dryRun": True})).status_code == 200
        assert list(home.iterdir()) == []
