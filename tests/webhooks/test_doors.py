"""The addresses of webhooks: what they take, what they show, and who may call them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from standardwebhooks import Webhook as Reference

from hub.webhooks import webhooks
from hub.webhooks.names import EVENTS
from tests.fakes.hub import running_hub
from tests.fakes.upstream import json_answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.receiver import Receiver
    from tests.webhooks.conftest import Desk

pytestmark = pytest.mark.anyio


async def test_a_webhook_from_making_to_deleting(desk: Desk) -> None:
    made = await desk.hook("request.*", "quota.exceeded", description="alerts")
    assert made["secret"].startswith("whsec_")
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    assert (made["enabled"], made["failure_count"], made["last_status"], made["last_triggered_at"]) == (True, 0, None, None)
    place = f"/api/webhooks/{made['id']}"
    masked = {**made, "secret": made["secret"][:10] + "..."}
    assert (await desk.ask("GET", place))["webhook"] == masked
    assert (await desk.ask("GET", "/api/webhooks"))["webhooks"] == [masked]
    changed = (await desk.ask("PUT", place, json={"enabled": False, "description": "", "secret": masked["secret"]}))["webhook"]
    # A form that sends back what it was shown changes no secret.
    assert changed == {**masked, "enabled": False, "description": ""}
    assert await desk.ask("DELETE", place) == {"success": True}
    assert (await desk.ask("GET", "/api/webhooks"))["webhooks"] == []
    for method, path in (("GET", place), ("PUT", place), ("DELETE", place), ("POST", f"{place}/test"), ("POST", f"{place}/rotate-secret")):
        assert "error" in await desk.ask(method, path, 404)
    await desk.ask("GET", f"{place}/deliveries", 404)
    await desk.ask("POST", f"{place}/deliveries/msg_1/replay", 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://127.0.0.1/"}, "url"),
        ({"url": "http://10.0.0.1/"}, "url"),
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "https://user:pass@127.0.0.1/"}, "url"),
        ({"url": "https://127.0.0.1/" + "x" * 2000}, "url"),
        ({"url": "http://127.0.0.1/", "events": []}, "events"),
        ({"url": "http://127.0.0.1/", "events": ["request.done"]}, "events"),
        ({"url": "http://127.0.0.1/", "events": ["nothing.*"]}, "events"),
        ({"url": "http://127.0.0.1/", "events": ["[a-z]*"]}, "events"),
        ({"url": "http://127.0.0.1/", "secret": "short"}, "secret"),
        ({"url": "http://127.0.0.1/", "secret": "whsec_QUJD"}, "secret"),
        ({"url": "http://127.0.0.1/", "secret": "with a blank in its middle"}, "secret"),
        ({"url": "http://127.0.0.1/", "description": "x" * 1001}, "description"),
        ({"url": "http://127.0.0.1/", "colour": "red"}, "colour"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_is_stored(desk: Desk, body: dict[str, Any], field: str) -> None:
    """SEC-10: private addresses are refused but for those of push_allowed_hosts."""
    told = await desk.ask("POST", "/api/webhooks", 400, json=body)
    assert field in json.dumps(told["error"])
    assert (await desk.ask("GET", "/api/webhooks"))["webhooks"] == []


async def test_a_change_is_checked_as_a_whole(desk: Desk) -> None:
    made = await desk.hook("*")
    place = f"/api/webhooks/{made['id']}"
    for wrong in ({"url": "http://10.0.0.1/"}, {"events": ["x"]}, {"secret": "short"}, {"colour": "red"}, {"enabled": "perhaps"}):
        await desk.ask("PUT", place, 400, json={"description": "new", **wrong})
    assert (await desk.ask("GET", place))["webhook"]["description"] == ""


async def test_only_owners_may(desk: Desk) -> None:
    hook = await desk.hook("*")
    place = f"/api/webhooks/{hook['id']}"
    calls = [("GET", "/api/webhooks"), ("POST", "/api/webhooks"), ("GET", "/api/webhooks/events"), ("GET", place), ("PUT", place)]
    calls += [("DELETE", place), ("POST", f"{place}/test"), ("POST", f"{place}/rotate-secret"), ("GET", f"{place}/deliveries")]
    calls += [("POST", f"{place}/deliveries/x/replay")]
    async with httpx.AsyncClient(base_url=desk.running.url) as http:
        poor = await desk.running.headers("read:*", "chat")
        for method, path in calls:
            assert (await http.request(method, path)).status_code == 401
            assert (await http.request(method, path, headers=poor, json={"url": "http://127.0.0.1/"})).status_code == 403


async def test_a_test_is_really_sent_and_signed_twice_over(desk: Desk, receiver: Receiver) -> None:
    """SEC-65: Standard Webhooks' own library takes it, and so does a receiver that was written for OmniRoute."""
    receiver.answer(json_answer({"thanks": True}))
    hook = await desk.hook("request.failed")
    assert await desk.ask("POST", f"/api/webhooks/{hook['id']}/test") == {"delivered": True, "status": 200, "error": None}
    [request] = receiver.requests
    headers = dict(request.headers)
    assert Reference(hook["secret"]).verify(request.body, headers)["event"] == "test.ping"  # type: ignore[index]
    assert headers["x-webhook-signature"] == f"sha256={hmac.new(hook['secret'].encode(), request.body, hashlib.sha256).hexdigest()}"
    body = request.json()
    assert headers["x-webhook-event"] == body["event"] == body["type"] == "test.ping"
    assert headers["x-webhook-timestamp"] == body["timestamp"]
    assert body["data"]["webhookId"] == hook["id"]
    [entry] = await desk.log(hook)
    assert (entry["event"], entry["state"], entry["attempts"][0]["response"]) == ("test.ping", "delivered", '{"thanks": true}')
    receiver.answer(json_answer({}, status=500))
    told = await desk.ask("POST", f"/api/webhooks/{hook['id']}/test")
    assert (told["delivered"], told["status"]) == (False, 500)
    assert "500" in told["error"]
    assert len(receiver.requests) == 2
    assert (await desk.ask("GET", f"/api/webhooks/{hook['id']}"))["webhook"]["failure_count"] == 0


async def test_a_plain_secret_signs_in_both_manners(desk: Desk, receiver: Receiver) -> None:
    """The seed takes any text; Standard Webhooks sees its bytes."""
    own = "a-secret-of-my-own-choice"
    receiver.answer(json_answer({}))
    hook = await desk.hook("*", secret=own)
    assert hook["secret"] == own
    await desk.ask("POST", f"/api/webhooks/{hook['id']}/test")
    [request] = receiver.requests
    Reference(base64.b64encode(own.encode()).decode()).verify(request.body, dict(request.headers))
    assert request.headers["x-webhook-signature"] == f"sha256={hmac.new(own.encode(), request.body, hashlib.sha256).hexdigest()}"
    assert (await desk.ask("GET", f"/api/webhooks/{hook['id']}"))["webhook"]["secret"] == "..."


async def test_rotation_leaves_time_to_change_the_receiver(desk: Desk, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-65: two valid secrets for a day, then one."""
    receiver.answer(json_answer({}))
    hook = await desk.hook("*")
    place = f"/api/webhooks/{hook['id']}"
    rotated = (await desk.ask("POST", f"{place}/rotate-secret"))["webhook"]
    assert rotated["secret"] != hook["secret"]
    assert rotated["previous_secret_until"] is not None
    await desk.ask("POST", f"{place}/test")
    for secret in (hook["secret"], rotated["secret"]):
        Reference(secret).verify(receiver.requests[-1].body, dict(receiver.requests[-1].headers))
    monkeypatch.setattr(webhooks, "OVERLAP_MS", -1)
    given = (await desk.ask("PUT", place, json={"secret": "whsec_" + "QUJD" * 12}))["webhook"]
    assert given["secret"] == "whsec_QUJD..."
    assert given["previous_secret_until"] is None
    await desk.ask("POST", f"{place}/test")
    Reference("whsec_" + "QUJD" * 12).verify(receiver.requests[-1].body, dict(receiver.requests[-1].headers))
    with pytest.raises(Exception, match="No matching signature"):
        Reference(rotated["secret"]).verify(receiver.requests[-1].body, dict(receiver.requests[-1].headers))


async def test_a_secret_that_cannot_be_read_takes_nothing_else_along(desk: Desk, receiver: Receiver) -> None:
    """SEC-24: as after a restore from another hub's backup. The list works, the delivery says why not, a new secret mends it."""
    receiver.answer(json_answer({}))
    hook = await desk.hook("*")
    await desk.running.hub.webhooks.documents.edit(hook["id"], lambda body: body.model_copy(update={"secret": "AAAA"}))
    place = f"/api/webhooks/{hook['id']}"
    assert [one["secret"] for one in (await desk.ask("GET", "/api/webhooks"))["webhooks"]] == [""]
    told = await desk.ask("POST", f"{place}/test")
    assert (told["delivered"], "new one" in told["error"], receiver.requests) == (False, True, [])
    made = (await desk.ask("POST", f"{place}/rotate-secret"))["webhook"]
    assert (await desk.ask("POST", f"{place}/test"))["delivered"] is True
    Reference(made["secret"]).verify(receiver.requests[0].body, dict(receiver.requests[0].headers))


async def test_the_events_are_listed(desk: Desk) -> None:
    listed = await desk.ask("GET", "/api/webhooks/events")
    assert {one["name"]: one["description"] for one in listed["events"]} == EVENTS
    assert listed["total"] == len(EVENTS)


async def test_secrets_are_sealed_and_never_shown_again(tmp_path: Path, receiver: Receiver) -> None:
    """SEC-22, SEC-23: neither the database, the audit log nor any later answer has one."""
    own = "canary-secret-of-a-webhook"
    async with (
        running_hub(tmp_path, push_allowed_hosts="127.0.0.1") as running,
        httpx.AsyncClient(base_url=running.url, headers=await running.headers("manage")) as http,
    ):
        hook = (await http.post("/api/webhooks", json={"url": receiver.hook, "secret": own})).json()["webhook"]
        assert hook["secret"] == own
        made = (await http.post("/api/webhooks", json={"url": receiver.hook})).json()["webhook"]["secret"]
        shown = (await http.get("/api/webhooks")).text + (await http.get("/api/compliance/audit-log")).text
        shown += (await http.put(f"/api/webhooks/{hook['id']}", json={"description": "x"})).text
    database = sqlite3.connect(tmp_path / "data" / "hubroute.db")
    shown += "\n".join(database.iterdump())
    database.close()
    assert receiver.hook in shown
    assert own not in shown
    assert made not in shown


async def test_there_is_a_most(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "MOST_WEBHOOKS", 1)
    await desk.hook()
    told = await desk.ask("POST", "/api/webhooks", 400, json={"url": desk.receiver.hook})
    assert "delete one" in json.dumps(told)
