"""Combos through the real app: order, fallback, nesting, mappings, what they change about a request, and what they never do."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import upstream as faults
from tests.fakes.desk import HI, PLACES, Desk, error, open_desk
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import completion, connect, good, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


async def test_targets_are_tried_in_their_order_and_the_first_that_answers_wins(desk: Desk) -> None:
    await desk.combo("three", *(f"{place}/m" for place in PLACES))
    desk.upstreams["openrouter"].answer(error(500, "boom"))
    desk.upstreams["together"].answer(error(429, "slow down"))
    answer = await desk.ask("three")
    assert answer.status_code == 200
    assert answer.headers["x-omniroute-provider"] == "fireworks"
    assert desk.counts() == dict.fromkeys(PLACES, 1)
    decision = await desk.explained(answer)
    assert decision["comboUsed"] == "three"
    assert [one["provider"] for one in decision["fallbacksTriggered"]] == ["openrouter", "together"]


async def test_a_bad_request_is_returned_as_it_came_and_nobody_else_is_asked(desk: Desk) -> None:
    """The caller's fault is the caller's to mend (issue point 2)."""
    await desk.combo("three", *(f"{place}/m" for place in PLACES))
    desk.upstreams["openrouter"].answer(error(400, "temperature: must be at most 2", type="invalid_request_error", param="temperature"))
    answer = await desk.ask("three", temperature=9)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].endswith("temperature: must be at most 2")
    assert desk.counts() == {"openrouter": 1, "together": 0, "fireworks": 0}


@pytest.mark.parametrize("status", [401, 402, 403, 404, 429, 500, 503, 529])
async def test_what_another_target_can_mend_moves_on(desk: Desk, status: int) -> None:
    await desk.combo("two", "openrouter/m", "together/m")
    desk.upstreams["openrouter"].answer(error(status, "no"))
    assert (await desk.ask("two")).status_code == 200
    assert desk.counts() == {"openrouter": 1, "together": 1, "fireworks": 0}


async def test_a_prompt_that_is_too_long_goes_to_a_larger_window(desk: Desk) -> None:
    """Context length: the same size is not tried again, a larger one is."""
    too_long = error(400, "maximum context length is 8192 tokens", code="context_length_exceeded")
    upstream = desk.upstreams["together"]
    async with FaultUpstream() as vendor:
        vendor.script(lambda request: good() if request.json()["model"] == "gpt-4.1" else too_long)
        await connect(desk.running, vendor, "openai")
        await desk.combo("windows", "openai/gpt-4o", "openai/gpt-4o-mini", "openai/gpt-4.1", "together/m")
        answer = await desk.ask("windows")
        assert answer.status_code == 200
        assert [request.json()["model"] for request in vendor.requests] == ["gpt-4o", "gpt-4.1"]
        assert not upstream.requests


async def test_the_last_real_error_is_what_the_client_sees(desk: Desk) -> None:
    await desk.combo("two", "openrouter/m", "together/m")
    desk.upstreams["openrouter"].answer(error(403, "first"))
    desk.upstreams["together"].answer(error(429, "account limit reached", type="rate_limit_error"))
    answer = await desk.ask("two")
    assert answer.status_code == 429
    assert "account limit reached" in answer.text


async def test_everybody_known_dead_is_said_at_once_with_each_reason(desk: Desk) -> None:
    await desk.combo("two", "openrouter/m", "together/m")
    for place in ("openrouter", "together"):
        desk.upstreams[place].answer(error(401, "no such key"))
    assert (await desk.ask("two")).status_code == 401
    before = desk.counts()
    answer = await desk.ask("two")
    assert answer.status_code == 503
    targets = answer.json()["error"]["details"]["targets"]
    assert [(one["provider"], one["reason"].split(":")[0]) for one in targets] == [("openrouter", "expired"), ("together", "expired")]
    assert desk.counts() == before


async def test_a_combo_wins_over_a_mapping_and_a_mapping_over_a_model(desk: Desk) -> None:
    """routing.md 2.8."""
    fast = await desk.combo("fast", "together/m")
    await desk.combo("gpt-4o", "openrouter/m")
    made = await desk.client.post("/api/model-combo-mappings", json={"pattern": "GPT-4*", "comboId": fast["id"]})
    assert made.status_code == 201, made.text
    found = {name: (await desk.ask(name)).headers["x-omniroute-provider"] for name in ("gpt-4o", "gpt-4o-mini", "combo/fast")}
    assert found == {"gpt-4o": "openrouter", "gpt-4o-mini": "together", "combo/fast": "together"}
    missing = await desk.ask("combo/none")
    assert missing.status_code == 404
    assert "none" in missing.json()["error"]["message"]


async def test_nested_combos_expand_in_their_place(desk: Desk) -> None:
    await desk.combo("inner", "together/a", "together/b")
    await desk.combo("outer", "openrouter/m", "inner", "fireworks/m")
    for place in ("openrouter", "together"):
        desk.upstreams[place].answer(error(500, "boom"))
    answer = await desk.ask("outer")
    assert answer.headers["x-omniroute-provider"] == "fireworks"
    decision = await desk.explained(answer)
    assert [(one["provider"], one["model"]) for one in decision["candidates"]] == [
        ("openrouter", "m"), ("together", "a"), ("together", "b"), ("fireworks", "m"),
    ]  # fmt: skip


async def test_auto_may_be_a_step(desk: Desk) -> None:
    """#2686 of the original."""
    desk.upstreams["fireworks"].answer(error(500, "boom"))
    await desk.combo("mixed", "fireworks/m", "auto")
    assert (await desk.ask("mixed")).status_code == 200


async def test_round_robin_is_fair(desk: Desk) -> None:
    await desk.combo("ring", *(f"{place}/m" for place in PLACES), strategy="round-robin")
    for _ in range(9):
        assert (await desk.ask("ring")).status_code == 200
    assert desk.counts() == dict.fromkeys(PLACES, 3)


async def test_strict_random_uses_each_target_once_a_round(desk: Desk) -> None:
    await desk.combo("deck", *(f"{place}/m" for place in PLACES), strategy="strict-random")
    for _ in range(4):
        before = desk.counts()
        for _ in PLACES:
            await desk.ask("deck")
        assert {name: count - before[name] for name, count in desk.counts().items()} == dict.fromkeys(PLACES, 1)


async def test_every_strategy_serves_and_can_be_explained(desk: Desk) -> None:
    """Every strategy found in the folder runs for real, and its decision tells candidates and order."""
    for name in desk.running.hub.strategies:
        await desk.combo(f"by-{name}", *(f"{place}/m" for place in PLACES), strategy=name)
        answer = await desk.ask(f"by-{name}")
        assert answer.status_code == 200, (name, answer.text)
        decision = await desk.explained(answer)
        assert decision["strategy"] == name
        assert {one["provider"] for one in decision["candidates"]} == set(PLACES)


async def test_a_combo_may_replace_the_system_message_and_filter_tools(desk: Desk) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("read_file", "rm_all")]
    await desk.combo("tidy", "together/m", system_message="Be brief.", tool_filter_regex="^read_")
    messages = [{"role": "system", "content": "Be long."}, *HI]
    answer = await desk.ask("tidy", messages=messages, tools=tools, x_custom={"kept": 1})
    assert answer.status_code == 200
    sent = desk.upstreams["together"].requests[0].json()
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert "Be brief." in json.dumps(sent["messages"][0])
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["read_file"]
    assert sent["x_custom"] == {"kept": 1}


async def test_a_stream_that_fails_at_once_goes_to_the_next_target(desk: Desk) -> None:
    await desk.combo("two", "openrouter/m", "together/m")
    desk.upstreams["openrouter"].answer(faults.sse([json.dumps({"error": {"message": "overloaded", "code": "overloaded"}})], end=b""))
    desk.upstreams["together"].answer(stream("Hel", "lo"))
    answer = await desk.ask("two", stream=True)
    assert answer.headers["x-omniroute-provider"] == "together"
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_an_empty_answer_is_no_answer_for_a_combo(desk: Desk) -> None:
    """routing.md 2.5: 200 with nothing in it moves on."""
    await desk.combo("two", "openrouter/m", "together/m")
    empty = completion("", usage={"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3})
    desk.upstreams["openrouter"].answer(faults.json_answer(empty))
    answer = await desk.ask("two")
    assert answer.headers["x-omniroute-provider"] == "together"


async def test_a_target_that_answers_too_late_is_left(desk: Desk) -> None:
    await desk.combo("two", "openrouter/m", "together/m", config={"timeoutMs": 1000})
    desk.upstreams["openrouter"].answer(faults.silent())
    answer = await desk.ask("two")
    assert answer.headers["x-omniroute-provider"] == "together"


async def test_a_combo_that_is_switched_off_says_so(desk: Desk) -> None:
    made = await desk.combo("off", "together/m")
    changed = await desk.client.put(f"/api/combos/{made['id']}", json={"isActive": False})
    assert changed.status_code == 200, changed.text
    answer = await desk.ask("off")
    assert answer.status_code == 503
    assert "switched off" in answer.json()["error"]["message"]


async def test_tags_of_a_request_choose_among_connections(desk: Desk) -> None:
    """routing.md 2.7."""
    async with FaultUpstream() as cheap:
        cheap.answer(good())
        await connect(desk.running, cheap, "together", rules=_rules(tags=("batch",)))
        await desk.ask("together/m", metadata={"tags": ["batch"]})
        assert len(cheap.requests) == 1
        await desk.ask("together/m", metadata={"tags": "none-has-this"})
        assert len(cheap.requests) + len(desk.upstreams["together"].requests) == 2, "no match: the full set"


async def test_a_session_stays_on_its_connection_while_that_is_healthy(desk: Desk) -> None:
    """#7274, #6219 of the original: a preference for every provider, which yields to health."""
    await desk.client.patch("/api/settings", json={"fallbackStrategy": "round-robin", "stickyRoundRobinLimit": 1})
    async with FaultUpstream() as second:
        second.answer(good())
        await connect(desk.running, second, "together")
        first = desk.upstreams["together"]
        for name in ("x-session-id", "x-claude-code-session-id", "session-id", "x-session-affinity", "x_session_id"):
            before = (len(first.requests), len(second.requests))
            for _ in range(4):
                answer = await desk.ask("together/m", headers={name: f"conversation-{name}"})
                assert answer.headers["x-omniroute-session-id"] == f"ext:conversation-{name}"
            moved = (len(first.requests) - before[0], len(second.requests) - before[1])
            assert sorted(moved) == [0, 4], name
        pinned, other = (first, second) if len(first.requests) > len(second.requests) else (second, first)
        pinned.answer(error(401, "gone"))
        count = len(other.requests)
        assert (await desk.ask("together/m", headers={"x-session-id": "conversation-x-session-id"})).status_code == 200
        assert (await desk.ask("together/m", headers={"x-session-id": "conversation-x-session-id"})).status_code == 200
        assert len(other.requests) >= count + 1


async def test_extra_keys_of_a_connection_take_turns(desk: Desk) -> None:
    async with FaultUpstream() as vendor:
        vendor.answer(good())
        await connect(desk.running, vendor, "openai", extra_secrets=["sk-extra-key-one", "sk-extra-key-two"])
        for _ in range(6):
            assert (await desk.ask("openai/gpt-4o")).status_code == 200
        keys = Counter(request.headers["authorization"] for request in vendor.requests)
        assert sorted(keys.values()) == [2, 2, 2]


async def test_the_same_decision_can_be_made_again(desk: Desk) -> None:
    """D21: the record holds all that the order came from."""
    await desk.combo("chance", *(f"{place}/m" for place in PLACES), strategy="random")
    await desk.combo("turns", *(f"{place}/m" for place in PLACES), strategy="round-robin")
    for name in ("chance", "turns", "turns"):
        answer = await desk.ask(name)
        again = await desk.client.post("/api/routing/simulate", json={"requestId": answer.headers["x-request-id"]})
        assert again.status_code == 200, again.text
        assert again.json()["replay"]["same"] is True, again.text


async def test_fifty_at_once_on_a_ring_lose_nobody(desk: Desk) -> None:
    await desk.combo("ring", *(f"{place}/m" for place in PLACES), strategy="round-robin", config={"concurrencyPerModel": 2})
    answers = await asyncio.gather(*(desk.ask("ring") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert sum(desk.counts().values()) == 50
    assert max(desk.counts().values()) - min(desk.counts().values()) <= 2


def _rules(**fields: Any) -> Any:
    from hub.records import ConnectionRules

    return ConnectionRules(**fields)
