"""REL-09: a run over kill -9, and one whose process dies while another lives; the command line as continuous integration uses it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

import httpx
import pytest

from tests.evals.conftest import case
from tests.fakes.command import LIMIT, answer, hubroute, serving
from tests.fakes.upstream import Behaviour, FaultUpstream, json_answer
from tests.fakes.vendor import completion

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.upstream import Exchange

pytestmark = pytest.mark.anyio

CASES = 60
TARGET = {"type": "model", "id": "openai/gpt-4o-mini"}


def slow(text: str = "yes") -> Behaviour:
    """A good answer after a moment, so that a kill finds calls under way."""
    whole = json_answer(completion(text))

    async def run(exchange: Exchange) -> None:
        await exchange.pause(0.04)
        await whole.run(exchange)

    return Behaviour(run)


async def begun(client: httpx.AsyncClient, upstream: FaultUpstream) -> str:
    """A run of many cases at a provider that is connected for it."""
    account = {"provider": "openai", "name": "up", "apiKey": "sk-upstream-1", "baseUrl": f"{upstream.url}/v1", "allowPrivate": True}
    assert (await client.post("/api/providers", json=account)).status_code in (200, 201)
    cases = [case(f"c{at}", f"question {at}.", "exact", "yes") for at in range(CASES)]
    made = await client.post("/api/evals/suites", json={"id": "many", "name": "many", "cases": cases})
    assert made.status_code == 201, made.text
    done = await client.post("/api/evals", json={"suiteId": "many", "target": TARGET, "concurrency": 4, "waitSeconds": 0})
    assert done.status_code == 202, done.text
    return done.json()["runs"][0]["id"]


async def ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT):
        while True:
            run = (await client.get(f"/api/evals/runs/{run_id}")).json()["run"]
            if run["endedAt"]:
                return run
            await asyncio.sleep(0.05)


def whole(run: dict[str, Any], upstream: FaultUpstream) -> None:
    """Every case has one result, and only what was under way at a kill was asked again."""
    summary = run["summary"]
    assert (run["status"], summary["passed"], summary["errors"], summary["notRun"]) == ("completed", CASES, 0, 0)
    assert [(one["caseId"], one["trials"]) for one in run["results"]] == [(f"c{at}", 1) for at in range(CASES)]
    asked = Counter(request.json()["messages"][-1]["content"] for request in upstream.requests)
    assert len(asked) == CASES
    assert max(asked.values()) <= 3
    assert sum(asked.values()) <= CASES + 12


async def test_kill_nine_and_a_stop_during_a_run(tmp_path: Path, database: str) -> None:
    """Killed in the middle, and after the next start stopped in good order: the run goes on where it was each time."""
    data, env = tmp_path / "data", {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_DEMO": "off"}
    owner = (await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env))["key"]
    headers = {"authorization": f"Bearer {owner}"}
    async with FaultUpstream() as upstream:
        upstream.answer(slow())
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
                run_id = await begun(client, upstream)
                await upstream.received(CASES // 3)
                served.process.kill()
        with serving(data, **env) as served:
            await upstream.received(CASES // 3 * 2, timeout=LIMIT)
            assert await asyncio.to_thread(served.stop) == 0
        with serving(data, **env) as served:
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as client:
                whole(await ended(client, run_id), upstream)


def test_the_command_line_gates_continuous_integration(tmp_path: Path) -> None:
    """Exit code 1 below the rate, 0 at it, 2 for a wrong line; JUnit XML beside it. The built-in demo answers."""
    data, cases = tmp_path / "data", tmp_path / "suite.json"
    suite = [case("a", "Say hello.", "regex", "(?s)."), case("b", "Say hello.", "exact", "nothing that is said")]
    cases.write_text(json.dumps({"id": "mine", "name": "mine", "cases": suite}))
    assert hubroute(data, "call", "evals-suite-create", f"@{cases}").returncode == 0
    xml = tmp_path / "junit.xml"
    low = hubroute(data, "evals", "run", "mine", "--min-pass-rate", "0.9", "--junit", str(xml))
    assert low.returncode == 1, low.stderr
    assert "completed, 2 of 2" in low.stderr
    assert Xml.parse(xml).getroot().get("failures") == "1"
    enough = hubroute(data, "evals", "run", "mine", "--min-pass-rate", "0.5", "--json")
    assert enough.returncode == 0, enough.stderr
    run = json.loads(enough.stdout)["runs"][0]
    assert run["summary"]["passRate"] == 50.0
    assert run["id"] in hubroute(data, "evals", "runs", "--suite", "mine").stdout
    assert "is not the text" in hubroute(data, "evals", "show", run["id"]).stdout
    assert hubroute(data, "evals", "run", "mine", "--min-pass-rate", "90").returncode == 2
    assert hubroute(data, "evals", "run", "none").returncode == 1


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
async def test_two_processes(tmp_path: Path, database: str) -> None:
    """A run is ended by the process that lives; cancelling reaches the one that works on it; both know what was assessed."""
    data, env = tmp_path / "data", {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_DEMO": "off"}
    owner = (await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*", **env))["key"]
    headers = {"authorization": f"Bearer {owner}"}
    with serving(data, **env) as first, serving(data, **env) as second:
        async with (
            FaultUpstream() as upstream,
            httpx.AsyncClient(base_url=first.url, headers=headers, timeout=LIMIT) as here,
            httpx.AsyncClient(base_url=second.url, headers=headers, timeout=LIMIT) as there,
        ):
            upstream.answer(slow())
            run_id = await begun(here, upstream)
            await upstream.received(8)
            assert (await there.post(f"/api/evals/runs/{run_id}/cancel")).status_code == 200
            assert (await ended(there, run_id))["status"] == "cancelled"
            assert len(upstream.requests) < CASES
            scope = {"scope": {"type": "model", "modelId": "openai/gpt-4o"}, "depth": "quick"}
            assert (await here.post("/api/assess", json=scope)).json()["models_passed"] == 1
            upstream.requests.clear()
            again = await here.post("/api/evals", json={"suiteId": "many", "target": TARGET, "waitSeconds": 0})
            await upstream.received(8)
            first.process.kill()
            whole(await ended(there, again.json()["runs"][0]["id"]), upstream)
            async with asyncio.timeout(LIMIT):
                while not (models := (await there.get("/api/assess")).json()["models"]):
                    await asyncio.sleep(0.1)
            assert [one["modelId"] for one in models] == ["openai/gpt-4o"]
