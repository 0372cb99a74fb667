"""Addresses that name a provider: everybody else is left out, and a name of another provider is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from openai import AsyncOpenAI

from tests.fakes.doors import vendor_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio

ASK = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    async with vendor_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def plain(running: tuple[Running, FaultUpstream]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running[0].url, headers=await running[0].headers("chat"), timeout=20) as made:
        yield made


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(("provider", "model"), [("openai", "gpt-5.4-mini"), ("openai", "openai/gpt-5.4-mini"), ("ollama", "llama3.2")])
async def test_a_chat_at_one_provider(plain: httpx.AsyncClient, prefix: str, provider: str, model: str) -> None:
    answer = await plain.post(f"{prefix}/v1/providers/{provider}/chat/completions", json={"model": model, **ASK})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-omniroute-provider"] == provider
    assert answer.json()["choices"][0]["message"]["content"] == f"{model.split('/')[-1]} heard: hello"


async def test_the_sdk_with_an_address_of_one_provider(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    async with AsyncOpenAI(base_url=f"{hub.url}/v1/providers/anthropic", api_key=await hub.key("chat"), max_retries=0) as client:
        stream = await client.chat.completions.create(model="claude-sonnet-4-5", messages=ASK["messages"], stream=True)  # type: ignore[call-overload]
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "claude-sonnet-4-5 heard: hello"
        names = [model.id async for model in client.models.list()]
        assert "anthropic/claude-sonnet-4-5" in names
        assert all(name.startswith("anthropic/") for name in names)
        text = await client.completions.create(model="claude-sonnet-4-5", prompt="hello")
        assert text.choices[0].text == "claude-sonnet-4-5 heard: hello"


@pytest.mark.parametrize(
    ("provider", "body", "status", "param"),
    [
        ("openai", {"model": "anthropic/claude-sonnet-4-5", **ASK}, 400, "model"),
        ("none-such", {"model": "x", **ASK}, 404, "provider"),
        ("openai", ASK, 400, "model"),
        ("openai", {"model": 5, **ASK}, 400, "model"),
        ("openai", {"model": "gpt-5.4-mini"}, 400, "messages"),
    ],
)
async def test_what_is_wrong_is_named(
    running: tuple[Running, FaultUpstream], plain: httpx.AsyncClient, provider: str, body: dict[str, object], status: int, param: str
) -> None:
    answer = await plain.post(f"/v1/providers/{provider}/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert not running[1].requests


async def test_models_of_nobody(plain: httpx.AsyncClient) -> None:
    answer = await plain.get("/v1/providers/none-such/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")
    broken = await plain.post("/v1/providers/openai/chat/completions", content=b"{")
    assert broken.status_code == 400
