"""Vendors of embeddings with a form of their own: each refuses what its real API would, as :mod:`tests.fakes.media` does."""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING

from tests.fakes.media import bearer, expect, only, packed, path_of, strict, vector
from tests.fakes.upstream import json_answer

if TYPE_CHECKING:
    from tests.fakes.upstream import Behaviour, Received


@strict
def mistral(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/embeddings", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "metadata", "output_dimension", "output_dtype", "encoding_format")
    data = [
        {"object": "embedding", "index": place, "embedding": vector(one, body.get("output_dimension", 4))}
        for place, one in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 0, "total_tokens": 10}
    return json_answer({"id": "e", "object": "list", "model": body["model"], "data": data, "usage": usage})


@strict
def nvidia(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/embeddings", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "input_type", "modality", "truncate", "user", "encoding_format", "dimensions")
    expect(body.get("input_type") in ("query", "passage"), "'input_type' parameter is required for asymmetric models", 422)
    pack = packed if body.get("encoding_format") == "base64" else list
    data = [{"object": "embedding", "index": place, "embedding": pack(vector(one))} for place, one in enumerate(body["input"])]
    return json_answer({"object": "list", "model": body["model"], "data": data, "usage": {"prompt_tokens": 10, "total_tokens": 10}})


@strict
def perplexity(request: Received) -> Behaviour:
    """Its vectors are bytes: -127 to 127 stand for -1 to 1."""
    bearer(request)
    expect(path_of(request) == "/v1/embeddings", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "dimensions", "encoding_format")
    expect(body.get("encoding_format", "base64_int8") in ("base64_int8", "base64_binary"), "encoding_format: unsupported")
    expect(len(body["input"]) <= 512, "input: at most 512 texts")
    data = [
        {"object": "embedding", "index": place, "embedding": base64.b64encode(struct.pack("4b", len(one), -127, 0, 127)).decode()}
        for place, one in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": 10, "total_tokens": 10, "cost": {"input_cost": 0.0, "total_cost": 0.0, "currency": "USD"}}
    return json_answer({"object": "list", "model": body["model"], "data": data[::-1], "usage": usage})


@strict
def snowflake(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/api/v2/cortex/inference:embed", "no such path", 404)
    body = request.json()
    only(body, "model", "text")
    data = [{"object": "embedding", "index": place, "embedding": [vector(one)]} for place, one in enumerate(body["text"])]
    return json_answer({"object": "list", "model": body["model"], "data": data, "usage": {"total_tokens": 10}})


@strict
def titan(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/model/amazon.titan-embed-text-v2%3A0/invoke", "no such path", 404)
    body = request.json()
    only(body, "inputText", "dimensions", "normalize", "embeddingTypes")
    return json_answer({"embedding": vector(body["inputText"]), "inputTextTokenCount": 5})


@strict
def vertex(request: Received) -> Behaviour:
    bearer(request)
    path, _, method = path_of(request).rpartition(":")
    expect(path.endswith("/models/gemini-embedding-001"), "no such model", 404)
    body = request.json()
    asked = body["requests"] if method == "batchEmbedContents" else [body]
    expect(method in ("embedContent", "batchEmbedContents"), "no such method", 404)
    expect(method == "embedContent" or set(body) == {"requests"}, "unknown fields")
    for one in asked:
        only(one, "content", "embedContentConfig")
        only(one.get("embedContentConfig", {}), "taskType", "title", "outputDimensionality", "autoTruncate")
    found = [{"values": vector(one["content"]["parts"][0]["text"])} for one in asked]
    usage = {"promptTokenCount": 5 * len(asked)}
    return json_answer(
        {"embeddings": found, "usageMetadata": usage} if "requests" in body else {"embedding": found[0], "usageMetadata": usage}
    )


@strict
def predict(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request).endswith("/models/text-embedding-005:predict"), "no such path", 404)
    body = request.json()
    only(body, "instances", "parameters")
    for one in body["instances"]:
        only(one, "content", "task_type", "title")
    found = [
        {"embeddings": {"values": vector(one["content"]), "statistics": {"token_count": 5, "truncated": False}}}
        for one in body["instances"]
    ]
    return json_answer({"predictions": found})
