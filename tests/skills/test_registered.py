"""Registered keys: issued once, shown once, within limits on issuing; and the check that predicts both (routing.md 6.6)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.call import Hub
from hub.errors import BadRequest, Conflict, InvalidInput, NotFound, RateLimited, Unauthenticated
from hub.records import Caller, KeyLimits, TestStatus
from hub.wire import iso
from tests.fakes.clock import Still
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def issued(desk: Desk, name: str = "bot", **fields: Any) -> Any:
    return await desk.ask("registered-keys-issue", name=name, **fields)


async def test_a_registered_key_chats_within_its_budgets(desk: Desk) -> None:
    key = await issued(desk, provider="openai", accountId="acc", dailyBudget=5, hourlyBudget=1)
    assert key.key.startswith("ork_")
    assert (len(key.key), key.key_prefix) == (36, key.key[:12])
    caller = desk.hub.authenticate(key.key)
    assert caller.scopes == {"chat", "mcp:connect"}
    desk.hub.limits.check(caller)
    with pytest.raises(RateLimited) as caught:
        desk.hub.limits.check(caller)
    assert caught.value.code == "key_budget_exceeded"
    shown = (await desk.ask("registered-keys-get", id=key.key_id)).key
    assert (shown.hourly_budget, shown.daily_budget, shown.hourly_used, shown.daily_used) == (1, 5, 1, 1)
    assert (shown.last_reset_day, shown.last_reset_hour) == ("2027-01-15", "2027-01-15T08")


async def test_the_secret_and_its_digest_are_shown_nowhere(desk: Desk) -> None:
    """SEC-22."""
    key = await issued(desk)
    listed = (await desk.ask("registered-keys-list")).model_dump_json() + (await desk.ask("keys-list")).model_dump_json()
    secret = key.key[12:]
    digests = {digest.hex() for digest in desk.hub.store.keys._digests.values()}  # pyright: ignore[reportPrivateUsage]
    assert secret not in listed
    assert not any(digest in listed for digest in digests)
    await desk.hub.store.flush()
    rows, _ = await desk.hub.store.audit.page()
    assert not any(secret in row.detail for row in rows)


async def test_the_list_can_be_narrowed_and_leaves_out_other_keys(desk: Desk) -> None:
    await desk.ask("keys-create", name="plain")
    one = await issued(desk, "one", provider="openai", accountId="a")
    desk.clock.advance(1)
    two = await issued(desk, "two", provider="openai", accountId="b")
    assert [key.id for key in (await desk.ask("registered-keys-list")).keys] == [two.key_id, one.key_id]
    assert [key.id for key in (await desk.ask("registered-keys-list", accountId="a")).keys] == [one.key_id]
    assert (await desk.ask("registered-keys-list", provider="north")).total == 0
    plain = next(key for key in desk.hub.store.keys.all() if key.registration is None)
    for skill in ("registered-keys-get", "registered-keys-revoke"):
        with pytest.raises(NotFound):
            await desk.ask(skill, id=plain.id)


async def test_it_ends_when_it_is_revoked_or_expires(desk: Desk) -> None:
    ends = iso(desk.clock.now_ms() + 60_000)
    key, other = await issued(desk, expiresAt=ends), await issued(desk, "other")
    assert key.expires_at == ends
    desk.clock.advance(61)
    with pytest.raises(Unauthenticated):
        desk.hub.authenticate(key.key)
    assert not (await desk.ask("registered-keys-get", id=key.key_id)).key.is_active
    revoked = await desk.ask("registered-keys-revoke", id=other.key_id)
    assert (revoked.success, revoked.revoked_at) == (True, iso(desk.clock.now_ms()))
    with pytest.raises(Unauthenticated):
        desk.hub.authenticate(other.key)
    with pytest.raises(BadRequest, match="in the past"):
        await issued(desk, expiresAt="2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "name"),
        ({"dailyBudget": 0}, "dailyBudget"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"expiresAt": "2030-01-01T00:00:00"}, "expiresAt"),
        ({"scopes": ["*"]}, "scopes"),
    ],
)
async def test_a_bad_request_names_its_field(desk: Desk, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        await issued(desk, **{"name": "x", **wrong})
    assert [detail["field"] for detail in caught.value.details] == [field]
    assert desk.hub.store.keys.all() == []


async def test_an_idempotency_key_issues_once(desk: Desk) -> None:
    answers = await asyncio.gather(*(issued(desk, idempotencyKey="i-1") for _ in range(8)), return_exceptions=True)
    keys = [answer for answer in answers if not isinstance(answer, BaseException)]
    refused = [answer for answer in answers if isinstance(answer, Conflict)]
    assert (len(keys), len(refused), len(desk.hub.store.keys.all())) == (1, 7, 1)
    assert {error.code for error in refused} == {"IDEMPOTENCY_CONFLICT"}
    await desk.ask("registered-keys-revoke", id=keys[0].key_id)
    with pytest.raises(Conflict):
        await issued(desk, idempotencyKey="i-1")


async def test_two_processes_issue_once_and_keep_the_limits(tmp_path: Path) -> None:
    with postgres_database() as url:
        hubs = [Hub(make_settings(tmp_path, url), clock=Still()) for _ in range(2)]
        await asyncio.gather(*(hub.open() for hub in hubs))

        async def issue(hub: Hub, **fields: Any) -> Any:
            return await hub.call(hub.find("registered-keys-issue"), {"name": "x", **fields}, hub.context(Caller.owner(), "test"))

        once = await asyncio.gather(*(issue(hub, idempotencyKey="same") for hub in hubs * 3), return_exceptions=True)
        assert sum(isinstance(answer, Conflict) for answer in once) == 5
        set_limits = {"accounts": {"acc": {"maxActiveKeys": 3}}}
        await hubs[0].call(hubs[0].find("registered-keys-limits-set"), set_limits, hubs[0].context(Caller.owner(), "test"))
        async with asyncio.timeout(2):
            while not hubs[1].store.values.get("registered_keys.limits"):
                await asyncio.sleep(0.01)
        many = await asyncio.gather(*(issue(hub, accountId="acc") for hub in hubs * 4), return_exceptions=True)
        assert sum(isinstance(answer, RateLimited) for answer in many) == 5
        await asyncio.gather(*(hub.close() for hub in hubs))


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"providers": {"openai": {"maxActiveKeys": 1}}}, "MAX_ACTIVE_KEYS_EXCEEDED"),
        ({"providers": {"*": {"hourlyIssueLimit": 1}}}, "PROVIDER_QUOTA_EXCEEDED"),
        ({"accounts": {"acc": {"dailyIssueLimit": 1}}}, "ACCOUNT_QUOTA_EXCEEDED"),
    ],
)
async def test_limits_on_issuing(desk: Desk, limits: dict[str, Any], code: str) -> None:
    await desk.ask("registered-keys-limits-set", **limits)
    first = await issued(desk, provider="openai", accountId="acc")
    assert not (await desk.ask("quotas-check", provider="openai", accountId="acc")).allowed
    with pytest.raises(RateLimited) as caught:
        await issued(desk, provider="openai", accountId="acc")
    assert caught.value.code == code
    await issued(desk, provider="", accountId="other")
    if code == "MAX_ACTIVE_KEYS_EXCEEDED":
        await desk.ask("registered-keys-revoke", id=first.key_id)
    else:
        assert caught.value.retry_after
        desk.clock.advance(caught.value.retry_after)
    await issued(desk, provider="openai", accountId="acc")


async def test_the_limits_are_shown_and_refused_by_name(desk: Desk) -> None:
    assert (await desk.ask("registered-keys-limits")).providers == {}
    with pytest.raises(InvalidInput, match=r"providers\.openai\.maxKeys"):
        await desk.ask("registered-keys-limits-set", providers={"openai": {"maxKeys": 1}})
    with pytest.raises(InvalidInput):
        await desk.ask("registered-keys-limits-set", providers={"openai": {"maxActiveKeys": -1}})


async def test_the_contract_on_the_wire(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        ask = {"name": "bot", "idempotencyKey": "once", "provider": "openai"}
        made = await client.post("/api/v1/registered-keys", json=ask)
        assert made.status_code == 201
        assert set(made.json()) == {
            "key", "keyId", "keyPrefix", "name", "provider", "accountId", "expiresAt", "createdAt", "warning",
        }  # fmt: skip
        again = await client.post("/api/v1/registered-keys", json=ask)
        assert again.status_code == 409
        body = again.json()
        assert set(body) == {"error", "errorCode", "existing"}
        assert (body["errorCode"], body["existing"]["id"]) == ("IDEMPOTENCY_CONFLICT", made.json()["keyId"])
        assert made.json()["key"] not in again.text
        limits = await client.put("/api/v1/registered-keys/limits", json={"providers": {"openai": {"maxActiveKeys": 1}}})
        assert limits.json() == (await client.get("/api/v1/registered-keys/limits")).json()
        full = await client.post("/api/v1/registered-keys", json={"name": "bot", "provider": "openai"})
        assert (full.status_code, full.json()["errorCode"]) == (429, "MAX_ACTIVE_KEYS_EXCEEDED")
        assert isinstance(full.json()["error"], str)
        identity = made.json()["keyId"]
        checked = await client.get("/v1/quotas/check", params={"provider": "openai", "accountId": "a"})
        assert checked.json()["errorCode"] == "MAX_ACTIVE_KEYS_EXCEEDED"
        assert (checked.json()["request"]["allowed"], checked.json()["request"]["errorCode"]) == (False, "not_configured")
        assert (await client.post(f"/api/v1/registered-keys/{identity}/revoke")).json()["success"] is True
        assert (await client.delete(f"/api/v1/registered-keys/{identity}")).json()["id"] == identity
        assert (await client.get("/api/v1/registered-keys/none")).status_code == 404
        bearer = {"authorization": f"Bearer {await running.key('chat')}"}
        for method, path in (("POST", "/api/v1/registered-keys"), ("GET", "/api/v1/registered-keys")):
            refused = await client.request(method, path, headers=bearer, json={"name": "x"} if method == "POST" else None)
            assert refused.status_code == 403
        assert (await client.get("/v1/quotas/check", headers=bearer)).json()["request"] == {
            "allowed": True, "errorCode": None, "reason": None, "retryAt": None,
        }  # fmt: skip
        wrong = await client.get("/v1/quotas/check", params={"prov": "x"})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "prov")
        assert "type" in json.loads(wrong.text)["error"]


async def test_the_check_predicts_a_request(desk: Desk) -> None:
    async def request(caller: Caller | None = None, **fields: Any) -> Any:
        return (await desk.ask("quotas-check", caller, **fields)).request

    assert (await request()).allowed
    assert (await request(provider="nobody")).error_code == "unknown_provider"
    assert (await request(provider="openai")).error_code == "not_configured"
    one, two = await desk.connect("one"), await desk.connect("two")
    assert (await request(provider="openai")).allowed
    desk.cool(one, seconds=60)
    assert (await request(provider="openai")).allowed
    cooling = await request(provider="openai", accountId="one")
    assert (cooling.allowed, cooling.error_code, cooling.retry_at) == (False, "quota_exhausted", iso(desk.clock.now_ms() + 60_000))
    desk.limit(two, 100, 0)
    both = await request(provider="openai")
    assert (both.allowed, both.retry_at) == (False, iso(desk.clock.now_ms() + 60_000))
    desk.hub.mark(two.id, test_status=TestStatus.EXPIRED)
    assert (await request(provider="openai", accountId=two.id)).reason == "the account is expired"
    limited = Caller(key_id="k", name="k", scopes=frozenset({"chat"}), limits=KeyLimits(hourly=1))
    assert (await request(limited)).allowed
    desk.hub.limits.check(limited)
    refused = await request(limited)
    assert (refused.allowed, refused.error_code) == (False, "key_budget_exceeded")
    assert desk.hub.limits.used("k") == (1, 1)  # asking counts nothing
