"""The session cookie at the doors that take it: whom it stands for, and what it takes to change something with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.login import Session

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("session")) as hub:
        yield hub


@pytest.fixture(scope="module")
async def session(running: Running) -> tuple[Session, str]:
    return await running.hub.login.sessions.begin(address="127.0.0.1", agent="a browser")


@pytest.fixture
async def client(running: Running, session: tuple[Session, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, cookies={"auth_token": session[1]}, timeout=10) as browser:
        yield browser


_CHANGE = {"stickyRoundRobinLimit": 3}


async def test_a_session_is_the_owner_at_the_management_addresses_and_named_in_the_audit_log(
    running: Running, client: httpx.AsyncClient, session: tuple[Session, str]
) -> None:
    assert (await client.get("/api/keys")).status_code == 200
    await running.hub.store.flush()
    rows, _ = await running.hub.store.audit.page(limit=5)
    assert rows[0].caller == f"owner ({session[0].id})"
    assert rows[0].key_id == "owner"


@pytest.mark.parametrize("path", ["/v1/models", "/api/mcp/stream", "/api/v1/models"])
async def test_model_doors_and_agents_take_no_cookie(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 401


async def test_a_key_beside_the_cookie_counts_alone(running: Running, client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/keys", headers=await running.headers("read:models"))).status_code == 403
    assert (await client.get("/api/keys", headers={"authorization": "Bearer hr_wrong"})).status_code == 401


@pytest.mark.parametrize("value", ["", "x", "A" * 43, "A" * 5000, "é" * 43])
async def test_what_is_no_session_is_nobody(running: Running, value: str) -> None:
    async with httpx.AsyncClient(base_url=running.url) as stranger:
        assert (await stranger.get("/api/keys", headers={"cookie": f"auth_token={value}".encode()})).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"x-csrf-token": "wrong"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "http://127.0.0.1"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:1", "sec-fetch-site": "same-origin", "x-csrf-token": "wrong"}, 403),
    ],
)
async def test_a_change_by_cookie_needs_a_proof_of_its_page(client: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    """SEC-08: only the session's token, or the browser's own word that a page of this origin asks."""
    for method in ("PATCH", "PUT"):
        assert (await client.request(method, "/api/settings", json=_CHANGE, headers=headers)).status_code == status, method
    assert (await client.get("/api/settings", headers=headers)).status_code == (403 if headers.get("origin") == "null" else 200)


async def test_the_session_s_token_and_the_page_s_own_origin_are_proofs(
    running: Running, client: httpx.AsyncClient, session: tuple[Session, str]
) -> None:
    """SEC-08."""
    for headers in ({"x-csrf-token": session[0].csrf}, {"origin": running.url}):
        assert (await client.patch("/api/settings", json=_CHANGE, headers=headers)).status_code == 200


async def test_another_session_s_token_is_none(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-08."""
    other, _ = await running.hub.login.sessions.begin(address="", agent="")
    refused = await client.patch("/api/settings", json=_CHANGE, headers={"x-csrf-token": other.csrf, "origin": running.url})
    assert (refused.status_code, refused.json()["error"]["details"]["code"]) == (403, "csrf_refused")


async def test_a_form_needs_the_token_wherever_it_comes_from(
    running: Running, client: httpx.AsyncClient, session: tuple[Session, str]
) -> None:
    """SEC-08: a replayed form without the token, or with another session's."""
    other, _ = await running.hub.login.sessions.begin(address="", agent="")
    proof = {"origin": running.url, "sec-fetch-site": "same-origin"}
    for fields in ({}, {"csrf": other.csrf}, {"csrf": ""}):
        assert (await client.post("/api/policies", data={"a": "b", **fields}, headers=proof)).status_code == 403
    passed = await client.post("/api/policies", data={"csrf": session[0].csrf}, headers=proof)
    assert passed.status_code == 400  # past the guard; this address wants JSON
    twice = await client.post(
        "/api/policies", content=f"csrf={session[0].csrf}&csrf=x", headers={**proof, "content-type": "application/x-www-form-urlencoded"}
    )
    assert twice.status_code == 400


async def test_what_a_session_can_get_by_an_address_alone_changes_nothing(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-08: links and pictures on other sites reach no skill that does more than read."""
    skills = {address.path: skill for skill in running.hub.skills for address in skill.rest if address.method == "GET"}
    routes = [route for route in running.hub.kept["routes"] if route.door.cookies and "GET" in route.methods]
    assert len(routes) > 50
    # Pages and the document of all this change nothing but what the browser keeps.
    pages = ("/login", "/dashboard", "/openapi.json")
    others = [route.path for route in routes if route.path != "/" and not route.path.startswith(pages)]
    changing = [path for path in others if not skills[path].read_only]
    assert changing  # the seed's clients begin logins and exports by GET
    for path in changing:
        for site in ("cross-site", "same-site"):
            answer = await client.get(path.replace("{provider}", "gemini"), headers={"sec-fetch-site": site})
            assert answer.status_code == 403, (path, site)


async def test_a_page_may_call_the_hub_that_it_came_from_by_any_name_of_it(tmp_path: Path) -> None:
    """SEC-07: on a network the hub does not know its names; its own pages do, and other doors take no page at all."""
    async with running_hub(tmp_path, host="0.0.0.0") as running:
        session, token = await running.hub.login.sessions.begin(address="", agent="")
        async with httpx.AsyncClient(base_url=running.url, headers={"host": "hub.lan:20128"}) as browser:
            for origin, status in (
                ("http://hub.lan:20128", 200),
                ("https://hub.lan:20128", 403),
                ("http://hub.lan", 403),
                ("http://evil.example", 403),
            ):
                sent = {"origin": origin, "cookie": f"auth_token={token}"}
                assert (await browser.patch("/api/settings", json=_CHANGE, headers=sent)).status_code == status, origin
            own = {"origin": "http://hub.lan:20128"}
            assert (await browser.post("/api/auth/login", json={"password": "x"}, headers=own)).json()["needsSetup"] is True
            for path in ("/v1/models", "/api/mcp/stream", "/a2a"):
                assert (await browser.post(path, json={}, headers={**own, **await running.headers()})).status_code == 403, path
        assert session.id


async def test_the_public_address_is_the_hub_s_own_wherever_it_listens(tmp_path: Path) -> None:
    async with running_hub(tmp_path, host="0.0.0.0", public_url="https://Hub.example.com/") as running:
        _, token = await running.hub.login.sessions.begin(address="", agent="")
        async with httpx.AsyncClient(base_url=running.url) as browser:
            for origin, status in (
                ("https://hub.example.com", 200),
                ("https://hub.example.com:444", 403),
                ("http://hub.example.com", 403),
                ("null", 403),
            ):
                sent = {"origin": origin, "cookie": f"__Host-auth_token={token}"}
                assert (await browser.patch("/api/settings", json=_CHANGE, headers=sent)).status_code == status, origin


async def test_a_hundred_browsers_are_enough(running: Running) -> None:
    """SEC B8."""
    sessions = running.hub.login.sessions
    kept = await sessions.begin(address="", agent="first")
    for _ in range(100):
        await sessions.begin(address="", agent="")
    assert len(await sessions.list()) == 100
    assert await sessions.find(kept[1]) is None


async def test_an_ended_session_is_nobody_at_once(running: Running) -> None:
    """SEC-06."""
    sessions = running.hub.login.sessions
    made, token = await sessions.begin(address="", agent="")
    async with httpx.AsyncClient(base_url=running.url, cookies={"auth_token": token}) as browser:
        assert (await browser.get("/api/keys")).status_code == 200
        await sessions.end(made.id)
        assert (await browser.get("/api/keys")).status_code == 401
