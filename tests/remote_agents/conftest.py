"""A running hub, its owner over HTTP, and agents elsewhere that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.remote_agents.turn import Pace
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: Impatient: tests wait for what happens and not for time.
PACE = Pace(idle=5, first_look=0.01, longest_look=0.05, failures=3, leave=5)


@dataclass
class Owner:
    """The owner of a hub."""

    running: Running
    http: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        """Call the management API and expect a status."""
        answer = await self.http.request(method, f"/api/agents{path}", json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def add(self, url: str, name: str = "far", *, status: int = 201, **more: Any) -> Any:
        """Add an agent on this machine, allowed unless something is found in its card."""
        body = {"name": name, "url": url, "allowPrivate": True, "approve": True, **more}
        return await self.ask("POST", "", body, status=status)

    async def call(self, message: str = "", name: str = "far", *, status: int = 200, **more: Any) -> Any:
        """Call its one skill."""
        return await self.ask("POST", f"/{name}/call", {"message": message, **more}, status=status)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as hub:
        hub.hub.remote_agents.pace = PACE
        yield hub


@pytest.fixture
async def owner(running: Running) -> AsyncIterator[Owner]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage"), timeout=30) as http:
        yield Owner(running, http)
