"""Chats with installed skills, over real sockets: every dialect of clients, strict vendors behind the hub, whole and streamed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.upstream import Behaviour, Exchange, json_answer
from tests.fakes.vendors import MODELS, SIGNATURE, THOUGHT, Reply

if TYPE_CHECKING:
    from tests.fakes.vendors import Heard
    from tests.user_skills.conftest import Bench

pytestmark = pytest.mark.anyio

TOOL = "skill_city_weather"
SAID = 'Bergen: {"said":"sun in Bergen"}; Oslo: {"said":"sun in Oslo"}'
QUESTION = "what is the weather?"


class Client:
    """One dialect: how it asks, and what it reads. ``parts`` gives text, calls as (id, name, city), the end, prompt and output tokens."""

    def __init__(self, bench: Bench, dialect: str, model: str) -> None:
        self.bench, self.dialect, self.model = bench, dialect, model

    async def ask(self, *, stream: bool, own: bool = False, messages: list[Any] | None = None, **more: Any) -> dict[str, Any]:
        path, body = self._request(stream, own, messages)
        async with self.bench.http.stream("POST", path, json={**body, **more}) as answer:
            text = (await answer.aread()).decode()
        assert answer.status_code == 200, text
        self.headers = answer.headers
        return self._read(
            [json.loads(line[5:]) for line in text.splitlines() if line.startswith("data:") and "[DONE]" not in line], text, stream
        )

    def _request(self, stream: bool, own: bool, messages: list[Any] | None) -> tuple[str, dict[str, Any]]:
        schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        if self.dialect == "gemini":
            body: dict[str, Any] = {"contents": messages or [{"role": "user", "parts": [{"text": QUESTION}]}]}
            if own:
                body["tools"] = [{"functionDeclarations": [{"name": "mine", "description": "Mine.", "parameters": schema}]}]
            return f"/v1beta/models/{self.model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}", body
        body = {"model": self.model, "messages": messages or [{"role": "user", "content": QUESTION}], "stream": stream}
        if self.dialect == "anthropic":
            tool: dict[str, Any] = {"name": "mine", "description": "Mine.", "input_schema": schema}
            return "/v1/messages", {**body, "max_tokens": 2000, **({"tools": [tool]} if own else {})}
        tool = {"type": "function", "function": {"name": "mine", "description": "Mine.", "parameters": schema}}
        return "/v1/chat/completions", {
            **body,
            "stream_options": {"include_usage": True},
            **({"tools": [tool]} if own else {}),
        } if stream else {
            **body,
            **({"tools": [tool]} if own else {}),
        }

    def _read(self, events: list[Any], text: str, stream: bool) -> dict[str, Any]:
        found = getattr(self, f"_{self.dialect}")(events if stream else [json.loads(text)], stream)
        # One of the vendors writes what a tool gave with blanks.
        return {**found, "text": found["text"].replace('": "', '":"')}

    def _openai(self, events: list[Any], stream: bool) -> dict[str, Any]:
        said, calls, end, usage = "", {}, None, None
        for event in events:
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                piece = choice["delta" if stream else "message"]
                said += piece.get("content") or ""
                end = choice["finish_reason"] or end
                for place, call in enumerate(piece.get("tool_calls") or ()):
                    kept = calls.setdefault(call.get("index", place), {"id": "", "name": "", "arguments": ""})
                    kept["id"] += call.get("id") or ""
                    kept["name"] += call["function"].get("name") or ""
                    kept["arguments"] += call["function"]["arguments"]
        assert sorted(calls) == list(range(len(calls)))
        found = [(one["id"], one["name"], json.loads(one["arguments"])["city"]) for one in calls.values()]
        return {"text": said, "calls": found, "end": end, "tokens": (usage["prompt_tokens"], usage["completion_tokens"])}

    def _anthropic(self, events: list[Any], stream: bool) -> dict[str, Any]:
        if stream:
            blocks: dict[int, Any] = {}
            end, usage = None, {}
            for event in events:
                if event["type"] == "message_start":
                    usage = event["message"]["usage"]
                elif event["type"] == "content_block_start":
                    assert event["index"] == len(blocks)
                    blocks[event["index"]] = {**event["content_block"], "json": ""}
                elif event["type"] == "content_block_delta":
                    block, delta = blocks[event["index"]], event["delta"]
                    for name, field in (("text", "text"), ("partial_json", "json"), ("thinking", "thinking"), ("signature", "signature")):
                        if name in delta:
                            block[field] = block.get(field, "") + delta[name]
                elif event["type"] == "message_delta":
                    end, usage = event["delta"]["stop_reason"], {**usage, **event["usage"]}
            content = [{**block, "input": json.loads(block["json"])} if block["type"] == "tool_use" else block for block in blocks.values()]
        else:
            (answer,) = events
            content, end, usage = answer["content"], answer["stop_reason"], answer["usage"]
        prompt = usage["input_tokens"] + usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0)
        return {
            "text": "".join(block["text"] for block in content if block["type"] == "text"),
            "calls": [(block["id"], block["name"], block["input"]["city"]) for block in content if block["type"] == "tool_use"],
            "thoughts": [block for block in content if block["type"] == "thinking"],
            "end": {"end_turn": "stop", "tool_use": "tool_calls"}[end],
            "tokens": (prompt, usage["output_tokens"]),
            "content": [{name: value for name, value in block.items() if name != "json"} for block in content],
        }

    def _gemini(self, events: list[Any], stream: bool) -> dict[str, Any]:
        parts = [part for event in events for candidate in event.get("candidates", ()) for part in candidate["content"].get("parts", ())]
        usage = events[-1]["usageMetadata"]
        return {
            "text": "".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
            "calls": [
                (part["functionCall"].get("id", ""), part["functionCall"]["name"], part["functionCall"]["args"]["city"])
                for part in parts
                if "functionCall" in part
            ],
            "end": "stop",
            "tokens": (usage["promptTokenCount"], usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)),
            "parts": parts,
        }


TOKENS = {"openai": (1000, 200), "anthropic": (600, 80), "gemini": (500, 100)}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
async def test_the_model_calls_a_skill_and_the_client_sees_only_the_answer(bench: Bench, dialect: str, stream: bool) -> None:
    """Same dialect on both sides: the bytes no longer pass, the answer still is the client's own."""
    await bench.weather()
    client = Client(bench, dialect, MODELS[dialect])
    got = await client.ask(stream=stream)
    assert got["text"] == f"I ask.\n\n{SAID}"
    assert (got["calls"], got["end"]) == ([], "stop")
    prompt, output = TOKENS[dialect]
    assert got["tokens"] == (2 * prompt, 2 * output), "the usage of both calls of the model"
    first, second = (request.json() for request in bench.vendors.requests)
    offered = json.dumps(first)
    assert TOOL in offered, "the name is legal and the skill's own"
    assert json.dumps(first.get("tools")) == json.dumps(second.get("tools")), "the block of tools stays as it is"
    assert "of the service" not in json.dumps(second), "no secret of the skill reaches the model"
    rows = await bench.rows()
    assert sorted((row.usage.prompt, row.usage.output) for row in rows) == [TOKENS[dialect]] * 2
    runs = await bench.ask("GET", "/api/skills/executions")
    assert {(one["status"], one["input"]["city"], one["output"]["said"]) for one in runs["data"]} == {
        ("success", city, f"sun in {city}") for city in ("Oslo", "Bergen")
    }
    # The record of the route says what the chat was given.
    decision = await bench.hub.hub.store.decisions.get(client.headers["x-request-id"])
    assert decision is not None
    assert any(TOOL in words for words in decision.changes)
    if not stream:
        cost = sum(row.cost for row in rows)
        assert float(client.headers["x-omniroute-response-cost"]) == pytest.approx(cost)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
async def test_every_dialect_over_every_vendor(bench: Bench, vendor: str, stream: bool) -> None:
    await bench.weather()
    for dialect in ("openai", "anthropic", "gemini"):
        got = await Client(bench, dialect, MODELS[vendor]).ask(stream=stream)
        assert got["text"] == f"I ask.\n\n{SAID}"
        assert got["calls"] == []


def _both(heard: Heard) -> Reply:
    """A model that calls a tool of the client's and a skill in one turn."""
    if set(heard.results) == {"Oslo", "Bergen"}:
        return Reply(text="; ".join(f"{city}: {said}" for city, said in sorted(heard.results.items())))
    thought = THOUGHT if heard.thinks else ""
    assert heard.tools == ["mine", TOOL], "the client's own tools come first"
    return Reply(text="I ask.", thought=thought, calls=[("call_1", TOOL, {"city": "Oslo"}), ("call_2", "mine", {"city": "Bergen"})])


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_turn_with_calls_of_both_gives_the_client_its_own_and_goes_on_with_all(bench: Bench, dialect: str, stream: bool) -> None:
    await bench.weather()
    bench.reply = _both
    client = Client(bench, dialect, MODELS[dialect])
    thinks: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 1024}} if dialect == "anthropic" else {}
    got = await client.ask(stream=stream, own=True, **thinks)
    ((call, name, city),) = got["calls"]
    assert (name, city, got["end"], got["text"]) == ("mine", "Bergen", "tool_calls", "I ask.")
    if dialect == "anthropic":
        messages = [
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": got["content"]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": "mine says rain"}]},
        ]
    else:
        messages = [
            {"role": "user", "content": QUESTION},
            {
                "role": "assistant",
                "content": got["text"],
                "tool_calls": [{"id": call, "type": "function", "function": {"name": name, "arguments": json.dumps({"city": city})}}],
            },
            {"role": "tool", "tool_call_id": call, "content": "mine says rain"},
        ]
    # The vendor refuses a conversation whose calls lack results, or whose signed thoughts do not fit.
    done = await client.ask(stream=stream, own=True, messages=messages, **thinks)
    assert done["text"] == 'Bergen: mine says rain; Oslo: {"said":"sun in Oslo"}'
    runs = await bench.ask("GET", "/api/skills/executions")
    assert runs["total"] == 1, "it was run once, and its result kept for the next turn"
    # What was put aside belongs to one key: another one goes on with what its client saw.
    other = await bench.hub.key("*")
    bench.reply = lambda heard: Reply(text=json.dumps(heard.results))
    path, body = client._request(False, True, messages)
    answer = await bench.ask("POST", path, key=other, json={**body, **thinks})
    assert "sun in Oslo" not in json.dumps(answer)
    assert "mine says rain" in json.dumps(answer)


async def test_thoughts_and_signatures_survive_the_rounds(bench: Bench) -> None:
    await bench.weather()
    client = Client(bench, "anthropic", MODELS["anthropic"])
    for stream in (False, True):
        got = await client.ask(stream=stream, thinking={"type": "enabled", "budget_tokens": 1024})
        assert got["text"] == f"I ask.\n\n{SAID}"
        (thought,) = got["thoughts"]
        assert (thought["thinking"], thought["signature"]) == (THOUGHT, SIGNATURE), "of the first round, as it was signed"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_rounds_are_bounded(bench: Bench, stream: bool) -> None:
    await bench.weather()
    await bench.ask("PATCH", "/api/settings", json={"skillsMaxRounds": 3})
    bench.reply = lambda heard: Reply(text="Again.", calls=[("call_1", TOOL, {"city": "Oslo"})])
    got = await Client(bench, "openai", MODELS["openai"]).ask(stream=stream)
    assert (got["calls"], got["end"]) == ([], "stop")
    assert got["text"] == "Again.\n\nAgain.\n\nAgain."
    asked = [request.json() for request in bench.vendors.requests]
    assert len(asked) == 3
    assert [one.get("tool_choice") for one in asked] == [None, None, "none"], "in the last round it has to answer in words"
    assert (await bench.ask("GET", "/api/skills/executions"))["total"] == 2


async def test_what_a_skill_does_wrong_is_told_to_the_model(bench: Bench) -> None:
    await bench.weather()
    bench.served = lambda _: json_answer({"error": "no sun"}, status=503)
    got = await Client(bench, "openai", MODELS["openai"]).ask(stream=False)
    assert "Error: city weather@1.0.0: the address answered 503" in got["text"]
    runs = await bench.ask("GET", "/api/skills/executions")
    assert {one["status"] for one in runs["data"]} == {"error"}


async def test_a_client_that_leaves_cancels_what_runs(bench: Bench) -> None:
    await bench.weather()
    began = asyncio.Event()

    async def hang(exchange: Exchange) -> None:
        began.set()
        await exchange.hold()

    bench.served = lambda _: Behaviour(hang)
    task = asyncio.create_task(Client(bench, "openai", MODELS["openai"]).ask(stream=True))
    await asyncio.wait_for(began.wait(), 10)
    task.cancel()
    assert await bench.service.closed_by_client(timeout=10)
    async with asyncio.timeout(10):
        while True:
            runs = (await bench.ask("GET", "/api/skills/executions"))["data"]
            if all(one["status"] == "error" for one in runs):
                break
            await asyncio.sleep(0.02)
    assert {one["errorMessage"] for one in runs} == {"the caller went away"}


async def test_who_and_what_gets_no_skills(bench: Bench) -> None:
    """Only a key that may run skills, a chat that leaves the choice of tools open, and skills that fit; else the bytes pass as ever."""
    await bench.weather(mode="auto")
    await bench.weather("other", description="Nothing of the kind.", mode="auto")
    bench.reply = lambda heard: Reply(text=",".join(heard.tools) or "none")
    body: dict[str, Any] = {"model": MODELS["openai"], "messages": [{"role": "user", "content": QUESTION}]}

    async def tools(*, key: str = "", **more: Any) -> str:
        answer = await bench.ask("POST", "/v1/chat/completions", key=key, json={**body, **more})
        return answer["choices"][0]["message"]["content"]

    mine = {"type": "function", "function": {"name": "mine", "description": "", "parameters": {"type": "object", "properties": {}}}}
    taken = {"type": "function", "function": {"name": TOOL, "description": "", "parameters": {"type": "object", "properties": {}}}}
    assert await tools() == TOOL, "chosen by its words, the other one not"
    assert await tools(tools=[mine]) == f"mine,{TOOL}"
    assert await tools(tools=[taken]) == TOOL, "a client's own tool of that name stays the client's"
    assert await tools(tools=[mine], tool_choice="required") == "mine"
    assert await tools(messages=[{"role": "user", "content": "tell me a joke"}]) == "none"
    chats_only = await bench.hub.key("chat")
    assert await tools(key=chats_only) == "none"
    raw = bench.vendors.requests[-1].body
    assert json.loads(raw) == {**body, "model": "gpt-5.4-mini"}, "nothing was made of it"
    await bench.ask("PATCH", "/api/settings", json={"skillsEnabled": False})
    assert await tools() == "none"
    assert bench.hub.hub.chat.skills is None, "while they are off, a chat looks at one attribute"


async def test_instructions_are_put_before_a_chat_by_choice(bench: Bench) -> None:
    text = "---\nname: pirate\ndescription: Talks like a pirate.\n---\nSay arr."
    made = await bench.install(skillMdContent=text)
    bench.reply = lambda heard: Reply(text=heard.system or "none")
    client = Client(bench, "openai", MODELS["openai"])
    assert (await client.ask(stream=False))["text"] == "none"
    await bench.ask("PUT", f"/api/skills/{made['id']}", json={"mode": "on"})
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    for stream in (False, True):
        got = await client.ask(stream=stream, messages=messages)
        assert got["text"] == "<skill name='pirate'>\nSay arr.\n</skill>\n\nbe brief"
    await bench.ask("PATCH", "/api/settings", json={"systemPrompt": {"enabled": True, "prompt": "We are a ship."}})
    got = await client.ask(stream=False, messages=messages)
    assert got["text"] == "<skill name='pirate'>\nSay arr.\n</skill>\n\nWe are a ship.\n\nbe brief"
    # An answer that may be given again is one to the same words: with other instructions it is another question.
    first = await client.ask(stream=False, messages=messages, temperature=0)
    assert (await client.ask(stream=False, messages=messages, temperature=0))["text"] == first["text"]
    assert client.headers["x-omniroute-cache"] == "HIT"
    await bench.ask("PUT", f"/api/skills/{made['id']}", json={"text": text.replace("arr", "aye")})
    assert "aye" in (await client.ask(stream=False, messages=messages, temperature=0))["text"]


async def test_the_limit_of_a_request_holds_over_all_rounds(bench: Bench) -> None:
    """Each round is an ordinary call, so a budget of the key refuses the one that it does not cover."""
    await bench.weather()
    key = await bench.hub.key("*")
    key_id = bench.hub.hub.authenticate(key).key_id
    cost = (600 * 0.75 + 400 * 0.075 + 200 * 4.5) / 1e6
    await bench.ask("POST", "/api/usage/budget", json={"apiKeyId": key_id, "dailyLimitUsd": cost})
    body = {"model": MODELS["openai"], "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 200}
    answer = await bench.http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 429, answer.text
    assert len(bench.vendors.requests) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_responses_and_ollama_s_dialect_as_well(bench: Bench, stream: bool) -> None:
    await bench.weather()
    asked = {"model": MODELS["anthropic"], "stream": stream}
    answer = await bench.http.post("/v1/responses", json={**asked, "input": QUESTION})
    assert answer.status_code == 200, answer.text
    if stream:
        events = [json.loads(line[5:]) for line in answer.text.splitlines() if line.startswith("data:")]
        assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == f"I ask.\n\n{SAID}"
        response = events[-1]["response"]
    else:
        response = answer.json()
    assert [item["type"] for item in response["output"]] == ["message"]
    assert response["usage"]["output_tokens"] == 160
    # The conversation goes on from what the client saw.
    more = await bench.ask(
        "POST", "/v1/responses", json={"model": MODELS["anthropic"], "input": "thanks", "previous_response_id": response["id"]}
    )
    assert more["status"] == "completed"
    answer = await bench.http.post("/api/chat", json={**asked, "messages": [{"role": "user", "content": QUESTION}]})
    pieces = [json.loads(line) for line in answer.text.splitlines()]
    assert "".join(piece["message"]["content"] for piece in pieces) == f"I ask.\n\n{SAID}"
    assert not any(piece["message"].get("tool_calls") for piece in pieces)
