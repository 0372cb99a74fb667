"""Accounts at use: tokens renewed once and ahead of time, stored before they are used, and given up when the provider says so (REL-15)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import JSONResponse

from hub.records import TestStatus

if TYPE_CHECKING:
    from tests.provider_login.conftest import Scene

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("scene", ["sqlite", "postgres"], indirect=True)


async def spent(scene: Scene, *accounts: str) -> None:
    """The access tokens of these connections, or of all, are past their time, and the hub knows."""
    if not accounts:
        scene.vendor.expire()
    past = {"expires_at": 1, "refreshed_at": 0}
    for document in scene.accounts.documents.all():
        if not accounts or document.body.connection in accounts:
            await scene.accounts.documents.edit(document.id, lambda account: account.model_copy(update=past))


@both
async def test_a_hundred_requests_with_a_spent_token_refresh_it_once(scene: Scene) -> None:
    """REL-15: exactly one refresh, though it is slow; others wait; what it gave is stored before anybody uses it."""
    made = await scene.log_in(name="mine")
    assert (await scene.chat()).status_code == 200
    scene.vendor.pause = 0.2
    before = set(scene.vendor.access)
    await spent(scene)
    answers = await asyncio.gather(*(scene.chat() for _ in range(100)))
    assert {answer.status_code for answer in answers} == {200}
    assert scene.vendor.refreshed == 1
    assert set(scene.vendor.tokens[-100:]) == set(scene.vendor.access) - before
    account = scene.accounts.of(made["id"])
    stored = (await scene.accounts.documents.edit(account.id, lambda _: None)).body
    assert stored.serial == 2
    assert "canary" not in stored.model_dump_json()
    assert all("canary" not in answer.text for answer in answers), "the provider repeats its token; nobody else sees it (SEC-25)"


async def test_sync_clients_see_a_login_and_do_not_write_over_it(scene: Scene) -> None:
    made = await scene.log_in(name="mine")
    told = (await scene.owner.post("/api/cloud/auth")).json()["connections"]
    seen = next(one for one in told if one["authType"] == "oauth")
    assert (seen["hasAccessToken"], seen["hasRefreshToken"]) == (True, True)
    assert seen["expiresAt"] == (await scene.shown(made["id"]))["expiresAt"]
    assert "canary" not in str(told)
    body = {"provider": seen["provider"], "credentials": {"accessToken": "of-somebody-else"}}
    refused = await scene.owner.put("/api/cloud/credentials/update", json=body)
    assert refused.status_code == 409
    assert "sign-in of its own" in refused.text
    assert (await scene.chat()).status_code == 200


async def test_a_refused_token_leads_to_one_refresh_and_one_repetition(scene: Scene) -> None:
    """The hub thinks that the token is good, and the provider does not."""
    await scene.log_in()
    scene.vendor.expire()
    answer = await scene.chat()
    assert (answer.status_code, scene.vendor.refreshed, len(scene.vendor.tokens)) == (200, 1, 2)
    # One that is refused in spite of that is the end of the credential, not of the hub's patience.
    scene.vendor.refuses = True
    assert (await scene.chat()).status_code == 401
    assert (scene.vendor.refreshed, len(scene.vendor.tokens)) == (2, 4)


async def test_tokens_are_refreshed_ahead_of_their_time(scene: Scene) -> None:
    scene.vendor.life = 60
    await scene.log_in()
    now = scene.running.hub.clock.now_ms()
    nearly = {"expires_at": now + 8_000, "refreshed_at": now - 52_000}
    await scene.accounts.documents.edit(scene.accounts.documents.all()[0].id, lambda account: account.model_copy(update=nearly))
    async with asyncio.timeout(5):
        while not scene.vendor.refreshed:
            await asyncio.sleep(0.02)
    wait = await scene.accounts.renewals.sweep()
    assert scene.vendor.refreshed == 1
    assert wait > 5, "the next one is not due yet"


@both
async def test_a_dead_grant_takes_the_account_out_and_is_not_tried_again(scene: Scene) -> None:
    """REL-15: EXPIRED, with the reason; the next request does not even ask."""
    made = await scene.log_in(name="mine")
    scene.vendor.broken["token"] = lambda _: JSONResponse({"error": "invalid_grant", "error_description": "revoked"}, status_code=400)
    await spent(scene)
    answers = await asyncio.gather(*(scene.chat() for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {401, 502, 503}
    assert any("log in again" in answer.text or "invalid_grant" in answer.text for answer in answers)
    assert scene.vendor.refreshed == 1
    shown = await scene.shown(made["id"])
    assert (shown["testStatus"], shown["loginState"]) == ("expired", "ended")
    assert "invalid_grant" in shown["lastError"]
    await scene.chat()
    await scene.accounts.renewals.sweep()
    tested = (await scene.owner.post(f"/api/providers/{made['id']}/test")).json()
    assert (tested["valid"], tested["statusCode"]) == (False, 401)
    assert scene.vendor.refreshed == 1
    # A new login of the same connection mends it.
    del scene.vendor.broken["token"]
    again = await scene.log_in(connectionId=made["id"])
    assert again["id"] == made["id"]
    assert (await scene.chat()).status_code == 200
    assert (await scene.shown(made["id"]))["testStatus"] != "expired"


async def test_an_expired_account_makes_way_for_another(scene: Scene) -> None:
    """The request of somebody does not fail because one account of two is over."""
    first = await scene.log_in(name="first")
    await scene.log_in(name="second")
    scene.vendor.broken["token"] = lambda _: JSONResponse({"error": "invalid_grant"}, status_code=400)
    await spent(scene, first["id"])
    assert (await scene.chat()).status_code == 200
    assert scene.running.hub.store.connections.get(first["id"]).test_status is TestStatus.EXPIRED


async def test_a_token_endpoint_that_fails_in_passing_ends_nothing(scene: Scene) -> None:
    made = await scene.log_in()
    scene.vendor.broken["token"] = lambda _: JSONResponse({"error": "temporarily_unavailable"}, status_code=503)
    await spent(scene)
    assert (await scene.chat()).status_code in (502, 503)
    shown = await scene.shown(made["id"])
    assert (shown["loginState"], shown["testStatus"] == "expired") == ("failing", False)
    assert (await scene.chat()).status_code in (429, 502, 503)
    assert scene.vendor.refreshed == 1, "not tried again at once"
    del scene.vendor.broken["token"]
    scene.accounts.renewals.forgive()
    scene.running.hub.resilience.clear_connection(made["id"])
    assert (await scene.chat()).status_code == 200


async def test_a_client_that_leaves_does_not_lose_the_rotated_token(scene: Scene) -> None:
    await scene.log_in()
    scene.vendor.pause = 0.2
    await spent(scene)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await scene.chat()
    scene.vendor.pause = 0
    assert (await scene.chat()).status_code == 200
    assert scene.vendor.refreshed == 1


async def test_a_connection_that_goes_takes_its_tokens_with_it(scene: Scene) -> None:
    """They are taken back at the provider where it offers that (RFC 7009), and gone here."""
    scene.vendor.interval = 0
    begun = await scene.begin("device-code", "gitlab-duo")
    scene.vendor.agree()
    came = (await scene.post("poll", "gitlab-duo", deviceCode=begun["device_code"])).json()
    identity = came["connection"]["id"]
    tokens = {*scene.vendor.access, *scene.vendor.refreshes}
    assert (await scene.owner.delete(f"/api/providers/{identity}")).status_code == 200
    assert set(scene.vendor.revoked) == tokens
    assert scene.accounts.documents.all() == []


async def test_a_login_s_connection_is_changed_like_any_other(scene: Scene) -> None:
    """Its name changes without a key; a key that is given takes the login's place."""
    made = await scene.log_in(name="mine")
    changed = await scene.owner.patch(f"/api/providers/{made['id']}", json={"name": "other", "priority": 5})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["connection"]["name"], changed.json()["connection"]["authType"]) == ("other", "oauth")
    assert (await scene.chat()).status_code == 200
    tested = (await scene.owner.post(f"/api/providers/{made['id']}/test")).json()
    assert tested["valid"], tested
    keyed = await scene.owner.patch(f"/api/providers/{made['id']}", json={"apiKey": "sk-plain-key-1234"})
    assert (keyed.json()["connection"]["authType"], keyed.json()["connection"]["loginState"]) == ("apikey", None)
    await scene.chat()
    assert scene.vendor.tokens[-1] == "sk-plain-key-1234"


async def test_tokens_stand_nowhere_in_the_open(scene: Scene, tmp_path: Any) -> None:
    """SEC-22: neither in answers, nor in the database's files, nor in the audit log."""
    await scene.set_client(clientSecret="canary-client-secret")
    scene.vendor.clients["client-of-the-owner"].update(
        client_secret="canary-client-secret", token_endpoint_auth_method="client_secret_post"
    )
    made = await scene.log_in()
    await scene.chat()
    pages = ["/api/providers", f"/api/providers/{made['id']}", "/api/oauth-clients", "/api/settings", "/api/logs/audit"]
    text = "".join([(await scene.owner.get(page)).text for page in pages])
    assert "canary" not in text
    await scene.running.hub.store.flush()
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes(), path
