"""The management routes over HTTP: keys, connections, models, health, usage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import completion, connect, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("owner"), timeout=10) as session:
        yield session


async def test_a_key_lives_from_creation_to_deletion(running: Running, client: httpx.AsyncClient) -> None:
    made = await client.post("/api/keys", json={"name": "ci", "scopes": ["chat"], "expiresInDays": 1})
    assert made.status_code == 201
    key = made.json()
    bearer = {"authorization": f"Bearer {key['key']}"}
    assert (await client.get("/v1/models", headers=bearer)).status_code == 200
    assert (await client.get("/api/keys", headers=bearer)).status_code == 403

    listed = (await client.get("/api/keys")).json()
    mine = next(row for row in listed["keys"] if row["id"] == key["id"])
    assert key["key"] not in str(listed)
    assert listed["allowKeyReveal"] is False
    assert (mine["name"], mine["scopes"], mine["isActive"]) == ("ci", ["chat"], True)
    assert mine["expiresAt"].endswith("Z")

    assert (await client.get(f"/api/keys/{key['id']}/reveal")).status_code == 403
    changed = await client.patch(f"/api/keys/{key['id']}", json={"name": "ci2", "isActive": False})
    assert changed.json()["name"] == "ci2"
    assert (await client.get("/v1/models", headers=bearer)).status_code == 401
    await client.patch(f"/api/keys/{key['id']}", json={"isActive": True})
    assert (await client.get("/v1/models", headers=bearer)).status_code == 200
    assert (await client.post(f"/api/keys/{key['id']}/revoke")).status_code == 200
    assert (await client.get("/v1/models", headers=bearer)).status_code == 401
    assert (await client.delete(f"/api/keys/{key['id']}")).status_code == 200
    assert (await client.get(f"/api/keys/{key['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "x", "scopes": "chat,nonsense"}, "scopes"),
        ({"name": "x", "scopes": ["no:such"]}, "scopes"),
        ({"name": "x", "expiresInDays": -1}, "expiresInDays"),
    ],
)
async def test_a_bad_key_request_names_the_field_and_stores_nothing(
    running: Running, client: httpx.AsyncClient, body: dict[str, Any], field: str
) -> None:
    before = len(running.hub.store.keys.all())
    answer = await client.post("/api/keys", json=body)
    assert answer.status_code == 400
    assert field in str(answer.json()["error"])
    assert len(running.hub.store.keys.all()) == before


@pytest.mark.parametrize("body", [b"{", b"[1]", b"7", b'{"name": '])
async def test_malformed_json_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/api/keys", content=body)
    assert answer.status_code == 400
    assert "JSON" in answer.json()["error"]["message"]


async def test_a_connection_lives_from_creation_to_deletion(running: Running, client: httpx.AsyncClient) -> None:
    async with FaultUpstream() as upstream:
        upstream.answer(faults.json_answer({"object": "list", "data": [{"id": "m-1"}, {"id": "m-2"}]}))
        secret = "sk-very-secret-000001"
        made = await client.post(
            "/api/providers",
            json={
                "provider": "openai",
                "name": "main",
                "apiKey": secret,
                "allowPrivate": True,
                "providerSpecificData": {"baseUrl": f"{upstream.url}/v1"},
            },
        )
        assert made.status_code == 201, made.text
        connection = made.json()["connection"]
        assert secret not in made.text
        assert connection["testStatus"] == "unknown"

        tested = (await client.post(f"/api/providers/{connection['id']}/test")).json()
        assert (tested["valid"], tested["models"], tested["statusCode"]) == (True, 2, 200)
        assert upstream.requests[0].headers["authorization"] == f"Bearer {secret}"
        offered = (await client.get(f"/api/providers/{connection['id']}/models")).json()
        assert [model["id"] for model in offered["models"]] == ["m-1", "m-2"]
        assert offered["source"] == "provider"

        upstream.answer(faults.json_answer({"error": {"message": f"no such key {secret}"}}, status=401))
        tested = (await client.post(f"/api/providers/{connection['id']}/test")).json()
        assert tested["valid"] is False
        assert "401" in tested["error"]
        assert secret not in str(tested)
        shown = (await client.get(f"/api/providers/{connection['id']}")).json()["connection"]
        assert shown["testStatus"] == "expired"

        changed = await client.put(
            f"/api/providers/{connection['id']}", json={"priority": 5, "apiKey": "sk-other-000002", "isActive": False}
        )
        assert changed.json()["connection"]["priority"] == 5
        assert changed.json()["connection"]["testStatus"] == "unknown"
        listed = (await client.get("/api/providers")).json()["connections"]
        assert [row["isActive"] for row in listed] == [False]
        assert "sk-other" not in str(listed)
        assert (await client.delete(f"/api/providers/{connection['id']}")).status_code == 200
        assert (await client.get(f"/api/providers/{connection['id']}")).status_code == 404
        assert (await client.post(f"/api/providers/{connection['id']}/test")).status_code == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"provider": "openai", "name": "x"}, "API key"),
        ({"provider": "no-such-provider", "name": "x", "apiKey": "k"}, "no-such-provider"),
        ({"provider": "openai-compatible", "name": "x", "apiKey": "k"}, "base URL"),
        ({"provider": "openai", "name": "x", "apiKey": "k", "baseUrl": "file:///etc/passwd"}, "http"),
        ({"provider": "openai", "name": "x", "apiKey": "k", "baseUrl": "http://user:pw@host/"}, "user"),
        ({"provider": "openai", "name": "x", "apiKey": "k", "baseUrl": "http://0x7f.1/"}, "address"),
        ({"provider": "openai", "name": "", "apiKey": "k"}, "name"),
        ({"provider": "openai", "name": "x", "apiKey": "k", "providerSpecificData": {"a": {"b": 1}}}, "providerSpecificData"),
        ({"provider": "openai", "name": "x", "apiKey": "k", "priority": 0}, "priority"),
    ],
)
async def test_a_connection_that_could_never_work_is_not_stored(
    running: Running, client: httpx.AsyncClient, body: dict[str, Any], words: str
) -> None:
    """SEC-10, SEC-13: refused with words that name the field; nothing is stored by halves."""
    answer = await client.post("/api/providers", json=body)
    assert answer.status_code in (400, 404), answer.text
    assert words.lower() in answer.text.lower()
    assert not running.hub.store.connections.all()


async def test_private_addresses_need_the_connections_own_switch(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-10, SEC-15."""
    async with FaultUpstream() as upstream:
        upstream.answer(good())
        await connect(running, upstream, allow_private=False)
        answer = await client.post(
            "/v1/chat/completions", json={"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
        )
        assert answer.status_code == 502
        assert "private" in answer.json()["error"]["message"]
        assert not upstream.requests
        assert running.hub.store.connections.all()[0].cooldown_until is None, "our own refusal says nothing about the provider"


async def test_the_caller_cannot_choose_where_a_stored_credential_goes(running: Running, client: httpx.AsyncClient) -> None:
    """SEC-14: base URL, proxy and headers of a request body, query or header are data, never routing."""
    async with FaultUpstream() as own, FaultUpstream() as other:
        own.answer(good())
        await connect(running, own)
        answer = await client.post(
            f"/v1/chat/completions?base_url={other.url}&api_base={other.url}",
            json={
                "model": "openai/gpt-4o-mini",
                "messages": [{"role": "user", "content": "x"}],
                "base_url": other.url,
                "api_base": other.url,
                "extra_headers": {"authorization": "Bearer mine"},
            },
            headers={"x-base-url": other.url, "x-forwarded-host": "evil.example"},
        )
        assert answer.status_code == 200
        assert not other.requests
        assert own.requests[0].headers["authorization"].startswith("Bearer sk-upstream")
        assert "x-base-url" not in own.requests[0].headers


async def test_health_tells_strangers_little_and_monitors_much(running: Running, client: httpx.AsyncClient) -> None:
    async with httpx.AsyncClient(base_url=running.url) as stranger:
        public = (await stranger.get("/api/monitoring/health")).json()
        assert set(public) == {"status", "version", "timestamp"}
        assert set((await stranger.get("/health")).json()) == {"status", "version"}
        assert (await stranger.get("/ready")).status_code == 200
    full = (await client.get("/api/monitoring/health")).json()
    assert full["providerSummary"]["catalogCount"] > 100
    assert full["cryptography"]["status"] == "healthy"
    assert full["circuitBreakers"]["total"] == 0


async def test_usage_and_quota_show_what_was_done(running: Running, client: httpx.AsyncClient) -> None:
    async with FaultUpstream() as upstream:
        limits = [("x-ratelimit-limit-requests", "100"), ("x-ratelimit-remaining-requests", "25"), ("x-ratelimit-reset-requests", "30s")]
        upstream.answer(faults.json_answer(completion(), headers=limits))
        await connect(running, upstream)
        body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
        for _ in range(3):
            assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
        await running.hub.store.flush()
        report = (await client.get("/api/usage/analytics", params={"range": "1d"})).json()
        assert (report["period"], report["requestCount"], report["tokenCount"]) == ("day", 3, {"prompt": 300, "completion": 60})
        assert report["totalCost"] == pytest.approx(3 * (60 * 0.15 + 40 * 0.075 + 20 * 0.6) / 1e6)
        assert report["byProvider"][0]["name"] == "openai"
        quota = (await client.get("/api/usage/quota", params={"provider": "openai"})).json()["providers"][0]
        assert (quota["quotaTotal"], quota["quotaUsed"], quota["percentRemaining"], quota["requestsToday"]) == (100, 75, 25.0, 3)
        assert quota["resetAt"]


async def test_a_moved_address_points_to_the_new_one_for_those_who_may_call_it(running: Running, client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/rate-limit?x=1")
    assert (answer.status_code, answer.headers["location"], answer.content) == (308, "/api/rate-limits?x=1", b"")
    assert (await client.get("/api/rate-limit", follow_redirects=True)).json()["connections"] == []
    weak = await running.headers("chat")
    assert (await client.get("/api/rate-limit", headers=weak)).status_code == 403
    async with httpx.AsyncClient(base_url=running.url, timeout=10) as nobody:
        assert (await nobody.get("/api/rate-limit")).status_code == 401


async def test_resilience_over_http(client: httpx.AsyncClient) -> None:
    assert (await client.patch("/api/resilience", json={})).status_code == 400
    wrong = await client.patch("/api/resilience", json={"requestQueue": {"nonsense": 1}})
    assert (wrong.status_code, wrong.json()["error"]["details"][0]["field"]) == (400, "requestQueue.nonsense")
    changed = await client.patch("/api/resilience", json={"waitForCooldown": {"maxRetries": 1}})
    assert (changed.status_code, changed.json()["ok"], changed.json()["waitForCooldown"]["maxRetries"]) == (200, True, 1)
    assert (await client.post("/api/resilience/reset")).json()["resetCount"] == 0
    assert (await client.get("/api/resilience/model-cooldowns")).json() == {"items": [], "total": 0}
    assert (await client.request("DELETE", "/api/resilience/model-cooldowns")).status_code == 400
    assert (await client.request("DELETE", "/api/resilience/model-cooldowns", json={"all": True})).json() == {"ok": True, "cleared": 0}
