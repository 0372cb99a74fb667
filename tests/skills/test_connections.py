"""Connections: made only when they could work, shown without their secrets, tested without spending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import BadRequest, NotFound
from hub.providers.base import Failure, FailureKind
from hub.records import ConnectionRules, TestStatus
from hub.wire import iso
from tests.fakes.upstream import FaultUpstream, json_answer, reset_before_head
from tests.fakes.vendor import good

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio

MODELS = json_answer({"object": "list", "data": [{"id": "m1", "object": "model"}, {"id": "m2", "object": "model"}]})
NO_KEY = json_answer({"error": {"message": "Incorrect API key sk-canary-key provided", "code": "invalid_api_key"}}, status=401)


async def made(desk: Desk, upstream: FaultUpstream | None = None, **fields: Any) -> Any:
    where = {"baseUrl": f"{upstream.url}/v1", "allowPrivate": True} if upstream else {}
    return await desk.ask("connections-create", **{"provider": "openai", "name": "mine", "apiKey": "sk-canary-key", **where, **fields})


async def test_secrets_do_not_come_back(desk: Desk) -> None:
    """SEC-22."""
    one = await made(desk, proxy="http://user:canary-pass@proxy.example:3128")
    shown = [one, await desk.ask("connections-get", id=one.id), await desk.ask("connections-list")]
    text = "".join(each.model_dump_json() for each in shown)
    assert "canary" not in text
    assert (one.api_key, one.proxied, one.auth_type, one.test_status) == ("…-key", True, "apikey", "unknown")


async def test_what_is_given_is_kept(desk: Desk) -> None:
    data = {"prefix": "mine", "number": 5, "empty": None, "baseUrl": "https://other.example/v1"}
    one = await made(desk, apiKey="  sk-canary-key\n", providerSpecificData=data, defaultModel="m", models=["a", "b"], priority=7)
    assert one.provider_specific_data == {"prefix": "mine", "number": "5", "baseUrl": "https://other.example/v1"}
    assert (one.default_model, one.models, one.priority) == ("m", ["a", "b"], 7)
    kept = desk.hub.store.connections.get(one.id)
    assert (kept.secret.reveal(), kept.base_url) == ("sk-canary-key", "https://other.example/v1")
    explicit = await made(desk, baseUrl="https://first.example/v1", providerSpecificData={"baseUrl": "https://second.example/v1"})
    assert desk.hub.store.connections.get(explicit.id).base_url == "https://first.example/v1"


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"provider": "nobody"}, NotFound, "provider"),
        ({"apiKey": ""}, BadRequest, "apiKey"),
        ({"apiKey": "   "}, BadRequest, "apiKey"),
        ({"provider": "azure-openai"}, BadRequest, "data.resource"),
        ({"provider": "azure-openai", "providerSpecificData": {"resource": "evil.com#"}}, BadRequest, "data.resource"),
        ({"provider": "ollama", "apiKey": "", "baseUrl": "not a url"}, BadRequest, None),
        ({"baseUrl": "ftp://x.example"}, BadRequest, None),
        ({"providerSpecificData": {"nested": {"a": 1}}}, BadRequest, "providerSpecificData.nested"),
        ({"priority": 0}, BadRequest, "priority"),
        ({"name": ""}, BadRequest, "name"),
    ],
)
async def test_one_that_could_never_work_is_not_stored(
    desk: Desk, fields: dict[str, Any], error: type[Exception], field: str | None
) -> None:
    """SEC-13: a part of a host is a label and nothing else."""
    with pytest.raises(error) as caught:
        await made(desk, **fields)
    if field is not None:
        assert caught.value.field == field  # type: ignore[attr-defined]
    assert desk.hub.store.connections.all() == []


async def test_a_change_holds_at_once(desk: Desk) -> None:
    one = await made(desk)
    desk.hub.mark(one.id, test_status=TestStatus.EXPIRED, last_error="401: no")
    changes = {"name": "new", "priority": 3, "allowPrivate": True, "baseUrl": "https://a.example/v1", "defaultModel": "m", "models": ["x"]}
    changed = await desk.ask("connections-update", id=one.id, isActive=False, providerSpecificData={"prefix": "p"}, **changes)
    assert (changed.name, changed.priority, changed.allow_private, changed.is_active) == ("new", 3, True, False)
    assert (changed.default_model, changed.models) == ("m", ["x"])
    assert changed.provider_specific_data == {"prefix": "p", "baseUrl": "https://a.example/v1"}
    assert changed.test_status == "expired"
    untouched = await desk.ask("connections-update", id=one.id, priority=3)
    assert untouched.model_dump(exclude={"updated_at"}) == changed.model_dump(exclude={"updated_at"})
    with pytest.raises(BadRequest, match="at least one field"):
        await desk.ask("connections-update", id=one.id)
    renewed = await desk.ask("connections-update", id=one.id, apiKey="sk-other-key-99", proxy="http://p.example:1")
    assert (renewed.test_status, renewed.last_error, renewed.api_key, renewed.proxied) == ("unknown", "", "…y-99", True)
    moved = await desk.ask("connections-update", id=one.id, proxy="", providerSpecificData={"baseUrl": "https://b.example/v1"})
    assert (moved.proxied, moved.provider_specific_data) == (False, {"baseUrl": "https://b.example/v1"})


@pytest.mark.parametrize("wrong", [{"apiKey": ""}, {"baseUrl": "nonsense"}, {"providerSpecificData": {"a": []}}])
async def test_a_change_that_would_break_it_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    one = await made(desk)
    before = desk.hub.store.connections.get(one.id)
    with pytest.raises(BadRequest):
        await desk.ask("connections-update", id=one.id, **wrong)
    assert desk.hub.store.connections.get(one.id) == before


async def test_deleted(desk: Desk) -> None:
    one = await made(desk)
    assert (await desk.ask("connections-delete", id=one.id)).message == "connection 'mine' of openai is deleted"
    for skill in ("connections-get", "connections-delete", "connections-test", "connections-models", "connections-update"):
        with pytest.raises(NotFound):
            await desk.ask(skill, id=one.id)


async def test_a_test_that_passes_clears_every_mark(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(MODELS)
    one = await made(desk, upstream)
    desk.cool(desk.hub.store.connections.get(one.id))
    desk.hub.mark(one.id, test_status=TestStatus.EXPIRED, last_error="401: no", cooldown_until=desk.clock.now_ms() + 5000)
    report = await desk.ask("connections-test", id=one.id)
    assert (report.valid, report.error, report.warning, report.status_code, report.models) == (True, None, None, 200, 2)
    shown = await desk.ask("connections-get", id=one.id)
    assert (shown.test_status, shown.last_error, shown.rate_limited_until) == ("active", "", None)
    assert desk.hub.resilience.cooldowns.quiet
    (request,) = upstream.requests
    assert (request.method, request.target) == ("GET", "/v1/models")
    assert (await desk.hub.store.usage.page())[1] == 0


@pytest.mark.parametrize(
    ("behaviour", "status", "mark", "words"),
    [
        (NO_KEY, 401, "expired", "Incorrect API key [masked] provided"),
        (json_answer({"error": {"message": "busy"}}, status=503), 503, "unavailable", "busy"),
        (reset_before_head(), None, "unavailable", ""),
    ],
)
async def test_a_test_that_fails_leaves_its_reason(
    desk: Desk, upstream: FaultUpstream, behaviour: Any, status: int | None, mark: str, words: str
) -> None:
    """SEC-25: without our key, should the provider echo it."""
    upstream.answer(behaviour)
    one = await made(desk, upstream)
    report = await desk.ask("connections-test", id=one.id)
    assert (report.valid, report.status_code, report.models) == (False, status, None)
    assert words in (report.error or "")
    shown = await desk.ask("connections-get", id=one.id)
    assert (shown.test_status, shown.last_error) == (mark, (report.error or "")[:100])
    assert "canary" not in shown.model_dump_json() + report.model_dump_json()


async def test_what_a_test_cannot_prove_it_says(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(json_answer({"error": {"message": "no such page"}}, status=404))
    one = await made(desk, upstream)
    report = await desk.ask("connections-test", id=one.id)
    assert report.valid
    assert "not proven" in report.warning
    voice = await made(desk, provider="elevenlabs")
    report = await desk.ask("connections-test", id=voice.id)
    assert not report.valid
    assert "this version cannot test" in report.error
    quiet = await made(desk, provider="vertex", providerSpecificData={"project": "p", "region": "r"})
    report = await desk.ask("connections-test", id=quiet.id)
    assert report.valid
    assert "no request that costs nothing" in report.warning


async def test_a_credential_can_be_checked_without_keeping_it(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(MODELS, NO_KEY)
    where = {"provider": "openai", "apiKey": " sk-canary-key ", "baseUrl": f"{upstream.url}/v1"}
    assert (await desk.ask("connections-validate", **where, allowPrivate=True)).valid
    assert upstream.requests[0].headers["authorization"] == "Bearer sk-canary-key"
    refused = await desk.ask("connections-validate", **where, allowPrivate=True)
    assert (refused.valid, "canary" in refused.error) == (False, False)
    private = await desk.ask("connections-validate", **where)
    assert not private.valid
    assert len(upstream.requests) == 2
    assert desk.hub.store.connections.all() == []


async def test_the_models_a_connection_offers(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(MODELS, json_answer({"error": {"message": "busy"}}, status=503))
    asked = await made(desk, upstream)
    found = await desk.ask("connections-models", id=asked.id)
    assert ([model.id for model in found.models], found.source) == (["m1", "m2"], "provider")
    assert found.models[0].model_dump(by_alias=True) == {"id": "m1", "object": "model", "created": 0, "owned_by": "openai"}
    listed = await desk.ask("connections-models", id=asked.id)
    assert (listed.source, len(listed.models)) == ("catalogue", len(desk.hub.catalog.get("openai").models))
    own = await made(desk, models=["mine"])
    assert (await desk.ask("connections-models", id=own.id)).source == "connection"


async def test_what_is_tested_is_used(desk: Desk, upstream: FaultUpstream) -> None:
    """A new credential is in the next request."""
    upstream.answer(good())
    one = await made(desk, upstream)
    ask = {"model": "openai/gpt-4o", "messages": [{"content": "x"}]}
    await desk.ask("smart-routing", **ask)
    await desk.ask("connections-update", id=one.id, apiKey="sk-second-key-2")
    await desk.ask("smart-routing", **ask)
    assert [request.headers["authorization"] for request in upstream.requests] == ["Bearer sk-canary-key", "Bearer sk-second-key-2"]


RULES = {
    "prefix": "mine", "tags": ["team"], "tag": "eu",
    "excludedModels": ["gpt-4*"], "quotaPreflightEnabled": True, "weight": 2, "tier": "pro",
    "limitPolicy": {"enabled": True, "thresholdPercent": 80, "windows": ["5h", "seven_day"]}, "passthroughModels": False, "lenient": True,
}  # fmt: skip


async def test_every_rule_is_kept_and_shown(desk: Desk) -> None:
    top = {"globalPriority": 4, "maxConcurrent": 3, "rateLimitProtection": True, "group": "work", "isActive": False, "testStatus": "active"}
    one = await made(desk, providerSpecificData=RULES, **top)
    rules = desk.hub.store.connections.get(one.id).rules
    assert (rules.tags, rules.excluded_models, rules.preflight, rules.weight, rules.tier) == (("team", "eu"), ("gpt-4*",), True, 2, "pro")
    assert (rules.limit_percent, rules.limit_windows, rules.model_quotas, rules.lenient) == (80, ("session", "weekly"), False, True)
    assert (rules.global_priority, rules.max_concurrent, rules.rate_limit, rules.group) == (4, 3, True, "work")
    assert (one.is_active, one.test_status) == (False, "active")
    shown = one.model_dump(by_alias=True)
    assert {name: shown[name] for name in top} == top
    again = await desk.ask("connections-update", id=one.id, providerSpecificData=shown["providerSpecificData"])
    assert again.provider_specific_data == shown["providerSpecificData"]
    assert desk.hub.store.connections.get(one.id).rules == rules
    await desk.ask("connections-update", id=one.id, maxConcurrent=None, globalPriority=None, group=None, rateLimitProtection=False)
    bare = await desk.ask("connections-update", id=one.id, providerSpecificData={"limitPolicy": {"enabled": False, "thresholdPercent": 5}})
    assert desk.hub.store.connections.get(one.id).rules == ConnectionRules()
    assert (bare.max_concurrent, bare.global_priority, bare.group, bare.provider_specific_data) == (None, None, None, {})


async def test_further_keys_are_sealed_and_never_shown(desk: Desk) -> None:
    """SEC-22, SEC-23."""
    one = await made(desk, providerSpecificData={"extraApiKeys": ["sk-canary-extra-1", " sk-canary-extra-2 ", "sk-canary-extra-2"]})
    assert (one.extra_api_keys, one.extra_api_key_count) == (["…ra-1", "…ra-2"], 2)
    assert "canary" not in one.model_dump_json()
    rows = await desk.hub.store._database.read(lambda link: link.run("SELECT * FROM connections"))
    assert "canary" not in str(rows)
    kept = await desk.ask("connections-update", id=one.id, providerSpecificData={"prefix": "p"})
    assert kept.extra_api_key_count == 2
    desk.hub.mark(one.id, test_status=TestStatus.EXPIRED)
    with pytest.raises(BadRequest, match="masked"):
        await desk.ask("connections-update", id=one.id, providerSpecificData={"extraApiKeys": ["…ra-1"]})
    fewer = await desk.ask("connections-update", id=one.id, providerSpecificData={"extraApiKeys": ["sk-canary-extra-3"]})
    assert (fewer.extra_api_keys, fewer.test_status) == (["…ra-3"], "unknown")
    none = await desk.ask("connections-update", id=one.id, providerSpecificData={"extraApiKeys": None})
    assert none.extra_api_keys == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"surprise": 1}, "surprise"),
        ({"rateLimitedUntil": None, "healthCheckInterval": 60}, "healthCheckInterval"),
        ({"lastError": "no"}, "lastError"),
        ({"testStatus": "banned"}, "testStatus"),
        ({"rateLimitedUntil": "soon"}, "rateLimitedUntil"),
        ({"maxConcurrent": -1}, "maxConcurrent"),
        ({"providerSpecificData": {"customUserAgent": "x"}}, "providerSpecificData.customUserAgent"),
        ({"providerSpecificData": {"openaiStoreEnabled": True}}, "providerSpecificData.openaiStoreEnabled"),
        ({"providerSpecificData": {"clientSecret": "x"}}, "providerSpecificData.clientSecret"),
        ({"providerSpecificData": {"tier": "gold"}}, "providerSpecificData.tier"),
        ({"providerSpecificData": {"limitPolicy": {"thresholdPercent": 101}}}, "providerSpecificData.limitPolicy.thresholdPercent"),
        ({"providerSpecificData": {"tags": ["x" * 65]}}, "providerSpecificData.tags.0"),
        ({"providerSpecificData": {"extraApiKeys": [""]}}, "providerSpecificData.extraApiKeys.0"),
    ],
)
async def test_what_is_not_honoured_is_refused_by_name(desk: Desk, fields: dict[str, Any], field: str) -> None:
    one = await made(desk)
    before = desk.hub.store.connections.get(one.id)
    with pytest.raises(BadRequest) as caught:
        await desk.ask("connections-update", id=one.id, name="other", **fields)
    assert caught.value.field == field
    assert desk.hub.store.connections.get(one.id) == before
    if not {"lastError", "healthCheckInterval", "rateLimitedUntil"} & fields.keys():
        with pytest.raises(BadRequest) as caught:
            await made(desk, **fields)
        assert caught.value.field == field


@pytest.mark.parametrize("change", [{"rateLimitedUntil": None}, {"testStatus": "active"}, {"testStatus": "unknown", "lastError": None}])
async def test_an_owner_ends_a_cooldown(desk: Desk, change: dict[str, Any]) -> None:
    one = await made(desk)
    desk.cool(desk.hub.store.connections.get(one.id), soft=False)
    desk.hub.mark(one.id, test_status=TestStatus.UNAVAILABLE, last_error="429: x", cooldown_until=desk.clock.now_ms() + 9, backoff_level=3)
    changed = await desk.ask("connections-update", id=one.id, **change)
    assert (changed.test_status, changed.last_error, changed.backoff_level) == (change.get("testStatus", "unknown"), "", 0)
    assert changed.rate_limited_until is None
    assert desk.hub.resilience.cooldowns.quiet


@pytest.mark.parametrize("change", [{"rateLimitedUntil": None}, {"testStatus": "active"}])
async def test_an_owner_ends_the_locks_of_its_models(desk: Desk, change: dict[str, Any]) -> None:
    one = await made(desk, provider="openrouter")
    connection = desk.hub.store.connections.get(one.id)
    full = Failure(FailureKind.RATE, 429, "slow down", retry_after=20.0, source="header")
    desk.hub.resilience.failed(connection, "openrouter", "m", full)
    assert desk.hub.resilience.blocked(connection, "openrouter", "m") is not None
    await desk.ask("connections-update", id=one.id, **change)
    assert desk.hub.resilience.blocked(connection, "openrouter", "m") is None


async def test_an_owner_rests_a_connection(desk: Desk) -> None:
    one = await made(desk)
    until = iso(desk.clock.now_ms() + 60_000)
    rested = await desk.ask("connections-update", id=one.id, rateLimitedUntil=until)
    assert (rested.rate_limited_until, rested.test_status, rested.last_error) == (until, "unavailable", "rested by its owner")
    assert desk.hub.resilience.cooldowns.of(one.id, desk.clock.monotonic() + 59)
    assert not desk.hub.resilience.cooldowns.of(one.id, desk.clock.monotonic() + 61)
    desk.hub.mark(one.id, test_status=TestStatus.EXPIRED)
    ended = await desk.ask("connections-update", id=one.id, rateLimitedUntil=None)
    assert (ended.rate_limited_until, ended.test_status) == (None, "expired")
