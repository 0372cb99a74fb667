"""Policies as the owner handles them: made, changed, tried without effect, and the keys they and limits lock out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.errors import BadRequest, Conflict, InvalidInput, NotFound, UnknownSkill
from hub.records import Caller
from hub.wire import iso
from tests.fakes.hub import running_hub

if TYPE_CHECKING:
    from pathlib import Path

    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio

DENY = {"name": "no big models", "when": {"models": ["*big*"]}, "then": {"action": "deny"}}


async def made(desk: Desk, **fields: Any) -> Any:
    return (await desk.ask("policies-create", policy={**DENY, **fields})).saved


async def test_a_rule_lives_from_creation_to_deletion(desk: Desk) -> None:
    saved = await made(desk)
    identity = saved.policy.id
    assert (saved.warnings, saved.policy.priority, saved.policy.enabled) == ([], 100, True)
    with pytest.raises(Conflict, match="there is a policy 'no big models' already"):
        await made(desk)
    changed = await desk.ask("policies-update", id=identity, changes={"priority": 5, "then": {"action": "cap_tokens", "maxTokens": 9}})
    assert (changed.policy.priority, changed.policy.then.action, changed.policy.when.models) == (5, "cap_tokens", ("*big*",))
    replaced = await desk.ask("policies-replace", id=identity, name="renamed", then={"action": "allow"})
    assert (replaced.policy.name, replaced.policy.priority, replaced.policy.when.models) == ("renamed", 100, ())
    assert (await desk.ask("policies-get", id=identity)).name == "renamed"
    await made(desk, priority=1)
    assert [rule.name for rule in (await desk.ask("policies-list")).policies] == ["no big models", "renamed"]
    await desk.ask("policies-delete", id=identity)
    for skill in ("policies-get", "policies-delete"):
        with pytest.raises(NotFound, match="there is no policy"):
            await desk.ask(skill, id=identity)
    with pytest.raises(NotFound, match="there is no policy"):
        await desk.ask("policies-update", id=identity, changes={})


async def test_bad_rules_store_nothing(desk: Desk) -> None:
    for wrong in ({"then": {"action": "explode"}}, {"when": {"model": ["x"]}}, {"surprise": 1}, {"when": {"time": {"zone": "Mars"}}}):
        with pytest.raises(InvalidInput):
            await made(desk, **wrong)
    saved = await made(desk)
    with pytest.raises(InvalidInput, match="surprise"):
        await desk.ask("policies-update", id=saved.policy.id, changes={"surprise": 1})
    with pytest.raises(BadRequest, match="send a rule"):
        await desk.ask("policies-create")
    assert len((await desk.ask("policies-list")).policies) == 1


async def test_contradictions_are_told_when_a_rule_is_saved(desk: Desk) -> None:
    await made(desk)
    saved = await made(desk, name="big is fine", priority=1, then={"action": "allow"}, when={"models": ["north/*"]})
    assert saved.warnings == [
        "'big is fine' and 'no big models' match some of the same calls: the first allows them, so the second does not deny them"
    ]


async def test_a_dry_run_explains_every_rule_and_stores_nothing(desk: Desk) -> None:
    key = await desk.ask("keys-create", name="laptop", scopes=["chat"], tags=["staff"])
    await made(desk, name="off", priority=1, enabled=False)
    await made(desk, name="staff small", priority=2, when={"tags": {"any": ["staff"]}}, then={"action": "cap_tokens", "maxTokens": 5})
    await made(desk, name="night", priority=3, when={"time": {"from": "22:00", "until": "06:00"}})
    await made(desk, name="dear", priority=4, when={"costAbove": 1})
    await made(desk, name="last", priority=5, then={"action": "allow"})
    verdict = await desk.ask("policies-test", key="laptop", model="north/big", cost=1.5)
    assert (verdict.allowed, verdict.denied_by.name, verdict.max_tokens) == (False, "dear", 5)
    assert [(trace.name, trace.outcome) for trace in verdict.rules] == [
        ("off", "disabled"), ("staff small", "applied"), ("night", "no match"), ("dear", "applied"), ("last", "not reached"),
    ]  # fmt: skip
    assert verdict.rules[2].checks[0].model_dump() == {
        "condition": "time",
        "matches": False,
        "why": f"the time is {iso(desk.clock.now_ms())}",
    }
    assert verdict.rules[3].checks[0].why == "this call may cost $1.500000"
    cheap = await desk.ask("policies-test", key=key.id, model="north/big", at=desk.clock.now_ms() + 15 * 3_600_000)
    assert (cheap.allowed, cheap.denied_by.name) == (False, "night")
    unpriced = await desk.ask("policies-test", key=key.id, model="north/big")
    assert (unpriced.allowed, unpriced.applied[-1].name) == (True, "last")
    assert unpriced.rules[3].checks[0].matches is False
    drafted = await desk.ask("policies-test", model="x", rule={"name": "draft", "priority": 0, "then": {"action": "deny"}})
    assert (drafted.denied_by.id, drafted.warnings[0]) == ("draft", "'draft' denies every call that no rule before it allows")
    assert len((await desk.ask("policies-list")).policies) == 5
    with pytest.raises(NotFound, match="no key 'nobody'"):
        await desk.ask("policies-test", key="nobody")
    with pytest.raises(UnknownSkill):
        await desk.hub.call(desk.hub.find("policies-test"), {"skill": "nothing"}, desk.hub.context(Caller.owner(), "test"))


async def test_the_providers_of_a_dry_run_are_those_of_routing(desk: Desk) -> None:
    await desk.connect("one")
    await made(desk, when={"providers": ["openai"]})
    assert not (await desk.ask("policies-test", model="openai/gpt-4o")).allowed
    assert (await desk.ask("policies-test", model="openai/gpt-4o", providers=["other"])).allowed


async def limited(desk: Desk, name: str, **fields: Any) -> Any:
    return await desk.ask("keys-create", name=name, scopes=["chat"], **fields)


async def test_locked_keys_are_listed_and_unlocked(desk: Desk) -> None:
    spent = await limited(desk, "spent", hourlyBudget=1)
    closed = await limited(desk, "closed", accessSchedule={"enabled": True, "from": "01:00", "until": "02:00", "days": [1], "tz": "UTC"})
    brief = await limited(desk, "brief", expiresInDays=0.001)
    await limited(desk, "free", hourlyBudget=1)
    caller = desk.hub.authenticate(spent.key)
    desk.hub.limits.check(caller)
    desk.clock.advance(100)
    locked = {lock.name: lock for lock in (await desk.ask("policies-list")).locked_identifiers}
    assert {name: lock.reason for name, lock in locked.items()} == {
        "spent": "key_budget_exceeded", "closed": "key_schedule_closed", "brief": "expired",
    }  # fmt: skip
    assert locked["spent"].identifier == spent.id
    assert locked["spent"].until == "2027-01-15T09:00:00.000Z"
    assert locked["closed"].until == "2027-01-18T01:00:00.000Z"
    assert locked["brief"].until is None
    answer = (await desk.ask("policies-create", action="unlock", identifier="spent")).unlocked
    assert (answer.success, answer.action, answer.identifier) == (True, "unlock", "spent")
    desk.hub.limits.check(caller)
    await desk.ask("policies-unlock", identifier=spent.id)
    desk.hub.limits.check(caller)
    await desk.ask("policies-unlock")
    desk.hub.limits.check(caller)
    with pytest.raises(Conflict, match="outside its hours until 2027-01-18T01:00"):
        await desk.ask("policies-unlock", identifier=closed.id)
    with pytest.raises(Conflict, match="has expired"):
        await desk.ask("policies-unlock", identifier=brief.id)
    with pytest.raises(NotFound):
        await desk.ask("policies-unlock", identifier="nobody")
    with pytest.raises(BadRequest):
        await desk.ask("policies-create", action="unlock")


async def test_the_contract_on_the_wire(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        assert (await client.get("/api/policies")).json() == {"lockedIdentifiers": [], "policies": []}
        created = await client.post("/api/policies", json={**DENY, "when": {"time": {"from": "09:00"}, "skills": ["openai-models"]}})
        assert created.status_code == 201
        rule = created.json()["policy"]
        assert rule["when"]["time"]["from"] == "09:00"
        assert (await client.patch(f"/api/policies/{rule['id']}", json={"when": {"skills": ["openai-models"]}})).json()["policy"]["when"][
            "time"
        ] is None
        bearer = {"authorization": f"Bearer {await running.key('chat', 'read:models')}"}
        refused = await client.get("/v1/models", headers=bearer)
        assert refused.status_code == 403
        assert refused.json()["error"]["code"] == "policy_denied"
        assert refused.json()["error"]["details"]["policy"] == {"id": rule["id"], "name": DENY["name"]}
        assert (await client.put(f"/api/policies/{rule['id']}", json={**DENY, "enabled": False})).json()["policy"]["enabled"] is False
        assert (await client.get("/v1/models", headers=bearer)).status_code == 200
        tried = await client.post("/api/policies/test", json={"model": "north/big", "rule": {**DENY, "name": "draft"}})
        assert (tried.status_code, tried.json()["allowed"], tried.json()["deniedBy"]["name"]) == (200, False, "draft")
        key = (await client.post("/api/keys", json={"name": "k", "hourlyBudget": 1})).json()
        unlocked = await client.post("/api/policies", json={"action": "unlock", "identifier": key["id"]})
        assert (unlocked.status_code, unlocked.json()) == (200, {"success": True, "action": "unlock", "identifier": key["id"]})
        assert (await client.delete("/api/policies", params={"identifier": key["id"]})).json()["success"] is True
        assert (await client.delete(f"/api/policies/{rule['id']}")).status_code == 200
        wrong = await client.post("/api/policies", json={"name": "x", "then": {"action": "deny"}, "surprise": 1})
        assert (wrong.status_code, wrong.json()["error"]["details"][0]["field"]) == (400, "policy.surprise")


async def test_a_spent_key_gets_a_429_from_the_model_api(tmp_path: Path) -> None:
    """routing.md 6.6: not a silent 401."""
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        key = (await client.post("/api/v1/registered-keys", json={"name": "bot", "hourlyBudget": 1})).json()["key"]
        ask = {"model": "demo/demo-1", "messages": [{"role": "user", "content": "hello"}]}
        model = (await client.get("/v1/models")).json()["data"][0]["id"]
        bearer = {"authorization": f"Bearer {key}"}
        first = await client.post("/v1/chat/completions", json={**ask, "model": model}, headers=bearer)
        assert first.status_code == 200, first.text
        second = await client.post("/v1/chat/completions", json={**ask, "model": model}, headers=bearer)
        assert (second.status_code, second.json()["error"]["code"]) == (429, "key_budget_exceeded")
        assert 0 < int(second.headers["retry-after"]) <= 3600
