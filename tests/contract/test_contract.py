"""Every operation of the contract, at a real hub over a socket: what it promises and what it refuses, field by field."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.contract.differences import DIFFERENCES
from tests.contract.rows import ROWS
from tests.contract.shapes import differences
from tests.contract.trial import CONTRACT, ERRORS, Trial
from tests.contract.world import MODEL, worlds
from tests.fakes.command import answer, serving
from tests.fakes.database import postgres_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.contract.world import World

pytestmark = pytest.mark.anyio

ASKED = [name for name in CONTRACT if not ROWS[name].ends]


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with worlds(tmp_path_factory.mktemp("contract")) as made:
        yield made


def test_every_operation_has_a_row() -> None:
    assert ROWS.keys() == CONTRACT.keys()
    assert len(CONTRACT) == 241
    assert DIFFERENCES.keys() <= CONTRACT.keys()


@pytest.mark.parametrize("name", ASKED)
async def test_operation(world: World, name: str) -> None:
    problems = await Trial(world, name).run()
    meant = DIFFERENCES.get(name, {})
    found = [line for line in problems if not line.startswith(tuple(meant))]
    found += [f"no difference any more: {start}" for start in meant if not any(line.startswith(start) for line in problems)]
    assert not found, "\n".join(dict.fromkeys(found))


async def test_what_is_stored_is_the_same_on_postgresql(tmp_path: Path) -> None:
    """Every operation that needs something stored, or stores something, succeeds there with the same fields."""
    found: list[str] = []
    with postgres_database() as url:
        async with worlds(tmp_path, database_url=url) as world:
            for name in (one for one in ASKED if ROWS[one].needs):
                trial = Trial(world, name)
                for row in (ROWS[name], *ROWS[name].more):
                    await trial.succeeds(row)
                found += [f"{name} {line}" for line in trial.problems if not line.startswith(tuple(DIFFERENCES.get(name, ())))]
    assert not found, "\n".join(found)


#: An address of each door that has an error body of its own: method, path.
DOORS = {
    "typed": ("POST", "/v1/chat/completions"),
    "anthropic": ("POST", "/v1/messages"),
    "gemini": ("POST", f"/v1beta/models/{MODEL}:generateContent"),
    "text": ("POST", "/api/keys"),
    "managed": ("POST", "/api/v1/management/proxies"),
}


@pytest.mark.parametrize("kind", DOORS)
async def test_a_body_over_the_limit_is_refused_before_it_comes(world: World, kind: str) -> None:
    """REL-08: by its announced length, in the door's own shape; nothing of it is read."""
    method, path = DOORS[kind]
    head = {**world.owner.headers, "host": "127.0.0.1", "content-type": "application/json", "content-length": str(1 << 30)}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(world.running.url).port)
    with closing(writer):
        writer.write("\r\n".join(lines).encode())
        status = int((await reader.readline()).split()[1])
        told = {name.lower(): value for name, _, value in [line.decode().partition(": ") async for line in _head(reader)]}
        body = json.loads(await reader.readexactly(int(told["content-length"])))
    assert status == 413
    assert not list(differences(body, ERRORS[kind])), body
    assert "MAX_BODY_MB" in json.dumps(body)


async def _head(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while (line := await reader.readline()).strip():
        yield line


async def test_head_is_get_without_its_body_and_options_says_what_there_is(world: World) -> None:
    for path in ("/v1/models", "/api/keys", "/api/monitoring/health", "/.well-known/agent.json"):
        whole, head = await world.owner.get(path), await world.owner.head(path)
        assert (head.status_code, head.content, head.headers["content-type"]) == (200, b"", whole.headers["content-type"])
        options = await world.owner.options(path)
        assert (options.status_code, "GET" in options.headers["allow"]) == (405, True)


@pytest.mark.parametrize("name", [name for name in CONTRACT if ROWS[name].ends])
async def test_operation_that_ends_the_process(tmp_path: Path, name: str) -> None:
    with serving(tmp_path / "data") as served:
        made = await asyncio.to_thread(answer, tmp_path / "data", "keys", "create", "owner", "--scopes", "manage")
        path = name.partition(" ")[2]
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as http:
            assert (await http.post(path)).status_code == 401
            told = await http.post(path, headers={"authorization": f"Bearer {made['key']}"})
        assert told.status_code == 200, told.text
        assert told.json().keys() >= CONTRACT[name]["answers"]["200"]["json"].keys()
