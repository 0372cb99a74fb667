"""Compression through every door: what the vendor received counts, and what the client, the decision and the usage say of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compression.conftest import ASKED, SETTINGS, STATUS, TOOLS, Desk, tool_turn
from tests.fakes.vendors import MODELS, PIXEL

pytestmark = pytest.mark.anyio

SHORT_STATUS = (
    "On branch main\nYour branch is up to date with 'origin/main'.\nChanges not staged for commit:\n"
    "\tmodified:   a.py\n\tmodified:   b.py\n[hub: 10 lines shortened to 5 by git-status]"
)
SHORT_ASKED = "Explain, to help me, what changes in `the file` of https://example.com/the/just are about?"


async def test_off_by_default_and_bytes_pass(desk: Desk) -> None:
    """D20: while it is off the very bytes of the client arrive."""
    body = json.dumps({"model": MODELS["openai"], "messages": tool_turn(), "tools": TOOLS, "x_new": 1}, indent=2)
    answer = await desk.owner.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert "x-omniroute-compression" not in answer.headers
    assert desk.upstream.requests[-1].body.decode() == body.replace(MODELS["openai"], MODELS["openai"].partition("/")[2])


async def test_on_and_nothing_to_save_bytes_pass(desk: Desk) -> None:
    """D20: bytes are only made anew where something changed."""
    await desk.put(enabled=True, defaultMode="stacked")
    body = json.dumps({"model": MODELS["openai"], "messages": [{"role": "user", "content": "hello"}]}, indent=2)
    answer = await desk.owner.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert desk.upstream.requests[-1].body.decode() == body.replace(MODELS["openai"], MODELS["openai"].partition("/")[2])
    told = await desk.owner.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")
    assert told.json()["decision"]["changes"] == [
        "compression stacked (default): 0 of 6 prompt tokens saved: no text had anything that the engines in use take out"
    ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini", "ollama"])
async def test_openai_door_to_every_vendor(desk: Desk, vendor: str, stream: bool) -> None:
    await desk.put(enabled=True, defaultMode="stacked")
    answer = await desk.chat(*tool_turn(), vendor=vendor, tools=TOOLS, stream=stream)
    sent = json.dumps(desk.sent, ensure_ascii=False)
    assert json.dumps(SHORT_STATUS)[1:-1] in sent
    assert SHORT_ASKED in sent
    assert "You are a really helpful assistant. Please be kind." in sent
    assert '"git status"' in json.dumps(desk.sent).replace("\\", "")
    mode, source, saved = answer.headers["x-omniroute-compression"].split("; ")
    assert (mode, source) == ("stacked", "source=default")
    assert int(saved.removeprefix("saved=")) > 40
    if vendor == "openai" and not stream:
        assert answer.json()["service_tier"] == "default"  # the vendor's own bytes still pass


async def test_messages_door(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="stacked")
    body = {
        "model": MODELS["anthropic"],
        "max_tokens": 500,
        "system": "Please be really kind.",
        "tools": [{"name": "bash", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": ASKED},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "bash", "input": {"city": "Oslo", "command": "git status"}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": STATUS}]},
        ],
    }
    answer = await desk.post("/v1/messages", body, **{"anthropic-beta": "some-feature-2026"})
    messages = desk.sent["messages"]
    said = messages[0]["content"]
    assert (said if isinstance(said, str) else said[0]["text"]) == SHORT_ASKED
    result = messages[2]["content"][0]
    assert result["tool_use_id"] == messages[1]["content"][0]["id"] == "toolu_1"
    assert SHORT_STATUS in (result["content"], *(block["text"] for block in result["content"] if isinstance(block, dict)))
    assert "some-feature-2026" in desk.upstream.requests[-1].headers["anthropic-beta"]
    assert answer.headers["x-omniroute-compression"].startswith("stacked; source=default; saved=")


async def test_responses_door(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="stacked")
    body = {
        "model": MODELS["openai"],
        "instructions": "Please be really kind.",
        "tools": [{"type": "function", "name": "bash", "parameters": {"type": "object"}}],
        "input": [
            {"role": "user", "content": ASKED},
            {"type": "function_call", "call_id": "call_1", "name": "bash", "arguments": '{"city":"Oslo","command":"git status"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": STATUS},
        ],
    }
    await desk.post("/v1/responses", body)
    sent = json.dumps(desk.sent, ensure_ascii=False)
    assert SHORT_ASKED in sent
    assert json.dumps(SHORT_STATUS)[1:-1] in sent


async def test_gemini_door(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="stacked")
    body = {"contents": [{"role": "user", "parts": [{"text": ASKED}]}]}
    await desk.post(f"/v1beta/models/{MODELS['gemini']}:generateContent", body)
    assert desk.sent["contents"] == [{"role": "user", "parts": [{"text": SHORT_ASKED}]}]


async def test_ollama_door(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="standard")
    await desk.post("/api/chat", {"model": MODELS["ollama"], "stream": False, "messages": [{"role": "user", "content": ASKED}]})
    assert desk.sent["messages"][-1]["content"] == SHORT_ASKED


async def test_a_text_that_goes_on_is_left_alone(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="standard")
    await desk.post("/v1/completions", {"model": MODELS["openai"], "prompt": ASKED})
    assert ASKED in json.dumps(desk.sent)


async def test_the_client_decides_by_header(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="standard")
    turn = {"role": "user", "content": ASKED}
    await desk.chat(turn, headers={"x-omniroute-compression": "off"})
    assert desk.sent["messages"][0]["content"] == ASKED
    await desk.put(defaultMode="off")
    answer = await desk.chat(turn, headers={"X-OmniRoute-Compression": "Standard"})
    assert answer.headers["x-omniroute-compression"].startswith("standard; source=header; saved=")
    assert desk.sent["messages"][0]["content"] == SHORT_ASKED
    answer = await desk.chat(turn, headers={"X-OmniRoute-Compression": "default-caveman"})
    assert answer.headers["x-omniroute-compression"].startswith("stacked; source=header")
    body = {"model": MODELS["openai"], "messages": [turn]}
    wrong = await desk.owner.post("/v1/chat/completions", json=body, headers={"X-OmniRoute-Compression": "most"})
    assert (wrong.status_code, "X-OmniRoute-Compression" in wrong.text, "standard" in wrong.text) == (400, True, True)
    await desk.put(enabled=False)
    await desk.chat(turn, headers={"X-OmniRoute-Compression": "standard"})  # the owner's switch goes before
    assert desk.sent["messages"][0]["content"] == ASKED


async def test_long_requests_are_compressed_by_themselves(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="off", autoTriggerMode="standard", autoTriggerTokens=200)
    short, long = ASKED, "\n".join([ASKED] * 12)
    await desk.chat({"role": "user", "content": short})
    assert desk.sent["messages"][0]["content"] == short
    answer = await desk.chat({"role": "user", "content": long})
    assert answer.headers["x-omniroute-compression"].startswith("standard; source=length")
    assert desk.sent["messages"][0]["content"] == "\n".join([SHORT_ASKED] * 12)


async def test_combos_have_their_own_mode(desk: Desk) -> None:
    """A combo's own mode, then an assigned compression combo, then overrides, then the default (routing.md 5.5)."""
    await desk.put(enabled=True, defaultMode="off")
    made = await desk.post("/api/combos", {"name": "thrifty", "models": [MODELS["openai"]]})
    combo = made.json()["id"]
    turn = {"role": "user", "content": ASKED}

    async def how() -> str:
        return (await desk.chat(turn, vendor="thrifty")).headers.get("x-omniroute-compression", "off").partition("; saved")[0]

    assert await how() == "off"
    await desk.put(comboOverrides={"thrifty": "standard"})
    assert await how() == "standard; source=override"
    made = await desk.post("/api/context/combos", {"name": "mine", "pipeline": [{"engine": "caveman", "intensity": "lite"}]})
    mine = made.json()["id"]
    given = await desk.put(f"/api/context/combos/{mine}/assignments", routingComboIds=["thrifty"])
    assert [one["routingComboId"] for one in given["assignments"]] == [combo]
    assert await how() == "stacked; source=assignment"
    assert desk.sent["messages"][0]["content"].startswith("Explain, to help me, what the changes")
    await desk.put(f"/api/combos/{combo}", compressionOverride="off")
    assert await how() == "off"
    await desk.put(f"/api/combos/{combo}", compressionOverride="ultra")
    assert await how() == "ultra; source=combo"
    assert (await desk.owner.delete(f"/api/combos/{combo}")).status_code == 200
    assert (await desk.owner.get(f"/api/context/combos/{mine}/assignments")).json() == {"assignments": []}
    assert (await desk.owner.delete(f"/api/context/combos/{mine}")).json() == {"ok": True}


async def test_cached_prefixes_stay(desk: Desk) -> None:
    """What stands before a client's last cache marker is never touched unless the owner says so; ultra is lowered then."""
    await desk.put(enabled=True, defaultMode="ultra")
    marked = {"type": "text", "text": ASKED, "cache_control": {"type": "ephemeral"}}
    body = {
        "model": MODELS["anthropic"],
        "max_tokens": 500,
        "messages": [
            {"role": "user", "content": [marked]},
            {"role": "assistant", "content": "It is so."},
            {"role": "user", "content": [{"type": "text", "text": ASKED}]},
        ],
    }
    answer = await desk.post("/v1/messages", body)
    assert answer.headers["x-omniroute-compression"].startswith("standard; source=default")
    assert desk.sent["messages"][0]["content"] == [marked]
    assert desk.sent["messages"][2]["content"] == [{"type": "text", "text": SHORT_ASKED}]
    await desk.put(preserveCachedPrefix=False)
    await desk.post("/v1/messages", body)
    assert desk.sent["messages"][0]["content"] == [{**marked, "text": SHORT_ASKED}]


async def test_earlier_turns_stay_the_same_bytes(desk: Desk) -> None:
    """routing.md 8, 17: what went out of a history goes out again as it was, so that a provider's own cache keeps its hits."""
    await desk.put(enabled=True, defaultMode="stacked")
    talk = tool_turn()
    await desk.chat(*talk, tools=TOOLS)
    first = desk.sent["messages"]
    talk += [{"role": "assistant", "content": "Two files."}, {"role": "user", "content": ASKED}]
    await desk.chat(*talk, tools=TOOLS)
    assert json.dumps(desk.sent["messages"][: len(first)]) == json.dumps(first)
    hub = desk.running.hub
    before = hub.compressor.memory.hits
    await desk.chat(*talk, tools=TOOLS)
    assert hub.compressor.memory.hits > before


async def test_an_answer_under_other_compression_is_not_given_again(desk: Desk) -> None:
    """REL-25: a compressed prompt is another prompt to the cache."""
    turn = {"role": "user", "content": ASKED + " Seed 1."}

    async def hit(**headers: str) -> str:
        return (await desk.chat(turn, temperature=0, headers=headers)).headers["x-omniroute-cache"]

    assert [await hit(), await hit()] == ["MISS", "HIT"]
    await desk.put(enabled=True, defaultMode="standard")
    assert [await hit(), await hit()] == ["MISS", "HIT"]
    assert await hit(**{"x-omniroute-compression": "off"}) == "MISS"
    await desk.put(enabled=False)
    assert await hit() == "HIT"


async def test_usage_and_decision_tell_what_was_saved(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="stacked")
    answer = await desk.chat(*tool_turn(), tools=TOOLS)
    saved = int(answer.headers["x-omniroute-compression"].rpartition("=")[2])
    request_id = answer.headers["x-request-id"]
    told = (await desk.owner.get(f"/api/routing/decisions/{request_id}")).json()["decision"]["changes"]
    assert any(f"{saved} of " in words and "rtk " in words and "caveman " in words for words in told), told
    hub = desk.running.hub
    await hub.store.flush()
    rows, _ = await hub.store.usage.page(limit=10, offset=0, request_id=request_id)
    assert [row.compressed for row in rows] == [saved]
    logs = (await desk.owner.get("/api/usage/logs", params={"limit": 5, "format": "json"})).json()
    assert f'"compressedTokens":{saved}' in json.dumps(logs, separators=(",", ":"))


async def test_a_fault_sends_the_request_as_it_came(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail open, and say so."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("hub.compression.conversation.compress", broken)
    await desk.put(enabled=True, defaultMode="standard")
    answer = await desk.chat({"role": "user", "content": ASKED})
    assert desk.sent["messages"][0]["content"] == ASKED
    assert "x-omniroute-compression" not in answer.headers
    told = await desk.owner.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")
    assert "compression standard failed; the request goes as it came" in told.json()["decision"]["changes"]


async def test_told_to_be_brief(desk: Desk) -> None:
    await desk.put(enabled=True, cavemanOutputMode={"enabled": True, "intensity": "lite"})
    system = {"role": "system", "content": "Be kind."}
    await desk.chat(system, {"role": "user", "content": "What is a tuple, and when do I use it?"})
    assert desk.sent["messages"][0]["content"] == (
        "Be kind.\n\n[answer style] Answer concisely. No pleasantries, no restating of the question."
    )
    await desk.chat(system, {"role": "user", "content": "Wie ist das Wetter und warum ist es so kalt?"})
    assert "Antworte knapp" in desk.sent["messages"][0]["content"]
    await desk.chat(system, {"role": "user", "content": "How do I delete all rows? It cannot be undone."})
    assert desk.sent["messages"][0]["content"] == "Be kind."
    await desk.chat(system, {"role": "user", "content": "What is a tuple?"}, headers={"x-omniroute-compression": "off"})
    assert desk.sent["messages"][0]["content"] == "Be kind."


async def test_pictures_that_no_model_sees_become_words(desk: Desk) -> None:
    await desk.put(enabled=True, defaultMode="lite")
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}
    await desk.chat(message, vendor="openai/gpt-5.5-cyber")
    assert "[image: image/png]" in json.dumps(desk.sent)
    await desk.chat(message, vendor="openai/gpt-4o")
    assert PIXEL in json.dumps(desk.sent)


async def test_settings_path_is_what_clients_use(desk: Desk) -> None:
    assert (await desk.owner.get(SETTINGS)).json() == (await desk.owner.get("/api/context/caveman/config")).json()
