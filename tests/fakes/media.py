"""Vendors of services other than chat: each refuses what its real API would, so that a wrong request fails the test."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.upstream import Behaviour, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.upstream import Exchange, Received

KEY = "sk-vendor-secret-0001"


class Refused(Exception):
    """What a vendor does not take."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


def expect(condition: object, words: str, status: int = 400) -> None:
    if not condition:
        raise Refused(status, words)


def only(body: dict[str, Any], *names: str) -> None:
    """A vendor that refuses unknown fields."""
    unknown = sorted(body.keys() - set(names))
    expect(not unknown, f"unknown fields: {', '.join(unknown)}", 422)


def path_of(request: Received) -> str:
    return urlsplit(request.target).path


def query_of(request: Received) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.target).query))


def bearer(request: Received) -> None:
    expect(request.headers.get("authorization") == f"Bearer {KEY}", "invalid api key", 401)


def strict(handler: Callable[[Received], Behaviour]) -> Callable[[Received], Behaviour]:
    """The handler, with what it refuses as an error answer."""

    def answer(request: Received) -> Behaviour:
        try:
            return handler(request)
        except Refused as refused:
            return json_answer({"error": {"message": str(refused)}}, status=refused.status)

    return answer


def vector(text: object, size: int = 4) -> list[float]:
    """A vector that tells which text it is of; exact as 32-bit floats."""
    length = len(text) if isinstance(text, (str, list)) else 0
    return [float(length), 0.5, -0.25, 1.0, *([0.0] * max(0, size - 4))][:size]


def packed(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()


# -- embeddings


@strict
def openai_embeddings(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/embeddings", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "encoding_format", "dimensions", "user")
    inputs = [body["input"]] if isinstance(body["input"], str) or isinstance(body["input"][0], int) else body["input"]
    pack = packed if body.get("encoding_format") == "base64" else list
    data = [
        {"object": "embedding", "index": place, "embedding": pack(vector(one, body.get("dimensions", 4)))}
        for place, one in enumerate(inputs)
    ]
    # Out of order: the index says where a vector belongs.
    answer = {"object": "list", "data": data[::-1], "model": body["model"], "usage": {"prompt_tokens": 10, "total_tokens": 10}}
    return json_answer(answer)


@strict
def jina_embeddings(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/embeddings", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "dimensions", "task", "embedding_type", "normalized", "late_chunking", "truncate")
    data = [{"object": "embedding", "index": place, "embedding": vector(one)} for place, one in enumerate(body["input"])]
    return json_answer({"object": "list", "model": body["model"], "data": data, "usage": {"total_tokens": 10}})


@strict
def voyage_embeddings(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/embeddings", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "input_type", "truncation", "output_dimension", "output_dtype", "encoding_format")
    expect(len(body["input"]) <= 1000, "the batch size limit is 1000")
    expect(body.get("encoding_format") in (None, "base64"), "encoding_format must be null or base64")
    data = [{"object": "embedding", "index": place, "embedding": vector(one)} for place, one in enumerate(body["input"])]
    return json_answer({"object": "list", "model": body["model"], "data": data, "usage": {"total_tokens": 10}})


@strict
def gemini_embeddings(request: Received) -> Behaviour:
    expect(request.headers.get("x-goog-api-key") == KEY, "API key not valid", 400)
    expect(path_of(request) == "/v1beta/models/gemini-embedding-001:batchEmbedContents", "no such path", 404)
    body = request.json()
    only(body, "requests")
    expect(len(body["requests"]) <= 100, "at most 100 requests can be in one batch")
    for one in body["requests"]:
        only(one, "model", "content", "taskType", "title", "outputDimensionality")
        expect(one["model"] == "models/gemini-embedding-001", "model does not match the path")
    texts = [one["content"]["parts"][0]["text"] for one in body["requests"]]
    return json_answer({"embeddings": [{"values": vector(text)} for text in texts]})


@strict
def ollama_embeddings(request: Received) -> Behaviour:
    expect(path_of(request) == "/api/embed", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "truncate", "options", "keep_alive", "dimensions")
    return json_answer({"model": body["model"], "embeddings": [vector(one) for one in body["input"]], "prompt_eval_count": 10})


@strict
def cohere_embeddings(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v2/embed", "no such path", 404)
    body = request.json()
    only(body, "model", "texts", "input_type", "embedding_types", "output_dimension", "truncate", "max_tokens", "priority")
    expect(len(body["texts"]) <= 96, "invalid request: total number of texts must be at most 96")
    expect(body.get("input_type") in ("search_document", "search_query", "classification", "clustering"), "input_type is required")
    found = {"float": [vector(text) for text in body["texts"]]}
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 10}}
    return json_answer({"id": "emb", "embeddings": found, "texts": body["texts"], "meta": meta, "response_type": "embeddings_by_type"})


# -- ranking and moderation


def _scores(documents: list[str]) -> list[tuple[int, float]]:
    """The longest document fits best."""
    most = max(map(len, documents))
    return sorted(((place, len(text) / (2 * most)) for place, text in enumerate(documents)), key=lambda one: -one[1])


@strict
def cohere_rerank(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v2/rerank", "no such path", 404)
    body = request.json()
    only(body, "model", "query", "documents", "top_n", "max_tokens_per_doc", "priority")
    expect(all(isinstance(one, str) for one in body["documents"]), "documents must be strings")
    results = [{"index": place, "relevance_score": score} for place, score in _scores(body["documents"])][: body.get("top_n")]
    meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    return json_answer({"results": results, "id": "rank_1", "meta": meta})


@strict
def jina_rerank(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/rerank", "no such path", 404)
    body = request.json()
    only(body, "model", "query", "documents", "top_n", "return_documents")
    expect(body.get("return_documents") is False, "they would all come back")
    results = [{"index": place, "relevance_score": score} for place, score in _scores(body["documents"])][: body.get("top_n")]
    return json_answer({"model": body["model"], "object": "list", "usage": {"total_tokens": 20}, "results": results})


@strict
def voyage_rerank(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/rerank", "no such path", 404)
    body = request.json()
    only(body, "model", "query", "documents", "top_k", "return_documents", "truncation")
    expect(len(body["documents"]) <= 1000, "the number of documents cannot exceed 1000")
    data = [{"relevance_score": score, "index": place} for place, score in _scores(body["documents"])][: body.get("top_k")]
    return json_answer({"object": "list", "data": data, "model": body["model"], "usage": {"total_tokens": 20}})


@strict
def together_rerank(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/rerank", "no such path", 404)
    body = request.json()
    results = [{"index": place, "relevance_score": score} for place, score in _scores(body["documents"])][: body.get("top_n")]
    usage = {"prompt_tokens": 20, "completion_tokens": 0, "total_tokens": 20}
    return json_answer({"object": "rerank", "id": "together_1", "model": body["model"], "results": results, "usage": usage})


@strict
def nvidia_rerank(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/ranking", "no such path", 404)
    body = request.json()
    only(body, "model", "query", "passages", "truncate")
    texts = [one["text"] for one in body["passages"]]
    expect(body["query"]["text"], "query is required")
    return json_answer({"rankings": [{"index": place, "logit": score * 20 - 5} for place, score in _scores(texts)]})


@strict
def openai_moderation(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/moderations", "no such path", 404)
    body = request.json()
    only(body, "model", "input")
    given = body["input"]
    inputs = given if isinstance(given, list) and isinstance(given[0], str) else [given]
    results = [
        {
            "flagged": "harm" in str(one),
            "categories": {"violence": "harm" in str(one)},
            "category_scores": {"violence": 0.9 if "harm" in str(one) else 0.1},
            "category_applied_input_types": {"violence": ["text"]},
        }
        for one in inputs
    ]
    return json_answer({"id": "modr-1", "model": body["model"], "results": results})


# -- speech

SOUND = [b"ID3" + bytes([number]) * 2000 for number in range(5)]


def sound(kind: str = "audio/mpeg") -> Behaviour:
    """Sound in pieces, without a length."""

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", kind)])
        for piece in SOUND:
            await exchange.chunk(piece)
        await exchange.chunk(b"")

    return Behaviour(run)


@strict
def openai_speech(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/audio/speech", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "voice", "response_format", "speed", "instructions", "stream_format")
    expect(body.get("voice"), "voice is required")
    return sound()


@strict
def deepgram_speech(request: Received) -> Behaviour:
    expect(request.headers.get("authorization") == f"Token {KEY}", "invalid credentials", 401)
    expect(path_of(request) == "/v1/speak", "no such path", 404)
    only(request.json(), "text")
    query = query_of(request)
    only(query, "model", "encoding", "container", "sample_rate", "bit_rate")
    expect(query["model"].startswith("aura-"), "no such model")
    return sound()


@strict
def elevenlabs_speech(request: Received) -> Behaviour:
    expect(request.headers.get("xi-api-key") == KEY, "invalid api key", 401)
    expect(path_of(request) == "/v1/text-to-speech/alloy", "voice not found", 404)
    only(request.json(), "text", "model_id", "voice_settings", "language_code", "seed")
    expect(query_of(request).get("output_format") == "mp3_44100_128", "invalid output format")
    return sound()


@strict
def cartesia_speech(request: Received) -> Behaviour:
    expect(request.headers.get("x-api-key") == KEY, "invalid api key", 401)
    expect("cartesia-version" in request.headers, "version header is required")
    expect(path_of(request) == "/tts/bytes", "no such path", 404)
    body = request.json()
    only(body, "model_id", "transcript", "voice", "output_format", "language", "generation_config")
    expect(body["output_format"] == {"container": "mp3", "sample_rate": 44100, "bit_rate": 128000}, "invalid output format")
    return sound("application/octet-stream")
