"""Assessments: models really probed, kept over a restart, told to routing, turned into suggestions and the health of combos."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from hub.assess import fitness
from hub.assess.assess import Pace
from hub.media.masks import one_colour
from tests.evals.conftest import Bench, benched
from tests.fakes.hub import running_hub
from tests.fakes.upstream import Behaviour, json_answer
from tests.fakes.vendor import completion, connect, stream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.upstream import Received

pytestmark = pytest.mark.anyio

ERRORS = {401: "auth_error", 403: "auth_error", 429: "rate_limited", 400: "broken", 500: "broken"}


def able(request: Received) -> Behaviour:
    """A model that can do all it is asked."""
    asked = request.json()
    if asked.get("stream"):
        return stream("one ", "two")
    if asked.get("tools"):
        call = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return json_answer(completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}]))
    if asked.get("response_format"):
        return json_answer(completion('{"sum": 5}'))
    content = asked["messages"][-1]["content"]
    return json_answer(completion("Red." if isinstance(content, list) else "OK"))


def plain(request: Received) -> Behaviour:
    """A model that only talks; asked for more than that, its provider says that it cannot."""
    asked = request.json()
    if asked.get("tools") or isinstance(asked["messages"][-1]["content"], list):
        return json_answer({"error": {"message": "this model does not support that", "type": "invalid_request_error"}}, status=400)
    if asked.get("stream"):
        return stream("one ", "two")
    return json_answer(completion("five"))


async def assess(bench: Bench, scope: dict[str, Any], *, expect: int = 200, **fields: Any) -> dict[str, Any]:
    done = await bench.client.post("/api/assess", json={"scope": scope, **fields})
    assert done.status_code == expect, done.text
    return done.json()


def one_model(name: str) -> dict[str, Any]:
    return {"type": "model", "modelId": name}


async def test_a_model_is_probed_and_kept_on_both_databases(tmp_path: Path, database: str) -> None:
    async with benched(tmp_path, database_url=database) as bench:
        bench.upstream.script(able)
        done = await assess(bench, one_model("openai/gpt-4o"))
        counts = ("models_tested", "models_passed", "models_failed", "models_rate_limited", "status", "calls")
        assert [done[name] for name in counts] == [1, 1, 0, 0, "completed", 6]
        assert done["run_id"]
        assert done["duration_ms"] >= 0
        assert done["cost"] > 0
        (one,) = (await bench.get("/api/assess"))["models"]
        facts = {name: one[name] for name in ("modelId", "providerId", "status", "tier", "consecutiveFails", "probeCount", "successRate")}
        assert facts == {
            "modelId": "openai/gpt-4o", "providerId": "openai", "status": "working", "tier": "premium", "consecutiveFails": 0,
            "probeCount": 6, "successRate": 1.0,
        }  # fmt: skip
        supports = ("supportsVision", "supportsToolCall", "supportsStreaming", "supportsStructuredOutput")
        assert [one[name] for name in supports] == [True] * 4
        assert one["maxContextWindow"] == 128_000
        assert one["categories"] == ["coding", "reasoning", "chat", "fast", "vision", "tool_call", "structured_output"]
        assert set(one["fitnessScores"]) == set(one["categories"])
        assert 0 <= one["latencyP50"] <= one["latencyP95"]
        asked = bench.upstream.requests
        rows, _ = await bench.hub.hub.store.usage.page(limit=20, door="assess")
        assert len(rows) == 6
        pictures = [request.json()["messages"][-1]["content"] for request in asked]
        url = next(part["image_url"]["url"] for one in pictures if isinstance(one, list) for part in one if part["type"] == "image_url")
        assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == one_colour(32, 230, 20, 20)
    # What was found is there after a restart, and the history with it.
    async with running_hub(tmp_path, database_url=database) as hub:
        assert [kept.model_id for kept in hub.hub.assess.known.all()] == ["openai/gpt-4o"]
        assert len(await hub.hub.store.runs.list("assess")) == 1


def test_the_picture_is_a_png_of_one_colour() -> None:
    png = one_colour(4, 1, 2, 3)
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (4, 4)
    at = png.index(b"IDAT")
    assert zlib.decompress(png[at + 4 : at + 4 + struct.unpack(">I", png[at - 4 : at])[0]]) == (b"\0" + b"\1\2\3" * 4) * 4


async def test_what_a_model_cannot_do_is_told_from_what_went_wrong(bench: Bench) -> None:
    bench.upstream.script(plain)
    await assess(bench, one_model("openai/gpt-4o-mini"))
    (one,) = (await bench.get("/api/assess"))["models"]
    assert one["status"] == "working"
    assert [one[name] for name in ("supportsVision", "supportsToolCall", "supportsStreaming", "supportsStructuredOutput")] == [
        False, False, True, False,
    ]  # fmt: skip
    assert one["tier"] == "fast"

    def failing(request: Received) -> Behaviour:
        return json_answer({"error": {"message": "boom"}}, status=500) if request.json().get("tools") else able(request)

    bench.upstream.script(failing)
    await assess(bench, one_model("openai/gpt-4o-mini"))
    (one,) = (await bench.get("/api/assess"))["models"]
    assert (one["status"], one["supportsToolCall"]) == ("working", None)
    assert one["lastError"]


@pytest.mark.parametrize(("status", "word"), ERRORS.items())
async def test_statuses(bench: Bench, status: int, word: str) -> None:
    bench.upstream.script(lambda _: json_answer({"error": {"message": "no", "type": "server_error"}}, status=status))
    done = await assess(bench, one_model("openai/gpt-4o"), depth="quick")
    limited = int(word == "rate_limited")
    assert [done[name] for name in ("models_passed", "models_failed", "models_rate_limited")] == [0, 1 - limited, limited]
    (one,) = (await bench.get("/api/assess", status=word))["models"]
    assert (one["status"], one["consecutiveFails"], one["fitnessScores"]["coding"]) == (word, 1, 0.0)
    assert (await bench.get("/api/assess", action="working"))["models"] == []


async def test_a_refusal_of_the_hub_s_own_says_nothing_of_a_model(bench: Bench) -> None:
    """A policy keeps the caller from a model: the run tells it, and routing has no doubt."""
    bench.upstream.script(able)
    policy = {"name": "none", "when": {"models": ["openai/gpt-4o"]}, "then": {"action": "deny"}}
    made = await bench.client.post("/api/policies", json=policy)
    assert made.status_code == 201, made.text
    done = await assess(bench, one_model("openai/gpt-4o"), depth="quick")
    assert done["models_failed"] == 1
    assert (await bench.get("/api/assess"))["models"] == []
    assert bench.hub.hub.assess.known.doubts() == {}


async def test_scopes_limits_and_filters(bench: Bench) -> None:
    """All models of a provider within maxModels; the quick depth is one call of 3 tokens; money ends an assessment."""
    bench.upstream.script(able)
    done = await assess(bench, {"type": "provider", "providerId": "openai"}, depth="quick", maxModels=3)
    assert [done[name] for name in ("models_total", "models_tested", "calls", "scope")] == [3, 3, 3, "provider:openai"]
    assert done["models_skipped"] > 0
    assert {request.json().get("max_tokens") or request.json().get("max_completion_tokens") for request in bench.upstream.requests} == {3}
    assert len((await bench.get("/api/assess", provider="openai"))["models"]) == 3
    assert (await bench.get("/api/assess", provider="groq"))["models"] == []
    await bench.client.patch("/api/pricing", json={"openai": {"gpt-4o-mini": {"input": 10_000.0, "output": 10_000.0}}})
    spent = await assess(bench, {"type": "all"}, depth="quick", maxCost=0.00001, concurrency=1)
    assert spent["status"] == "stopped"
    assert "dollars" in spent["error"]
    assert spent["models_tested"] < spent["models_total"]
    runs = (await bench.get("/api/assess/runs"))["runs"]
    assert [one["run_id"] for one in runs] == [spent["run_id"], done["run_id"]]
    report = await bench.get(f"/api/assess/runs/{done['run_id']}")
    assert [one["status"] for one in report["models"]] == ["working"] * 3


async def test_an_assessment_is_left_with_202_and_cancelled(bench: Bench) -> None:
    async def silent(exchange: Any) -> None:
        await exchange.pause(20)

    bench.upstream.answer(Behaviour(silent))
    done = await assess(bench, one_model("openai/gpt-4o"), expect=202, waitSeconds=0)
    await bench.upstream.received(1)
    assert (await bench.client.post(f"/api/assess/runs/{done['run_id']}/cancel")).status_code == 200
    assert await bench.hub.hub.evals.worker.over([done["run_id"]], 10)
    assert (await bench.get(f"/api/assess/runs/{done['run_id']}"))["run"]["status"] == "cancelled"
    assert (await bench.get("/api/assess"))["models"] == []
    # A run of one kind is none of the other.
    assert (await bench.client.get(f"/api/evals/runs/{done['run_id']}")).status_code == 404


async def test_combo_health_and_suggestions(bench: Bench) -> None:
    def mixed(request: Received) -> Behaviour:
        if request.json()["model"] == "gpt-4o-mini":
            return json_answer({"error": {"message": "gone", "type": "invalid_request_error"}}, status=400)
        return able(request)

    bench.upstream.script(mixed)
    for name, models in (("pair", ["openai/gpt-4o", "openai/gpt-4o-mini"]), ("bad", ["openai/gpt-4o-mini"]), ("new", ["openai/gpt-4.1"])):
        made = await bench.client.post("/api/combos", json={"name": name, "models": [{"model": one, "weight": 40} for one in models]})
        assert made.status_code == 201, made.text
    assert {one["health"] for one in (await bench.get("/api/assess", action="combo-health"))["combos"]} == {"unknown"}
    for model in ("openai/gpt-4o", "openai/gpt-4o-mini"):
        await assess(bench, one_model(model))
    assert (
        await bench.client.post("/v1/chat/completions", json={"model": "pair", "messages": [{"role": "user", "content": "x"}]})
    ).is_success
    found = await bench.get("/api/assess", action="combo-health")
    combos = {one["name"]: one for one in found["combos"]}
    assert {name: one["health"] for name, one in combos.items()} == {"pair": "degraded", "bad": "broken", "new": "unknown"}
    assert (combos["pair"]["requests"], combos["pair"]["successRate"], combos["new"]["successRate"]) == (1, 1.0, None)
    assert [(one["status"], one["action"], one["suggestedWeight"]) for one in combos["pair"]["members"]] == [
        ("working", "keep", 40), ("broken", "drop", 0),
    ]  # fmt: skip
    assert (combos["bad"]["replacement"], combos["pair"]["replacement"]) == ("openai/gpt-4o", None)
    assert found["message"] == "3 combos, 2 degraded or broken, 1 never assessed"
    made = {one["template"]: one for one in (await bench.get("/api/assess/suggestions"))["suggestions"]}
    assert len(made) == 16
    assert made["auto/claude-opus"]["body"] is None
    body = made["auto/best-coding"]["body"]
    assert [step["model"] for step in body["models"]] == ["openai/gpt-4o"]
    assert (await bench.client.post("/api/combos", json=body)).status_code == 201


async def test_routing_is_told_and_demotes_only_where_its_owner_says_so(tmp_path: Path) -> None:
    """A broken model keeps its place and its explanation says so; with `demote` it is tried last; answering again clears it."""
    async with benched(tmp_path) as bench:
        await connect(bench.hub, bench.upstream, provider="groq")

        def choosy(request: Received) -> Behaviour:
            return json_answer({"error": {"message": "no"}}, status=400) if request.json()["model"] == "gpt-4o" else able(request)

        bench.upstream.script(choosy)
        await assess(bench, one_model("openai/gpt-4o"), depth="quick")
        made = await bench.client.post("/api/combos", json={"name": "two", "models": ["openai/gpt-4o", "openai/gpt-4o-mini"]})
        assert made.status_code == 201, made.text
        bench.upstream.script(able)
        ask = {"model": "two", "messages": [{"role": "user", "content": "hi"}]}

        async def asked() -> tuple[str, dict[str, str | None]]:
            answer = await bench.client.post("/v1/chat/completions", json=ask)
            assert answer.status_code == 200, answer.text
            await bench.hub.hub.store.flush()
            decision = (await bench.get(f"/api/routing/decisions/{answer.headers['x-request-id']}"))["decision"]
            return decision["modelUsed"], {one["model"]: one["note"] for one in decision["candidates"]}

        await bench.client.patch("/api/settings", json={"assessments": {"mode": "demote"}})
        model, notes = await asked()
        assert model == "gpt-4o-mini"
        assert (notes["gpt-4o"] or "").startswith("assessed as broken at ")
        assert notes["gpt-4o-mini"] is None
        await bench.client.patch("/api/settings", json={"assessments": {"mode": "off"}})
        assert await asked() == ("gpt-4o", {"gpt-4o": None, "gpt-4o-mini": None})


async def test_by_default_routing_only_tells(bench: Bench) -> None:
    bench.upstream.script(lambda _: json_answer({"error": {"message": "no"}}, status=400))
    await assess(bench, one_model("openai/gpt-4o"), depth="quick")
    bench.upstream.script(able)
    hub = bench.hub.hub
    place = ("openai", "gpt-4o")
    assert place in hub.assess.known.doubts()
    answer = await bench.client.post(
        "/v1/chat/completions", json={"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "x"}]}
    )
    assert answer.status_code == 200
    await hub.store.flush()
    decision = (await bench.get(f"/api/routing/decisions/{answer.headers['x-request-id']}"))["decision"]
    assert decision["candidates"][0]["note"].startswith("assessed as broken")
    assert place not in hub.assess.known.doubts()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "scope"),
        ({"scope": {"type": "some"}}, 400, "scope"),
        ({"scope": {"type": "provider"}}, 400, "providerId"),
        ({"scope": {"type": "provider", "providerId": "nobody"}}, 404, "nobody"),
        ({"scope": {"type": "provider", "providerId": "anthropic"}}, 400, "not connected"),
        ({"scope": {"type": "model", "modelId": "nobody/x"}}, 404, "nobody"),
        ({"scope": {"type": "all"}, "depth": "long"}, 400, "depth"),
        ({"scope": {"type": "all"}, "strange": 1}, 400, "strange"),
        ({"scope": {"type": "all", "modelId": "x"}}, 400, "modelId"),
    ],
)
async def test_what_cannot_be_assessed_is_refused(shared: Bench, body: dict[str, Any], status: int, words: str) -> None:
    done = await shared.client.post("/api/assess", json=body)
    assert (done.status_code, words in done.text) == (status, True), done.text
    assert (await shared.get("/api/assess/runs"))["runs"] == []


async def test_nobody_assesses_without_the_scope(shared: Bench) -> None:
    reader = await shared.hub.headers("read:*", "chat")
    for method, path in (
        ("GET", "/api/assess"), ("POST", "/api/assess"), ("GET", "/api/assess/runs"), ("GET", "/api/assess/runs/x"),
        ("POST", "/api/assess/runs/x/cancel"), ("GET", "/api/assess/suggestions"),
    ):  # fmt: skip
        assert (await shared.client.request(method, path, headers=reader)).status_code == 403, path
        assert (await shared.client.request(method, path, headers={"authorization": ""})).status_code == 401, path
    assert (await shared.client.get("/api/assess/runs/x")).status_code == 404
    assert (await shared.client.get("/api/assess", params={"action": "other"})).status_code == 400


@pytest.mark.parametrize(
    ("model", "tier", "categories"),
    [
        ("claude-opus-4-1", "premium", {"reasoning_deep", "reasoning", "coding", "chat"}),
        ("o3", "premium", {"reasoning_deep", "reasoning", "coding", "chat"}),
        ("o4-mini", "fast", {"fast", "chat"}),
        ("claude-sonnet-4-5", "premium", {"coding", "reasoning", "chat"}),
        ("claude-haiku-4-5", "fast", {"fast", "chat"}),
        ("gpt-5", "premium", {"coding", "reasoning", "chat"}),
        ("gpt-5-nano", "fast", {"fast", "chat"}),
        ("gpt-3.5-turbo", "fast", {"fast", "chat"}),
        ("gemini-2.5-flash", "fast", {"fast", "chat"}),
        ("gemini-2.5-pro", "balanced", {"chat"}),
        ("deepseek-v3.1", "balanced", {"coding", "reasoning", "chat"}),
        ("codestral-latest", "balanced", {"coding", "chat"}),
        ("glm-4.6", "balanced", {"coding", "reasoning", "chat"}),
        ("some-model", "balanced", {"chat"}),
    ],
)
def test_what_a_name_tells(model: str, tier: str, categories: set[str]) -> None:
    seen = fitness.Seen(model=model, works=True, p50=None, success=1.0, vision=None, tools=None, structured=None, price=None)
    assert (fitness.tier_of(model, None), set(fitness.categories_of(seen))) == (tier, categories)
    assert fitness.tier_of(model, 0.0) == "free"


def test_fitness_is_the_weighted_sum_of_its_parts() -> None:
    seen = fitness.Seen(model="gpt-5", works=True, p50=1500, success=0.5, vision=True, tools=False, structured=None, price=None)
    scores = fitness.fitness_of(seen)
    assert scores["coding"] == pytest.approx(0.4 * 1 + 0.3 * 0.9 + 0.2 * 0.5 + 0.1 * 0.5)
    assert set(scores) == {"coding", "reasoning", "chat", "fast", "vision"}
    for one in fitness.table().weights.values():
        assert one.tier + one.speed + one.success + one.cost == pytest.approx(1.0)
    for one in fitness.table().template:
        assert set(one.categories) <= set(fitness.table().weights)


async def test_calls_keep_their_pace() -> None:
    """A quarter of a minute's calls at once, then one at a time."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    pace = Pace(60, sleep)
    for _ in range(20):
        await pace()
    # A machine that is busy takes a moment for the calls themselves, and that counts.
    assert 3 <= len(waited) <= 5
    assert waited == sorted(waited)
    assert 2 < waited[-1] <= 5
