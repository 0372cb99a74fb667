"""The model API answered by an agent of this machine: ``gemini-cli/default`` through real clients, a real child behind it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from tests.fakes.acp_agent import install
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

MODEL = "gemini-cli/default"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    install(tmp_path / "bin", "gemini")
    return tmp_path / "bin"


@pytest.fixture
async def running(tools: Path, tmp_path: Path) -> AsyncIterator[Running]:
    # The owner's wider rule does not reach chats.
    async with running_hub(tmp_path, acp_enabled=True, acp_chat=True, acp_permissions="all") as made:
        await connect(made)
        yield made


async def connect(running: Running, provider: str = "gemini-cli") -> None:
    """Connect an agent as an owner does."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http:
        answer = await http.post("/api/providers", json={"provider": provider, "name": "mine"})
        assert answer.status_code in (200, 201), answer.text


async def ask(running: Running, prompt: Any, **more: Any) -> httpx.Response:
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat"), timeout=30) as http:
        return await http.post("/v1/chat/completions", json={"model": MODEL, "messages": messages, **more})


async def test_a_chat_is_answered(running: Running) -> None:
    answer = await ask(running, "hello")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["choices"][0]["message"]["content"] == "Hello, wörld"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (11, 7)
    assert running.hub.agents.running == 0


async def test_a_chat_streams_to_a_real_client(running: Running) -> None:
    client = openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key("chat"))
    async with client:
        stream = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices and chunk.choices[0].delta.content]
    assert words == ["Hel", "lo, ", "wörld"]


async def test_a_conversation_becomes_one_text(running: Running) -> None:
    answer = await ask(
        running, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Say it"}]}]
    )
    assert answer.json()["choices"][0]["message"]["content"] == "Instructions:\nBe brief.\n\nUser:\nSay it"


async def test_what_an_agent_cannot_follow_is_named(running: Running) -> None:
    """D20"""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    answer = await ask(running, "hello", temperature=0.5, tools=[tool], max_tokens=5)
    assert answer.status_code == 200, answer.text
    dropped = {one.strip() for one in answer.headers["x-hubroute-dropped"].split(",")}
    assert {"temperature", "tools"} <= dropped


async def test_a_chat_gets_words_and_no_actions(running: Running, tmp_path: Path) -> None:
    """SEC-30: whatever the owner's rule is, a chat has no permission and no files."""
    (tmp_path / "secret").write_text("secret")
    assert (await ask(running, "permission read")).json()["choices"][0]["message"]["content"] == "no"
    for word in ("read", "write"):
        answer = (await ask(running, f"{word} {tmp_path}/secret")).json()["choices"][0]["message"]["content"]
        assert answer.startswith("error: files are not")


@pytest.mark.parametrize(("enabled", "chat", "words"), [(True, False, "HUBROUTE_ACP_CHAT"), (False, True, "HUBROUTE_ACP_ENABLED")])
async def test_it_is_off_until_the_owner_allows_it(tools: Path, tmp_path: Path, enabled: bool, chat: bool, words: str) -> None:
    """SEC-30"""
    async with running_hub(tmp_path, acp_enabled=enabled, acp_chat=chat) as running:
        await connect(running)
        answer = await ask(running, "hello")
        assert answer.status_code == 503
        assert words in answer.text


async def test_an_agent_that_is_not_there_says_so(tools: Path, tmp_path: Path) -> None:
    async with running_hub(tmp_path, acp_enabled=True, acp_chat=True) as running:
        await connect(running, "claude")
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat"), timeout=30) as http:
            answer = await http.post("/v1/chat/completions", json={"model": "cc/default", "messages": [{"role": "user", "content": "x"}]})
        assert answer.status_code == 503
        assert "claude-agent-acp is not in PATH" in answer.text


async def test_models_and_failures(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat"), timeout=30) as http:
        for model, status, words in (("gemini-cli/large", 200, "large"), ("gemini-cli/huge", 400, "it offers small, large")):
            answer = await http.post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "model"}]})
            assert answer.status_code == status, answer.text
            assert words in answer.text
        answer = await http.post("/v1/chat/completions", json={"model": MODEL, "messages": [{"role": "user", "content": "fail"}]})
        assert answer.status_code == 502
        assert "overloaded" in answer.text
    assert running.hub.agents.running == 0


async def test_a_client_that_leaves_ends_the_agent(running: Running) -> None:
    """REL-06, REL-18"""
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "slow"}]}
    headers = await running.headers("chat")
    async with (
        httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as http,
        http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            if "working" in line:
                break
        assert running.hub.agents.running == 1
    await idle(running)
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30) as http:
        with pytest.raises(httpx.ReadTimeout):
            await http.post("/v1/chat/completions", json={**body, "stream": False}, timeout=1)
    await idle(running)


async def idle(running: Running) -> None:
    until = time.monotonic() + 10
    while running.hub.agents.running and time.monotonic() < until:
        await asyncio.sleep(0.05)
    assert running.hub.agents.running == 0


async def test_a_combo_goes_on_when_an_agent_cannot(running: Running) -> None:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage"), timeout=30) as http:
        combo = {"name": "mixed", "models": ["cc/default", MODEL]}
        assert (await http.post("/api/combos", json=combo)).status_code in (200, 201)
        await connect(running, "claude")
        answer = await http.post("/v1/chat/completions", json={"model": "mixed", "messages": [{"role": "user", "content": "hello"}]})
    assert json.loads(answer.text)["choices"][0]["message"]["content"] == "Hello, wörld"
