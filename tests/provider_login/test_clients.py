"""The owner's own clients at providers: set, shown without their secrets, and forgotten; and connections that a login may not take over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.responses import JSONResponse

from tests.fakes.signin import CLIENT, CODE, DEVICE
from tests.provider_login.conftest import fields
from tests.provider_login.test_use import spent

if TYPE_CHECKING:
    from tests.provider_login.conftest import Scene

pytestmark = pytest.mark.anyio


async def rows(scene: Scene) -> dict[str, Any]:
    return {one["provider"]: one for one in (await scene.owner.get("/api/oauth-clients")).json()["clients"]}


async def test_a_client_is_kept_shown_and_forgotten(scene: Scene) -> None:
    made = await scene.owner.put(
        "/api/oauth-clients/hf", json={"clientId": "c-1", "clientSecret": "canary-secret-12345678", "scopes": ["inference-api"]}
    )
    assert made.status_code == 200, made.text
    row = (await rows(scene))["huggingface"]
    assert (row["clientId"], row["configured"], row["ownScopes"]) == ("c-1", True, ["inference-api"])
    assert row["redirectUri"] == f"{scene.running.url}/api/oauth/huggingface/callback"
    assert "canary" not in str(row)
    assert row["clientSecret"].startswith("…")
    # The secret of the same client stays; another client's is of no use.
    assert (await scene.owner.put("/api/oauth-clients/hf", json={"clientId": "c-1"})).json()["clientSecret"].startswith("…")
    assert (await scene.owner.put("/api/oauth-clients/hf", json={"clientId": "c-2"})).json()["clientSecret"] == ""
    assert (await scene.owner.delete("/api/oauth-clients/hf")).status_code == 200
    assert (await scene.owner.delete("/api/oauth-clients/hf")).status_code == 404
    assert not (await rows(scene))["huggingface"]["configured"]


#: Provider, body, status, and the word that names the fault.
WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("nobody", {"clientId": "c"}, 404, "provider"),
    ("openai", {"clientId": "c"}, 400, "provider"),
    ("claude", {"clientId": "c"}, 400, "provider"),
    ("openrouter", {"clientId": "c"}, 400, "provider"),
    ("gemini", {}, 400, "clientId"),
    ("gemini", {"clientId": ""}, 400, "clientId"),
    ("gemini", {"clientId": "c", "nonsense": 1}, 400, "nonsense"),
    ("gemini", {"clientId": "c", "scopes": ["two words"]}, 400, "scopes"),
    ("gemini", {"clientId": "c", "baseUrl": "ftp://x"}, 400, "baseUrl"),
    ("gemini", {"clientId": "c", "data": {"apiKey": "x"}}, 400, "apiKey"),
]


async def test_what_makes_no_client_is_refused_by_name(scene: Scene) -> None:
    before = await rows(scene)
    for provider, body, status, field in WRONG:
        answer = await scene.owner.put(f"/api/oauth-clients/{provider}", json=body)
        assert (answer.status_code, field in answer.text) == (status, True), answer.text
    assert await rows(scene) == before, "nothing is stored by halves"


async def test_who_may(scene: Scene) -> None:
    narrow = await scene.running.headers("read-only")
    async with httpx.AsyncClient(base_url=scene.running.url) as anybody:
        for method, url in (("GET", "/api/oauth-clients"), ("PUT", "/api/oauth-clients/gemini"), ("DELETE", "/api/oauth-clients/gemini")):
            assert (await anybody.request(method, url)).status_code == 401
            assert (await anybody.request(method, url, headers=narrow)).status_code == 403


async def test_a_client_that_must_have_a_secret_says_so(scene: Scene) -> None:
    assert (await scene.owner.put("/api/oauth-clients/snowflake", json={"clientId": "c", "data": {"account": "a-1"}})).status_code == 200
    answer = await scene.owner.get("/api/oauth/snowflake/authorize")
    assert (answer.status_code, "--client-secret" in answer.text) == (400, True)
    assert (
        await scene.owner.put("/api/oauth-clients/snowflake", json={"clientId": "c", "clientSecret": "s", "data": {"account": "a-1"}})
    ).status_code == 200
    begun = (await scene.owner.get("/api/oauth/snowflake/authorize")).json()
    assert begun["authUrl"].startswith("https://a-1.snowflakecomputing.com/oauth/authorize?")
    assert fields(begun["authUrl"])["scope"] == "refresh_token"


async def test_a_secret_that_was_changed_at_the_provider_is_changed_here(scene: Scene) -> None:
    """Logins that were made with the old one go on with the new one."""
    client = scene.vendor.clients[CLIENT]
    client.update(client_secret="old-secret-1", token_endpoint_auth_method="client_secret_post")
    await scene.set_client(clientSecret="old-secret-1")
    await scene.log_in()
    client.update(client_secret="new-secret-2")
    await scene.set_client(clientSecret="new-secret-2")
    await spent(scene)
    assert (await scene.chat()).status_code == 200
    assert scene.vendor.refreshed == 1


async def test_a_key_s_connection_becomes_a_login_s(scene: Scene) -> None:
    body = {"provider": CODE, "name": "keyed", "apiKey": "sk-key-12345678", "baseUrl": scene.vendor.base_url, "allowPrivate": True}
    made = (await scene.owner.post("/api/providers", json=body)).json()["connection"]
    came = await scene.log_in(connectionId=made["id"])
    assert came["id"] == made["id"]
    shown = await scene.shown(made["id"])
    assert (shown["authType"], shown["apiKey"], shown["name"]) == ("oauth", "", "keyed")
    assert (await scene.chat()).status_code == 200


async def test_a_token_goes_to_nobody_but_whom_it_is_for(scene: Scene) -> None:
    """A login that began for one address does not end with a connection to another."""
    body = {"provider": DEVICE, "name": "elsewhere", "apiKey": "sk-key-12345678", "baseUrl": "https://gitlab.example/api/v4"}
    other = (await scene.owner.post("/api/providers", json=body)).json()["connection"]
    begun = await scene.begin("device-code", DEVICE)
    scene.vendor.agree()
    ask = {"deviceCode": begun["device_code"], "connectionId": other["id"]}
    refused = await scene.post("poll", DEVICE, **ask)
    assert (refused.status_code, "another address" in refused.text) == (400, True)
    same = (
        await scene.owner.post(
            "/api/providers", json={**body, "name": "here", "baseUrl": f"{scene.vendor.url}/api/v4", "allowPrivate": True}
        )
    ).json()
    came = (await scene.post("poll", DEVICE, **{**ask, "connectionId": same["connection"]["id"]})).json()
    assert came["connection"]["id"] == same["connection"]["id"]
    assert (await scene.post("poll", DEVICE, deviceCode="x", connectionId="con_nobody")).status_code == 404


async def test_a_provider_that_answers_nonsense_stores_nothing(scene: Scene) -> None:
    for answer in (
        JSONResponse({"access_token": "two words", "token_type": "bearer"}),
        JSONResponse({"token_type": "mac"}),
        JSONResponse([1]),
    ):
        begun = await scene.begin()
        async with httpx.AsyncClient() as browser:
            assert (await browser.get(await scene.back(begun))).status_code == 200
        scene.vendor.broken["token"] = lambda _, answer=answer: answer
        assert (await scene.post("poll-callback", state=begun["state"])).status_code == 502
    assert scene.running.hub.store.connections.all() == []
    assert scene.accounts.documents.all() == []
