"""What the owner sets for every chat, through the SDKs of all doors against every vendor's format: what the upstream received counts."""

from __future__ import annotations

import warnings
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import ollama
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from hub.call import Hub
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.doors import vendor_hub
from tests.fakes.vendors import MODELS

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import types

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


DOORS = ["openai", "anthropic", "responses", "gemini", "ollama"]
WORDS = "Answer in Norwegian."
THINKING, PROMPT = "/api/settings/thinking-budget", "/api/settings/system-prompt"


class Desk:
    """A hub with every vendor behind it, the SDK of every door, and the owner's settings."""

    def __init__(self, running: Running, upstream: FaultUpstream, owner: httpx.AsyncClient, key: str) -> None:
        self.running = running
        self.upstream = upstream
        self.owner = owner
        self._key = key

    async def put(self, path: str, **fields: Any) -> dict[str, Any]:
        """Change a setting."""
        answer = await self.owner.put(path, json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def patch(self, **fields: Any) -> None:
        """Change one of the settings that have no address of their own."""
        answer = await self.owner.patch("/api/settings", json=fields)
        assert answer.status_code == 200, answer.text

    async def ask(self, door: str, vendor: str, *, system: Any = "", stream: bool = False, **more: Any) -> dict[str, Any]:
        """Say hello through a door's SDK; gives what the vendor received."""
        await getattr(self, f"_{door}")(MODELS.get(vendor, vendor), system, stream, more)
        return self.upstream.requests[-1].json()

    async def _openai(self, model: str, system: str, stream: bool, more: dict[str, Any]) -> None:
        messages: list[Any] = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": "hello"}]
        async with AsyncOpenAI(base_url=f"{self.running.url}/v1", api_key=self._key, max_retries=0) as client:
            if stream:
                made = await client.chat.completions.create(model=model, messages=messages, stream=True, **more)
                said = "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])
            else:
                answer = await client.chat.completions.create(model=model, messages=messages, **more)
                said = answer.choices[0].message.content or ""
        assert "heard: hello" in said

    async def _responses(self, model: str, system: str, stream: bool, more: dict[str, Any]) -> None:
        fields = {"instructions": system, **more} if system else more
        async with AsyncOpenAI(base_url=f"{self.running.url}/v1", api_key=self._key, max_retries=0) as client:
            answer = await client.responses.create(model=model, input="hello", **fields)
        assert "heard: hello" in answer.output_text

    async def _anthropic(self, model: str, system: Any, stream: bool, more: dict[str, Any]) -> None:
        fields = {"system": system, **more} if system else more
        fields = {"max_tokens": 32_000, **fields}
        async with AsyncAnthropic(base_url=self.running.url, api_key=self._key, max_retries=0) as client:
            messages: list[Any] = [{"role": "user", "content": "hello"}]
            async with client.messages.stream(model=model, messages=messages, **fields) as made:
                said = (await made.get_final_message()).content[-1]
        assert "heard: hello" in getattr(said, "text", "")

    async def _gemini(self, model: str, system: str, stream: bool, more: dict[str, Any]) -> None:
        options = types.HttpOptions(base_url=self.running.url, timeout=20_000)
        client = genai.Client(api_key=self._key, http_options=options)
        config = types.GenerateContentConfig(system_instruction=system or None, **more)
        answer = await client.aio.models.generate_content(model=model, contents="hello", config=config)
        await client.aio.aclose()
        assert "heard: hello" in (answer.text or "")

    async def _ollama(self, model: str, system: str, stream: bool, more: dict[str, Any]) -> None:
        messages = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": "hello"}]
        async with ollama.AsyncClient(self.running.url, headers={"authorization": f"Bearer {self._key}"}, timeout=20) as client:
            answer = await client.chat(model=model, messages=messages, **more)
        assert "heard: hello" in (answer.message.content or "")


@asynccontextmanager
async def opened(tmp_path: Path, **settings: Any) -> AsyncGenerator[Desk]:
    async with (
        vendor_hub(tmp_path, **settings) as (running, upstream),
        httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as owner,
    ):
        yield Desk(running, upstream, owner, await running.key("chat"))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with opened(tmp_path) as made:
        yield made


def system_of(body: dict[str, Any]) -> str:
    """The instructions in a request of any vendor's format."""
    if "contents" in body:
        return "".join(part["text"] for part in body.get("systemInstruction", {"parts": ()})["parts"])
    given = body.get("system", "")
    blocks = [{"text": given}] if isinstance(given, str) else given
    said = [message["content"] for message in body["messages"] if message["role"] in ("system", "developer")]
    return "\n\n".join([*(block["text"] for block in blocks if block["text"]), *said])


def thinking_of(body: dict[str, Any]) -> Any:
    """How much a request of any vendor's format wants the model to think; None where it says nothing."""
    found = body.get("thinking") or body.get("generationConfig", {}).get("thinkingConfig") or body.get("reasoning_effort")
    return found if found is not None else body.get("think")


@pytest.mark.parametrize("vendor", list(MODELS))
@pytest.mark.parametrize("door", DOORS)
async def test_the_owners_words_come_first_at_every_door_and_vendor(desk: Desk, door: str, vendor: str) -> None:
    before = await desk.ask(door, vendor, system="Be kind.")
    assert await desk.put(PROMPT, enabled=True, prompt=WORDS) == {"enabled": True, "prompt": WORDS}
    assert system_of(await desk.ask(door, vendor, system="Be kind.")) == f"{WORDS}\n\nBe kind."
    assert system_of(await desk.ask(door, vendor)) == WORDS
    await desk.put(PROMPT, enabled=False)
    assert await desk.ask(door, vendor, system="Be kind.") == before


async def test_cache_markers_stay_where_they_were(desk: Desk) -> None:
    """The words stand before a block that ends a cached prefix, and the marker with it."""
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    marked = {"type": "text", "text": "A long book.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = await desk.ask("anthropic", "anthropic", system=[{"type": "text", "text": "Be kind."}, marked])
    assert body["system"] == [{"type": "text", "text": WORDS}, {"type": "text", "text": "Be kind."}, marked]


async def test_markers_as_the_owner_lets_them_through(desk: Desk) -> None:
    """``auto`` where a format has a place for them, ``always`` in OpenAI's as well, ``never`` none, also where bytes would pass."""
    mark = {"type": "ephemeral"}
    system = [{"type": "text", "text": "A long book.", "cache_control": mark}]
    tools = [{"name": "look", "input_schema": {"type": "object"}, "cache_control": mark}]

    async def seen(vendor: str) -> str:
        messages = [{"role": "user", "content": [{"type": "text", "text": "hello", "cache_control": mark}]}]
        ask = {"model": MODELS[vendor], "max_tokens": 50, "system": system, "tools": tools, "messages": messages}
        answer = await desk.owner.post("/v1/messages", json=ask)
        assert answer.status_code == 200, answer.text
        return desk.upstream.requests[-1].body.decode()

    async def markers(vendor: str) -> int:
        return (await seen(vendor)).count('"cache_control"')

    assert (await markers("anthropic"), await markers("openai")) == (3, 0)
    await desk.patch(alwaysPreserveClientCache="never")
    assert (await markers("anthropic"), await markers("openai")) == (0, 0)
    assert '"A long book."' in await seen("anthropic")
    await desk.patch(alwaysPreserveClientCache="always")
    assert (await markers("anthropic"), await markers("openai")) == (3, 3)
    refused = await desk.owner.patch("/api/settings", json={"alwaysPreserveClientCache": "sometimes"})
    assert (refused.status_code, "alwaysPreserveClientCache" in refused.text) == (400, True)


async def test_a_stream_passes_as_it_came_and_tells_what_it_used(desk: Desk) -> None:
    """D20: the request has the owner's words, and the answer still is the vendor's own bytes."""
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    headers = {"authorization": f"Bearer {await desk.running.key('chat')}"}
    ask = {"model": MODELS["openai"], "messages": [{"role": "user", "content": "hello"}], "stream": True}
    answer = await desk.owner.post("/v1/chat/completions", json=ask, headers=headers)
    assert '"service_tier": "default"' in answer.text  # which only this vendor has
    assert '"usage"' not in answer.text  # which this client did not ask for
    assert answer.text.endswith("data: [DONE]\n\n")
    whole = await desk.owner.post("/v1/chat/completions", json={**ask, "stream": False}, headers=headers)
    assert whole.json()["service_tier"] == "default"


async def test_a_text_that_goes_on_is_asked_for_as_a_chat_then(desk: Desk) -> None:
    """The older completions have no place for instructions, and are no way round them."""
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    answer = await desk.owner.post("/v1/completions", json={"model": MODELS["openai"], "prompt": "hello"})
    assert answer.status_code == 200, answer.text
    assert system_of(desk.upstream.requests[-1].json()) == WORDS


async def test_an_answer_under_other_words_is_not_given_again(desk: Desk) -> None:
    ask = {"model": MODELS["openai"], "messages": [{"role": "user", "content": "hello"}], "temperature": 0}

    async def hit() -> str:
        answer = await desk.owner.post("/v1/chat/completions", json=ask)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-omniroute-cache"]

    assert [await hit(), await hit()] == ["MISS", "HIT"]
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    assert [await hit(), await hit()] == ["MISS", "HIT"]
    await desk.put(THINKING, mode="custom", customBudget=2048)
    assert [await hit(), await hit()] == ["MISS", "HIT"]
    await desk.put(THINKING, mode="passthrough")
    await desk.put(PROMPT, enabled=False)
    assert await hit() == "HIT"


async def test_the_words_are_counted(desk: Desk) -> None:
    """``count_tokens`` asks the vendor about the request as it would be sent."""
    ask = {"model": MODELS["anthropic"], "messages": [{"role": "user", "content": "hello"}]}
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    counted = await desk.owner.post("/v1/messages/count_tokens", json=ask)
    assert (counted.json()["input_tokens"], counted.json()["source"]) == (4321, "provider")
    assert desk.upstream.requests[-1].json()["system"][0]["text"] == WORDS


async def test_the_hubs_own_questions_go_without(desk: Desk) -> None:
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    made = await desk.owner.post("/api/combos", json={"name": "daily", "models": [MODELS["openai"]]})
    assert made.status_code == 201, made.text
    tested = await desk.owner.post("/api/combos/test", json={"comboName": "daily"})
    assert tested.status_code == 200, tested.text
    assert "system" not in str(desk.upstream.requests[-1].json()["messages"])


async def test_the_decision_tells_of_both(desk: Desk) -> None:
    await desk.put(PROMPT, enabled=True, prompt=WORDS)
    await desk.put(THINKING, mode="custom", customBudget=4096)
    ask = {"model": MODELS["anthropic"], "messages": [{"role": "user", "content": "hello"}], "reasoning_effort": "low"}
    answer = await desk.owner.post("/v1/chat/completions", json=ask)
    assert answer.headers["x-hubroute-dropped"] == "thinking:replaced"
    told = await desk.owner.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")
    assert told.json()["decision"]["changes"] == [
        f"the owner's {len(WORDS)} characters of systemPrompt put first",
        "anthropic/claude-sonnet-4-5: thinking set to 4096 tokens (thinkingBudget: custom)",
    ]


#: By door: how its SDK asks for some thinking.
ASKED: dict[str, dict[str, Any]] = {
    "openai": {"reasoning_effort": "low"},
    "responses": {"reasoning": {"effort": "low"}},
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    "gemini": {"thinking_config": types.ThinkingConfig(include_thoughts=True, thinking_budget=2000)},
    "ollama": {"think": "low"},
}


@pytest.mark.parametrize("vendor", list(MODELS))
@pytest.mark.parametrize("door", DOORS)
async def test_what_each_mode_makes_of_a_clients_wish(desk: Desk, door: str, vendor: str) -> None:
    asked = await desk.ask(door, vendor, **ASKED[door])
    assert thinking_of(asked)
    await desk.put(THINKING, mode="auto")
    assert thinking_of(await desk.ask(door, vendor, **ASKED[door])) is None
    await desk.put(THINKING, mode="custom", customBudget=12_000)
    twelve = {
        "openai": "high",
        "anthropic": {"type": "enabled", "budget_tokens": 12_000},
        "gemini": {"includeThoughts": True, "thinkingBudget": 12_000},
        "ollama": "high",
    }[vendor]
    assert thinking_of(await desk.ask(door, vendor, **ASKED[door])) == twelve
    assert thinking_of(await desk.ask(door, vendor)) == twelve
    await desk.put(THINKING, mode="adaptive", effortLevel="medium")
    ten = {
        "openai": "medium",
        "anthropic": {"type": "enabled", "budget_tokens": 10_240},
        "gemini": {"includeThoughts": True, "thinkingBudget": 10_240},
        "ollama": "medium",
    }[vendor]
    assert thinking_of(await desk.ask(door, vendor)) == ten
    await desk.put(THINKING, mode="passthrough")
    assert await desk.ask(door, vendor, **ASKED[door]) == asked


@pytest.mark.parametrize(
    ("fields", "budget"),
    [
        ({"effortLevel": "low"}, 1024),
        ({"effortLevel": "medium"}, 10_240),
        ({"effortLevel": "medium", "long": True}, 15_360),
        ({"effortLevel": "medium", "tools": True}, 15_360),
        ({"effortLevel": "medium", "words": True}, 13_312),
        ({"effortLevel": "medium", "long": True, "tools": True, "words": True}, 23_552),
        ({"effortLevel": "medium", "words": True, "complexityMultiplier": 2}, 16_384),
        ({"effortLevel": "medium", "words": True, "complexityMultiplier": 0}, 10_240),
        ({"effortLevel": "medium", "baseBudget": 3000, "long": True}, 4500),
        ({"effortLevel": "high"}, 55_808),  # all that the model may say, less what an answer needs
        ({"effortLevel": "none", "long": True}, 0),
    ],
)
async def test_adaptive_thinking_grows_with_the_request_up_to_what_the_model_takes(desk: Desk, fields: dict[str, Any], budget: int) -> None:
    """More than ten messages and more than three tools add half each, a long question three tenths (routing.md 4.6)."""
    shape = {name: fields.pop(name, False) for name in ("long", "tools", "words")}
    await desk.put(THINKING, mode="adaptive", **fields)
    talk = [{"role": role, "content": "So?"} for role in ("user", "assistant") * 5] if shape["long"] else []
    tool = {"description": "Says it.", "input_schema": {"type": "object"}}
    ask: dict[str, Any] = {
        "model": MODELS["anthropic"],
        "max_tokens": 64_000,
        "messages": [*talk, {"role": "user", "content": "x" * (2001 if shape["words"] else 2000)}],
        "tools": [{"name": f"tool{number}", **tool} for number in range(4 if shape["tools"] else 3)],
    }
    answer = await desk.owner.post("/v1/messages", json=ask)
    assert answer.status_code == 200, answer.text
    wanted = {"type": "enabled", "budget_tokens": budget} if budget else {"type": "disabled"}
    assert desk.upstream.requests[-1].json()["thinking"] == wanted


@pytest.mark.parametrize("setting", [{"mode": "custom"}, {"mode": "adaptive"}, {"mode": "auto"}])
async def test_a_model_that_does_not_think_is_not_made_to(desk: Desk, setting: dict[str, Any]) -> None:
    await desk.put(THINKING, **setting)
    for asked in ({}, ASKED["openai"]):
        assert thinking_of(await desk.ask("openai", "openai/gpt-4.1", **asked)) is None


async def test_the_largest_budget_that_a_model_takes(desk: Desk) -> None:
    await desk.put(THINKING, mode="custom", customBudget=131_072)
    assert thinking_of(await desk.ask("openai", "gemini"))["thinkingBudget"] == 24_576
    assert thinking_of(await desk.ask("gemini", "gemini/gemini-2.5-pro"))["thinkingBudget"] == 32_768
    # which takes a level by name, and no number
    assert thinking_of(await desk.ask("openai", "gemini/gemini-3.5-flash")) == {"includeThoughts": True, "thinkingLevel": "high"}


async def test_levels_by_name_and_models_called_so(desk: Desk) -> None:
    """What ``passthrough`` does, where a request is translated: nothing else."""
    level = await desk.ask("openai", "anthropic", extra_body={"thinkingLevel": "high"})
    assert thinking_of(level) == {"type": "enabled", "budget_tokens": 24_576}
    named = types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW)
    assert thinking_of(await desk.ask("gemini", "anthropic", thinking_config=named))["budget_tokens"] == 4096
    assert thinking_of(await desk.ask("gemini", "openai", thinking_config=named)) == "low"
    assert thinking_of(await desk.ask("gemini", "gemini", thinking_config=named)) == {"include_thoughts": True, "thinking_level": "LOW"}
    called = await desk.ask("openai", "anthropic/claude-x-thinking")
    assert thinking_of(called) == {"type": "enabled", "budget_tokens": 10_240}
    assert thinking_of(await desk.ask("openai", "anthropic")) is None


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (THINKING, {"mode": "sometimes"}, "mode"),
        (THINKING, {"customBudget": 131_073}, "customBudget"),
        (THINKING, {"customBudget": -1}, "customBudget"),
        (THINKING, {"effortLevel": "max"}, "effortLevel"),
        (THINKING, {"baseBudget": 1.5}, "baseBudget"),
        (THINKING, {"complexityMultiplier": -0.1}, "complexityMultiplier"),
        (THINKING, {"mode": "auto", "budget": 5}, "budget"),
        (THINKING, {}, "mode"),
        (PROMPT, {"prompt": "x" * 50_001}, "prompt"),
        (PROMPT, {"prompt": 5}, "prompt"),
        (PROMPT, {"enabled": "perhaps"}, "enabled"),
        (PROMPT, {"enabled": True, "text": "x"}, "text"),
        (PROMPT, {}, "prompt"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_stored(desk: Desk, path: str, body: dict[str, Any], field: str) -> None:
    before = (await desk.owner.get(path)).json()
    for method in ("PUT", "PATCH"):
        refused = await desk.owner.request(method, path, json=body)
        assert refused.status_code == 400, refused.text
        assert field in refused.text
    assert (await desk.owner.get(path)).json() == before
    key = {"authorization": f"Bearer {await desk.running.key('chat')}"}
    assert (await desk.owner.put(path, json={"enabled": True}, headers=key)).status_code == 403
    assert (await desk.owner.get(path, headers=key)).status_code == 403


async def test_defaults_and_a_part_at_a_time(desk: Desk) -> None:
    assert (await desk.owner.get(PROMPT)).json() == {"enabled": False, "prompt": ""}
    defaults = {"mode": "passthrough", "customBudget": 10_240, "effortLevel": "medium", "baseBudget": 0, "complexityMultiplier": 1.0}
    assert (await desk.owner.get(THINKING)).json() == defaults
    assert await desk.put(THINKING, customBudget=0) == {**defaults, "customBudget": 0}
    assert await desk.put(THINKING, mode="custom") == {**defaults, "customBudget": 0, "mode": "custom"}
    assert await desk.put(THINKING, customBudget=None, mode=None) == defaults
    shown = (await desk.owner.get("/api/settings")).json()
    assert (shown["thinkingBudget"], shown["systemPrompt"]) == (defaults, {"enabled": False, "prompt": ""})


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_what_is_set_survives_a_restart(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres_url") if store == "postgresql" else ""
    hub = Hub(make_settings(tmp_path, url))
    await hub.open()
    await hub.preferences.change({"thinkingBudget": {"mode": "adaptive"}, "systemPrompt": {"enabled": True, "prompt": WORDS}})
    await hub.close()
    again = Hub(make_settings(tmp_path, url))
    await again.open()
    assert again.preferences.current.thinking_budget.mode == "adaptive"
    assert again.preferences.current.system_prompt.prompt == WORDS
    await again.close()
