"""Models out of use: they still run, on what takes their place, and everybody is told; the owner has the last word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from openai import AsyncOpenAI

from hub.call import Hub
from hub.planning.directory import REPLACED
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.doors import vendor_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

    Made = tuple[Running, FaultUpstream, httpx.AsyncClient]

pytestmark = pytest.mark.anyio

PATH = "/api/settings/model-aliases"
TOLD = "x-hubroute-deprecated"


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Made]:
    async with (
        vendor_hub(tmp_path) as (running, upstream),
        httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as owner,
    ):
        yield running, upstream, owner


async def _ask(made: Made, model: str, **more: Any) -> tuple[str, str]:
    """Ask a model; gives what the vendor was asked for, and what the client was told of its name."""
    _, upstream, owner = made
    answer = await owner.post("/v1/chat/completions", json={"model": model, "messages": [{"role": "user", "content": "hello"}], **more})
    assert answer.status_code == 200, answer.text
    return upstream.requests[-1].json()["model"], answer.headers.get(TOLD, "")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("gpt-4-turbo", "openai/gpt-5.6-sol"),
        ("openai/gpt-3.5-turbo", "openai/gpt-5.6-terra"),
        ("claude-3-opus-20240229", "anthropic/claude-opus-4-8"),
        ("anthropic/claude-sonnet-4-0", "anthropic/claude-sonnet-4-6"),
    ],
)
async def test_a_retired_model_runs_on_what_takes_its_place(made: Made, model: str, sent: str, stream: bool) -> None:
    old = model.rpartition("/")[2]
    assert await _ask(made, model, stream=stream) == (sent.partition("/")[2], f"{old} is retired; {sent} answers in its place")


async def test_a_deprecated_model_runs_itself_and_says_so(made: Made) -> None:
    told = "gpt-4o is deprecated; its vendor names openai/gpt-6-luna in its place"
    assert await _ask(made, "gpt-4o") == ("gpt-4o", told)
    assert await _ask(made, "openai/gpt-5.4-mini") == ("gpt-5.4-mini", "")
    listed = {one["id"]: one for one in (await made[2].get("/v1/models")).json()["data"]}
    assert (listed["openai/gpt-4o"]["deprecated"], listed["openai/gpt-4o"]["replaced_by"]) == (True, "openai/gpt-6-luna")
    assert (listed["openai/gpt-5.4-mini"]["deprecated"], listed["openai/gpt-5.4-mini"]["replaced_by"]) == (False, None)
    assert "openai/gpt-4-turbo" not in listed


async def test_other_doors_tell_it_too(made: Made) -> None:
    running, upstream, owner = made
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key("chat"), max_retries=0) as client:
        raw = await client.responses.with_raw_response.create(model="gpt-4-turbo", input="hello")
        assert "gpt-5.6-sol answers in its place" in raw.headers[TOLD]
    said = {"model": "claude-opus-4-1", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
    answer = await owner.post("/v1/messages", json=said)
    assert "claude-opus-4-8 answers in its place" in answer.headers[TOLD]
    answer = await owner.post(
        "/v1beta/models/gemini-2.0-flash:generateContent", json={"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    )
    assert "gemini-3.5-flash answers in its place" in answer.headers[TOLD], answer.text
    assert "/gemini-3.5-flash:" in upstream.requests[-1].target


async def test_the_decision_and_an_answer_from_the_cache_say_it(made: Made) -> None:
    owner = made[2]
    ask = {"model": "gpt-4", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
    first, second = [await owner.post("/v1/chat/completions", json=ask) for _ in range(2)]
    assert (first.headers["x-omniroute-cache"], second.headers["x-omniroute-cache"]) == ("MISS", "HIT")
    assert first.headers[TOLD] == second.headers[TOLD] == "gpt-4 is retired; openai/gpt-5.6-sol answers in its place"
    told = (await owner.get(f"/api/routing/decisions/{first.headers['x-request-id']}")).json()["decision"]
    assert (told["requestedModel"], told["modelUsed"], told["changes"]) == ("gpt-4", "gpt-5.6-sol", [first.headers[TOLD]])
    assert "has retired 'gpt-4'" in told["resolution"]


async def test_the_owner_has_the_last_word(made: Made) -> None:
    owner = made[2]
    added = await owner.post(PATH, json={"from": "gpt-5.4-mini", "to": "anthropic/claude-haiku-4-5"})
    assert added.json() == {"success": True, "custom": {"gpt-5.4-mini": "anthropic/claude-haiku-4-5"}}
    told = "gpt-5.4-mini is out of use here; anthropic/claude-haiku-4-5 answers in its place"
    assert await _ask(made, "gpt-5.4-mini") == ("claude-haiku-4-5", told)
    assert await _ask(made, "openai/gpt-5.4-mini") == ("claude-haiku-4-5", told)
    listed = (await owner.get(PATH)).json()
    assert listed["custom"] == {"gpt-5.4-mini": "anthropic/claude-haiku-4-5"}
    assert listed["builtIn"]["openai/gpt-4"] == listed["all"]["openai/gpt-4"] == "openai/gpt-5.6-sol"
    assert listed["all"]["gpt-5.4-mini"] == "anthropic/claude-haiku-4-5"
    # an alias of the owner's stands before it
    await owner.put("/api/models/alias", json={"alias": "gpt-5.4-mini", "model": "openai/gpt-6-luna"})
    assert await _ask(made, "gpt-5.4-mini") == ("gpt-6-luna", "")
    await owner.request("DELETE", "/api/models/alias", params={"alias": "gpt-5.4-mini"})
    removed = await owner.request("DELETE", PATH, json={"from": "gpt-5.4-mini"})
    assert removed.json() == {"success": True, "custom": {}}
    assert await _ask(made, "gpt-5.4-mini") == ("gpt-5.4-mini", "")
    # one that the catalogue calls retired, and this account still has
    await owner.put(PATH, json={"aliases": {"gpt-4": "gpt-4"}})
    assert await _ask(made, "gpt-4") == ("gpt-4", "")


@pytest.mark.parametrize(
    ("method", "body", "status", "word"),
    [
        ("POST", {"from": "gpt-4"}, 400, "to"),
        ("POST", {"from": "", "to": "gpt-6-luna"}, 400, "from"),
        ("POST", {"from": "a", "to": "gpt-6-luna", "why": "x"}, 400, "why"),
        ("POST", {"from": "a", "to": "../x"}, 400, "to"),
        ("POST", {"from": "a", "to": "gpt-4-turbo"}, 400, "retired"),
        ("PUT", {"aliases": {"a": "gpt-6-luna", "gpt-6-luna": "a"}}, 400, "out of use itself"),
        ("PUT", {"aliases": ["a"]}, 400, "aliases"),
        ("PUT", {}, 400, "aliases"),
        ("DELETE", {"from": "a"}, 404, "out of use"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_stored(made: Made, method: str, body: dict[str, Any], status: int, word: str) -> None:
    running, _, owner = made
    refused = await owner.request(method, PATH, json=body)
    assert refused.status_code == status, refused.text
    assert word in refused.text
    assert running.hub.directory.replaced() == {}
    key = {"authorization": f"Bearer {await running.key('chat')}"}
    assert (await owner.get(PATH, headers=key)).status_code == 403


@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
async def test_it_survives_a_restart(tmp_path: Path, store: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres_url") if store == "postgresql" else ""
    hub = Hub(make_settings(tmp_path, url))
    await hub.open()
    await hub.store.values.set(REPLACED, {"old": "openai/gpt-6-luna"})
    await hub.store.connections.create(provider="openai", name="a", secret="sk-something-0001")
    await hub.close()
    again = Hub(make_settings(tmp_path, url))
    await again.open()
    found = again.resolver.resolve("old")
    assert (found.provider, found.model, found.rule) == ("openai", "gpt-6-luna", "replaced")
    await again.close()
