"""Logins with the browser: to the hub, to a port of this machine, and by a pasted address; and what is refused on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest

from tests.fakes.signin import CLIENT, CODE, challenge
from tests.provider_login.conftest import fields

if TYPE_CHECKING:
    from tests.provider_login.conftest import Scene

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("scene", ["sqlite", "postgres"], indirect=True)


@both
async def test_a_login_comes_back_to_the_hub_and_makes_a_connection(scene: Scene) -> None:
    """SEC-52: PKCE with S256; the verifier and the code stay in the hub; whoever began it ends it."""
    begun = await scene.begin(name="mine", region="eu-1")
    asked = fields(begun["authUrl"])
    assert begun["redirectUri"] == f"{scene.running.url}/api/oauth/{CODE}/callback"
    assert (asked["code_challenge_method"], asked["code_challenge"]) == ("S256", begun["codeChallenge"])
    assert (asked["client_id"], asked["redirect_uri"], asked["scope"]) == (CLIENT, begun["redirectUri"], "all-apis offline_access")
    assert begun["state"] == asked["state"]
    assert len(begun["state"]) > 43
    assert "codeVerifier" not in begun
    assert begun["callbackPath"] == urlsplit(begun["redirectUri"]).path
    assert (await scene.post("poll-callback", state=begun["state"])).json()["pending"]
    back = await scene.back(begun)
    async with httpx.AsyncClient() as browser:
        page = await browser.get(back)
        assert (page.status_code, "logged in" in page.text) == (200, True)
        assert fields(back)["code"] not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await browser.get(back)).status_code == 400, "an answer counts once"
    came = (await scene.post("poll-callback", state=begun["state"])).json()
    assert (came["success"], came["connection"]["authType"], came["connection"]["name"]) == (True, "oauth", "mine")
    assert challenge(scene.vendor.requests[-1][1]["code_verifier"]) == begun["codeChallenge"]
    shown = await scene.shown(came["connection"]["id"])
    assert (shown["authType"], shown["apiKey"], shown["loginState"], shown["isActive"]) == ("oauth", "", "connected", True)
    assert shown["providerSpecificData"]["region"] == "eu-1"
    assert shown["expiresAt"]
    assert (await scene.chat()).status_code == 200
    assert (await scene.post("poll-callback", state=begun["state"])).status_code == 404, "a login ends once"


async def test_replayed_injected_and_mixed_up_answers_are_refused(scene: Scene) -> None:
    """SEC-52: state, code, issuer and redirect address belong together; nothing is stored of what does not."""
    begun, other = await scene.begin(), await scene.begin()
    back = fields(await scene.back(begun))
    at = urlsplit(begun["redirectUri"])._replace(query="").geturl()
    wrong: list[tuple[str, dict[str, str]]] = [
        (at, {**back, "state": "x"}),
        (at, {**back, "state": begun["state"][:-1] + "x"}),
        (at, {name: value for name, value in back.items() if name != "state"}),
        (at.replace(CODE, "gitlab-duo"), back),
        (at.replace(CODE, "nobody"), back),
    ]
    async with httpx.AsyncClient() as browser:
        for url, answer in wrong:
            page = await browser.get(url, params=answer)
            assert page.status_code in (400, 404), (url, answer)
            assert "canary" not in page.text
        twice = await browser.get(f"{at}?code=a&code=b&state={begun['state']}")
        assert twice.status_code == 400
        # The code of one login under the state of another: its verifier does not fit.
        assert (await browser.get(at, params={**back, "state": other["state"]})).status_code == 200
    injected = await scene.post("poll-callback", state=other["state"])
    assert injected.status_code == 502
    assert "invalid_grant" in injected.text
    assert "canary" not in injected.text
    # An answer of another issuer (RFC 9207).
    mixed = await scene.begin()
    answer = {**fields(await scene.back(mixed)), "iss": "https://evil.example"}
    async with httpx.AsyncClient() as browser:
        assert (await browser.get(at, params=answer)).status_code == 200
    refused = await scene.post("poll-callback", state=mixed["state"])
    assert (refused.status_code, "another authorization server" in refused.text) == (502, True)
    assert (await scene.post("poll-callback", state=mixed["state"])).status_code == 404, "no second try with the same state"
    assert scene.running.hub.store.connections.all() == []


async def test_a_login_is_its_beginner_s_alone(scene: Scene) -> None:
    """SEC-55: another caller gets 404 for its state, whatever it may do; what two do at once does not mix."""
    begun = await scene.begin(name="mine")
    back = await scene.back(begun)
    async with httpx.AsyncClient(base_url=scene.running.url, headers=await scene.running.headers("manage")) as other:
        begun_too = (await other.get(f"/api/oauth/{CODE}/authorize", params={"name": "other"})).json()
        assert (await other.post(f"/api/oauth/{CODE}/poll-callback", json={"state": begun["state"]})).status_code == 404
        body = {"code": fields(back)["code"], "state": begun["state"], "redirectUri": begun["redirectUri"]}
        assert (await other.post(f"/api/oauth/{CODE}/exchange", json=body)).status_code == 404
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(back)).status_code == 200
            assert (await browser.get(await scene.back(begun_too))).status_code == 200
        mine = (await scene.post("poll-callback", state=begun["state"])).json()["connection"]
        theirs = (await other.post(f"/api/oauth/{CODE}/poll-callback", json={"state": begun_too["state"]})).json()["connection"]
    assert (mine["name"], theirs["name"]) == ("mine", "other")
    assert (await scene.post("poll-callback")).status_code == 400, "never matched to the only login there is"


async def test_a_login_comes_back_to_a_port_of_this_machine(scene: Scene) -> None:
    """RFC 8252; SEC-53: it says that a program of this machine is answered."""
    begun = await scene.begin("start-callback-server")
    port = begun["serverPort"]
    assert begun["redirectUri"] == f"http://localhost:{port}/callback"
    assert "machine" in begun["warning"]
    back = await scene.back(begun)
    async with httpx.AsyncClient() as browser:
        assert (await browser.get(back, headers={"host": "evil.example"})).status_code == 404
        assert (await browser.get(f"http://localhost:{port}/else")).status_code == 404
        assert (await browser.post(back)).status_code == 404
        assert (await browser.get(f"http://localhost:{port}/callback?state=x&code=y")).status_code == 400
        assert (await scene.post("poll-callback", state=begun["state"])).json()["error"] == "authorization_pending"
        page = await browser.get(back)
        assert (page.status_code, "logged in" in page.text) == (200, True)
        assert "canary" not in page.text
    came = (await scene.post("poll-callback", state=begun["state"])).json()
    assert came["success"]
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as browser:
            await browser.get(back)
    # A port that somebody else has.
    taken = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    answer = await scene.owner.get(f"/api/oauth/{CODE}/start-callback-server", params={"port": taken.sockets[0].getsockname()[1]})
    assert (answer.status_code, "taken" in answer.text) == (503, True)
    taken.close()
    for _ in range(8):
        await scene.begin("start-callback-server")
    assert (await scene.owner.get(f"/api/oauth/{CODE}/start-callback-server")).status_code == 503


async def test_a_user_who_says_no(scene: Scene) -> None:
    begun = await scene.begin()
    async with httpx.AsyncClient() as browser:
        page = await browser.get(begun["redirectUri"], params={"state": begun["state"], "error": "access_denied", "iss": scene.vendor.name})
    assert page.status_code == 400
    came = (await scene.post("poll-callback", state=begun["state"])).json()
    assert (came["success"], came["pending"], came["error"]) == (False, False, "access_denied")
    assert (await scene.post("poll-callback", state=begun["state"])).status_code == 404


async def test_an_address_is_pasted_where_no_browser_can_come_back(scene: Scene) -> None:
    where = "http://127.0.0.1:53682/callback"
    begun = await scene.begin(redirect_uri=where)
    back = await scene.back(begun)
    plain = {"code": fields(back)["code"], "redirectUri": where}
    assert (await scene.post("exchange", **plain)).json()["error"]["code"] == "bad_request"
    wrong = await scene.post("exchange", **{**plain, "state": begun["state"], "redirectUri": "http://127.0.0.1:53682/other"})
    assert wrong.status_code == 400
    came = (await scene.post("exchange", code=back, redirectUri=where)).json()
    assert came["success"], came
    again = await scene.begin(redirect_uri=where)
    code = fields(await scene.back(again))["code"]
    renewed = await scene.post("exchange", code=code, state=again["state"], redirectUri=where, connectionId=came["connection"]["id"])
    assert renewed.json()["connection"]["id"] == came["connection"]["id"]
    assert len(scene.running.hub.store.connections.all()) == 1
    # Only the hub and programs of the user's own machine are come back to (SEC-52, SEC-53).
    for bad in (
        "https://evil.example/cb",
        "javascript:alert(1)",
        "file:///etc/passwd",
        f"{scene.running.url}/other".replace("127.0.0.1", "hub.example"),
    ):
        answer = await scene.owner.get(f"/api/oauth/{CODE}/authorize", params={"redirect_uri": bad})
        assert answer.status_code == 400, bad


async def test_a_code_is_traded_for_a_key_that_lasts(scene: Scene) -> None:
    """Where no client is registered: the challenge alone proves who asks, and the state travels in the address to come back to."""
    catalog, vendor = scene.running.hub.catalog, scene.vendor
    row = catalog.get("openrouter")
    assert row.oauth is not None
    sign_in = msgspec.structs.replace(row.oauth, authorize_url=f"{vendor.url}/auth", token_url=f"{vendor.url}/auth/keys")
    catalog.providers["openrouter"] = msgspec.structs.replace(row, oauth=sign_in, base_url=vendor.base_url)
    begun = (await scene.owner.post("/api/oauth/openrouter/authorize", json={"allowPrivate": True})).json()
    assert begun["redirectUri"] == f"{scene.running.url}/api/oauth/openrouter/callback"
    async with httpx.AsyncClient() as browser:
        back = (await browser.get(begun["authUrl"])).json()["location"]
        assert (await browser.get(back)).status_code == 200
    came = (await scene.post("poll-callback", "openrouter", state=begun["state"])).json()
    shown = await scene.shown(came["connection"]["id"])
    assert (shown["loginState"], shown["expiresAt"]) == ("connected", None)
    answer = await scene.owner.post("/v1/chat/completions", json={"model": "openrouter/m", "messages": [{"role": "user", "content": "hi"}]})
    assert (answer.status_code, scene.vendor.tokens[-1].startswith("canary-key-")) == (200, True)
    assert "canary" not in answer.text


#: Provider, status, and what the answer names.
WITHOUT = [
    ("nobody", 404, "providers clients"),
    ("qwen", 404, "ACP"),
    ("claude", 400, "ACP"),
    ("openai", 400, "providers add openai"),
    ("demo", 400, "takes no account"),
    ("gemini", 400, "register one at https://console.cloud.google.com"),
]


async def test_providers_without_such_a_login_say_so_and_name_the_way(scene: Scene) -> None:
    """D5: no plan's own client is impersonated, no client secret is shipped."""
    for provider, status, words in WITHOUT:
        for action in ("authorize", "device-code", "start-callback-server"):
            answer = await scene.owner.get(f"/api/oauth/{provider}/{action}")
            named = "no such login" if (provider, action) == ("gemini", "device-code") else words
            assert (answer.status_code, named in answer.text) == (status, True), answer.text


async def test_who_may_and_what_is_wrong(scene: Scene) -> None:
    """No key, no scope, unknown fields, facts that are missing, connections that are not there or another provider's."""
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "authorize", {}),
        ("GET", "device-code", {}),
        ("GET", "start-callback-server", {}),
        ("POST", "exchange", {"code": "c", "redirectUri": "r", "state": "s"}),
        ("POST", "poll", {"deviceCode": "d"}),
        ("POST", "poll-callback", {"state": "s"}),
    ]
    narrow = await scene.running.headers("read-only")
    async with httpx.AsyncClient(base_url=scene.running.url) as anybody:
        for method, action, body in calls:
            url = f"/api/oauth/gitlab-duo/{action}"
            more: dict[str, Any] = {"json": body} if method == "POST" else {}
            assert (await anybody.request(method, url, **more)).status_code == 401, action
            assert (await anybody.request(method, url, headers=narrow, **more)).status_code == 403, action
            if method == "POST":
                assert (await scene.owner.post(url, json=body)).status_code == 404, action
                assert (await scene.owner.post(url, json={})).status_code == 400, action
                assert (await scene.owner.post(url, json={**body, "nonsense": 1})).status_code == 400, action
    assert (await scene.owner.get(f"/api/oauth/{CODE}/nonsense")).status_code == 404
    assert (await scene.owner.get(f"/api/oauth/{CODE}/authorize", params={"connectionId": "con_nobody"})).status_code == 404
    other = await scene.running.hub.store.connections.create(provider="openai", name="o", secret="sk-1234567890")
    mixed = await scene.owner.get(f"/api/oauth/{CODE}/authorize", params={"connectionId": other.id})
    assert (mixed.status_code, "connectionId" in mixed.text) == (400, True)
    assert (await scene.owner.put("/api/oauth-clients/azure-openai", json={"clientId": "c"})).status_code == 200
    missing = await scene.owner.get("/api/oauth/azure-openai/authorize")
    assert (missing.status_code, "data.resource" in missing.text) == (400, True)
    missing = await scene.owner.post("/api/oauth/azure-openai/authorize", json={"data": {"resource": "mine"}})
    assert (missing.status_code, "data.tenant" in missing.text) == (400, True)
    secret = await scene.owner.post("/api/oauth/azure-openai/authorize", json={"data": {"apiSecret": "x"}})
    assert (secret.status_code, "secret" in secret.text) == (400, True)
    whole = await scene.owner.post("/api/oauth/azure-openai/authorize", json={"data": {"resource": "mine", "tenant": "t-1"}})
    assert whole.json()["authUrl"].startswith("https://login.microsoftonline.com/t-1/oauth2/v2.0/authorize?")
