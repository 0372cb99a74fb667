"""Logins with a device code (RFC 8628): what is typed, how often is asked, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.signin import DEVICE

if TYPE_CHECKING:
    from tests.provider_login.conftest import Scene

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("scene", ["sqlite", "postgres"], indirect=True)


async def polled(scene: Scene, begun: dict[str, Any], **more: Any) -> Any:
    return (await scene.post("poll", DEVICE, deviceCode=begun["device_code"], **more)).json()


@both
async def test_a_code_is_typed_and_makes_a_connection(scene: Scene) -> None:
    """The provider's own device code stays in the hub; what names the login is the caller's alone (SEC-55)."""
    begun = await scene.begin("device-code", DEVICE, name="mine")
    assert (begun["user_code"], begun["verification_uri"]) == ("WDJB-MJHT", f"{scene.vendor.url}/device")
    assert (begun["expires_in"], begun["interval"], begun["flowType"]) == (600, 0, "device_code")
    assert "canary" not in str(begun)
    assert scene.vendor.requests[-1] == ("device", {"client_id": "client-of-the-owner", "scope": "ai_features"})
    assert (await polled(scene, begun))["error"] == "authorization_pending"
    async with httpx.AsyncClient(base_url=scene.running.url, headers=await scene.running.headers("manage")) as other:
        body = {"deviceCode": begun["device_code"]}
        assert (await other.post(f"/api/oauth/{DEVICE}/poll", json=body)).status_code == 404
        assert (await scene.owner.post("/api/oauth/databricks/poll", json=body)).status_code == 404
        assert (await scene.owner.post(f"/api/oauth/{DEVICE}/poll-callback", json={"state": begun["device_code"]})).json()["pending"]
    scene.vendor.agree()
    came = await polled(scene, begun, codeVerifier="ignored", extraData={"a": 1})
    assert (came["success"], came["connection"]["authType"], came["connection"]["name"]) == (True, "oauth", "mine")
    assert (await scene.post("poll", DEVICE, deviceCode=begun["device_code"])).status_code == 404
    assert (await scene.shown(came["connection"]["id"]))["loginState"] == "connected"


async def test_a_provider_that_is_asked_too_often_is_asked_less(scene: Scene) -> None:
    """slow_down adds five seconds (RFC 8628, 3.5); until they are over the hub answers by itself. Errors may come with status 200."""
    begun = await scene.begin("device-code", DEVICE)
    scene.vendor.steps = ["authorization_pending", "slow_down"]
    assert (await polled(scene, begun))["error"] == "authorization_pending"
    slow = await polled(scene, begun)
    assert (slow["success"], slow["pending"], slow["error"], slow["interval"]) == (False, True, "slow_down", 5)
    asked = len(scene.vendor.requests)
    scene.vendor.agree()
    assert (await polled(scene, begun))["pending"]
    assert len(scene.vendor.requests) == asked


async def test_a_refusal_ends_it(scene: Scene) -> None:
    for reason in ("access_denied", "expired_token"):
        begun = await scene.begin("device-code", DEVICE)
        scene.vendor.agree(reason)
        came = await polled(scene, begun)
        assert (came["success"], came["pending"], came["error"]) == (False, False, reason)
        assert "canary" not in str(came), "the code that was sent is not repeated (SEC-25)"
        assert (await scene.post("poll", DEVICE, deviceCode=begun["device_code"])).status_code == 404
    assert scene.running.hub.store.connections.all() == []


async def test_a_code_that_ran_out_is_over(scene: Scene) -> None:
    scene.vendor.device_life = 1
    begun = await scene.begin("device-code", DEVICE)
    clock = scene.running.hub.clock
    later = clock.now_ms() + 2000
    clock.now_ms = lambda: later  # type: ignore[method-assign]
    assert (await scene.post("poll", DEVICE, deviceCode=begun["device_code"])).status_code == 404


async def test_an_address_that_no_browser_should_open_is_refused(scene: Scene) -> None:
    """SEC-32, SEC-53."""
    for url in ("javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "vbscript:x", "smb://h/x", "http://evil.example/d"):
        scene.vendor.verification = url
        answer = await scene.owner.get(f"/api/oauth/{DEVICE}/device-code")
        assert answer.status_code == 502, url
        assert url not in answer.text


async def test_a_client_that_the_provider_does_not_know(scene: Scene) -> None:
    await scene.set_client(DEVICE, clientId="nobody")
    answer = await scene.owner.get(f"/api/oauth/{DEVICE}/device-code")
    assert (answer.status_code, "invalid_client" in answer.text) == (502, True)


async def test_providers_that_lack_it_name_the_other_way(scene: Scene) -> None:
    answer = await scene.owner.get("/api/oauth/databricks/device-code")
    assert (answer.status_code, "authorize" in answer.text) == (400, True)
