"""A hub with installed skills: strict vendors upstream, a service that a skill calls, marketplaces, and a container program on disk."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, Received, json_answer
from tests.fakes.vendors import BASES, KEY, MODELS, answer, reply_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from tests.fakes.vendors import Heard, Reply

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


@dataclass
class Bench:
    """The hub, its owner's client, the vendors, and the service that skills call. ``reply`` is what a vendor says."""

    hub: Running
    http: httpx.AsyncClient
    vendors: FaultUpstream
    service: FaultUpstream
    reply: Callable[[Heard], Reply] = reply_to
    served: Callable[[Received], Behaviour] | None = None
    rows_before: int = 0

    def vendor(self, request: Received) -> Behaviour:
        return answer(request, self.reply)

    def serve(self, request: Received) -> Behaviour:
        """The weather of a city, or what a test wants."""
        if self.served is not None:
            return self.served(request)
        city = parse_qs(urlsplit(request.target).query)["city"][0]
        return json_answer({"said": f"sun in {city}"})

    async def ask(self, method: str, path: str, status: int = 200, *, key: str = "", **options: Any) -> Any:
        """The body of an answer, whose status must be this; as the owner, or with a key."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        given = await self.http.request(method, path, headers=headers, **options)
        assert given.status_code == status, f"{given.status_code} {given.text}"
        return given.json()

    async def install(self, status: int = 200, **fields: Any) -> Any:
        """Install a skill; the answer."""
        return await self.ask("POST", "/api/skills/install", status, json=fields)

    async def weather(self, name: str = "city weather", mode: str = "on", **fields: Any) -> str:
        """A skill that asks the service for the weather of a city; its id."""
        handler = {"type": "http", "url": f"{self.service.url}/weather?city={{city}}", "headers": {"x-secret": "of the service"}}
        made = await self.install(
            **{
                "name": name,
                "description": "Says the weather of a city.",
                "schema": {"input": CITY},
                "handler": handler,
                "mode": mode,
                **fields,
            }
        )
        assert made["review"] == "approved"
        return made["id"]

    async def run(self, name: str, given: Any, status: int = 200, **options: Any) -> Any:
        """Run a skill; its record, or the error."""
        more = {one: options.pop(one) for one in ("apiKeyId", "sessionId") if one in options}
        found = await self.ask("POST", "/api/skills/executions", status, json={"skillName": name, "input": given, **more}, **options)
        return found["execution"] if status == 200 else found

    async def renew(self) -> None:
        """As it was made."""
        hub = self.hub.hub
        self.reply, self.served, self.rows_before = reply_to, None, 0
        self.rows_before = len(await self.rows())
        self.vendors.requests.clear()
        self.service.requests.clear()
        self.service.closed.clear()
        for one in hub.user_skills.library.documents.all():
            await hub.user_skills.library.documents.delete(one.id)
        await hub.preferences.change({"skillsEnabled": True, "skillsMaxRounds": None, "systemPrompt": None, "skillsProvider": None})
        await hub.store.skill_runs.delete_before(hub.clock.now_ms() + 1)

    async def rows(self) -> list[Any]:
        """Usage of this test, newest first."""
        await self.hub.hub.store.flush()
        rows, total = await self.hub.hub.store.usage.page(limit=500, offset=0)
        return rows[: total - self.rows_before]


@asynccontextmanager
async def benched(tmp_path: Path, *, vendors: tuple[str, ...] = (), on: bool = True, **settings: Any) -> AsyncIterator[Bench]:
    async with FaultUpstream() as upstream, FaultUpstream() as service:
        options = {"skills_allowed_hosts": f"127.0.0.1:{service.port}", **settings}
        async with running_hub(tmp_path, **options) as hub:
            for vendor in vendors:
                secret = "" if vendor == "ollama" else KEY
                await hub.hub.store.connections.create(
                    provider=vendor, name=f"my {vendor}", base_url=upstream.url + BASES[vendor], secret=secret, allow_private=True
                )
            await impatient(hub)
            await hub.hub.preferences.change({"skillsEnabled": on})
            async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers(), timeout=30) as client:
                bench = Bench(hub, client, upstream, service)
                upstream.script(bench.vendor)
                service.script(bench.serve)
                yield bench


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a hub keeps its rows; empty for SQLite in its folder."""
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


@pytest.fixture(scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """One hub for a module."""
    async with benched(tmp_path_factory.mktemp("standing"), vendors=tuple(MODELS)) as made:
        yield made


@pytest.fixture
async def bench(standing: Bench) -> Bench:
    """That hub as it was made: without skills, runs and what a test set."""
    await standing.renew()
    return standing
