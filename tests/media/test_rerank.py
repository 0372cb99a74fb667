"""Ranking and moderation over a real socket: every wire format, both addresses, units of search, and what is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import cohere
import httpx
import openai
import pytest

from hub.money.budgets import Budget
from tests.fakes import media as vendors
from tests.fakes import upstream as faults
from tests.fakes.hub import Running

if TYPE_CHECKING:
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

DOCUMENTS = ["short", "much longer than all the others", "of a middle length"]
ORDER = [1, 2, 0]
EVERYBODY: list[tuple[str, str, Any, str]] = [
    ("cohere", "rerank-v3.5", vendors.cohere_rerank, "/compatibility/v1"),
    ("jina-ai", "jina-reranker-v2-base-multilingual", vendors.jina_rerank, "/v1"),
    ("voyage-ai", "rerank-2.5", vendors.voyage_rerank, "/v1"),
    ("together", "Salesforce/Llama-Rank-V2", vendors.together_rerank, "/v1"),
    ("nvidia", "nvidia/nv-rerankqa-mistral-4b-v3", vendors.nvidia_rerank, "/v1"),
]


def _ask(**more: Any) -> dict[str, Any]:
    return {"model": "cohere/rerank-v3.5", "query": "which is longest?", "documents": DOCUMENTS, **more}


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=[one[0] for one in EVERYBODY])
@pytest.mark.parametrize("address", ["/v1/rerank", "/v2/rerank"])
async def test_every_format_ranks(
    running: Running, client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, address: str
) -> None:
    await joined(provider, vendor, path)
    answer = await client.post(address, json=_ask(model=f"{provider}/{model}", top_n=2, return_documents=True))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert [result["index"] for result in body["results"]] == ORDER[:2]
    assert [result["document"] for result in body["results"]] == [{"text": DOCUMENTS[place]} for place in ORDER[:2]]
    scores = [result["relevance_score"] for result in body["results"]]
    assert 1 >= scores[0] > scores[1] >= 0
    assert body["id"]
    assert body["meta"]["billed_units"] == {"search_units": 1}
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="rerank")
    assert [(row.provider, row.model, row.outcome) for row in rows] == [(provider, model, "ok")]


async def test_a_search_is_charged_by_its_units(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    await joined("cohere", vendors.cohere_rerank, "/compatibility/v1")
    answer = await client.post("/v2/rerank", json=_ask())
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx(0.002)
    told = (await client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")).json()["decision"]
    assert told["units"] == {"queries": 1}


async def test_a_budget_holds_for_searches_at_once(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: a search costs 0.2 cents, the budget pays for three."""
    await joined("cohere", vendors.cohere_rerank, "/compatibility/v1")
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.0065))
    heads = {"authorization": f"Bearer {secret}"}
    answers = await asyncio.gather(*(client.post("/v1/rerank", json=_ask(), headers=heads) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [200] * 3 + [429] * 7
    assert (await running.hub.budgets.state(key.id)).windows["daily"].spent == 6_000_000


async def test_objects_are_read_by_their_fields(client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("cohere", vendors.cohere_rerank, "/compatibility/v1")
    documents = [{"text": "a"}, {"title": "b", "body": "c"}, "d"]
    answer = await client.post("/v1/rerank", json=_ask(documents=documents, return_documents=True))
    assert answer.status_code == 200, answer.text
    assert upstream.requests[0].json()["documents"] == ["a", '{"title":"b","body":"c"}', "d"]
    assert {result["index"]: result["document"] for result in answer.json()["results"]} == {
        0: documents[0],
        1: documents[1],
        2: {"text": "d"},
    }
    await client.post("/v1/rerank", json=_ask(documents=documents[1:2], rank_fields=["title", "none"]))
    assert upstream.requests[1].json()["documents"] == ["title: b"]


@pytest.mark.parametrize(
    ("change", "field"),
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        ({"query": ""}, "query"),
        ({"query": 5}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "x"}, "documents"),
        ({"documents": ["a", ""]}, "documents"),
        ({"documents": ["a", 1]}, "documents"),
        ({"documents": ["a"] * 10_001}, "documents"),
        ({"documents": ["a" * 2_000_001]}, "documents"),
        ({"top_n": 0}, "top_n"),
        ({"model": "cohere/embed-v4.0"}, "model"),
    ],
)
async def test_bad_input_is_refused_by_name(client: httpx.AsyncClient, joined: Join, change: dict[str, Any], field: str) -> None:
    upstream = await joined("cohere", vendors.cohere_rerank, "/compatibility/v1")
    first = await client.post("/v1/rerank", json=_ask(**change))
    assert (first.status_code, first.json()["error"]["param"]) == (400, field)
    second = await client.post("/v2/rerank", json=_ask(**change))
    assert (second.status_code, second.json()["field"]) == (400, field)
    assert isinstance(second.json()["message"], str)
    assert upstream.requests == []


@pytest.mark.parametrize("places", [[], [3], [0, 0], [-1]])
async def test_a_ranking_of_what_was_not_sent_is_none(client: httpx.AsyncClient, joined: Join, places: list[int]) -> None:
    """REL-03."""
    results = [{"index": place, "relevance_score": 0.5} for place in places]
    await joined("cohere", lambda _: faults.json_answer({"results": results}), "/compatibility/v1")
    assert (await client.post("/v1/rerank", json=_ask())).status_code == 502


async def test_the_next_target_ranks_for_one_that_fails(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("cohere", lambda _: faults.json_answer({"message": "slow down"}, status=429), "/compatibility/v1")
    await joined("jina-ai", vendors.jina_rerank)
    names = ["cohere/rerank-v3.5", "jina-ai/jina-reranker-v3"]
    assert (await client.post("/api/combos", json={"name": "rank", "models": names})).status_code == 201
    answer = await client.post("/v1/rerank", json=_ask(model="rank"))
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "jina-ai")


async def test_the_list_of_ranking_models(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("cohere", vendors.cohere_rerank, "/compatibility/v1")
    listed = (await client.get("/v1/rerank")).json()["data"]
    assert "cohere/rerank-v3.5" in {model["id"] for model in listed}
    assert {model["type"] for model in listed} == {"rerank"}


async def test_moderation_by_the_sdk(running: Running, sdk: openai.AsyncOpenAI, joined: Join) -> None:
    await joined("openai", vendors.openai_moderation)
    found = await sdk.moderations.create(input="harm")
    assert (found.id, found.results[0].flagged) == ("modr-1", True)
    found = await sdk.moderations.create(input=["harm", "peace"], model="openai/omni-moderation-latest")
    assert [result.flagged for result in found.results] == [True, False]
    parts: Any = [{"type": "text", "text": "peace"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    found = await sdk.moderations.create(input=parts)
    assert [result.flagged for result in found.results] == [False]
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="moderations")
    assert [(row.model, row.cost, row.outcome) for row in rows] == [("omni-moderation-latest", 0.0, "ok")] * 3


async def test_the_judgement_passes_on_as_it_came(client: httpx.AsyncClient, joined: Join) -> None:
    """D20."""
    body = b'{"id":"m", "results":[{"flagged":false,"categories":{},"category_scores":{}, "new":1}]}'
    await joined("openai", lambda _: faults.answer_bytes(body))
    answer = await client.post("/v1/moderations", json={"input": "x"})
    assert answer.content == body


@pytest.mark.parametrize(
    "given", ["", [], [""], ["a", 1], [{"type": "text"}], [{"type": "sound"}], {"type": "image_url"}, None, ["a"] * 2049]
)
async def test_what_cannot_be_judged(client: httpx.AsyncClient, joined: Join, given: Any) -> None:
    upstream = await joined("openai", vendors.openai_moderation)
    answer = await client.post("/v1/moderations", json={"input": given})
    assert (answer.status_code, answer.json()["error"]["param"].partition(".")[0]) == (400, "input")
    assert upstream.requests == []


async def test_a_judgement_that_lacks_some_inputs_is_none(client: httpx.AsyncClient, joined: Join) -> None:
    """REL-03: the one that is missing would pass for harmless."""
    await joined("openai", lambda _: faults.json_answer({"results": []}))
    assert (await client.post("/v1/moderations", json={"input": "x"})).status_code == 502


async def test_without_a_provider_nothing_is_called_harmless(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/moderations", json={"input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_configured")


async def test_ranking_by_cohere_s_sdk(running: Running, joined: Join) -> None:
    """Both versions of its API, and an error of its own class that names the field."""
    await joined("cohere", vendors.cohere_rerank, "/compatibility/v1")
    secret = await running.key()
    async with httpx.AsyncClient(timeout=30) as session:
        await _rank_by({"api_key": secret, "base_url": running.url, "httpx_client": session})


async def _rank_by(options: dict[str, Any]) -> None:
    second, first = cohere.AsyncClientV2(**options), cohere.AsyncClient(**options)
    found = await second.rerank(model="cohere/rerank-v3.5", query="q", documents=DOCUMENTS, top_n=2)
    assert [one.index for one in found.results] == ORDER[:2]
    with pytest.raises(cohere.BadRequestError) as caught:
        await second.rerank(model="cohere/rerank-v3.5", query="", documents=DOCUMENTS)
    assert caught.value.body["field"] == "query"
    found = await first.rerank(model="cohere/rerank-v3.5", query="q", documents=DOCUMENTS, return_documents=True)
    assert [one.document.text for one in found.results] == [DOCUMENTS[place] for place in ORDER]
