"""What combos do beyond trying one target after the other: fusions, pipelines, hand-overs, further rounds, rescue models, sessions."""

from __future__ import annotations

import json
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import upstream as faults
from tests.fakes.desk import HI, Desk, error, open_desk
from tests.fakes.vendor import completion, connect, good, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


def says(text: str, headers: Mapping[str, str] = MappingProxyType({})) -> faults.Behaviour:
    return faults.json_answer(completion(text), headers=headers.items())


def said(desk: Desk, place: str, number: int = -1) -> list[dict[str, Any]]:
    return json.loads(desk.upstreams[place].requests[number].body)["messages"]


async def test_a_fusion_asks_all_at_once_and_one_of_them_judges(desk: Desk) -> None:
    """routing.md 2.2: the judge sees the answers without names; every call has its own row."""
    await desk.combo("panel", "openrouter/a", "together/b", "fireworks/c", strategy="fusion")
    for place in desk.upstreams:
        desk.upstreams[place].answer(says(f"it is {place}"))
    answer = await desk.ask("panel", temperature=0)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-omniroute-provider"] == "openrouter"
    assert desk.counts() == {"openrouter": 2, "together": 1, "fireworks": 1}
    judged = json.dumps(said(desk, "openrouter"))
    assert "it is together" in judged
    assert "it is fireworks" in judged
    assert "fireworks/c" not in judged
    identity = answer.headers["x-request-id"]
    part = await desk.client.get(f"/api/routing/decisions/{identity}.1")
    assert part.json()["decision"]["comboUsed"] == "panel"


async def test_a_fusion_streams_its_judge_and_survives_a_member(desk: Desk) -> None:
    await desk.combo("panel", "openrouter/a", "together/b", strategy="fusion")
    desk.upstreams["together"].answer(error(500, "down"))
    answer = await desk.ask("panel", stream=True)
    assert answer.status_code == 200, answer.text
    assert answer.text.rstrip().endswith("data: [DONE]")
    assert "Hello from upstream" in "".join(
        json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
        for line in answer.text.splitlines()
        if line.startswith("data: {") and json.loads(line[6:])["choices"]
    )
    assert desk.counts() == {"openrouter": 1, "together": 1, "fireworks": 0}, "with one answer there is nothing to judge"


async def test_a_pipeline_hands_each_answer_to_the_next(desk: Desk) -> None:
    await desk.combo("line", "openrouter/a", "together/b", strategy="pipeline")
    desk.upstreams["openrouter"].answer(says("a first draft"))
    desk.upstreams["together"].answer(says("the final text"))
    answer = await desk.ask("line")
    assert answer.json()["choices"][0]["message"]["content"] == "the final text"
    assert "a first draft" in json.dumps(said(desk, "together"))


async def test_a_pipeline_whose_stage_fails_is_that_failure(desk: Desk) -> None:
    await desk.combo("line", "openrouter/a", "together/b", strategy="pipeline", config={"maxRetries": 0})
    desk.upstreams["openrouter"].answer(error(403, "not yours"))
    answer = await desk.ask("line")
    assert answer.status_code == 403
    assert desk.counts()["together"] == 0


async def test_targets_that_failed_in_passing_get_another_round(desk: Desk) -> None:
    """routing.md 2.5, maxRetries: the next target first, then again, so that one that is back at once is found."""
    await desk.combo("again", "openrouter/a", "together/b", config={"maxRetries": 1, "retryDelayMs": 0})
    desk.upstreams["openrouter"].answer(error(503, "restarting"), good())
    desk.upstreams["together"].answer(error(403, "not yours"))
    answer = await desk.ask("again")
    assert answer.status_code == 200, answer.text
    assert desk.counts() == {"openrouter": 2, "together": 1, "fireworks": 0}


async def test_a_combo_that_failed_as_a_whole_goes_to_the_global_fallback_once(desk: Desk) -> None:
    """routing.md 1.1."""
    await desk.combo("two", "openrouter/a", "together/b", config={"maxRetries": 0})
    changed = await desk.client.patch("/api/settings", json={"globalFallbackModel": "fireworks/c"})
    assert changed.status_code == 200, changed.text
    for place in ("openrouter", "together"):
        desk.upstreams[place].answer(error(500, "down"))
    answer = await desk.ask("two")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-omniroute-provider"] == "fireworks"
    assert [one["provider"] for one in (await desk.explained(answer))["fallbacksTriggered"]] == ["openrouter", "together"]


async def test_without_credit_the_emergency_model_answers_what_has_no_tools(desk: Desk) -> None:
    """routing.md 1.9."""
    await desk.client.patch("/api/settings", json={"emergencyFallbackModel": "fireworks/c"})
    desk.upstreams["openrouter"].answer(error(402, "insufficient credits", code="insufficient_credits"))
    answer = await desk.ask("openrouter/a")
    assert answer.headers["x-omniroute-provider"] == "fireworks"


async def test_a_conversation_is_handed_over_before_its_account_runs_out(desk: Desk) -> None:
    """routing.md 2.3: near the end of the quota a summary is written, and the next account gets it."""
    config = {"handoffProviders": ["openrouter"], "maxRetries": 0}
    await desk.combo("relay", "openrouter/a", "together/b", strategy="context-relay", config=config)
    limits = {"x-ratelimit-limit-tokens": "1000", "x-ratelimit-remaining-tokens": "50", "x-ratelimit-reset-tokens": "3h"}
    desk.upstreams["openrouter"].answer(says("hello", limits), says('{"summary": "They said hello."}'), error(403, "gone"))
    first = await desk.ask("relay", headers={"x-session-id": "talk"})
    assert first.status_code == 200, first.text
    assert first.headers["x-omniroute-session-id"] == "ext:talk"
    await desk.running.hub.relay.settle()
    second = await desk.ask("relay", headers={"x-session-id": "talk"})
    assert second.headers["x-omniroute-provider"] == "together"
    assert "They said hello." in json.dumps(said(desk, "together"))
    other = await desk.ask("relay", headers={"x-session-id": "another"})
    assert other.status_code == 200
    assert "They said hello." not in json.dumps(said(desk, "together")), "nobody else is handed what was said"


async def test_a_conversation_stays_where_its_prompt_is_cached(desk: Desk) -> None:
    await desk.combo("kept", "openrouter/a", "together/b", strategy="round-robin", context_cache_protection=True)
    places = [(await desk.ask("kept")).headers["x-omniroute-provider"] for _ in range(4)]
    assert len(set(places)) == 1, "the same conversation, told by its words"


async def test_accounts_take_turns_and_a_conversation_keeps_its_own(desk: Desk) -> None:
    """routing.md 1.5."""
    await connect(desk.running, desk.upstreams["fireworks"], "openrouter", name="second")
    await desk.client.patch("/api/settings", json={"fallbackStrategy": "round-robin", "stickyRoundRobinLimit": 1})
    for _ in range(4):
        await desk.client.post("/v1/chat/completions", json={"model": "openrouter/a", "messages": HI}, headers={"x-session-id": "one"})
    assert sorted(desk.counts().values()) == [0, 0, 4]
    for number in range(4):
        await desk.client.post(
            "/v1/chat/completions", json={"model": "openrouter/a", "messages": [{"role": "user", "content": f"Hi {number}"}]}
        )
    assert sorted(desk.counts().values()) == [0, 2, 6]


async def test_progress_is_told_in_a_stream_that_asks_for_it(desk: Desk) -> None:
    """routing.md 1.10."""
    desk.upstreams["openrouter"].answer(stream(*["word "] * 5, delay=0.5))
    answer = await desk.ask("openrouter/m", stream=True, headers={"X-OmniRoute-Progress": "true"})
    assert answer.headers["x-omniroute-progress"] == "enabled"
    told = [json.loads(block.split("data: ")[1]) for block in answer.text.split("\n\n") if block.startswith("event: progress")]
    assert len(told) >= 2
    assert told[0]["elapsed_ms"] >= 2000
    assert told[-1] == {"tokens_generated": 20, "elapsed_ms": told[-1]["elapsed_ms"], "done": True}
    plain = await desk.ask("openrouter/m", stream=True)
    assert "event: progress" not in plain.text


async def test_what_a_provider_states_of_its_limit_slows_its_line(desk: Desk) -> None:
    """routing.md 3.6: under a tenth of the requests left, what is left is spread until the reset."""
    connection = desk.running.hub.store.connections.of("openrouter")[0]
    changed = await desk.client.put(f"/api/providers/{connection.id}", json={"rateLimitProtection": True})
    assert changed.status_code == 200, changed.text
    limits = {"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "4", "x-ratelimit-reset-requests": "2s"}
    desk.upstreams["openrouter"].answer(says("one", limits))
    began = time.monotonic()
    for _ in range(3):
        assert (await desk.ask("openrouter/m")).status_code == 200
    assert time.monotonic() - began >= 0.8, "two further calls wait a quarter of what is left of two seconds each"


async def test_a_mode_that_is_none_is_refused_by_its_header(desk: Desk) -> None:
    answer = await desk.ask("auto", headers={"X-OmniRoute-Mode": "warp"})
    assert answer.status_code == 400
    assert "X-OmniRoute-Mode" in answer.text
    assert (await desk.ask("auto", headers={"X-OmniRoute-Mode": "cheap"})).status_code == 200


async def test_a_strict_budget_of_a_call_is_402(desk: Desk) -> None:
    """routing.md 2.4."""
    strict = {"X-OmniRoute-Budget": "0.0000001", "X-OmniRoute-Budget-Fallback": "strict"}
    answer = await desk.ask("openrouter/openai/gpt-4o", headers=strict)
    assert answer.status_code == 402, answer.text
    assert (await desk.ask("openrouter/openai/gpt-4o", headers={"X-OmniRoute-Budget": "0.0000001"})).status_code == 200


async def test_a_key_with_a_budget_is_cut_to_it(desk: Desk) -> None:
    """REL-13 through the whole app: what is left pays for less output, then for none."""
    key = (await desk.client.post("/api/keys", json={"name": "small", "scopes": ["chat"]})).json()
    made = await desk.client.post("/api/usage/budget", json={"apiKeyId": key["id"], "dailyLimitUsd": 0.0006})
    assert made.status_code in (200, 201), made.text
    headers = {"authorization": f"Bearer {key['key']}"}
    answers = [await desk.ask("openrouter/openai/gpt-4o", headers=headers) for _ in range(4)]
    assert answers[0].status_code == 200, answers[0].text
    assert json.loads(desk.upstreams["openrouter"].requests[0].body)["max_tokens"] < 100
    assert answers[-1].status_code == 429, answers[-1].text
    state = (await desk.client.get("/api/usage/budget", params={"apiKeyId": key["id"]})).json()
    assert "daily" in json.dumps(state).lower()
