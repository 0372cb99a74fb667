"""What all HTTP doors share: who may call what, from where, and in which spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.hub import Running, running_hub
from transports._http import Route, all_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

#: The only addresses that answer without a credential (SEC B1). A new public route must be added here by hand.
PUBLIC = {
    "/",
    # Pages send strangers to the login, and never show them anything (tests/dashboard); their files are no secret.
    "/dashboard",
    "/dashboard/page",
    "/dashboard/static/name",
    # The way in: whoever comes here has no credential yet, and is slowed down (SEC-06).
    "/owner",
    "/login",
    "/logout",
    "/api/auth/login",
    "/api/auth/logout",
    "/api/auth/setup",
    "/api/auth/oidc/start",
    "/api/auth/oidc/callback",
    # Whether there is a password, for the page that asks for it. Only GET: the others need a key or a session.
    "/api/settings/require-login",
    "/health",
    "/ready",
    "/api/monitoring/health",
    # A first-run page asks this before anybody can have a key; the answer is one bit.
    "/api/init",
    "/.well-known/agent.json",
    "/.well-known/agent-card.json",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/resource",
    # A login at an upstream server: the addresses prove themselves, to a browser that has no key.
    "/api/mcp/oauth/start",
    "/api/mcp/oauth/callback",
    "/api/mcp/oauth/callback/tag",
    "/api/mcp/oauth/clients/tag",
    # The way back from a login at a provider: its state proves that the hub asked, and only who began it can end it.
    "/api/oauth/provider/callback",
    # Another hub that syncs with this one: it has a sync token, which the skill behind the address checks.
    "/api/sync/bundle",
}


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    async with running_hub(tmp_path_factory.mktemp("http")) as hub:
        yield hub


@pytest.fixture(scope="module")
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, timeout=10) as session:
        yield session


def _calls(running: Running) -> list[tuple[str, str, Route]]:
    return [
        (method, route.path.replace("{", "").replace("}", "").replace(":path", ""), route)
        for route in all_routes(running.hub)
        for method in route.methods
    ]


async def test_every_route_is_closed_without_a_valid_credential(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-01: no credential, a random one, an expired one; the table is read from the app, so a new route cannot escape."""
    expired = await running.key("*", expires_at=running.hub.clock.now_ms() - 1000)
    for method, path, route in _calls(running):
        if path in PUBLIC and (route.public or method == "GET"):
            assert route.public, path
            continue
        for headers in ({}, {"authorization": "Bearer hr_wrong"}, {"authorization": f"Bearer {expired}"}, {"x-api-key": "hr_wrong"}):
            answer = await client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path, headers, answer.text)
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "twist",
    [
        str.upper,
        lambda path: "/" + path,
        lambda path: path.replace("/", "/./", 1),
        lambda path: path.replace("a", "%61", 1),
        lambda path: "/" + path[1:].replace("/", "%2f", 1),
        lambda path: path + ";x",
        lambda path: path + "/",
        lambda path: path + "%00",
        lambda path: "/health/.." + path,
        lambda path: path + "?public=1",
    ],
    ids=["upper", "double", "dot", "encoded", "slash", "semicolon", "trailing", "nul", "dotdot", "query"],
)
async def test_path_tricks_never_open_a_route(running: Running, client: httpx.AsyncClient, twist: Any) -> None:
    """SEC-02."""
    for method, path, _ in _calls(running):
        if path in PUBLIC or method not in ("GET", "POST"):
            continue
        headers = {"x-original-url": "/health", "x-rewrite-url": "/health", "x-http-method-override": "GET"}
        url = httpx.URL(running.url).copy_with(raw_path=twist(path).encode())
        answer = await client.request(method, url, headers=headers)
        assert answer.status_code in (401, 404, 405), (method, path, answer.status_code)
        assert "hr_" not in answer.text


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "TRACE"])
async def test_other_methods_are_no_way_round(running: Running, client: httpx.AsyncClient, method: str) -> None:
    """SEC-02."""
    for path in ("/v1/chat/completions", "/api/keys", "/api/providers"):
        assert (await client.request(method, path)).status_code in (401, 405)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:20128"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1.evil.example"},
        {"origin": "file://"},
    ],
)
async def test_foreign_host_or_origin_is_refused_even_with_a_key(
    running: Running, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    """SEC-07: DNS rebinding and cross-site calls; also on the public routes."""
    good = await running.headers()
    for method, path in (
        ("POST", "/v1/chat/completions"),
        ("POST", "/a2a"),
        ("POST", "/api/mcp/stream"),
        ("GET", "/api/keys"),
        ("GET", "/health"),
    ):
        answer = await client.request(method, path, headers={**good, **headers}, json={})
        assert answer.status_code == 403, (path, headers)
        assert "access-control-allow-origin" not in answer.headers


async def test_own_names_are_accepted(running: Running, client: httpx.AsyncClient) -> None:
    good = await running.headers()
    for host in ("localhost:20128", "127.0.0.1", "[::1]:1"):
        assert (await client.get("/v1/models", headers={**good, "host": host})).status_code == 200
    assert (await client.get("/v1/models", headers={**good, "origin": running.url})).status_code == 200


async def test_errors_have_the_shape_of_their_door(running: Running, client: httpx.AsyncClient) -> None:
    openai = (await client.post("/v1/chat/completions")).json()["error"]
    assert openai["type"] == "authentication_error"
    assert openai["code"] == "invalid_api_key"
    refused = await client.get("/api/keys")
    rest = refused.json()["error"]
    assert (rest["code"], rest["correlation_id"]) == ("AUTH_001", refused.headers["x-request-id"])
    good = await running.headers()
    missing = await client.get("/api/nowhere/at/all", headers=good)
    assert missing.status_code == 404
    assert missing.json()["code"] == "not_found"
    assert isinstance(missing.json()["error"], str)
    wrong = await client.request("PATCH", "/v1/chat/completions", headers=good)
    assert wrong.status_code == 405
    assert "POST" in wrong.json()["error"]["message"]


async def test_open_model_api_needs_the_switch_and_opens_nothing_else(tmp_path: Path) -> None:
    """D4: REQUIRE_API_KEY=false opens the client API on loopback only; a key that is sent must still be valid."""
    async with running_hub(tmp_path, require_api_key=False) as running, httpx.AsyncClient(base_url=running.url) as client:
        body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
        assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        assert (await client.get("/v1/models")).status_code == 200
        assert (await client.get("/api/keys")).status_code == 403
        wrong = await client.post("/v1/chat/completions", json=body, headers={"authorization": "Bearer hr_wrong"})
        assert wrong.status_code == 401


async def test_the_v1_aliases_of_the_seed_answer(running: Running, client: httpx.AsyncClient) -> None:
    good = await running.headers()
    for path in ("/v1/models", "/api/v1/models", "/models", "/v1/models/"):
        assert (await client.get(path, headers=good)).status_code == 200
