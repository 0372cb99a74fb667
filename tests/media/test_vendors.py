"""What vendors of embeddings and ranking want and allow: where each is asked, how many inputs go into a request, bytes for vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from hub.media.engine import Formats
from hub.media.jobs import EmbedJob, ModerationJob, RerankJob, SearchJob
from hub.providers.base import Target
from hub.providers.catalog import KINDS, Catalog, ProviderRow, fill_template
from hub.providers.media.search_searxng import SEARXNG
from hub.secret import Secret
from tests.fakes import embedders
from tests.fakes import media as vendors
from tests.fakes import upstream as faults

if TYPE_CHECKING:
    import httpx

    from hub.money.units import Units
    from hub.outbound.base import Incoming, Outgoing
    from hub.providers.base import Failure
    from tests.fakes.hub import Running
    from tests.fakes.upstream import Behaviour, Received
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

CATALOG = Catalog.load()
FORMATS = Formats()
JOBS: dict[str, Any] = {
    "embeddings": EmbedJob(["words"]),
    "rerank": RerankJob("which", ["one", "two"]),
    "moderation": ModerationJob("words", 1),
    "search": SearchJob("why"),
}
PROMISES = [(service, row.id) for row in CATALOG.providers.values() for service in row.services if service in JOBS]
#: Where each service of each vendor is, as the vendor's documentation has it.
ADDRESSES = {
    "embeddings openrouter": "https://openrouter.ai/api/v1/embeddings",
    "embeddings openai": "https://api.openai.com/v1/embeddings",
    "embeddings azure-openai": "https://eu-1.openai.azure.com/openai/v1/embeddings",
    "embeddings bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com/model/MODEL/invoke",
    "embeddings gemini": "https://generativelanguage.googleapis.com/v1beta/models/MODEL:batchEmbedContents",
    "embeddings mistral": "https://api.mistral.ai/v1/embeddings",
    "embeddings perplexity": "https://api.perplexity.ai/v1/embeddings",
    "embeddings together": "https://api.together.xyz/v1/embeddings",
    "embeddings fireworks": "https://api.fireworks.ai/inference/v1/embeddings",
    "embeddings cohere": "https://api.cohere.com/v2/embed",
    "embeddings nvidia": "https://integrate.api.nvidia.com/v1/embeddings",
    "embeddings nebius": "https://api.tokenfactory.nebius.com/v1/embeddings",
    "embeddings vertex": "https://aiplatform.googleapis.com/v1/projects/eu-1/locations/eu-1/publishers/google/models/MODEL:embedContent",
    "embeddings scaleway": "https://api.scaleway.ai/v1/embeddings",
    "embeddings vercel-ai-gateway": "https://ai-gateway.vercel.sh/v1/embeddings",
    "embeddings databricks": "https://own.example/v1/embeddings",
    "embeddings snowflake": "https://eu-1.snowflakecomputing.com/api/v2/cortex/inference:embed",
    "embeddings volcengine": "https://ark.cn-beijing.volces.com/api/v3/embeddings",
    "embeddings upstage": "https://api.upstage.ai/v1/embeddings",
    "embeddings novita": "https://api.novita.ai/openai/v1/embeddings",
    "embeddings ollama": "http://127.0.0.1:11434/api/embed",
    "embeddings openai-compatible": "https://own.example/v1/embeddings",
    "embeddings voyage-ai": "https://api.voyageai.com/v1/embeddings",
    "embeddings jina-ai": "https://api.jina.ai/v1/embeddings",
    "embeddings gemini-compatible": "https://own.example/v1/models/MODEL:batchEmbedContents",
    "embeddings ollama-compatible": "https://own.example/v1/api/embed",
    "moderation openai-compatible": "https://own.example/v1/moderations",
    "rerank openai-compatible": "https://own.example/v1/rerank",
    "rerank together": "https://api.together.xyz/v1/rerank",
    "rerank fireworks": "https://api.fireworks.ai/inference/v1/rerank",
    "rerank cohere": "https://api.cohere.com/v2/rerank",
    "rerank nvidia": "https://ai.api.nvidia.com/v1/retrieval/MODEL/reranking",
    "rerank novita": "https://api.novita.ai/openai/v1/rerank",
    "rerank voyage-ai": "https://api.voyageai.com/v1/rerank",
    "rerank jina-ai": "https://api.jina.ai/v1/rerank",
    "moderation openai": "https://api.openai.com/v1/moderations",
    "search perplexity-search": "https://api.perplexity.ai/search",
    "search serper-search": "https://google.serper.dev/search",
    "search brave-search": "https://api.search.brave.com/res/v1/web/search",
    "search exa-search": "https://api.exa.ai/search",
    "search tavily-search": "https://api.tavily.com/search",
    "search google-pse-search": "https://www.googleapis.com/customsearch/v1",
    "search linkup-search": "https://api.linkup.so/v1/search",
    "search searchapi-search": "https://www.searchapi.io/api/v1/search",
    "search youcom-search": "https://ydc-index.io/v1/search",
    "search searxng-search": "http://localhost:8888/search",
}


class Sent(Exception):
    """What a format would have sent."""

    def __init__(self, outgoing: Outgoing) -> None:
        super().__init__()
        self.outgoing = outgoing


class Ear:
    """A line that sends nothing."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def taken(self, usage: object, units: Units) -> None:
        raise AssertionError("nothing was made yet")

    async def open(self, outgoing: Outgoing, *, most: int = 0) -> Incoming:
        raise Sent(outgoing)

    async def call(self, outgoing: Outgoing) -> bytes:
        raise Sent(outgoing)

    def refuse(self, failure: Failure) -> Exception:
        raise AssertionError(failure)

    async def pause(self, seconds: float) -> None:
        raise AssertionError(seconds)


def _target(row: ProviderRow, model: str) -> Target:
    data = dict.fromkeys((*row.needs, "api_version", "project", "cx"), "eu-1")
    base = fill_template(row.base_url_template, data) if row.base_url_template else row.base_url or "https://own.example/v1"
    return Target(row, model, row.model(model), "c1", base, Secret("sk-1"), data)


def _origin(outgoing: Outgoing) -> str:
    origin = outgoing.origin
    port = "" if (origin.scheme, origin.port) in (("https", 443), ("http", 80)) else f":{origin.port}"
    return f"{origin.scheme}://{origin.host}{port}"


def _models(row: ProviderRow, service: str) -> list[str]:
    return [model.id for model in row.models if model.kind == KINDS[service]] or ["some-model"]


@pytest.mark.parametrize(("service", "provider"), PROMISES, ids=[" ".join(one) for one in PROMISES])
async def test_what_a_row_promises_can_be_called(service: str, provider: str) -> None:
    """Every model of every row that has one of these services: there is a format, and it makes a request to the vendor's own address."""
    row = CATALOG.get(provider)
    for model in _models(row, service):
        target = _target(row, model)
        assert (service, row.speaks(service, model)) in FORMATS.names(), model
        if row.builtin:
            made = await FORMATS.of(target, service).make(JOBS[service], target, Ear(target))
            assert made.value.floats
            continue
        with pytest.raises(Sent) as sent:
            await FORMATS.of(target, service).make(JOBS[service], target, Ear(target))
        outgoing = sent.value.outgoing
        assert f"{_origin(outgoing)}{outgoing.target}".startswith(ADDRESSES[f"{service} {provider}"].partition("MODEL")[0]), model


@pytest.mark.parametrize("promise", sorted(ADDRESSES))
async def test_a_vendor_is_asked_at_its_documented_address(promise: str) -> None:
    service, _, provider = promise.partition(" ")
    row = CATALOG.get(provider)
    model = _models(row, service)[-1]
    target = _target(row, model)
    with pytest.raises(Sent) as sent:
        await FORMATS.of(target, service).make(JOBS[service], target, Ear(target))
    outgoing = sent.value.outgoing
    path = urlsplit(outgoing.target).path if "?" not in ADDRESSES[promise] else outgoing.target
    named = model.replace(".", "_") if promise == "rerank nvidia" else model.replace(":", "%3A")
    method = "predict" if row.speaks(service, model) == "predict" else "embedContent"
    assert f"{_origin(outgoing)}{path}" == ADDRESSES[promise].replace("MODEL", named).replace(":embedContent", f":{method}")


async def test_nvidia_s_address_has_underscores_and_its_body_dots() -> None:
    row = CATALOG.get("nvidia")
    target = _target(row, "nvidia/llama-3.2-nv-rerankqa-1b-v2")
    with pytest.raises(Sent) as sent:
        await FORMATS.of(target, "rerank").make(JOBS["rerank"], target, Ear(target))
    assert sent.value.outgoing.target == "/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking"
    assert b'"model":"nvidia/llama-3.2-nv-rerankqa-1b-v2"' in sent.value.outgoing.body


@pytest.mark.parametrize("model", ["..", "nvidia/../x", "a//b", "."])
async def test_a_model_s_name_does_not_lead_elsewhere(model: str) -> None:
    """SEC-13"""
    target = _target(CATALOG.get("nvidia"), model)
    with pytest.raises(Exception, match="cannot be part of an address"):
        await FORMATS.of(target, "rerank").make(JOBS["rerank"], target, Ear(target))


BATCHED: list[tuple[str, str, Any, str, int, int]] = [
    ("cohere", "embed-v4.0", vendors.cohere_embeddings, "/compatibility/v1", 200, 3),
    ("gemini", "gemini-embedding-001", vendors.gemini_embeddings, "/v1beta", 201, 3),
    ("voyage-ai", "voyage-4", vendors.voyage_embeddings, "/v1", 1001, 2),
    ("upstage", "embedding-query", vendors.openai_embeddings, "/v1", 101, 2),
]


@pytest.mark.parametrize(("provider", "model", "vendor", "path", "count", "requests"), BATCHED, ids=[one[0] for one in BATCHED])
async def test_more_than_a_vendor_takes_at_once_goes_in_several_requests(
    running: Running, client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, count: int, requests: int
) -> None:
    """The caller sees one answer, in its order, with the tokens of all."""
    upstream = await joined(provider, vendor, path)
    texts = ["x" * (1 + place % 50) for place in range(count)]
    answer = await client.post("/v1/embeddings", json={"model": f"{provider}/{model}", "input": texts})
    assert answer.status_code == 200, answer.text
    assert [one["embedding"][0] for one in answer.json()["data"]] == [len(text) for text in texts]
    assert len(upstream.requests) == requests
    await running.hub.store.flush()
    (row,), _ = await running.hub.store.usage.page(skill="embeddings")
    assert row.usage.input == (10 * requests if provider != "gemini" else row.usage.input)


async def test_what_was_made_before_a_failure_is_charged(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: the first of two requests was answered, and paid for."""
    seen: list[Received] = []

    def second_fails(request: Received) -> Behaviour:
        seen.append(request)
        return vendors.cohere_embeddings(request) if len(seen) == 1 else faults.json_answer({"message": "bad"}, status=400)

    await joined("cohere", second_fails, "/compatibility/v1")
    answer = await client.post("/v1/embeddings", json={"model": "cohere/embed-v4.0", "input": ["x"] * 97})
    assert answer.status_code == 400
    await running.hub.store.flush()
    (row,), _ = await running.hub.store.usage.page(skill="embeddings")
    assert (row.outcome, row.usage.input) == ("error", 10)
    assert row.cost == pytest.approx(10 * 0.12 / 1e6)


async def test_more_documents_than_a_vendor_ranks_are_refused_by_name(client: httpx.AsyncClient, joined: Join) -> None:
    """Rankings of parts could not be put together."""
    upstream = await joined("voyage-ai", vendors.voyage_rerank)
    answer = await client.post("/v1/rerank", json={"model": "voyage-ai/rerank-2.5", "query": "q", "documents": ["d"] * 1001})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "documents")
    assert "1000" in answer.json()["error"]["message"]
    assert not upstream.requests


async def test_vectors_that_come_as_bytes(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("perplexity", embedders.perplexity, "")
    answer = await client.post(
        "/v1/embeddings", json={"model": "perplexity/pplx-embed-v1-4b", "input": ["one", "three"], "dimensions": 128, "user": "me"}
    )
    assert [one["embedding"] for one in answer.json()["data"]] == [
        pytest.approx([3 / 127, -1.0, 0.0, 1.0]),
        pytest.approx([5 / 127, -1.0, 0.0, 1.0]),
    ]
    assert answer.json()["usage"]["prompt_tokens"] == 10
    assert answer.headers["x-hubroute-dropped"] == "user"


async def test_fields_that_a_strict_vendor_lacks_are_kept_from_it(client: httpx.AsyncClient, joined: Join) -> None:
    """Mistral answers 422 for a field that it does not know, and calls the dimensions otherwise."""
    upstream = await joined("mistral", embedders.mistral)
    body = {"model": "mistral/codestral-embed", "input": "x", "dimensions": 8, "user": "me", "metadata": {"a": 1}}
    answer = await client.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    assert (len(answer.json()["data"][0]["embedding"]), answer.headers["x-hubroute-dropped"]) == (8, "user")
    assert upstream.requests[0].json() == {"model": "codestral-embed", "input": ["x"], "output_dimension": 8, "metadata": {"a": 1}}


async def test_a_query_is_one_where_the_client_says_so(client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("nvidia", embedders.nvidia)
    for more, want in (({}, "passage"), ({"input_type": "query"}, "query")):
        answer = await client.post("/v1/embeddings", json={"model": "nvidia/nvidia/nv-embedqa-e5-v5", "input": "x", **more})
        assert answer.status_code == 200, answer.text
        assert upstream.requests[-1].json()["input_type"] == want


@pytest.mark.parametrize("answers", [["Because."], [{"template": "answer/legacy.html", "answer": "Because.", "url": None}]])
def test_an_answer_of_searxng_old_and_new(answers: list[Any]) -> None:
    """It was a text, and is an object now. Source: SearXNG developer documentation, "Answer results"."""
    found = SEARXNG.read({"results": [], "answers": answers}, SearchJob("why", answer=True))
    assert found.answer == "Because."
