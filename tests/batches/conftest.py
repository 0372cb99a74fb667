"""A hub on either database, OpenAI's SDK as its client, and a provider on loopback that counts."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import httpx
import openai
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a hub keeps its rows; empty for SQLite in its folder."""
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


@pytest.fixture
async def running(tmp_path: Path, database: str) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, database_url=database, file_quota_mb=200) as hub:
        yield hub


@pytest.fixture
async def sdk(running: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key("chat"), max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat"), timeout=60) as session:
        yield session
