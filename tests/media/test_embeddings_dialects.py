"""Embeddings as Google's and Ollama's own SDKs ask for them, from providers of several formats, over a real socket."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import ollama
import pytest

from tests.fakes import media as vendors

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import types

if TYPE_CHECKING:
    import httpx

    from tests.fakes.hub import Running
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

EVERYBODY: list[tuple[str, str, Any, str]] = [
    ("openai", "text-embedding-3-small", vendors.openai_embeddings, "/v1"),
    ("gemini", "gemini-embedding-001", vendors.gemini_embeddings, "/v1beta"),
    ("ollama", "nomic-embed-text", vendors.ollama_embeddings, ""),
]
IDS = [one[0] for one in EVERYBODY]
GEMINI = "/v1beta/models/openai/text-embedding-3-small"


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=IDS)
async def test_googles_sdk(running: Running, joined: Join, provider: str, model: str, vendor: Any, path: str) -> None:
    await joined(provider, vendor, path)
    client = genai.Client(api_key=await running.key("chat"), http_options=types.HttpOptions(base_url=running.url, api_version="v1beta"))
    found = await client.aio.models.embed_content(model=f"{provider}/{model}", contents=["one", "three"])
    assert [one.values for one in found.embeddings] == [vendors.vector("one"), vendors.vector("three")]
    await client.aio.aclose()


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=IDS)
async def test_ollamas_sdk(running: Running, joined: Join, provider: str, model: str, vendor: Any, path: str) -> None:
    await joined(provider, vendor, path)
    async with ollama.AsyncClient(running.url, headers=await running.headers("chat")) as client:
        found = await client.embed(f"{provider}/{model}", ["one", "three"])
        assert list(map(list, found.embeddings)) == [vendors.vector("one"), vendors.vector("three")]
        assert found.prompt_eval_count > 0
        older = await client.embeddings(f"{provider}/{model}", "one")
        assert list(older.embedding) == vendors.vector("one")


async def test_one_content_with_its_task_and_length(client: httpx.AsyncClient, joined: Join) -> None:
    """D20: what only Google has reaches Google, and is reported for others."""
    google = await joined("gemini", vendors.gemini_embeddings, "/v1beta")
    other = await joined("openai", vendors.openai_embeddings)
    body = {"content": {"parts": [{"text": "o"}, {"text": "ne"}]}, "task_type": "RETRIEVAL_QUERY", "outputDimensionality": 3}
    own = await client.post("/v1beta/models/gemini/gemini-embedding-001:embedContent", json=body)
    assert own.json()["embedding"]["values"] == vendors.vector("one")
    assert "x-hubroute-dropped" not in own.headers
    sent = google.requests[-1].json()["requests"][0]
    assert (sent["taskType"], sent["outputDimensionality"]) == ("RETRIEVAL_QUERY", 3)
    foreign = await client.post(f"{GEMINI}:embedContent", json=body)
    assert (foreign.status_code, foreign.headers["x-omniroute-provider"]) == (200, "openai")
    assert foreign.headers["x-hubroute-dropped"] == "taskType"
    assert other.requests[-1].json()["dimensions"] == 3


@pytest.mark.parametrize(
    ("method", "body", "field"),
    [
        ("embedContent", "{", None),
        ("embedContent", "{}", "content"),
        ("embedContent", '{"content": {"parts": []}}', "content.parts"),
        ("embedContent", '{"content": {"parts": [{"inlineData": {}}]}}', "content.parts.0"),
        ("batchEmbedContents", '{"requests": []}', "requests"),
        ("batchEmbedContents", '{"requests": [{}]}', "requests.0.content"),
        (
            "batchEmbedContents",
            '{"requests": [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "a"}]}, "taskType": "X"}]}',
            "requests.1",
        ),
    ],
)
async def test_what_is_wrong_is_named_in_googles_shape(
    client: httpx.AsyncClient, joined: Join, method: str, body: str, field: str | None
) -> None:
    upstream = await joined("openai", vendors.openai_embeddings)
    answer = await client.post(f"{GEMINI}:{method}", content=body)
    assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    named = [one["fieldViolations"][0]["field"] for one in answer.json()["error"]["details"] if "fieldViolations" in one]
    assert named == ([field] if field else [])
    assert not upstream.requests


async def test_what_is_wrong_is_said_in_ollamas_shape(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai_embeddings)
    for path, body in (("/api/embed", {}), ("/api/embed", {"model": "x", "input": [5.5]}), ("/api/embeddings", {"model": "x"})):
        answer = await client.post(path, json=body)
        assert answer.status_code == 400
        assert list(answer.json()) == ["error"]
        assert isinstance(answer.json()["error"], str)
