"""The process itself: set up or not, the diagnostics report, and what is mended."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import httpx
import pytest

from hub.process import mending
from hub.settings import Settings
from tests.fakes.command import hubroute, serving
from tests.fakes.database import postgres_database
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
DEAD = 2**22 - 7


async def test_whether_it_is_set_up_is_all_that_a_stranger_learns(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as http:
        assert (await http.get("/api/init")).json() == {"initialized": False}
        await running.key("chat")
        assert (await http.get("/api/init")).json() == {"initialized": True}


async def test_only_owners_may(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as http:
        poor, rich = await running.headers("read:*", "chat"), await running.headers("manage")
        calls = [("GET", "/api/system-info"), ("POST", "/api/restart"), ("POST", "/api/shutdown"), ("POST", "/api/system/env/repair")]
        for method, path in calls:
            assert (await http.request(method, path)).status_code == 401
            assert (await http.request(method, path, headers=poor)).status_code == 403
        for path in ("/api/restart", "/api/shutdown"):
            # The hub of this test is not run by `hubroute serve`, and says so instead of dying.
            answer = await http.post(path, headers=rich)
            assert answer.status_code == 409
            assert "hubroute serve" in answer.text
        assert (await http.post("/api/system/env/repair", headers=rich, json={"provider": "nobody"})).status_code == 404
        assert (await http.post("/api/system/env/repair", headers=rich, json={"colour": "red"})).status_code == 400


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_report_that_can_be_sent_to_a_helper(tmp_path: Path, kind: str) -> None:
    """SEC-22: a canary in every secret field, and none in the report."""
    if kind == "postgres":
        with postgres_database() as url:
            await _report(tmp_path, url)
    else:
        await _report(tmp_path, "")


async def _report(tmp_path: Path, url: str) -> None:
    canary = "canary-of-the-report"
    options = {"database_url": url, "github_issues_token": canary, "github_issues_repo": "a/b", "push_allowed_hosts": "127.0.0.1"}
    async with running_hub(tmp_path, **options) as running, httpx.AsyncClient(base_url=running.url, timeout=20) as http:
        headers = await running.headers("manage")
        body = {"provider": "openai", "name": "one", "apiKey": f"sk-{canary}", "baseUrl": f"https://u:{canary}@example.com"}
        await http.post("/api/providers", headers=headers, json=body)
        hook = {"url": "http://127.0.0.1:9/", "secret": f"{canary}-long-enough"}
        assert (await http.post("/api/webhooks", headers=headers, json=hook)).status_code == 201
        patch = {"systemPrompt": {"prompt": canary}, "fallbackStrategy": "round-robin"}
        assert (await http.patch("/api/settings", headers=headers, json=patch)).status_code == 200
        answer = await http.get("/api/system-info", headers=headers)
    assert answer.status_code == 200, answer.text
    assert canary not in answer.text
    assert headers["authorization"].removeprefix("Bearer ") not in answer.text
    found = answer.json()
    assert found["settings"]["HUBROUTE_GITHUB_ISSUES_TOKEN"] == "(set)"
    assert found["settings"]["HUBROUTE_GITHUB_ISSUES_REPO"] == "a/b"
    assert found["preferences"] == {"systemPrompt": {"prompt": f"({len(canary)} characters)"}, "fallbackStrategy": "round-robin"}
    assert (found["database"]["ok"], found["database"]["dialect"]) == (True, "postgresql" if url else "sqlite")
    assert found["counts"]["webhooks"] == 1
    assert found["counts"]["keys"] == 1
    assert found["versions"]["mcp"][0].isdigit()
    assert found["process"]["pid"] == os.getpid()
    assert {one["check"] for one in found["checks"]} >= {"python", "sqlite", "data folder", "clock"}
    if url:
        assert found["settings"]["HUBROUTE_DATABASE_URL"] == "(set)"


async def test_what_can_be_mended_is(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as http:
        data.chmod(0o755)
        (data / "hubroute.toml").write_text("port = 1\n")
        (data / "hubroute.toml").chmod(0o644)
        (data / f"hub.{DEAD}").write_text("{}")
        (data / f"hub.{os.getpid()}").write_text("{}")
        (data / f"hub.{os.getpid()}").chmod(0o600)
        (data / "uploads").mkdir(exist_ok=True)
        old = data / "uploads" / "part-old"
        old.write_bytes(b"x")
        os.utime(old, (1, 1))
        answer = await http.post("/api/system/env/repair", headers=await running.headers("manage"))
        again = (await http.post("/api/system/env/repair", headers=await running.headers("manage"))).json()
    found = answer.json()
    seed = {name: found[name] for name in ("success", "backupPath", "created", "added", "missingCount", "missingKeys")}
    assert seed == {"success": True, "backupPath": None, "created": False, "added": 0, "missingCount": 0, "missingKeys": []}
    assert len(found["repaired"]) == 4
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "hubroute.toml").stat().st_mode) == 0o600
    assert not (data / f"hub.{DEAD}").exists()
    assert (data / f"hub.{os.getpid()}").exists()  # its process lives
    assert not old.exists()
    assert (again["success"], again["repaired"]) == (True, [])


async def test_a_master_key_is_never_invented_over_sealed_rows(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as http:
        (data / "master.key").rename(tmp_path / "kept.key")
        found = (await http.post("/api/system/env/repair", headers=await running.headers("manage"))).json()
        assert found["success"] is False
        assert "put it back" in json.dumps(found["checks"])
        assert not (data / "master.key").exists()
    done = hubroute(data, "doctor", "--repair", "--json")
    assert done.returncode == 1
    assert not (data / "master.key").exists()
    (tmp_path / "kept.key").rename(data / "master.key")
    assert hubroute(data, "doctor", "--repair").returncode == 0


async def test_what_a_killed_hub_left_is_taken_away(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as served:
        served.process.kill()
        served.process.wait()
    assert (data / "hub.json").exists()
    done = hubroute(data, "doctor", "--repair")
    assert done.returncode == 0, done.stdout
    assert "repair: socket" in done.stdout
    assert not (data / "hub.json").exists()
    assert not (data / "hub.sock").exists()


def test_settings_that_need_another_are_named(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, github_issues_repo="a/b")
    assert mending.missing(settings) == ["HUBROUTE_GITHUB_ISSUES_TOKEN"]
    (tmp_path / "hubroute.toml").write_text("prot = 1\n")
    [found] = [one for one in mending.mend(settings, serving=False) if one.check == "settings file"]
    assert (found.state, "prot" in found.words) == ("failed", True)
    (tmp_path / "hubroute.toml").write_text("= 1\n")
    [found] = [one for one in mending.mend(settings, serving=False) if one.check == "settings file"]
    assert found.state == "failed"
    assert mending.mend(Settings(data_dir=tmp_path / "none"), serving=False)[0].state == "ok"
