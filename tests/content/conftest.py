"""A hub before a provider that speaks as it is told, on either database, and a client of its management API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good, stream
from tests.test_canary import rows_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

#: What nobody but a client and its provider should find anywhere.
CANARY = "the heron flies at dusk"
MODEL = "openai/gpt-4o-mini"


@dataclass
class Desk:
    """Calls the hub as the owner, and looks at what lies in its database."""

    running: Running
    http: httpx.AsyncClient
    upstream: FaultUpstream
    database_url: str

    async def ask(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        """The body of an answer, whose status must be this."""
        answer = await self.http.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def turn(self, **settings: Any) -> Any:
        """Change what is stored; on unless it says otherwise."""
        return await self.ask("PATCH", "/api/settings/request-content", json={"enabled": True, **settings})

    async def chat(self, words: str = CANARY, *, key: dict[str, str] | None = None, status: int = 200, **fields: Any) -> str:
        """Say something to the model; the id of the request."""
        body = {"model": MODEL, "messages": [{"role": "user", "content": words}], **fields}
        answer = await self.http.post("/v1/chat/completions", json=body, headers=key or {})
        assert answer.status_code == status, answer.text
        return answer.headers["x-request-id"]

    async def said(self, request: str, status: int = 200) -> Any:
        """What is stored of a request."""
        return await self.ask("GET", f"/api/usage/request-logs/{request}/content", status)

    async def stored(self, **of: str) -> list[str]:
        """Of which requests something is stored, newest first."""
        return [one["requestId"] for one in (await self.ask("GET", "/api/usage/request-logs/content", params=of))["requests"]]

    async def lies(self, words: str) -> bool:
        """Whether words can be read in the database, or in any file of the data folder."""
        await self.running.hub.store.flush()
        found = [path.read_bytes() for path in self.running.hub.settings.data_dir.rglob("*") if path.is_file()]
        if self.database_url:
            found += [row for _, row in rows_of(self.database_url)]
        assert any(found)
        return any(words.encode() in data for data in found)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield ""
        return
    with postgres_database() as url:
        yield url


@pytest.fixture
async def desk(tmp_path: Path, database_url: str) -> AsyncIterator[Desk]:
    async with FaultUpstream() as upstream, running_hub(tmp_path, database_url=database_url, flush_ms=5) as running:
        upstream.script(lambda request: stream("up") if request.json().get("stream") else good())
        await connect(running, upstream)
        await impatient(running)
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as http:
            yield Desk(running, http, upstream, database_url)
