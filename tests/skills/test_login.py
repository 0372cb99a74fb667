"""The login's management: whether it is asked for, sessions, the second factor, the link; who may, and what is refused."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.records import Caller
from tests.fakes.hashes import quick_hashes
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PASSWORD = "correct horse"
STATE = "/api/settings/require-login"


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    with quick_hashes():
        yield


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("login"), initial_password=PASSWORD) as hub:
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A program with a key of the owner's."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage"), timeout=20) as made:
        yield made


@asynccontextmanager
async def browser(running: Running, password: str = PASSWORD) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that is logged in."""
    async with httpx.AsyncClient(base_url=running.url, headers={"sec-fetch-site": "same-origin"}, timeout=20) as made:
        assert (await made.post("/api/auth/login", json={"password": password})).status_code == 200
        yield made


OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("PUT", STATE, {"requireLogin": True}),
    ("POST", STATE, {"requireLogin": True}),
    ("GET", "/api/auth/sessions", {}),
    ("DELETE", "/api/auth/sessions/x", {}),
    ("DELETE", "/api/auth/sessions", {}),
    ("GET", "/api/auth/totp", {}),
    ("POST", "/api/auth/totp", {}),
    ("POST", "/api/auth/totp/confirm", {"code": "123456"}),
    ("DELETE", "/api/auth/totp", {}),
]


@pytest.mark.parametrize(("method", "path", "body"), OPERATIONS)
async def test_only_the_owner_manages_the_login(running: Running, method: str, path: str, body: dict[str, Any]) -> None:
    async with httpx.AsyncClient(base_url=running.url) as stranger:
        assert (await stranger.request(method, path, json=body)).status_code == 401
        refused = await stranger.request(method, path, json=body, headers=await running.headers("operator"))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "AUTH_001")


@pytest.mark.parametrize(("method", "path", "body"), [one for one in OPERATIONS if one[0] != "GET"])
async def test_unknown_fields_and_malformed_bodies_change_nothing(
    running: Running, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any]
) -> None:
    before = await running.hub.store.logins.owner()
    assert (await client.request(method, path, json={**body, "surprise": 1})).status_code == 400
    assert (await client.request(method, path, content=b"{")).status_code == 400
    assert await running.hub.store.logins.owner() == before


async def test_the_state_is_for_everybody_and_the_runtime_s_version_for_the_owner(running: Running, client: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(base_url=running.url) as stranger:
        state = (await stranger.get(STATE)).json()
        assert state == {"requireLogin": True, "hasPassword": True, "setupComplete": True, "nodeVersion": "", "nodeCompatible": True}
        wrong = {"authorization": "Bearer hr_wrong"}
        assert (await stranger.get(STATE, headers=wrong)).status_code == 401
        few = (await stranger.get(STATE, headers=await running.headers("read:models"))).json()
        assert few["nodeVersion"] == ""
    assert (await client.get(STATE)).json()["nodeVersion"].startswith("3.")
    async with browser(running) as mine:
        assert (await mine.get(STATE)).json()["nodeVersion"].startswith("3.")


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_password_is_set_by_either_method(running: Running, client: httpx.AsyncClient, method: str) -> None:
    async with browser(running) as mine:
        for body, words in (
            ({}, "requireLogin"),
            ({"password": "short"}, "8 to 200"),
            ({"password": "password"}, "tried first"),
            ({"password": "x" * 201}, "200"),
            ({"requireLogin": "perhaps"}, "requireLogin"),
            ({"password": None}, "requireLogin"),
        ):
            refused = await client.request(method, STATE, json=body)
            assert (refused.status_code, words in refused.text) == (400, True), refused.text
        done = await client.request(method, STATE, json={"password": "another horse"})
        assert (done.status_code, done.json()) == (200, {"success": True})
        assert (await mine.get("/api/keys")).status_code == 401
    async with browser(running, "another horse") as mine:
        assert (await mine.request(method, STATE, json={"password": PASSWORD})).json() == {"success": True}
        assert (await mine.get("/api/keys")).status_code == 200, "the browser that changed it stays"
    rows, _ = await running.hub.store.audit.page(limit=5, skill="login-update")
    assert rows[0].caller.startswith("owner (ses_")
    assert not any("horse" in row.detail for row in rows)


async def test_sessions_are_listed_and_ended(running: Running, client: httpx.AsyncClient) -> None:
    await client.delete("/api/auth/sessions")
    async with browser(running) as one, browser(running) as two:
        listed = (await one.get("/api/auth/sessions")).json()["sessions"]
        assert [session["current"] for session in listed] == [False, True]
        assert {session["address"] for session in listed} == {"127.0.0.1"}
        assert one.cookies["auth_token"] not in str(listed)
        assert (await one.delete(f"/api/auth/sessions/{listed[0]['id']}")).json() == {"ended": 1}
        assert (await two.get("/api/keys")).status_code == 401
        assert (await one.delete(f"/api/auth/sessions/{listed[0]['id']}")).status_code == 404
        assert (await one.delete("/api/auth/sessions/nobody")).status_code == 404
        await two.post("/api/auth/login", json={"password": PASSWORD})
        assert (await one.delete("/api/auth/sessions")).json() == {"ended": 1}
        assert (await one.get("/api/keys")).status_code == 200
        assert (await client.delete("/api/auth/sessions")).json() == {"ended": 1}
        assert (await one.get("/api/keys")).status_code == 401


async def test_a_link_is_made_by_the_owner_alone(running: Running) -> None:
    hub = running.hub
    made = await hub.call(hub.find("owner-link"), {}, hub.context(Caller.owner(), "cli"))
    assert made.url.startswith(f"{hub.settings.base_url}/owner?token=")


async def test_without_a_login_this_machine_s_browsers_are_the_owner_and_other_sites_are_not(
    running: Running, client: httpx.AsyncClient
) -> None:
    """SEC-07, SEC-08: no login is no open door."""
    assert (await client.put(STATE, json={"requireLogin": False})).status_code == 200
    try:
        async with httpx.AsyncClient(base_url=running.url) as page:
            assert (await page.get(STATE)).json()["requireLogin"] is False
            assert (await page.get("/api/keys")).status_code == 200
            assert (await page.get("/login")).headers["location"] == "/"
            change = {"stickyRoundRobinLimit": 3}
            for headers, status in (
                ({}, 403),
                ({"sec-fetch-site": "same-origin"}, 200),
                ({"origin": running.url}, 200),
                ({"origin": "http://localhost:1"}, 403),
                ({"x-csrf-token": "x", "origin": running.url}, 403),
                ({"x-csrf-token": running.hub.login.sessions.anonymous().csrf}, 200),
                ({"sec-fetch-site": "cross-site"}, 401),
            ):
                assert (await page.patch("/api/settings", json=change, headers=headers)).status_code == status, headers
            for headers, status in (
                ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 401),
                ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
                ({"host": "evil.example"}, 403),
                ({"x-forwarded-for": "203.0.113.7"}, 401),
                ({"forwarded": "for=203.0.113.7"}, 401),
                ({"authorization": "Bearer hr_wrong"}, 401),
            ):
                assert (await page.get("/api/keys", headers=headers)).status_code == status, headers
            assert (await page.get("/v1/models")).status_code == 401, "the model API has a switch of its own"
            refused = await page.put(STATE, json={"password": "another horse"}, headers={"origin": running.url})
            assert (refused.status_code, refused.json()["error"]["details"]["code"]) == (403, "password_needed")
            assert (await page.post("/api/auth/logout", headers={"origin": running.url})).status_code == 200
    finally:
        await client.put(STATE, json={"requireLogin": True})
    async with httpx.AsyncClient(base_url=running.url) as page:
        assert (await page.get("/api/keys")).status_code == 401


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"public_url": "https://hub.example.com"}])
async def test_a_hub_that_others_reach_always_asks_for_a_login(tmp_path: Path, settings: dict[str, str]) -> None:
    async with running_hub(tmp_path) as local:
        await local.hub.preferences.change({"requireLogin": False})
    async with running_hub(tmp_path, **settings) as running:
        hosts = {"host": "127.0.0.1"}
        async with httpx.AsyncClient(base_url=running.url, headers={**await running.headers("manage"), **hosts}) as owner:
            assert (await owner.get(STATE)).json()["requireLogin"] is True, "what was stored on loopback has no effect"
            for method, path in (("PUT", STATE), ("POST", STATE)):
                refused = await owner.request(method, path, json={"requireLogin": False})
                assert (refused.status_code, "loopback" in refused.text) == (400, True)
            await owner.put(STATE, json={"requireLogin": True})
            refused = await owner.patch("/api/settings", json={"requireLogin": False})
            assert (refused.status_code, "loopback" in refused.text) == (400, True)
        async with httpx.AsyncClient(base_url=running.url, headers=hosts) as stranger:
            assert (await stranger.get("/api/keys")).status_code == 401
