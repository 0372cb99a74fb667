"""A hub on either database and a provider whose answers a test writes by the last words it is asked."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, Received, json_answer
from tests.fakes.vendor import completion, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@dataclass
class Bench:
    """A hub, an owner's client, and the provider. ``answers`` is by words of the question; a behaviour instead of a text is done."""

    hub: Running
    client: httpx.AsyncClient
    upstream: FaultUpstream
    connection: str
    answers: dict[str, str | Behaviour | Callable[[Received], Behaviour | str]] = field(default_factory=dict[str, Any])

    def behave(self, request: Received) -> Behaviour:
        """What the provider does with a request: by the first words that are in its last message and its model."""
        asked = request.json()
        words = f"{asked.get('model', '')} {asked['messages'][-1]['content']}" if "messages" in asked else ""
        for part, answer in self.answers.items():
            if part in words:
                found = answer(request) if callable(answer) else answer
                return found if isinstance(found, Behaviour) else json_answer(completion(found))
        return json_answer(completion("no idea"))

    async def suite(self, *cases: dict[str, Any], **fields: Any) -> str:
        """A custom suite; returns its id."""
        made = await self.client.post("/api/evals/suites", json={"name": "mine", "cases": list(cases), **fields})
        assert made.status_code == 201, made.text
        return made.json()["suite"]["id"]

    async def run(self, suite: str, *, expect: int = 200, **fields: Any) -> dict[str, Any]:
        """Run a suite; by default at the provider's model."""
        body = {"suiteId": suite, "target": {"type": "model", "id": "openai/gpt-4o-mini"}, **fields}
        done = await self.client.post("/api/evals", json={name: value for name, value in body.items() if value is not None})
        assert done.status_code == expect, done.text
        return done.json()

    async def get(self, path: str, **query: Any) -> Any:
        """A GET that succeeds."""
        done = await self.client.get(path, params=query)
        assert done.status_code == 200, done.text
        return done.json()


def case(name: str, question: str, strategy: str, value: str = "", **fields: Any) -> dict[str, Any]:
    """A case that asks one question; ``fields`` are those of ``expected``."""
    expected = {"strategy": strategy, **({"value": value} if value else {}), **fields}
    return {"id": name, "name": name, "input": {"messages": [{"role": "user", "content": question}]}, "expected": expected}


@asynccontextmanager
async def benched(tmp_path: Path, **settings: Any) -> AsyncIterator[Bench]:
    async with FaultUpstream() as upstream, running_hub(tmp_path, **settings) as hub:
        await impatient(hub)
        connection = await connect(hub, upstream)
        async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers(), timeout=60) as client:
            bench = Bench(hub, client, upstream, connection)
            upstream.script(bench.behave)
            yield bench


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a hub keeps its rows; empty for SQLite in its folder."""
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with benched(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One hub for the tests of a module that leave nothing behind."""
    async with benched(tmp_path_factory.mktemp("shared")) as made:
        yield made
