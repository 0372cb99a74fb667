"""Questions that mean the same: real embeddings over a real socket, isolation, bounded waiting, and how fast a search is."""

from __future__ import annotations

import random
import time
from array import array
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from hub.caching.fingerprint import Fingerprint
from hub.caching.semantic import Asked, Semantic
from hub.chat import Usage
from hub.engine.answers import StoredAnswer
from hub.errors import InvalidInput
from hub.preferences import Preferences, ResponseCache
from tests.fakes import upstream as faults
from tests.fakes.clock import Still
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, Received
from tests.fakes.vendor import completion, connect
from transports import openai

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.embeddings import Embeddings

pytestmark = pytest.mark.anyio

URL = "/v1/chat/completions"
VECTORS = {"What is the capital of France?": [1.0, 0.0, 0.1], "Which town is France's capital?": [1.0, 0.05, 0.1]}


def _ask(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "openai/gpt-4o-mini", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


PARIS, ALSO_PARIS = (_ask(text) for text in VECTORS)


def _vendor(request: Received) -> Behaviour:
    if request.target.endswith("/embeddings"):
        data = [{"index": place, "embedding": VECTORS.get(text, [0.0, 1.0, 0.0])} for place, text in enumerate(request.json()["input"])]
        return faults.json_answer({"data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}})
    return faults.json_answer(completion("Paris"))


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.script(_vendor)
        yield server


@pytest.fixture
async def running(tmp_path: Path, upstream: FaultUpstream) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, doors=[openai]) as hub:
        await connect(hub, upstream)
        await _set(hub, enabled=True, embeddingModel="openai/text-embedding-3-small")
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as session:
        yield session


async def _set(running: Running, **fields: Any) -> None:
    await running.hub.preferences.change({"responseCache": {"semantic": fields}})


async def test_the_same_question_in_other_words_is_a_hit(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    await client.post(URL, json=PARIS)
    again = await client.post(URL, json=ALSO_PARIS)
    assert (again.headers["x-omniroute-cache"], again.headers["x-hubroute-source"]) == ("HIT", "semantic")
    assert again.json()["choices"][0]["message"]["content"] == "Paris"
    assert (await client.post(URL, json=_ask("How tall is the tower?"))).headers["x-omniroute-cache"] == "MISS"
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=50, skill="embeddings")
    assert [(row.model, row.usage.input, row.outcome, row.cost is not None) for row in rows] == [
        ("text-embedding-3-small", 7, "ok", True)
    ] * 3


@pytest.mark.parametrize(
    "change",
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        {"model": "openai/gpt-4o"},
        {"max_tokens": 5},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]},
        {"response_format": {"type": "json_object"}},
        {"vendor_unknown": 1},
        {"messages": [{"role": "system", "content": "Lie"}, *ALSO_PARIS["messages"]]},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_all_but_the_last_words_must_be_equal(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    """REL-25."""
    await client.post(URL, json=PARIS)
    assert (await client.post(URL, json={**ALSO_PARIS, **change})).headers["x-omniroute-cache"] == "MISS"


async def test_another_key_s_answer_is_never_near(running: Running, client: httpx.AsyncClient) -> None:
    """REL-25."""
    await client.post(URL, json=PARIS)
    assert (await client.post(URL, json=ALSO_PARIS, headers=await running.headers())).headers["x-omniroute-cache"] == "MISS"


@pytest.mark.parametrize("fault", [faults.json_answer({"error": {"message": "no"}}, status=500), faults.html(), faults.close_before_head()])
async def test_a_failing_embedding_is_a_miss_and_not_asked_for_again_at_once(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, fault: Behaviour
) -> None:
    upstream.script(lambda request: fault if request.target.endswith("/embeddings") else faults.json_answer(completion()))
    for ask in (PARIS, ALSO_PARIS):
        assert (await client.post(URL, json=ask)).status_code == 200
    assert running.hub.sameness.semantic.failures == 1
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=5, skill="embeddings")
    assert [row.outcome for row in rows] == ["error"]


async def test_a_slow_embedding_delays_a_chat_only_so_long(
    upstream: FaultUpstream, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.caching.semantic.PATIENCE", 0.1)
    upstream.script(lambda request: faults.silent() if request.target.endswith("/embeddings") else faults.json_answer(completion()))
    began = time.monotonic()
    assert (await client.post(URL, json=PARIS)).status_code == 200
    assert time.monotonic() - began < 1.4


async def test_it_cannot_be_switched_on_without_a_measure(running: Running) -> None:
    with pytest.raises(InvalidInput, match="embeddingModel"):
        await _set(running, embeddingModel=None)
    await _set(running, embeddingModel=None, lexical=True)


async def test_spelling_is_compared_only_when_asked_for_and_says_so(running: Running, client: httpx.AsyncClient) -> None:
    await _set(running, embeddingModel=None, lexical=True, threshold=0.6)
    await client.post(URL, json=_ask("What is the capital of France?"))
    again = await client.post(URL, json=_ask("what is the capital of france"))
    assert again.headers["x-hubroute-source"] == "lexical"
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=1)
    assert rows[0].source == "lexical"


async def test_the_demo_provider_embeds_by_spelling(tmp_path: Path) -> None:
    async with running_hub(tmp_path, doors=[openai]) as running:
        await _set(running, enabled=True, embeddingModel="demo/demo", threshold=0.6)
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
            await client.post(URL, json=_ask("What is the capital of France?", model="demo/demo-echo"))
            again = await client.post(URL, json=_ask("what is the capital of france", model="demo/demo-echo"))
            assert again.headers["x-hubroute-source"] == "lexical"


async def test_what_is_flushed_is_flushed_here_too(running: Running, client: httpx.AsyncClient) -> None:
    await client.post(URL, json=PARIS)
    await running.hub.sameness.cache.flush(model="openai/gpt-4o-mini")
    assert len(running.hub.sameness.semantic) == 0
    assert (await client.post(URL, json=ALSO_PARIS)).headers["x-omniroute-cache"] == "MISS"


def _asked(name: int, vector: list[float]) -> Asked:
    length = sum(value * value for value in vector) ** 0.5
    key = Fingerprint(str(name), "c", "b", "o", "m")
    return Asked("place", "check", "semantic", array("f", [value / length for value in vector]), key)


def test_the_nearest_of_two_thousand_is_found_in_milliseconds() -> None:
    """The search blocks the loop, so it has a bound: 3 ms for 2,000 vectors of 1,536 numbers; ten times that fails here."""
    limits = ResponseCache.model_validate({"semantic": {"enabled": True, "embeddingModel": "x/y", "maxEntries": 2000}})
    semantic = Semantic(cast("Embeddings", None), Still(), lambda: limits)
    chance = random.Random(3)
    vectors = [[chance.gauss(0, 1) for _ in range(1536)] for _ in range(2010)]
    for name, vector in enumerate(vectors):
        semantic.put(_asked(name, vector), StoredAnswer(provider="p", model=str(name), usage=Usage(), created=0))
    assert len(semantic) == 2000
    near = _asked(-1, [value + chance.gauss(0, 0.1) for value in vectors[1500]])
    times: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        found = semantic.find(near)
        times.append(time.perf_counter() - began)
        assert found is not None
        assert found.model == "1500"
    print(f"search {min(times) * 1000:.2f} ms")
    assert min(times) < 0.03
    assert semantic.find(_asked(-2, vectors[3])) is None  # the oldest made room
    assert Preferences().response_cache.semantic.enabled is False
