"""Logins at protected MCP servers, end to end: a real hub, a real MCP server behind a bearer check, a strict authorization server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from tests.fakes.hub import Running, running_hub
from tests.fakes.mcp import rpc
from tests.fakes.protected import Protected, protected
from tests.upstream.browser import Browser, free_port

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, port=free_port()) as hub:
        yield hub


@pytest.fixture
async def far() -> AsyncIterator[Protected]:
    async with protected() as server:
        yield server


@asynccontextmanager
async def user(running: Running, *scopes: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the hub with a key of its own."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(*scopes), timeout=30) as session:
        yield session


async def add(client: httpx.AsyncClient, far: Protected, **oauth: Any) -> dict[str, Any]:
    """Add the protected server, and log its owner in where its list is to be read."""
    body = {"name": "far", "url": far.url, "allowPrivate": True, "oauth": oauth, "transport": "sse" if far.path == "/sse" else "http"}
    answer = await client.post("/api/mcp/servers", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def login(client: httpx.AsyncClient, name: str = "far") -> httpx.Response:
    """Log a client in, in a browser of its own."""
    asked = await client.post(f"/api/mcp/servers/{name}/login")
    assert asked.status_code == 200, asked.text
    async with Browser() as browser:
        done = await browser.log_in(asked.json()["url"])
    assert done.status_code == 200, done.text
    return done


async def ready(client: httpx.AsyncClient, far: Protected, **oauth: Any) -> None:
    """The server with its owner logged in and its tools approved."""
    await add(client, far, **oauth)
    await login(client)
    synced = await client.post("/api/mcp/servers/far/sync")
    assert synced.status_code == 200, synced.text
    approved = await client.post("/api/mcp/servers/far/approve")
    assert {tool["standing"] for tool in approved.json()["tools"]} == {"approved"}


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens in the background."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)


async def call(client: httpx.AsyncClient, tool: str = "whoami") -> str:
    """What a tool says, or the code of its error."""
    answer = await client.post(f"/api/mcp/servers/far/tools/{tool}", json={})
    body = answer.json()
    return body["content"][0]["text"] if answer.status_code == 200 else body["code"]


async def test_two_users_each_with_a_login_of_its_own(running: Running, far: Protected) -> None:
    """SEC-51, SEC-56: tools are there for all, each call goes with its caller's own token, and sessions do not mix."""
    async with user(running) as owner, user(running, "execute:tools", "mcp:connect") as bob:
        await ready(owner, far)
        assert await call(owner) == "ann"
        listed = {tool["name"] for tool in (await rpc(bob, "tools/list"))["tools"]}
        assert "far__whoami" in listed  # seen before the login
        refused = await bob.post("/api/mcp/servers/far/tools/whoami", json={})
        assert refused.status_code == 403
        said = refused.json()
        assert (said["code"], said["details"]["server"]) == ("login_required", "far")
        assert "hubroute mcp-servers login far" in said["error"]

        far.issuer.user = "bob"
        async with Browser() as browser:
            assert (await browser.log_in(said["details"]["loginUrl"])).status_code == 200
        assert [await call(bob), await call(owner), await call(bob, "count"), await call(owner, "count")] == ["bob", "ann", "1", "1"]
        assert all(len(users) == 1 for users in far.sessions.values())
        everybody = (await owner.get("/api/mcp/servers/far/logins")).json()["logins"]
        assert [one["state"] for one in everybody] == ["connected", "connected"]
        mine = (await bob.get("/api/mcp/servers/far/logins")).json()["logins"]
        assert len(mine) == 1
        assert (mine[0]["scopes"], mine[0]["refreshes"], 3500 < mine[0]["expiresIn"] <= 3600) == (["read", "offline_access"], True, True)
        assert mine[0]["principal"] != everybody[0]["principal"]


async def test_one_login_for_everybody(running: Running, far: Protected) -> None:
    """SEC-51: a shared login is begun by whoever may manage, and used by all."""
    async with user(running) as owner, user(running, "execute:tools") as bob:
        await ready(owner, far, share="shared")
        assert [await call(owner), await call(bob)] == ["ann", "ann"]
        assert (await bob.post("/api/mcp/servers/far/login")).status_code == 403
        assert (await bob.post("/api/mcp/servers/far/logout")).status_code == 403
        assert (await owner.post("/api/mcp/servers/far/logout")).json()["revoked"] is True
        assert len(far.issuer.revoked) == 2
        assert await call(bob) == "login_required"


async def test_what_the_authorization_server_is_asked(running: Running, far: Protected) -> None:
    """SEC-50, SEC-52, SEC-54: S256, the resource in each request, the minimum of scopes, a redirect address of the issuer's own."""
    async with user(running) as owner:
        await ready(owner, far)
        asked = far.issuer.asked[0]
        assert (asked["response_type"], asked["code_challenge_method"], asked["resource"]) == ("code", "S256", far.url)
        assert asked["scope"].split() == ["read", "offline_access"]
        assert urlsplit(asked["redirect_uri"]).path.startswith("/api/mcp/oauth/callback/")
        assert len(asked["state"]) > 40
        assert all(form["resource"] == far.url for _, form in far.issuer.requests)
        assert list(far.issuer.clients) == ["dyn-1"]


async def test_a_client_that_was_registered_by_hand(running: Running, far: Protected) -> None:
    """A client id and secret of the owner's: nothing is registered, the secret goes to the token endpoint and is shown nowhere."""
    redirect = f"{running.url}/api/mcp/oauth/callback"
    far.issuer.known("by-hand", redirect, secret="canary-secret-1", method="client_secret_basic")
    async with user(running) as owner:
        added = await add(owner, far, clientId="by-hand", clientSecret="canary-secret-1")
        assert (added["oauth"]["clientId"], added["oauth"]["redirectUri"]) == ("by-hand", redirect)
        await login(owner)
        assert (await owner.post("/api/mcp/servers/far/sync")).status_code == 200
        assert list(far.issuer.clients) == ["by-hand"]
        assert "canary" not in (await owner.get("/api/mcp/servers/far")).text


async def test_tokens_are_in_no_answer_log_or_row(running: Running, far: Protected, tmp_path: Path, caplog: Any) -> None:
    """SEC-22, SEC-23: canaries in every token, code and secret; answers, logs and the database hold none of them in the open."""
    caplog.set_level("DEBUG")
    async with user(running) as owner:
        await ready(owner, far)
        await call(owner)
        far.issuer.broken["token"] = lambda request: httpx_error("invalid_grant", "canary-refresh-echo is used up")
        far.issuer.expire()
        answers = [
            (await owner.post("/api/mcp/servers/far/tools/whoami", json={})).text,
            (await owner.get("/api/mcp/servers")).text,
            (await owner.get("/api/mcp/servers/far/logins")).text,
        ]
    await running.hub.store.flush()
    secrets = [*far.issuer.access, *far.issuer.refreshes, *far.issuer.codes]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("hubroute.db*"))
    ours = "\n".join(record.getMessage() + str(record.__dict__.get("fields", "")) for record in caplog.records if record.name[:3] == "hub")
    assert secrets
    for secret in secrets:
        assert not any(secret in text for text in (*answers, ours))
        assert secret.encode() not in stored


def httpx_error(code: str, words: str) -> Response:
    """An error of a token endpoint."""
    return JSONResponse({"error": code, "error_description": words}, status_code=400)


async def test_a_token_is_refreshed_once_for_all_who_wait(running: Running, far: Protected) -> None:
    """SEC-52: calls that meet a refused token at once refresh it once, and its rotation is kept; a second use would end the login."""
    async with user(running) as owner:
        await ready(owner, far)
        assert await call(owner) == "ann"
        far.issuer.expire()
        far.issuer.pause = 0.1
        assert await asyncio.gather(*(call(owner) for _ in range(8))) == ["ann"] * 8
        assert far.issuer.refreshed == 1
        far.issuer.expire()
        assert await call(owner) == "ann"
        assert far.issuer.refreshed == 2


async def test_tokens_are_refreshed_ahead_of_their_time(running: Running, far: Protected) -> None:
    """A login is refreshed in the background; no call has to wait for it."""
    far.issuer.life = 2
    async with user(running) as owner:
        await ready(owner, far)
        await until(lambda: far.issuer.refreshed >= 2)
        before = far.issuer.refreshed
        assert await call(owner) == "ann"
        assert far.issuer.refreshed - before <= 1


async def test_a_login_that_cannot_be_refreshed(running: Running, far: Protected) -> None:
    """Tools never vanish silently: they stay listed, the call says to log in and where, the status says since when."""
    async with user(running) as owner:
        await ready(owner, far)
        far.issuer.expire()
        next(iter(far.issuer.refreshes.values())).over = True
        refused = await owner.post("/api/mcp/servers/far/tools/whoami", json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "login_required")
        assert "far__whoami" in {tool["name"] for tool in (await rpc(owner, "tools/list"))["tools"]}
        shown = (await owner.get("/api/mcp/servers/far/logins")).json()["logins"][0]
        assert (shown["state"], shown["refreshes"], "invalid_grant" in shown["failure"]) == ("ended", False, True)
        assert shown["failingSince"]
        async with Browser() as browser:
            await browser.log_in(refused.json()["details"]["loginUrl"])
        assert await call(owner) == "ann"
        shown = (await owner.get("/api/mcp/servers/far/logins")).json()["logins"][0]
        assert (shown["state"], shown["failingSince"], shown["failure"]) == ("connected", None, "")


async def test_a_token_endpoint_that_fails_for_a_while(running: Running, far: Protected) -> None:
    """A refresh that fails for now keeps the login: the call says when to come back, and it works again afterwards."""
    far.issuer.life = 1
    async with user(running) as owner:
        await ready(owner, far)
        far.issuer.broken["token"] = lambda request: Response("<html>down</html>", status_code=503)
        await asyncio.sleep(1.0)
        down = await owner.post("/api/mcp/servers/far/tools/whoami", json={})
        assert (down.status_code, down.json()["code"], "retry-after" in down.headers) == (503, "service_unavailable", True)
        assert (await owner.get("/api/mcp/servers/far/logins")).json()["logins"][0]["state"] == "failing"
        far.issuer.broken.clear()
        assert (await owner.post("/api/mcp/servers/far/sync")).status_code == 200  # an owner need not wait for the next try
        assert await call(owner) == "ann"


async def test_a_tool_that_wants_more(running: Running, far: Protected) -> None:
    """SEC-54: a refusal for want of a scope says which, and the next login asks for what is there and what is missing."""
    async with user(running) as owner:
        await ready(owner, far)
        refused = await owner.post("/api/mcp/servers/far/tools/admin", json={})
        assert (refused.status_code, "the scope admin" in refused.json()["error"]) == (403, True)
        assert await call(owner) == "ann"  # what is granted goes on
        shown = (await owner.get("/api/mcp/servers/far/logins")).json()["logins"][0]
        assert shown["missingScopes"] == ["admin"]
        await login(owner)
        assert far.issuer.asked[-1]["scope"].split() == ["read", "offline_access", "admin"]
        assert await call(owner, "admin") == "ann"


async def test_logging_out_and_removing(running: Running, far: Protected) -> None:
    """RFC 7009: tokens are taken back, sessions end, and what a removed key or server left behind is gone."""
    async with user(running) as owner, user(running, "execute:tools") as bob:
        await ready(owner, far)
        await login(bob)
        assert await call(bob) == "ann"
        assert (await owner.get("/api/mcp/servers/far")).json()["sessions"] == 2
        out = await bob.post("/api/mcp/servers/far/logout")
        assert out.json()["revoked"] is True
        assert len(far.issuer.revoked) == 2
        assert await call(bob) == "login_required"
        assert (await bob.post("/api/mcp/servers/far/logout")).status_code == 404
        theirs = (await owner.get("/api/mcp/servers/far/logins")).json()["logins"][0]["principal"]
        assert (await bob.post("/api/mcp/servers/far/logout", json={"principal": theirs})).status_code == 403
        assert (await owner.get("/api/mcp/servers/far")).json()["sessions"] == 1
        made = (await owner.post("/api/keys", json={"name": "carl", "scopes": ["execute:tools"]})).json()
        async with httpx.AsyncClient(base_url=running.url, headers={"authorization": f"Bearer {made['key']}"}, timeout=30) as carl:
            await login(carl)
        await owner.delete(f"/api/keys/{made['id']}")
        await until(lambda: len(far.issuer.revoked) == 4)
        await owner.delete("/api/mcp/servers/far")
        assert len(far.issuer.revoked) == 6
        assert running.hub.upstreams.logins.documents.all() == []


async def test_the_audit_log_tells_of_logins(running: Running, far: Protected) -> None:
    """SEC-80: who logged in where, and what came of it, without a token."""
    async with user(running) as owner:
        await ready(owner, far)
        await running.hub.store.flush()
        rows, count = await running.hub.store.audit.page(skill="mcp-login")
    assert (count, rows[0].outcome, rows[0].target, rows[0].detail) == (1, "ok", "far", "")


async def test_a_server_without_a_login_takes_none(running: Running, tmp_path: Path, far: Protected) -> None:
    async with user(running) as owner:
        body: dict[str, Any] = {"name": "far", "url": far.url, "allowPrivate": True, "oauth": {}}
        for wrong in ({"headers": {"Authorization": "Bearer x"}}, {"approve": True}, {"url": "", "command": "python3"}):
            assert (await owner.post("/api/mcp/servers", json={**body, **wrong})).status_code == 400
        assert (await owner.get("/api/mcp/servers")).json()["total"] == 0
        await owner.post("/api/mcp/servers", json={"name": "far", "url": far.url, "allowPrivate": True})
        assert (await owner.post("/api/mcp/servers/far/login")).status_code in (400, 404)


@pytest.mark.parametrize(
    "place",
    [
        "/.well-known/oauth-authorization-server/tenant",
        "/.well-known/openid-configuration/tenant",
        "/tenant/.well-known/openid-configuration",
    ],
)
async def test_where_metadata_is_looked_for(running: Running, far: Protected, place: str) -> None:
    """RFC 8414, 3.1 and 5: an issuer with a path, with the path inserted or appended, in OAuth's form and in OpenID's."""
    far.issuer.name, far.issuer.place = f"{far.issuer.url}/tenant", place
    async with user(running) as owner:
        await ready(owner, far)
        assert await call(owner) == "ann"


async def test_a_server_of_the_first_revision_with_logins(running: Running, far: Protected) -> None:
    """2025-03-26: no resource metadata; the server's own origin is the issuer, and the resource is its address."""
    far.names, far.well_known, far.legacy = False, False, True
    far.issuer.name = far.url.removesuffix("/mcp")
    async with user(running) as owner:
        await ready(owner, far)
        assert await call(owner) == "ann"
        assert far.issuer.asked[0]["resource"] == far.url


async def test_the_authorization_server_that_the_owner_named(running: Running, far: Protected) -> None:
    """Of several, the one that was set is used; a server that does not name it is not logged in to."""
    far.metadata = {"authorization_servers": ["https://other.example", far.issuer.url]}
    async with user(running) as owner:
        body = {"name": "far", "url": far.url, "allowPrivate": True, "oauth": {"issuer": "https://third.example"}}
        refused = await owner.post("/api/mcp/servers", json=body)
        assert "does not name the authorization server" in refused.json()["error"]
        await add(owner, far, issuer=far.issuer.url)
        await login(owner)
        assert (await owner.post("/api/mcp/servers/far/sync")).status_code == 200


async def test_one_users_list_does_not_decide_for_all(running: Running, far: Protected, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-60: a user who is shown fewer tools takes them from nobody else; the list is read over its reader's session."""
    monkeypatch.setattr("hub.upstream.servers._RESYNC_SECONDS", 0.0)
    async with user(running) as owner, user(running, "execute:tools", "mcp:connect") as bob:
        await ready(owner, far)
        far.issuer.user, far.shows = "bob", {"bob": ("whoami",)}
        await login(bob)
        assert [await call(bob), await call(bob)] == ["bob", "bob"]
        tools = (await owner.get("/api/mcp/servers/far")).json()["tools"]
        assert {tool["standing"] for tool in tools} == {"approved"}
        far.shows = {"ann": ("whoami",)}
        await owner.post("/api/mcp/servers/far/sync")
        tools = (await owner.get("/api/mcp/servers/far")).json()["tools"]
        assert sorted(tool["standing"] for tool in tools) == ["approved", "gone", "gone"]


async def test_the_lease_of_a_process_that_died(running: Running, far: Protected) -> None:
    """REL-09: whoever refreshes after it waits until the lease is over, and no longer; not at all for a process that is surely gone,
    as every other one is on a database of one process (D24)."""
    async with user(running) as owner:
        await ready(owner, far)
        logins = running.hub.upstreams.logins.documents
        over = running.hub.clock.now_ms() + 700
        held = {"lease": f"{running.hub.store.replays.process}/dead", "lease_until": over}
        await logins.edit(logins.all()[0].id, lambda body: body.model_copy(update=held))
        far.issuer.expire()
        assert await call(owner) == "ann"
        assert running.hub.clock.now_ms() >= over
        assert far.issuer.refreshed == 1
        far_off = running.hub.clock.now_ms() + 20_000
        await logins.edit(logins.all()[0].id, lambda body: body.model_copy(update={"lease": "prc_gone/dead", "lease_until": far_off}))
        far.issuer.expire()
        assert await call(owner) == "ann"
        assert running.hub.clock.now_ms() < far_off
        assert far.issuer.refreshed == 2


async def test_a_refresh_outlives_its_caller(running: Running, far: Protected) -> None:
    """SEC-52: a caller that leaves in the middle of a refresh does not lose the rotated token."""
    async with user(running) as owner:
        await ready(owner, far)
        far.issuer.expire()
        far.issuer.pause = 0.5
        with pytest.raises(httpx.ReadTimeout):
            await owner.post("/api/mcp/servers/far/tools/whoami", json={}, timeout=0.3)
        far.issuer.pause = 0.0
        assert await call(owner) == "ann"
        assert far.issuer.refreshed == 1


async def test_logins_over_the_older_transport(running: Running) -> None:
    """HTTP+SSE: the token goes with the stream and with each message, and is renewed when a message meets a refusal."""
    async with protected("/sse") as far, user(running) as owner:
        await ready(owner, far)
        assert await call(owner) == "ann"
        far.issuer.expire()
        assert await call(owner) == "ann"
        assert far.issuer.refreshed == 1
        # The session ends before its server does: the SDK's server leaves a stream that is cut off unclosed.
        await owner.delete("/api/mcp/servers/far")
        await until(lambda: not running.hub.upstreams._closing)
