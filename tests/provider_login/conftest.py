"""A running hub with the owner's client at a provider whose users sign in, and both kinds of callers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.signin import CLIENT, CODE, DEVICE, SignIn, signing_in
from tests.upstream.browser import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHAT = {"model": "databricks/m", "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class Scene:
    """The hub, its owner's client over HTTP, and the provider."""

    running: Running
    owner: httpx.AsyncClient
    vendor: SignIn

    @property
    def accounts(self) -> Any:
        """The hub's accounts."""
        return self.running.hub.logins.accounts

    async def set_client(self, provider: str = CODE, **more: Any) -> httpx.Response:
        """The owner's client at a provider."""
        base_url = self.vendor.base_url if provider == CODE else f"{self.vendor.url}/api/v4"
        body = {"clientId": CLIENT, "baseUrl": base_url, "allowPrivate": True, **more}
        return await self.owner.put(f"/api/oauth-clients/{provider}", json=body)

    async def begin(self, action: str = "authorize", provider: str = CODE, **query: Any) -> Any:
        """Begin a login; what it answers."""
        answer = await self.owner.get(f"/api/oauth/{provider}/{action}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def back(self, begun: dict[str, Any]) -> str:
        """The address that the browser comes back to after the user agreed."""
        async with httpx.AsyncClient() as browser:
            if begun["redirectUri"] not in self.vendor.clients[CLIENT]["redirect_uris"]:
                self.vendor.clients[CLIENT]["redirect_uris"].append(begun["redirectUri"])
            sent = await browser.get(begun["authUrl"])
            assert sent.status_code == 302, sent.text
            return sent.headers["location"]

    async def post(self, action: str, provider: str = CODE, **body: Any) -> httpx.Response:
        """Go on with a login."""
        return await self.owner.post(f"/api/oauth/{provider}/{action}", json=body)

    async def log_in(self, **query: Any) -> dict[str, Any]:
        """A whole login with the browser; the connection."""
        begun = await self.begin(**query)
        async with httpx.AsyncClient() as browser:
            page = await browser.get(await self.back(begun))
            assert page.status_code == 200, page.text
        came = (await self.post("poll-callback", state=begun["state"])).json()
        assert came["success"], came
        return came["connection"]

    async def chat(self) -> httpx.Response:
        """One chat through the hub."""
        return await self.owner.post("/v1/chat/completions", json=CHAT)

    async def shown(self, connection: str) -> dict[str, Any]:
        """A connection as the owner sees it."""
        return (await self.owner.get(f"/api/providers/{connection}")).json()["connection"]


def fields(url: str) -> dict[str, str]:
    """The query of an address."""
    return dict(parse_qsl(urlsplit(url).query))


@pytest.fixture
async def vendor() -> AsyncIterator[SignIn]:
    async with signing_in() as one:
        yield one


@pytest.fixture(params=["sqlite"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path, vendor: SignIn) -> AsyncIterator[Scene]:
    """With the database that the test names; SQLite where it names none."""
    if request.param == "sqlite":
        async with _scene(tmp_path, vendor) as one:
            yield one
        return
    with postgres_database() as url:
        async with _scene(tmp_path, vendor, database_url=url) as one:
            yield one


@asynccontextmanager
async def _scene(tmp_path: Path, vendor: SignIn, **settings: Any) -> AsyncIterator[Scene]:
    port = free_port()
    async with running_hub(tmp_path, port=port, public_url=f"http://127.0.0.1:{port}", **settings) as running:
        await impatient(running)
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=30) as owner:
            one = Scene(running, owner, vendor)
            for provider in (CODE, DEVICE):
                assert (await one.set_client(provider)).status_code == 200
            yield one
