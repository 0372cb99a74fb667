"""Every operation of the contract, at a real hub over a socket: what it promises and what it refuses, field by field."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.contract.differences import DIFFERENCES, PENDING
from tests.contract.rows import ROWS
from tests.contract.trial import CONTRACT, Trial
from tests.contract.world import worlds
from tests.fakes.command import answer, serving

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
    assert (DIFFERENCES.keys() | PENDING) <= CONTRACT.keys()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xfail(name in PENDING, reason="not there yet", strict=True)) for name in ASKED]
)
async def test_operation(world: World, name: str) -> None:
    problems = await Trial(world, name).run()
    meant = DIFFERENCES.get(name, {})
    found = [line for line in problems if not line.startswith(tuple(meant))]
    found += [f"no difference any more: {start}" for start in meant if not any(line.startswith(start) for line in problems)]
    assert not found, "\n".join(dict.fromkeys(found))


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
