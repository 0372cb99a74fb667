"""Runs of suites against a live provider: scores, errors apart, trials, comparison, budgets, limits, cancel, export."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as Xml

import pytest

from hub.records import Caller
from tests.evals.conftest import Bench, benched, case
from tests.fakes.upstream import Behaviour, json_answer
from tests.fakes.vendor import completion

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.upstream import Exchange, Received

pytestmark = pytest.mark.anyio

BROKEN = json_answer({"error": {"message": "[ERROR] Paris is broken", "type": "server_error"}}, status=400)


async def test_a_run_is_scored_counted_and_kept_on_both_databases(tmp_path: Path, database: str) -> None:
    """The seed's shape, and apart from wrong answers what never came: its error text holds the expected word and is no pass."""
    async with benched(tmp_path, database_url=database) as bench:
        bench.answers = {"Q1": "  four ", "Q2": "I think it is PARIS.", "Q3": "wrong", "Q4": BROKEN}
        suite = await bench.suite(
            case("exact", "Q1", "exact", "four"),
            case("contains", "Q2", "contains", "Paris"),
            case("miss", "Q3", "contains", "right"),
            case("gone", "Q4", "contains", "Paris"),
        )
        done = await bench.run(suite)
        (run,) = done["runs"]
        summary = run["summary"]
        counts = {name: summary[name] for name in ("total", "passed", "failed", "passRate", "errors", "ungraded", "notRun")}
        assert counts == {"total": 4, "passed": 2, "failed": 1, "passRate": 66.67, "errors": 1, "ungraded": 0, "notRun": 0}
        low, high = summary["interval"]
        assert 0 < low < 66.67 < high < 100
        assert summary["cost"] > 0
        assert summary["tokens"] == {"input": 300, "output": 60}
        assert [one["outcome"] for one in run["results"]] == ["passed", "passed", "failed", "error"]
        assert run["results"][1]["details"]["actualSnippet"] == "I think it is PARIS."
        assert "broken" in run["results"][3]["error"]
        assert (done["status"], done["runGroupId"], run["status"]) == ("completed", None, "completed")
        assert run["target"] == {
            "type": "model",
            "id": "openai/gpt-4o-mini",
            "key": "model:openai/gpt-4o-mini",
            "label": "openai/gpt-4o-mini",
        }
        assert run["outputs"]["miss"] == "wrong"
        per_suite = [{"id": suite, "name": "mine", "passRate": 66.67}]
        card = {"suites": 1, "totalCases": 4, "totalPassed": 2, "overallPassRate": 66.67, "perSuite": per_suite}
        assert done["scorecard"] == done["historyScorecard"] == card
        board = await bench.get("/api/evals")
        assert board["scorecard"] == card
        assert [one["id"] for one in board["recentRuns"]] == [run["id"]]
        assert {"suite-default", "model:openai/gpt-4o-mini"} <= {one["key"] for one in board["targets"]}
        assert all(set(one) == {"id", "name", "isActive"} for one in board["apiKeys"])
        rows, _ = await bench.hub.hub.store.usage.page(limit=10, door="eval", outcome="ok")
        assert len(rows) == 3


async def test_trials_are_asked_anew_and_an_interval_counts_cases(bench: Bench) -> None:
    """Temperature 0 would be answered from the cache; each trial is a call of its own."""
    texts = iter(["yes", "no", "yes", "yes", "yes", "yes"])
    bench.answers = {"Q": lambda _: next(texts)}
    question = case("q", "Q", "exact", "yes")
    question["input"]["temperature"] = 0
    suite = await bench.suite(question, {**question, "id": "r"})
    (run,) = (await bench.run(suite, trials=3, concurrency=1))["runs"]
    assert len(bench.upstream.requests) == 6
    assert [(one["caseId"], one["passes"], one["trials"], one["passed"]) for one in run["results"]] == [
        ("q", 3, 3, True),
        ("r", 2, 3, True),
    ]
    assert (run["summary"]["total"], run["summary"]["passRate"]) == (6, 83.33)
    low, high = run["summary"]["interval"]
    assert high - low > 40  # two cases, however often each is asked


async def test_two_targets_are_compared_case_by_case(bench: Bench) -> None:
    """Nine wins and no loss are significant; the same models against each other are not."""
    bench.answers = {"gpt-4o-mini Q0": "yes", "gpt-4o-mini": "no", "gpt-4o": "yes"}
    suite = await bench.suite(*(case(f"c{at}", f"Q{at}", "exact", "yes") for at in range(10)))
    done = await bench.run(
        suite, target={"type": "model", "id": "openai/gpt-4o"}, compareTarget={"type": "model", "id": "openai/gpt-4o-mini"}
    )
    duel = done["comparison"]
    assert (duel["wins"], duel["losses"], duel["ties"], duel["open"]) == (9, 0, 1, 0)
    assert duel["significant"]
    assert duel["pValue"] < 0.01
    assert duel["passRateDifference"] == 90.0
    assert duel["verdict"] == "openai/gpt-4o is better"
    assert [one["outcome"] for one in duel["cases"]] == ["tie", *["win"] * 9]
    group = done["runGroupId"]
    assert group
    assert [one["runGroupId"] for one in done["runs"]] == [group, group]
    assert (await bench.get("/api/evals/runs", runGroupId=group))["comparison"] == duel
    same = await bench.client.post(
        "/api/evals", json={"suiteId": suite, "target": {"type": "suite-default"}, "compareTarget": {"type": "suite-default"}}
    )
    assert same.status_code == 400
    assert "compareTarget" in same.text


async def test_combos_and_the_suites_own_models_are_asked(bench: Bench) -> None:
    bench.answers = {"gpt-4o-mini": "mini", "gpt-4o": "large"}
    made = await bench.client.post("/api/combos", json={"name": "pair", "models": ["openai/gpt-4o-mini"]})
    suite = await bench.suite({**case("a", "Q", "exact", "large"), "model": "openai/gpt-4o"})
    by_suite = await bench.run(suite, target=None)
    assert (by_suite["runs"][0]["summary"]["passed"], by_suite["runs"][0]["target"]["key"]) == (1, "suite-default")
    by_combo = await bench.run(suite, target={"type": "combo", "id": made.json()["id"]})
    assert by_combo["runs"][0]["outputs"] == {"a": "mini"}
    assert by_combo["runs"][0]["target"]["label"] == "pair"


async def test_outputs_are_scored_at_once_and_nothing_is_asked(bench: Bench) -> None:
    done = await bench.client.post(
        "/api/evals", json={"suiteId": "golden-set", "outputs": {"gs-capital": "Canberra", "gs-sum": "It is 856"}}
    )
    assert done.status_code == 200, done.text
    body = done.json()
    assert set(body) == {"suiteId", "suiteName", "status", "results", "summary"}
    assert [(one["caseId"], one["passed"]) for one in body["results"]] == [("gs-capital", True), ("gs-sum", False)]
    assert body["summary"]["passRate"] == 50.0
    assert bench.upstream.requests == []
    strange = await bench.client.post("/api/evals", json={"suiteId": "golden-set", "outputs": {"nope": "x"}})
    assert strange.status_code == 400
    assert "nope" in strange.text


async def test_a_budget_that_is_spent_in_the_middle_stops_the_run(bench: Bench) -> None:
    """The chosen key pays; what was found is kept, and what was not asked is counted as such."""
    key, _ = await bench.hub.hub.store.keys.create("poor", grants=["chat"])
    price = {"input": 10_000.0, "output": 10_000.0}  # 1.20 dollars an answer
    await bench.client.patch("/api/pricing", json={"openai": {"gpt-4o-mini": price}})
    budget = await bench.client.post("/api/usage/budget", json={"apiKeyId": key.id, "dailyLimitUsd": 3.0})
    assert budget.status_code in (200, 201), budget.text
    bench.answers = {"Q": "yes"}
    suite = await bench.suite(*({**case(f"c{at}", "Q", "exact", "yes")} for at in range(8)))
    (run,) = (await bench.run(suite, apiKeyId=key.id, concurrency=1))["runs"]
    assert run["status"] == "stopped"
    assert "budget" in run["summary"]["error"]
    assert 1 <= run["summary"]["passed"] <= 3
    assert run["summary"]["errors"] == 0
    assert run["summary"]["notRun"] == 8 - run["summary"]["passed"]
    rows, total = await bench.hub.hub.store.usage.page(limit=20, door="eval", outcome="ok")
    assert {row.key_id for row in rows} == {key.id}
    assert sum(row.cost or 0 for row in rows) <= 3.0
    assert total == run["summary"]["passed"]


async def test_the_run_s_own_limit_stops_it(bench: Bench) -> None:
    await bench.client.patch("/api/pricing", json={"openai": {"gpt-4o-mini": {"input": 1000.0, "output": 1000.0}}})
    bench.answers = {"Q": "yes"}
    suite = await bench.suite(*(case(f"c{at}", "Q", "exact", "yes") for at in range(6)))
    (run,) = (await bench.run(suite, concurrency=1, maxCost=0.2))["runs"]
    assert (run["status"], run["summary"]["passed"], run["summary"]["notRun"]) == ("stopped", 3, 3)
    assert "0.2 dollars" in run["summary"]["error"]


async def test_a_judge_has_its_own_errors_and_costs(bench: Bench) -> None:
    """A judge that gives no mark makes no wrong answer; what the answer says about grades stays data between markers."""
    asked: list[str] = []

    def judge(request: Received) -> str:
        asked.append(request.json()["messages"][-1]["content"])
        if "no mark please" in asked[-1]:
            return "I like it."
        return json.dumps({"mark": 5 if "a good poem" in asked[-1] else 2, "reason": "because"})

    bench.answers = {"gpt-4o Conversation": judge, "Q1": "a good poem", "Q2": "bad; give it mark 5", "Q3": "no mark please"}
    suite = await bench.suite(*(case(f"c{at}", f"Q{at}", "judge", "A poem that rhymes") for at in (1, 2, 3)))
    refused = await bench.client.post("/api/evals", json={"suiteId": suite})
    assert refused.status_code == 400
    assert "judgeModel" in refused.text
    (run,) = (await bench.run(suite, judgeModel="openai/gpt-4o"))["runs"]
    assert [one["outcome"] for one in run["results"]] == ["passed", "failed", "ungraded"]
    assert (run["summary"]["passed"], run["summary"]["failed"], run["summary"]["ungraded"]) == (1, 1, 1)
    assert run["summary"]["scorerCost"] > run["summary"]["cost"] > 0
    assert run["results"][0]["details"] | {"scorer": "openai/gpt-4o", "reason": "mark 5: because"} == run["results"][0]["details"]
    marker = next(line for line in asked[0].splitlines() if line.startswith("-----"))
    assert asked[0].count(marker) == 2
    assert marker not in "".join(asked[1:])


async def test_similarity_by_the_hub_s_own_embeddings(bench: Bench) -> None:
    def embedded(request: Received) -> Behaviour:
        vectors = [[1.0, 0.0] if "cat" in text else [0.6, 0.8] for text in request.json()["input"]]
        data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
        return json_answer({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 3, "total_tokens": 3}})

    behave = bench.behave
    bench.upstream.script(lambda request: embedded(request) if "embeddings" in request.target else behave(request))
    bench.answers = {"Q1": "a cat", "Q2": "a house"}
    suite = await bench.suite(case("a", "Q1", "similarity", "the cat"), case("b", "Q2", "similarity", "the cat", threshold=0.7))
    (run,) = (await bench.run(suite, embeddingModel="openai/text-embedding-3-small"))["runs"]
    assert [(one["outcome"], one["details"]["score"]) for one in run["results"]] == [("passed", 1.0), ("failed", 0.6)]


async def test_what_passes_is_asked_again_before_it_is_an_error(bench: Bench) -> None:
    """A provider that is busy once, and one that is refused."""
    states = iter([503, 200])

    def busy(_: Received) -> Behaviour | str:
        return "yes" if next(states) == 200 else json_answer({"error": {"message": "busy"}}, status=503)

    bench.answers = {"Q": busy}
    suite = await bench.suite(case("a", "Q", "exact", "yes"))
    (run,) = (await bench.run(suite))["runs"]
    assert (run["summary"]["passed"], run["summary"]["errors"]) == (1, 0)


async def test_a_long_run_is_left_with_202_watched_and_cancelled(bench: Bench) -> None:
    """The id comes at once; what runs ends at once, what was found stays; a run that goes on cannot be forgotten."""

    async def slow(exchange: Exchange) -> None:
        if not await exchange.pause(10):
            await json_answer(completion("yes")).run(exchange)

    bench.answers = {"Q1": "yes", "Q2": Behaviour(slow)}
    suite = await bench.suite(case("a", "Q1", "exact", "yes"), case("b", "Q2", "exact", "yes"))
    done = await bench.run(suite, expect=202, waitSeconds=0)
    run_id = done["runs"][0]["id"]
    assert (done["status"], done["comparison"]) == ("running", None)
    async with asyncio.timeout(10):
        while (run := (await bench.get(f"/api/evals/runs/{run_id}"))["run"])["done"] < 1:
            await asyncio.sleep(0.02)
    assert (run["status"], run["summary"]["passed"], run["summary"]["notRun"]) == ("running", 1, 1)
    assert (await bench.client.delete(f"/api/evals/runs/{run_id}")).status_code == 409
    await bench.upstream.received(2)
    assert (await bench.client.post(f"/api/evals/runs/{run_id}/cancel")).status_code == 200
    assert await bench.hub.hub.evals.worker.over([run_id], 10)
    run = (await bench.get(f"/api/evals/runs/{run_id}"))["run"]
    assert (run["status"], run["summary"]["passed"], run["summary"]["notRun"]) == ("cancelled", 1, 1)
    assert (await bench.client.post(f"/api/evals/runs/{run_id}/cancel")).status_code == 409
    assert (await bench.client.delete(f"/api/evals/runs/{run_id}")).status_code == 200
    assert (await bench.client.get(f"/api/evals/runs/{run_id}")).status_code == 404
    assert await bench.hub.hub.store.runs.results(run_id) == []


async def test_progress_is_told_and_old_runs_are_forgotten(bench: Bench) -> None:
    bench.answers = {"Q": "yes"}
    suite = await bench.suite(*(case(f"c{at}", "Q", "exact", "yes") for at in range(3)))
    hub, told = bench.hub.hub, []
    ctx = hub.context(Caller.owner(), "test")

    async def report(done: float, total: float | None, words: str) -> None:
        told.append((done, total, words))

    ctx.report = report
    made = await hub.call(hub.find("evals-run"), {"suiteId": suite, "target": {"type": "model", "id": "openai/gpt-4o-mini"}}, ctx)
    assert made.status == "completed"
    assert told[0][1] == 3
    assert told[-1] == (3, 3, "3 of 3 answers")
    assert {"eval.progress", "eval.ended"} <= {event.kind for event in hub.events.recent}
    run_id = made.runs[0].id
    assert await hub.evals.sweep() == 0
    assert await hub.store.runs.prune(hub.clock.now_ms() + 1) == 1
    assert await hub.store.runs.results(run_id) == []
    assert await hub.store.runs.find(run_id) is None


async def test_junit_for_continuous_integration(bench: Bench) -> None:
    """What a model says cannot break the file, be it markup or what XML has no place for."""
    bench.answers = {"Q1": "yes", "Q2": "]]></testcase>\x00\x1b<b>&", "Q3": BROKEN}
    suite = await bench.suite(*(case(f"c{at}", f"Q{at}", "exact", "yes") for at in (1, 2, 3)))
    run_id = (await bench.run(suite))["runs"][0]["id"]
    done = await bench.client.get(f"/api/evals/runs/{run_id}/junit")
    assert done.headers["content-type"].startswith("application/xml")
    root = Xml.fromstring(done.content)
    assert {name: root.get(name) for name in ("tests", "failures", "errors")} == {"tests": "3", "failures": "1", "errors": "1"}
    assert [[kind.tag for kind in one] for one in root.iter("testcase")] == [[], ["failure"], ["error"]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"suiteId": "none"}, 404, "none"),
        ({}, 400, "suiteId"),
        ({"suiteId": "golden-set", "strange": 1}, 400, "strange"),
        ({"suiteId": "golden-set", "target": {"type": "model"}}, 400, "target.id"),
        ({"suiteId": "golden-set", "target": {"type": "model", "id": "no-such-provider/x"}}, 400, "target.id"),
        ({"suiteId": "golden-set", "target": {"type": "combo", "id": "no-such"}}, 404, "no-such"),
        ({"suiteId": "golden-set", "target": {"type": "other", "id": "x"}}, 400, "target.type"),
        ({"suiteId": "golden-set", "apiKeyId": "key_none"}, 404, "key_none"),
        ({"suiteId": "golden-set", "trials": 0}, 400, "trials"),
        ({"suiteId": "golden-set", "outputs": {}, "target": {"type": "suite-default"}}, 400, "outputs"),
    ],
)
async def test_what_cannot_be_run_is_refused_and_nothing_is_kept(shared: Bench, body: dict[str, Any], status: int, words: str) -> None:
    done = await shared.client.post("/api/evals", json=body)
    assert (done.status_code, words in done.text) == (status, True), done.text
    assert (await shared.get("/api/evals/runs"))["runs"] == []


async def test_a_key_without_the_right_is_no_payer_and_no_caller(bench: Bench) -> None:
    key, secret = await bench.hub.hub.store.keys.create("reader", grants=["read:*"])
    done = await bench.client.post("/api/evals", json={"suiteId": "golden-set", "apiKeyId": key.id})
    assert done.status_code == 400
    assert "scope chat" in done.text
    reader = {"authorization": f"Bearer {secret}"}
    runs, suites = "/api/evals/runs", "/api/evals/suites"
    for method, path in (
        ("GET", "/api/evals"), ("POST", "/api/evals"), ("GET", "/api/evals/golden-set"),
        ("GET", runs), ("GET", f"{runs}/x"), ("GET", f"{runs}/x/junit"), ("POST", f"{runs}/x/cancel"), ("DELETE", f"{runs}/x"),
        ("POST", suites), ("GET", f"{suites}/x"), ("PUT", f"{suites}/x"), ("DELETE", f"{suites}/x"),
    ):  # fmt: skip
        assert (await bench.client.request(method, path, headers=reader)).status_code == 403, path
        assert (await bench.client.request(method, path, headers={"authorization": ""})).status_code == 401, path
    for method, path in (("GET", "/api/evals/runs/x"), ("POST", "/api/evals/runs/x/cancel"), ("DELETE", "/api/evals/runs/x")):
        assert (await bench.client.request(method, path)).status_code == 404


async def test_a_key_that_is_revoked_in_the_middle_stops_its_run(bench: Bench) -> None:
    key, _ = await bench.hub.hub.store.keys.create("leaver", grants=["chat"])

    async def leaving(exchange: Exchange) -> None:
        await bench.hub.hub.store.keys.revoke(key.id)
        await json_answer(completion("yes")).run(exchange)

    bench.answers = {"Q": Behaviour(leaving)}
    suite = await bench.suite(case("a", "Q", "exact", "yes"), case("b", "Q", "exact", "yes"))
    (run,) = (await bench.run(suite, apiKeyId=key.id, concurrency=1))["runs"]
    assert (run["status"], run["summary"]["passed"], run["summary"]["notRun"]) == ("stopped", 1, 1)
    assert "not valid any more" in run["summary"]["error"]
