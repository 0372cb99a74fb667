"""Vendors of services other than chat: each refuses what its real API would, so that a wrong request fails the test."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.upstream import Behaviour, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.upstream import Received

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
    expect(body.get("encoding_format") in (None, "base64"), "encoding_format must be null or base64")
    data = [{"object": "embedding", "index": place, "embedding": vector(one)} for place, one in enumerate(body["input"])]
    return json_answer({"object": "list", "model": body["model"], "data": data, "usage": {"total_tokens": 10}})


@strict
def gemini_embeddings(request: Received) -> Behaviour:
    expect(request.headers.get("x-goog-api-key") == KEY, "API key not valid", 400)
    expect(path_of(request) == "/v1beta/models/gemini-embedding-001:batchEmbedContents", "no such path", 404)
    body = request.json()
    only(body, "requests")
    for one in body["requests"]:
        only(one, "model", "content", "taskType", "title", "outputDimensionality")
        expect(one["model"] == "models/gemini-embedding-001", "model does not match the path")
    texts = [one["content"]["parts"][0]["text"] for one in body["requests"]]
    return json_answer({"embeddings": [{"values": vector(text)} for text in texts]})


@strict
def vertex_embeddings(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request).endswith("/models/gemini-embedding-001:predict"), "no such path", 404)
    body = request.json()
    only(body, "instances", "parameters")
    found = [
        {"embeddings": {"values": vector(one["content"]), "statistics": {"token_count": 5, "truncated": False}}}
        for one in body["instances"]
    ]
    return json_answer({"predictions": found})


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
    expect(body.get("input_type") in ("search_document", "search_query", "classification", "clustering"), "input_type is required")
    found = {"float": [vector(text) for text in body["texts"]]}
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 10}}
    return json_answer({"id": "emb", "embeddings": found, "texts": body["texts"], "meta": meta, "response_type": "embeddings_by_type"})
