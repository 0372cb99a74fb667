"""A running hub on each database, an owner's client, and a server of the owner's own on loopback that speaks OpenAI's formats."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.pictures import png
from tests.fakes.upstream import FaultUpstream, json_answer
from tests.fakes.vendor import completion, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.fakes.upstream import Behaviour, Received

KEY = "sk-canary-node-key-1234"
PICTURE = base64.b64encode(png()).decode()
NODE = {"name": "My lab", "prefix": "lab", "apiType": "chat"}


def own_server(request: Received) -> Behaviour:
    """The server behind a node: models, chats, embeddings, pictures, speech."""
    path = request.target.partition("?")[0]
    if path.endswith("/models"):
        return json_answer({"object": "list", "data": [{"id": "owl-1"}, {"id": "owl-2"}]})
    if path.endswith("/embeddings"):
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return json_answer({"object": "list", "model": "e", "data": [{"index": 0, "embedding": [0.5, 0.25]}], "usage": usage})
    if path.endswith("/images/generations"):
        return json_answer({"created": 1, "data": [{"b64_json": PICTURE}]})
    if path.endswith("/responses"):
        said = {"type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "by responses"}]}
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return json_answer({"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [said], "usage": usage})
    if json.loads(request.body).get("stream"):
        return stream("Hello", " node")
    return json_answer(completion("Hello from the node"))


@dataclass
class Lab:
    """A hub, its owner's client, and the owner's server."""

    running: Running
    client: httpx.AsyncClient
    upstream: FaultUpstream

    async def ok(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        answer = await self.client.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def node(self, **fields: Any) -> dict[str, Any]:
        """A node; at the owner's server unless said otherwise."""
        body = {**NODE, "baseUrl": f"{self.upstream.url}/v1", **fields}
        return (await self.ok("POST", "/api/provider-nodes", 201, json={name: value for name, value in body.items() if value is not None}))[
            "node"
        ]

    async def connect(self, provider: str, **fields: Any) -> dict[str, Any]:
        """A connection that may reach loopback."""
        body = {"provider": provider, "name": "mine", "apiKey": KEY, "allowPrivate": True, **fields}
        return (await self.ok("POST", "/api/providers", 201, json=body))["connection"]

    async def chat(self, model: str, **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **fields}
        return await self.client.post("/v1/chat/completions", json=body)

    async def listed(self) -> list[str]:
        return [one["id"] for one in (await self.ok("GET", "/v1/models"))["data"]]

    def last(self) -> Received:
        return self.upstream.requests[-1]


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@asynccontextmanager
async def open_lab(folder: Path, upstream: FaultUpstream, **settings: Any) -> AsyncIterator[Lab]:
    """The hub in a folder, and its owner's client."""
    async with running_hub(folder, **settings) as running:
        await impatient(running)
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as client:
            yield Lab(running, client, upstream)


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with FaultUpstream() as upstream, open_lab(tmp_path, upstream) as made:
        upstream.script(own_server)
        yield made
