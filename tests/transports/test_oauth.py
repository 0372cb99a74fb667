"""Access tokens at every door: real tokens of a real authorization server on loopback, against the whole hub on a socket (SEC-50 to 54)."""

from __future__ import annotations

import asyncio
import re
import warnings
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.fakes.clock import Still
from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub
from tests.fakes.issuer import Browser, Issuer, signer
from tests.fakes.mcp import ACCEPT, STREAM, modern, sse
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendors import BASES, KEY, answer

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
    from a2a.helpers import new_text_part
    from a2a.types import GetExtendedAgentCardRequest, Message, Role, SendMessageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning:a2a.*")]

WELL_KNOWN = "/.well-known/oauth-protected-resource"
CALLBACK = "http://127.0.0.1:1/callback"


@asynccontextmanager
async def hub_with(tmp_path: Path, *issuers: Issuer, **options: Any) -> AsyncIterator[Running]:
    """A hub that takes tokens of these issuers, all with the same options."""
    settings = options.pop("settings", {})
    entries = [{"issuer": one.issuer, **options} for one in issuers]
    async with running_hub(tmp_path, oauth_issuers=entries, **settings) as running:
        yield running


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    async with Issuer() as made:
        yield made


@pytest.fixture
async def running(tmp_path: Path, issuer: Issuer) -> AsyncIterator[Running]:
    async with hub_with(tmp_path, issuer) as hub:
        yield hub


@pytest.fixture
async def http(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(running) as made:
        yield made


def client_of(running: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=running.url, timeout=20)


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def challenge(answer: httpx.Response) -> dict[str, str]:
    """The parameters of a Bearer challenge."""
    header = answer.headers["www-authenticate"]
    assert header.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', header))


async def tools(http: httpx.AsyncClient, token: str) -> httpx.Response:
    body, headers = modern("tools/list")
    return await http.post(STREAM, json=body, headers={**ACCEPT, **headers, **bearer(token)})


async def call(http: httpx.AsyncClient, token: str, name: str, **arguments: Any) -> httpx.Response:
    body, headers = modern("tools/call", {"name": name, "arguments": arguments})
    return await http.post(STREAM, json=body, headers={**ACCEPT, **headers, **bearer(token)})


class Memory:
    """Where an MCP client keeps what it was given."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@asynccontextmanager
async def logging_in(url: str, memory: Memory) -> AsyncIterator[Client]:
    """The SDK's client, which knows nothing but the address and a browser."""
    browser = Browser()

    async def came_back() -> AuthorizationCodeResult:
        given = {name: values[0] for name, values in parse_qs(urlsplit(browser.seen[-1]).query).items()}
        return AuthorizationCodeResult(code=given["code"], state=given["state"], iss=given["iss"])

    metadata = OAuthClientMetadata(client_name="test", redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none")
    login = OAuthClientProvider(url, metadata, memory, browser.open, came_back)
    async with httpx2.AsyncClient(auth=login, timeout=20) as session, Client(streamable_http_client(url, http_client=session)) as client:
        yield client


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_a_stock_mcp_client_logs_in_with_nothing_but_the_address(running: Running, issuer: Issuer, name: str) -> None:
    """SEC-52, 54: discovery, registration, code with PKCE and `resource`, only the scope that the door needs; more when a tool needs it."""
    url = running.url.replace("127.0.0.1", name) + STREAM
    memory = Memory()
    async with logging_in(url, memory) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["omniroute_tool_call", "omniroute_tool_search"]
        first = issuer.asked[0]
        assert (first["resource"], first["scope"], first["code_challenge_method"]) == (url, "mcp:connect", "S256")
        result = await client.call_tool("omniroute_list_models_catalog", {})
        assert not result.is_error
        assert issuer.asked[1]["scope"] == "mcp:connect read:models"
    async with logging_in(url, memory) as client:
        assert "omniroute_list_models_catalog" in [tool.name for tool in (await client.list_tools()).tools]
    assert len(issuer.asked) == 2
    assert issuer.counted.registrations == 1


async def test_the_metadata_leads_from_each_door_to_the_issuer(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """RFC 9728, 3: the resource named is the one that was asked about; the challenge of each door points to its own."""
    for path, door in (("", "/v1/models"), (STREAM, STREAM), ("/api/mcp/sse", "/api/mcp/sse"), ("/a2a", "/a2a/v1/card")):
        found = await http.get(WELL_KNOWN + path)
        assert found.status_code == 200, path
        document = found.json()
        assert document["resource"] == running.url + path
        assert document["authorization_servers"] == [issuer.issuer]
        assert document["bearer_methods_supported"] == ["header"]
        assert "read:models" in document["scopes_supported"]
        assert not {"manage", "process", "*"} & set(document["scopes_supported"])
        refused = await http.get(door)
        assert refused.status_code == 401
        assert challenge(refused)["resource_metadata"] == running.url + WELL_KNOWN + path
        assert "error" not in challenge(refused)  # RFC 6750, 3.1: no error where no token was sent
    assert (await http.get(WELL_KNOWN + "/nowhere")).status_code == 404
    local = await http.get(WELL_KNOWN + STREAM, headers={"host": f"localhost:{urlsplit(running.url).port}"})
    assert local.json()["resource"] == running.url.replace("127.0.0.1", "localhost") + STREAM
    # Another port is not this hub, whatever the client says.
    other = await http.get(WELL_KNOWN, headers={"host": "localhost:1"})
    assert other.json()["resource"] == running.url


async def test_without_issuers_nothing_of_it_is_there(tmp_path: Path) -> None:
    """Keys as before: the plain challenge, no metadata, and a JWT is a wrong key."""
    async with Issuer() as issuer, running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url) as http:
        refused = await http.post(STREAM, headers=bearer(issuer.token(running.url)))
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="hubroute"')
        assert (await http.get(WELL_KNOWN)).status_code == 404
        assert issuer.requests == []
        card = (await http.get("/.well-known/agent-card.json")).json()
        assert list(card["securitySchemes"]) == ["bearer"]


async def test_a_token_is_a_caller_at_every_door(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """REST, the model API, MCP over both transports' address and A2A take the same token through one seam; scopes hold at each."""
    token = bearer(issuer.token(running.url, "mcp:connect read:models chat"))
    assert (await http.get("/v1/models", headers=token)).status_code == 200
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    assert (await http.post("/v1/chat/completions", json=body, headers=token)).status_code == 200
    assert "result" in (await tools(http, token["authorization"][7:])).text
    assert (await http.get("/a2a/v1/card", headers=token)).status_code == 200
    forbidden = await http.get("/api/keys", headers=token)
    assert forbidden.status_code == 403
    assert challenge(forbidden)["error"] == "insufficient_scope"
    assert "scope" not in challenge(forbidden)  # no scope of this issuer gives `manage`
    # A key's shape is looked at by nobody but the key store: the same doors, the same answers.
    assert (await http.get("/v1/models", headers=await running.headers("read:models", "chat"))).status_code == 200


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_an_agent_logs_in_as_its_card_says(running: Running, issuer: Issuer, binding: str) -> None:
    """A2A with a token, by the stock client; the card, too, names the authorization server."""
    token = issuer.token(f"{running.url}/a2a", "mcp:connect execute:completions chat read:models read:health")
    async with httpx.AsyncClient(headers=bearer(token), timeout=20) as session:
        card = await A2ACardResolver(session, running.url).get_agent_card()
        login = card.security_schemes["login"].oauth2_security_scheme
        assert login.oauth2_metadata_url == f"{issuer.issuer}/.well-known/oauth-authorization-server"
        assert login.flows.authorization_code.token_url == f"{issuer.issuer}/token"
        assert login.flows.authorization_code.pkce_required
        assert len(card.security_requirements) == 2
        config = ClientConfig(httpx_client=session, streaming=False, supported_protocol_bindings=[binding])
        client = ClientFactory(config).create(card)
        message = Message(message_id="m1", role=Role.ROLE_USER, parts=[new_text_part("is all well?")])
        message.metadata.update({"skill": "health-report"})
        events = [event async for event in client.send_message(SendMessageRequest(message=message))]
        assert events
        extended = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
        assert "health-report" in [skill.id for skill in extended.skills]
        assert "login" in extended.security_schemes


async def test_what_the_card_says_of_an_issuer_in_openid_s_form_or_not_heard_yet(tmp_path: Path) -> None:
    async with Issuer(openid=True, path="/realms/a") as openid, hub_with(tmp_path, openid) as running, client_of(running) as http:
        assert (await tools(http, openid.token(running.url))).status_code == 200
        where = f"{openid.issuer}/.well-known/openid-configuration"
        card = (await http.get("/.well-known/agent-card.json")).json()
        assert card["securitySchemes"]["login"]["openIdConnectSecurityScheme"]["openIdConnectUrl"] == where
        old = (await http.get("/.well-known/agent.json")).json()
        assert old["securitySchemes"]["login"]["type"] == "openIdConnect"
        assert old["security"] == [{"bearer": []}, {"login": []}]


async def test_a_token_is_for_one_resource(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """SEC-50: what was made for the A2A door opens no other, nor does what was made for another server, or for nobody."""
    scope = "mcp:connect read:models chat"
    agents = bearer(issuer.token(f"{running.url}/a2a", scope))
    assert (await http.get("/a2a/v1/card", headers=agents)).status_code == 200
    for path in ("/v1/models", "/api/models/catalog"):
        assert (await http.get(path, headers=agents)).status_code == 401
    assert (await tools(http, agents["authorization"][7:])).status_code == 401
    port = urlsplit(running.url).port
    for audience in (
        "https://elsewhere.example", f"http://127.0.0.1:{(port or 0) + 1}", running.url + "/api", running.url + ".evil.example",
        f"http://evil.example:{port}", "", [], ["account", "test"], f"https://127.0.0.1:{port}",
    ):  # fmt: skip
        refused = await tools(http, issuer.token(audience, scope))
        assert refused.status_code == 401, audience
        assert challenge(refused)["error"] == "invalid_token"
    assert (await tools(http, issuer.token(["https://elsewhere.example", running.url + STREAM], scope))).status_code == 200
    assert (await tools(http, issuer.token(running.url + "/", scope))).status_code == 200
    # The Host header is the client's wish: it makes no token fit.
    wish = {**bearer(issuer.token("http://localhost:1", scope)), "host": "localhost:1"}
    assert (await http.get("/v1/models", headers=wish)).status_code == 401


async def test_audiences_of_the_settings_and_the_public_address(tmp_path: Path, issuer: Issuer) -> None:
    """With a public URL it is the hub's only name, path and all, and the metadata stands where RFC 9728 puts it."""
    public = "https://ai.example/hub"
    async with (
        hub_with(tmp_path, issuer, audience=["api://hub"], settings={"public_url": public, "allowed_hosts": "ai.example"}) as running,
        httpx.AsyncClient(base_url=running.url) as http,
    ):
        for audience in (public, public + STREAM, "api://hub"):
            assert (await tools(http, issuer.token(audience))).status_code == 200, audience
        for audience in (running.url, running.url + STREAM, "https://ai.example", "api://hub/"):
            assert (await tools(http, issuer.token(audience))).status_code == 401, audience
        where = challenge(await http.post(STREAM))["resource_metadata"]
        assert where == f"https://ai.example{WELL_KNOWN}/hub{STREAM}"
        for path in (urlsplit(where).path, WELL_KNOWN + STREAM):  # as it came, and with the proxy's own path cut off
            assert (await http.get(path)).json()["resource"] == public + STREAM


async def test_callers_are_kept_apart(tmp_path: Path) -> None:
    """SEC-55: the same subject of another issuer is somebody else: its tasks, sessions and streams do not exist for this one."""
    async with Issuer() as one, Issuer() as two, hub_with(tmp_path, one, two) as running, client_of(running) as http:
        scope = "mcp:connect read:health"
        first, twin = bearer(one.token(running.url, scope)), bearer(two.token(running.url, scope))
        again = bearer(one.token(running.url, scope))
        said = {"role": "user", "messageId": "m", "parts": [{"kind": "text", "text": "well?"}], "metadata": {"skill": "health-report"}}
        sent = await http.post("/a2a", json=rpc("message/send", message=said), headers=first)
        task = sent.json()["result"]["id"]
        assert (await http.post("/a2a", json=rpc("tasks/get", id=task), headers=again)).json()["result"]["id"] == task
        assert "error" in (await http.post("/a2a", json=rpc("tasks/get", id=task), headers=twin)).json()
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
        opened = await http.post(STREAM, json=rpc("initialize", **hello), headers={**ACCEPT, **first})
        session = {**ACCEPT, "mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        ping = rpc("ping")
        assert (await http.post(STREAM, json=ping, headers={**session, **again})).status_code == 200
        assert (await http.post(STREAM, json=ping, headers={**session, **twin})).status_code == 404


def rpc(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


async def test_a_session_outlives_a_token_but_not_its_principal(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """A refreshed token goes on with the session of the one before; a blocked principal is out at once, in the same words."""
    token = issuer.token(running.url)
    assert (await tools(http, token)).status_code == 200
    rows, _ = await running.hub.store.audit.page(10, 0)
    principal = running.hub.oauth
    caller = await principal.caller(token, frozenset({running.url}))
    assert caller.key_id.startswith("oauth_")
    owner = await running.headers("manage")
    blocked = await http.patch("/api/settings", json={"oauthBlocked": [caller.key_id]}, headers=owner)
    assert blocked.status_code == 200, blocked.text
    refused = await tools(http, token)
    unknown = await tools(http, issuer.token("https://elsewhere.example"))
    assert (refused.status_code, refused.json()) == (401, unknown.json())
    assert (await tools(http, issuer.token(running.url))).status_code == 401
    assert running.hub.still(caller) is None
    issuer.subject = "bob"
    assert (await tools(http, issuer.token(running.url))).status_code == 200
    await http.patch("/api/settings", json={"oauthBlocked": []}, headers=owner)
    assert (await tools(http, token)).status_code == 200
    assert running.hub.still(caller) == caller
    assert rows == []


async def test_the_audit_names_issuer_and_subject(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """SEC-80: who called stands in the log, and the token nowhere."""
    token = issuer.token(running.url, "mcp:connect")
    refused = await http.get("/api/keys", headers=bearer(token))
    assert refused.status_code == 403
    await running.hub.store.queue.flush()
    rows, _ = await running.hub.store.audit.page(10, 0)
    assert [(row.caller, row.outcome) for row in rows] == [(f"{issuer.issuer}#alice", "denied")]
    assert rows[0].key_id.startswith("oauth_")


async def test_the_token_stays_here(tmp_path: Path, issuer: Issuer) -> None:
    """SEC B5: what a client shows to the hub is never shown to a provider, and never answered or logged."""
    async with FaultUpstream() as vendor, hub_with(tmp_path, issuer) as running:
        vendor.script(answer)
        await running.hub.store.connections.create(
            provider="openai", name="o", base_url=vendor.url + BASES["openai"], secret=KEY, allow_private=True
        )
        token = issuer.token(running.url, "chat mcp:connect execute:completions")
        async with httpx.AsyncClient(base_url=running.url, timeout=20, headers=bearer(token)) as http:
            body = {"model": "openai/gpt-5.4-mini", "messages": [{"role": "user", "content": "hello"}]}
            answered = await http.post("/v1/chat/completions", json=body)
            assert answered.status_code == 200, answered.text
        assert len(vendor.requests) == 1
        sent = vendor.requests[0]
        assert sent.headers["authorization"] == f"Bearer {KEY}"
        assert token.rpartition(".")[2] not in str(sent.headers) + sent.body.decode() + answered.text


async def test_step_up_asks_for_what_is_missing_and_only_where_it_helps(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """SEC-54: 403 with the one scope for a tool of ours; a tool that no token can open does not exist, as for keys."""
    token = issuer.token(running.url, "mcp:connect read:health")
    refused = await call(http, token, "omniroute_list_models_catalog")
    assert refused.status_code == 403
    told = challenge(refused)
    assert (told["error"], told["scope"]) == ("insufficient_scope", "read:models")
    assert told["resource_metadata"] == running.url + WELL_KNOWN + STREAM
    closed = next(skill for skill in running.hub.skills if skill.mcp and "manage" in skill.scopes and not skill.destructive)
    assert closed.mcp is not None
    for answered in (
        await call(http, token, closed.mcp.tool),
        await call(http, token, "no_such_tool"),
        await call(http, await running.key("mcp:connect"), "omniroute_list_models_catalog"),
    ):
        assert answered.status_code == 400
        assert "Unknown tool" in answered.text
    for garbage in (b"[]", b'{"method": "tools/call"}', b'{"method":"tools/call","params":[]}', b"\xff"):
        answered = await http.post(STREAM, content=garbage, headers={**ACCEPT, **bearer(token)})
        assert answered.status_code == 400, garbage
    door = await http.post(STREAM, json={}, headers={**ACCEPT, **bearer(issuer.token(running.url, "read:models"))})
    assert (door.status_code, challenge(door)["scope"]) == (403, "mcp:connect")
    key = await http.post(STREAM, json={}, headers={**ACCEPT, **(await running.headers("read:models"))})
    assert key.headers["www-authenticate"] == 'Bearer realm="hubroute", error="insufficient_scope", scope="mcp:connect"'


@pytest.mark.parametrize("postgres", [False, True], ids=["sqlite", "postgres"])
async def test_limits_and_budget_are_each_principal_s_own(tmp_path: Path, issuer: Issuer, postgres: bool) -> None:
    """Limits of the issuer's entry count per subject; the budget is made when a principal first comes, and is the owner's to change."""
    options: dict[str, Any] = {"per_minute": 1, "daily_usd": 0.5, "allowed_models": ["demo/*", "demo"]}
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres_database()) if postgres else ""
        running = await stack.enter_async_context(hub_with(tmp_path, issuer, settings={"database_url": database}, **options))
        http = await stack.enter_async_context(client_of(running))
        body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
        alice = bearer(issuer.token(running.url, "chat"))
        issuer.subject = "bob"
        bob = bearer(issuer.token(running.url, "chat"))
        assert (await http.post("/v1/chat/completions", json=body, headers=alice)).status_code == 200
        await running.hub.preferences.change({"a2aEnabled": True})
        running.hub.changed()  # counters of principals outlive changes of keys
        assert (await http.post("/v1/chat/completions", json=body, headers=alice)).status_code == 429
        assert (await http.post("/v1/chat/completions", json=body, headers=bob)).status_code == 200
        assert len(running.hub.budgets.names()) == 2
        owner = await running.headers("manage")
        mine = running.hub.budgets.names()[0]
        shown = await http.get("/api/usage/budget", params={"apiKeyId": mine}, headers=owner)
        assert shown.json()["budget"]["dailyLimitUsd"] == 0.5, shown.text
        raised = await http.post("/api/usage/budget", json={"apiKeyId": mine, "dailyLimitUsd": 2}, headers=owner)
        assert raised.status_code == 200, raised.text
        again = bearer(issuer.token(running.url, "chat"))
        await http.get("/v1/models", headers=again)
        budget = running.hub.budgets.find(mine)
        assert budget is not None
        assert budget.daily_limit_usd == 2
        issuer.subject = "carol"
        other = {**body, "model": "openai/gpt-4o"}
        refused = await http.post("/v1/chat/completions", json=other, headers=bearer(issuer.token(running.url, "chat")))
        assert refused.status_code == 403, refused.text


async def test_a_new_principal_that_comes_many_times_at_once_gets_one_budget(tmp_path: Path, issuer: Issuer) -> None:
    async with hub_with(tmp_path, issuer, daily_usd=1) as running, client_of(running) as http:
        tokens = [bearer(issuer.token(running.url, "chat", jti=str(number))) for number in range(12)]
        answers = await asyncio.gather(*(http.get("/v1/models", headers=token) for token in tokens))
        assert {one.status_code for one in answers} <= {200, 503}
        assert len(running.hub.budgets.names()) == 1
        assert (await http.get("/v1/models", headers=tokens[0])).status_code == 200


async def test_a_key_that_looks_like_a_token_stays_a_key(running: Running, issuer: Issuer, http: httpx.AsyncClient) -> None:
    """Keys come first: one that its owner brought in may have any shape."""
    await running.key("read:models", "chat", token="my.own.key-0123456789")
    assert (await http.get("/v1/models", headers=bearer("my.own.key-0123456789"))).status_code == 200
    assert (await http.get("/v1/models", headers=bearer("my.own.key-0123456780"))).status_code == 401


async def test_streams_end_with_their_token(tmp_path: Path, issuer: Issuer) -> None:
    """A stream that stands goes no further than the token that opened it; the clock difference of half a minute is granted here, too."""
    clock = Still()
    issuer.now = lambda: clock.now_ms() / 1000
    async with hub_with(tmp_path, issuer, settings={"clock": clock}) as running, client_of(running) as http:
        token = issuer.token(running.url, exp=clock.now_ms() / 1000 - 29.8)
        async with http.stream("GET", "/api/mcp/sse", headers=bearer(token)) as answer:
            assert answer.status_code == 200
            assert "event: endpoint" in "".join([line async for line in answer.aiter_lines()])
        body, headers = modern("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        async with http.stream("POST", STREAM, json=body, headers={**ACCEPT, **headers, **bearer(token)}) as answer:
            assert answer.status_code == 200
            assert "acknowledged" in "".join([line async for line in answer.aiter_lines()])
        clock.wall_ms += 200
        assert (await tools(http, token)).status_code == 401


async def test_the_older_transport_with_the_stock_client(running: Running, issuer: Issuer) -> None:
    token = issuer.token(f"{running.url}/api/mcp/sse", "mcp:connect read:models")
    async with sse(running, token) as client:
        assert "omniroute_list_models_catalog" in [tool.name for tool in (await client.list_tools()).tools]


async def test_algorithms_of_the_issuer(tmp_path: Path) -> None:
    """RS256, PS256, ES256 to ES512 and EdDSA, each with its own key in one set."""
    signers = [signer(name, name) for name in ("RS256", "PS256", "ES256", "ES384", "ES512", "EdDSA")]
    async with Issuer(*signers) as issuer, hub_with(tmp_path, issuer) as running, httpx.AsyncClient(base_url=running.url) as http:
        for one in signers:
            token = one.sign(issuer.claims(running.url))
            assert (await tools(http, token)).status_code == 200, one.algorithm
    assert issuer.counted.keys == 1
