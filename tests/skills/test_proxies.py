"""Proxies: the pool, the levels, which one a call goes through, tries, and how they did."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.call import Hub
from hub.settings import Settings
from tests.fakes import upstream as faults
from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub
from tests.fakes.proxy import FakeProxy, FakeSocks
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import connect, good

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

POOL, LEVELS = "/api/v1/management/proxies", "/api/settings/proxy"
CANARY = "canary-proxy-pass"
HI = [{"role": "user", "content": "Hi"}]


class Site:
    """A hub with a provider behind an upstream, a client with every right, and a place that tells who asks."""

    def __init__(self, running: Running, client: httpx.AsyncClient, upstream: FaultUpstream, probe: FaultUpstream) -> None:
        self.running, self.client, self.upstream, self.probe = running, client, upstream, probe

    async def proxy(self, fake: FakeProxy | FakeSocks | None = None, **fields: Any) -> str:
        body = {"name": "p", "host": "127.0.0.1", "port": fake.port if fake else 9, "allowPrivate": True, **fields}
        answer = await self.client.post(POOL, json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    async def assign(self, scope: str, scope_id: str | None, proxy_id: str | None) -> httpx.Response:
        return await self.client.put(f"{POOL}/assignments", json={"scope": scope, "scopeId": scope_id, "proxyId": proxy_id})

    async def ask(self, model: str = "openai/gpt-4o-mini") -> httpx.Response:
        return await self.client.post("/v1/chat/completions", json={"model": model, "messages": HI})

    async def way(self, answer: httpx.Response) -> Any:
        """Through which proxy an answer came, and why, as its decision record has it."""
        assert answer.status_code == 200, answer.text
        return (await self.client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")).json()["decision"]["way"]

    async def clean(self) -> None:
        hub = self.running.hub
        for use in hub.proxies.uses.all():
            await hub.proxies.clear(use.body.scope, use.body.scope_id)
        for entry in hub.proxies.entries.all():
            await hub.proxies.delete(entry.id, force=True)
        for one in hub.store.connections.all():
            await hub.store.connections.delete(one.id)
        self.upstream.requests.clear()


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with FaultUpstream() as upstream, FaultUpstream() as probe:
        upstream.answer(good())
        probe.answer(faults.json_answer({"ip": "198.51.100.7"}))
        options = {"proxy_probe_url": f"{probe.url}/ip", "proxy_check_seconds": 0}
        async with (
            running_hub(tmp_path_factory.mktemp("proxies"), **options) as running,
            httpx.AsyncClient(base_url=running.url, timeout=20) as client,
        ):
            client.headers.update(await running.headers())
            yield Site(running, client, upstream, probe)


@pytest.fixture
async def site(shared: Site) -> AsyncIterator[Site]:
    yield shared
    await shared.clean()


# -- the pool


async def test_a_proxy_is_kept_shown_changed_and_deleted(site: Site) -> None:
    """SEC-22: the password is stored sealed and never shown."""
    answer = await site.client.post(
        POOL,
        json={
            "name": "eu",
            "host": "proxy.example",
            "port": 3128,
            "type": "https",
            "username": "u",
            "password": CANARY,
            "region": "eu",
            "notes": "n",
        },
    )
    made = answer.json()
    assert answer.status_code == 201
    assert (made["type"], made["username"], made["password"], made["status"], made["region"]) == ("https", "u", "***", "active", "eu")
    assert (await site.client.get(POOL, params={"id": made["id"]})).json() == made
    listed = (await site.client.get(POOL)).json()
    assert (listed["items"], listed["page"]) == ([made], {"limit": 50, "offset": 0, "total": 1})
    assert CANARY not in answer.text + str(listed)
    changed = await site.client.patch(POOL, json={"id": made["id"], "port": 8080, "password": "***", "notes": None, "status": "inactive"})
    assert (changed.json()["port"], changed.json()["notes"], changed.json()["status"]) == (8080, None, "inactive")
    hub = site.running.hub
    assert hub.proxies.password(hub.proxies.entries.get(made["id"])) == CANARY  # the mask that came back changed nothing
    assert CANARY not in hub.proxies.entries.get(made["id"]).body.password
    await site.client.patch(POOL, json={"id": made["id"], "password": ""})
    assert (await site.client.get(POOL, params={"id": made["id"]})).json()["password"] == ""
    assert (await site.client.delete(POOL, params={"id": made["id"]})).json() == {"success": True}
    assert (await site.client.get(POOL, params={"id": made["id"]})).status_code == 404


async def test_pages(site: Site) -> None:
    made = [await site.proxy(name=f"p{number}") for number in range(3)]
    found = (await site.client.get(POOL, params={"limit": 1, "offset": 1})).json()
    assert ([one["id"] for one in found["items"]], found["page"]["total"]) == ([made[1]], 3)
    assert (await site.client.get(POOL, params={"limit": 0})).status_code == 400


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"port": 0}, "port"),
        ({"type": "socks4"}, "type"),
        ({"host": "a b"}, "host"),
        ({"host": "proxy.example/path"}, "host"),
        ({"host": "user@proxy.example"}, "host"),
        ({"host": "0177.0.0.1"}, "host"),
        ({"username": "a:b"}, "username"),
        ({"username": "a\r\nb"}, "username"),
        ({"colour": "red"}, "colour"),
        ({"status": "maybe"}, "status"),
    ],
)
async def test_bad_proxies_are_refused(site: Site, fields: dict[str, Any], field: str) -> None:
    answer = await site.client.post(POOL, json={"name": "p", "host": "proxy.example", "port": 3128, **fields})
    assert answer.status_code == 400
    body = answer.json()
    assert (body["error"]["type"], body["error"]["details"][0]["field"]) == ("invalid_request", field)
    assert body["requestId"] == answer.headers["x-request-id"]
    assert (await site.client.get(POOL)).json()["items"] == []


async def test_unknown_and_forbidden(site: Site) -> None:
    client = site.client
    for answer in (
        await client.patch(POOL, json={"id": "prx_none", "port": 1}),
        await client.delete(POOL, params={"id": "prx_none"}),
        await client.get(POOL, params={"id": "prx_none"}),
        await site.assign("global", None, "prx_none"),
    ):
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found")
    weak = await site.running.headers("read:*", "chat")
    async with httpx.AsyncClient(base_url=site.running.url) as other:
        for method, path in (("GET", POOL), ("PUT", f"{POOL}/bulk-assign"), ("GET", LEVELS), ("POST", f"{LEVELS}/test")):
            assert (await other.request(method, path, json={}, headers=weak)).status_code == 403
            assert (await other.request(method, path)).status_code == 401


async def test_a_private_proxy_is_told_of(site: Site) -> None:
    """SEC-15: it is kept, but calls through it fail until it is allowed."""
    made = (await site.client.post(POOL, json={"name": "p", "host": "10.1.2.3", "port": 3128})).json()
    assert "allowPrivate" in made["warning"]
    assert (await site.client.patch(POOL, json={"id": made["id"], "allowPrivate": True})).json()["warning"] is None


# -- who uses it


async def test_assignments(site: Site) -> None:
    one, two = await site.proxy(name="one"), await site.proxy(name="two")
    connection = await connect(site.running, site.upstream)
    made = (await site.assign("provider", "openai", one)).json()
    assert (made["success"], made["assignment"]["scope"], made["assignment"]["scopeId"]) == (True, "provider", "openai")
    assert isinstance(made["assignment"]["id"], int)
    # The seed's key is an account; assigning again moves.
    assert (await site.assign("key", connection, one)).json()["assignment"]["scope"] == "account"
    moved = (await site.assign("account", connection, two)).json()["assignment"]
    assert moved["proxyId"] == two
    used = (await site.client.get(POOL, params={"id": one, "where_used": "1"})).json()
    assert (used["count"], [each["scopeId"] for each in used["assignments"]]) == (1, ["openai"])
    listed = (await site.client.get(f"{POOL}/assignments", params={"scope": "key"})).json()
    assert ([each["proxyId"] for each in listed["items"]], listed["page"]["total"]) == ([two], 1)
    assert (await site.client.get(f"{POOL}/assignments", params={"proxy_id": one})).json()["page"]["total"] == 1
    cleared = await site.assign("account", connection, None)
    assert cleared.json() == {"success": True, "assignment": None}
    assert (await site.client.get(f"{POOL}/assignments", params={"scope_id": connection})).json()["items"] == []


@pytest.mark.parametrize(
    ("scope", "scope_id", "status"),
    [
        ("provider", "nobody", 404),
        ("account", "con_none", 404),
        ("combo", "combo_none", 404),
        ("provider", None, 400),
        ("global", "x", 400),
        ("planet", "x", 400),
    ],
)
async def test_bad_assignments(site: Site, scope: str, scope_id: str | None, status: int) -> None:
    assert (await site.assign(scope, scope_id, await site.proxy())).status_code == status
    assert (await site.client.get(f"{POOL}/assignments")).json()["items"] == []


async def test_bulk(site: Site) -> None:
    proxy = await site.proxy()
    body = {"scope": "provider", "scopeIds": ["openai", "nobody", "openai", "anthropic"], "proxyId": proxy}
    found = (await site.client.put(f"{POOL}/bulk-assign", json=body)).json()
    assert (found["success"], found["requested"], found["updated"]) == (False, 3, 2)
    assert [one["scopeId"] for one in found["failed"]] == ["nobody"]
    body = {"scope": "key", "scopeIds": [], "proxyId": proxy}
    assert (await site.client.put(f"{POOL}/bulk-assign", json=body)).status_code == 400
    body = {"scope": "provider", "scopeIds": ["openai", "anthropic"], "proxyId": None}
    assert (await site.client.put(f"{POOL}/bulk-assign", json=body)).json()["updated"] == 2
    assert (await site.client.get(f"{POOL}/assignments")).json()["items"] == []
    body = {"scope": "provider", "scopeIds": ["openai"], "proxyId": "prx_none"}
    assert (await site.client.put(f"{POOL}/bulk-assign", json=body)).status_code == 404


async def test_a_used_proxy_is_deleted_only_by_force(site: Site) -> None:
    proxy = await site.proxy()
    await site.assign("provider", "openai", proxy)
    refused = await site.client.delete(POOL, params={"id": proxy})
    assert (refused.status_code, refused.json()["error"]["type"]) == (409, "conflict")
    assert "provider openai" in refused.json()["error"]["message"]
    assert (await site.client.delete(POOL, params={"id": proxy, "force": "1"})).status_code == 200
    assert (await site.client.get(f"{POOL}/assignments")).json()["items"] == []


async def test_assignments_go_with_what_they_are_for(site: Site) -> None:
    proxy, connection = await site.proxy(), await connect(site.running, site.upstream)
    combo = (await site.client.post("/api/combos", json={"name": "short-lived", "models": ["openai/gpt-4o-mini"]})).json()["id"]
    await site.assign("account", connection, proxy)
    await site.assign("combo", combo, proxy)
    assert (await site.client.get(f"/api/providers/{connection}")).json()["connection"]["proxied"] is True
    await site.client.delete(f"/api/providers/{connection}")
    await site.client.delete(f"/api/combos/{combo}")
    assert (await site.client.get(POOL, params={"id": proxy, "where_used": "1"})).json() == {"count": 0, "assignments": []}


async def test_a_renamed_combo_keeps_its_proxy(site: Site) -> None:
    await connect(site.running, site.upstream)
    combo = (await site.client.post("/api/combos", json={"name": "before", "models": ["openai/gpt-4o-mini"]})).json()["id"]
    async with FakeProxy() as fake:
        assert (await site.assign("combo", "before", await site.proxy(fake))).json()["assignment"]["scopeId"] == combo
        await site.client.put(f"/api/combos/{combo}", json={"name": "after"})
        assert await site.way(await site.ask("after")) == "proxy of combo after: p"
    await site.client.delete(f"/api/combos/{combo}")


# -- which one a call goes through


async def test_the_nearest_level_decides(site: Site) -> None:
    """From far to near: all, the provider, the combo, the account, the connection's own URL. The decision record says which."""
    hub = site.running.hub
    connection = await connect(site.running, site.upstream)
    combo = (await site.client.post("/api/combos", json={"name": "mine", "models": ["openai/gpt-4o-mini"]})).json()["id"]
    async with FakeProxy() as everybody, FakeProxy() as provider, FakeProxy() as led, FakeProxy() as account, FakeProxy() as own:
        fakes = {"global": everybody, "provider": provider, "combo": led, "account": account}
        places = {"global": None, "provider": "openai", "combo": combo, "account": connection}
        for number, (scope, fake) in enumerate(fakes.items()):
            made = await site.assign(scope, places[scope], await site.proxy(fake, name=scope))
            assert made.status_code == 200, made.text
            answer = await site.ask("mine")
            assert answer.status_code == 200, answer.text
            assert [len(each.seen) for each in fakes.values()] == [1 if place <= number else 0 for place in range(4)]
            way = await site.way(answer)
            assert (way.startswith(f"proxy of {scope}"), way.endswith(f": {scope}")) == (True, True)
        # A call that no combo led to.
        await site.assign("account", connection, None)
        assert await site.way(await site.ask()) == "proxy of provider openai: provider"
        assert await site.way(await site.ask("mine")) == "proxy of combo mine: combo"
        await hub.store.connections.update(connection, proxy=own.url)
        assert (await site.ask("mine")).status_code == 200
        assert len(own.seen) == 1
        found = (await site.client.get(LEVELS, params={"resolve": connection})).json()
        assert (found["level"], found["levelId"], found["proxy"]["port"]) == ("connection", connection, own.port)
        await hub.store.connections.update(connection, proxy="")
        found = (await site.client.get(f"{POOL}/assignments", params={"resolve_connection_id": connection})).json()
        assert (found["level"], found["levelId"], found["proxy"]["port"]) == ("provider", "openai", provider.port)
        found = (await site.client.get(LEVELS, params={"resolve": connection, "combo": "mine"})).json()
        assert (found["level"], found["levelId"]) == ("combo", "mine")
        # Cleared from near to far, down to no proxy at all.
        for scope in ("provider", "global"):
            await site.assign(scope, places[scope], None)
        assert await site.way(await site.ask()) is None
        found = (await site.client.get(LEVELS, params={"resolve": connection})).json()
        assert found == {"proxy": None, "level": "direct", "levelId": None}
    await site.client.delete(f"/api/combos/{combo}")
    assert len(site.upstream.requests) == 8


async def test_a_proxy_that_fails_is_never_gone_around(site: Site) -> None:
    """REL-21: dead, switched off, or asking for another password: the call fails, and the provider is not blamed."""
    await connect(site.running, site.upstream)
    async with FakeProxy() as gone:
        pass
    dead = await site.proxy(gone, name="dead")
    await site.assign("global", None, dead)
    answer = await site.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "proxy_failed")
    async with FakeProxy(credentials=base64.b64encode(b"u:right").decode()) as picky:
        fields = {"id": dead, "port": picky.port, "username": "u", "password": "wrong"}
        await site.client.patch(POOL, json=fields)
        assert (await site.ask()).json()["error"]["code"] == "proxy_failed"
        await site.client.patch(POOL, json={"id": dead, "password": "right"})
        assert (await site.ask()).status_code == 200
        await site.client.patch(POOL, json={"id": dead, "status": "inactive"})
        answer = await site.ask()
        assert (answer.status_code, "switched off" in answer.json()["error"]["message"]) == (502, True)
        await site.client.patch(POOL, json={"id": dead, "status": "active", "allowPrivate": False})
        assert (await site.ask()).json()["error"]["code"] == "address_refused"
    assert len(site.upstream.requests) == 1


async def test_calls_through_socks(site: Site) -> None:
    await connect(site.running, site.upstream)
    async with FakeSocks(credentials=("u", "p")) as fake:
        await site.assign("provider", "openai", await site.proxy(fake, type="socks5", username="u", password="p"))
        assert (await site.ask()).status_code == 200
        assert fake.seen == [f"127.0.0.1:{site.upstream.port}"]


async def test_health_of_real_calls(site: Site) -> None:
    await connect(site.running, site.upstream)
    async with FakeProxy() as fake:
        proxy = await site.proxy(fake)
        await site.assign("global", None, proxy)
        await site.ask()
        await site.ask()
    await site.ask()
    found = (await site.client.get(f"{POOL}/health")).json()
    one = found["items"][0]
    assert (found["total"], found["windowHours"], one["proxyId"]) == (1, 24, proxy)
    assert (one["totalRequests"], one["successCount"], one["errorCount"], one["timeoutCount"]) == (3, 2, 1, 0)
    assert (one["successRate"], one["lastCheck"]) == (66.67, None)
    assert one["avgLatencyMs"] >= 0
    assert one["lastSeenAt"].endswith("Z")
    assert (await site.client.get(f"{POOL}/health", params={"hours": 0})).status_code == 400


# -- levels


async def test_proxies_written_onto_levels(site: Site) -> None:
    connection = await connect(site.running, site.upstream)
    body = {
        "level": "provider",
        "id": "openai",
        "proxy": {"type": "HTTP", "host": "proxy.example", "port": 3128, "username": "u", "password": CANARY},
    }
    put = await site.client.put(LEVELS, json=body)
    assert put.status_code == 200, put.text
    shown = put.json()["providers"]["openai"]
    assert (shown["type"], shown["host"], shown["port"], shown["password"]) == ("http", "proxy.example", 3128, "***")
    assert CANARY not in put.text
    one = (await site.client.get(LEVELS, params={"level": "provider", "id": "openai"})).json()
    assert one == {"level": "provider", "id": "openai", "proxy": shown}
    # Written again it is changed in place, and the mask keeps the password.
    body["proxy"] |= {"port": 8080, "password": "***"}
    again = (await site.client.put(LEVELS, json=body)).json()["providers"]["openai"]
    assert (again["port"], again["password"], again["proxyId"]) == (8080, "***", shown["proxyId"])
    whole = {
        "global": {"host": "all.example", "port": 1},
        "keys": {connection: {"type": "socks5", "host": "s.example", "port": 1080}},
        "providers": {"openai": None},
    }
    found = (await site.client.put(LEVELS, json=whole)).json()
    assert (found["global"]["host"], found["providers"], list(found["keys"]), found["combos"]) == ("all.example", {}, [connection], {})
    assert {one["name"] for one in (await site.client.get(POOL)).json()["items"]} == {"global", f"account {connection}"}
    gone = await site.client.delete(LEVELS, params={"level": "key", "id": connection})
    assert gone.json()["keys"] == {}
    assert (await site.client.put(LEVELS, json={"level": "global", "proxy": None})).json()["global"] is None
    assert (await site.client.get(POOL)).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"level": "provider", "id": "openai"}, 400),
        ({"proxy": {"host": "a.example", "port": 1}}, 400),
        ({"level": "provider", "proxy": {"host": "a.example", "port": 1}}, 400),
        ({"level": "provider", "id": "nobody", "proxy": {"host": "a.example", "port": 1}}, 404),
        ({"level": "moon", "proxy": None}, 400),
        ({"global": {"host": "a.example", "port": 1}, "providers": {"openai": {"host": "b b", "port": 1}}}, 400),
        ({"global": {"host": "a.example", "port": 1}, "keys": {"con_none": {"host": "b.example", "port": 1}}}, 404),
        ({"global": {"host": "a.example", "port": 1, "x": 1}}, 400),
    ],
)
async def test_bad_levels_change_nothing(site: Site, body: dict[str, Any], status: int) -> None:
    answer = await site.client.put(LEVELS, json=body)
    assert answer.status_code == status, answer.text
    assert (await site.client.get(LEVELS)).json() == {"global": None, "providers": {}, "combos": {}, "keys": {}}
    assert (await site.client.get(POOL)).json()["items"] == []


async def test_a_pool_proxy_stays_when_a_level_lets_go_of_it(site: Site) -> None:
    proxy = await site.proxy()
    await site.assign("provider", "openai", proxy)
    await site.client.put(LEVELS, json={"level": "provider", "id": "openai", "proxy": {"host": "other.example", "port": 1}})
    assert len((await site.client.get(POOL)).json()["items"]) == 2
    await site.client.delete(LEVELS, params={"level": "provider", "id": "openai"})
    assert [one["id"] for one in (await site.client.get(POOL)).json()["items"]] == [proxy]


# -- tries


async def _tried(site: Site, **body: Any) -> dict[str, Any]:
    answer = await site.client.post(f"{LEVELS}/test", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_try_tells_what_others_see(site: Site) -> None:
    async with FakeProxy() as fake:
        written = {"host": "127.0.0.1", "port": str(fake.port), "allowPrivate": True, "username": "u", "password": CANARY}
        found = await _tried(site, proxy=written)
        assert (found["success"], found["error"], found["kind"], found["publicIp"], found["status"]) == (True, "", "", "198.51.100.7", 200)
        assert found["proxyUrl"] == f"http://127.0.0.1:{fake.port}"
        assert (found["latencyMs"] >= 0, found["target"]) == (True, f"{site.probe.url}/ip")
        assert fake.seen == [f"GET {site.probe.url}/ip HTTP/1.1"]
    async with FakeSocks(credentials=("u", CANARY)) as socks:
        proxy = await site.proxy(socks, type="socks5", username="u", password=CANARY)
        assert (await _tried(site, proxyId=proxy))["success"]
        assert (await _tried(site, proxyId=proxy, proxy={"password": "***"}))["success"]
        assert (await _tried(site, proxyId=proxy, proxy={"password": "other"}))["kind"] == "auth"


async def test_a_try_that_fails_says_why(site: Site) -> None:
    """REL-21: refused, wrong password, unknown name, private address, and a target that answers with an error."""
    here = {"host": "127.0.0.1", "allowPrivate": True}
    async with FakeProxy() as gone:
        pass
    found = await _tried(site, proxy={**here, "port": gone.port})
    assert (found["success"], found["kind"]) == (False, "refused")
    assert found["error"]
    async with FakeProxy(credentials="eDp5") as picky:
        assert (await _tried(site, proxy={**here, "port": picky.port}))["kind"] == "auth"
        assert (await _tried(site, proxy={"host": "127.0.0.1", "port": picky.port}))["kind"] == "address_refused"
    assert (await _tried(site, proxy={"host": "no-such-proxy.invalid", "port": 1}))["kind"] == "name_unknown"
    site.probe.answer(faults.json_answer({"error": "no"}, status=503))
    async with FakeProxy() as fake:
        found = await _tried(site, proxy={**here, "port": fake.port})
        assert (found["kind"], found["status"]) == ("target", 503)
        # What a request names is judged like any address; the settings' own may be private.
        found = await _tried(site, proxy={**here, "port": fake.port}, target=f"{site.probe.url}/other")
        assert (found["kind"], len(fake.seen)) == ("address_refused", 1)
    site.probe.answer(faults.json_answer({"ip": "198.51.100.7"}))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"proxy": {"host": "a.example"}}, 400),
        ({"proxy": {"host": "a.example", "port": 1, "type": "ftp"}}, 400),
        ({"proxyId": "prx_none"}, 404),
        ({"proxy": {"host": "a.example", "port": 1}, "target": "file:///etc/passwd"}, 400),
        ({"proxy": {"host": "a.example", "port": "x"}}, 400),
    ],
)
async def test_bad_tries(site: Site, body: dict[str, Any], status: int) -> None:
    assert (await site.client.post(f"{LEVELS}/test", json=body)).status_code == status


# -- looking after them


@asynccontextmanager
async def _hub(folder: Path, probe: FaultUpstream, **options: Any) -> AsyncIterator[Hub]:
    hub = Hub(Settings(data_dir=folder, proxy_probe_url=f"{probe.url}/ip", **options))
    await hub.open()
    try:
        yield hub
    finally:
        await hub.close()


def _fields(fake: FakeProxy) -> dict[str, Any]:
    return {"title": "p", "host": "127.0.0.1", "port": fake.port, "allow_private": True}


async def test_checks_back_off_while_a_proxy_fails(tmp_path: Path) -> None:
    async with FaultUpstream() as probe, FakeProxy() as fake, _hub(tmp_path, probe, proxy_check_seconds=60) as hub:
        probe.answer(faults.json_answer({"ip": "198.51.100.7"}))
        entry = await hub.proxies.create("prx_1", _fields(fake))
        active = [entry]
        assert await hub.proxy_watch.round(active) == 1
        check = (await hub.proxy_watch.last())["prx_1"]
        assert (check.ok, check.seen_as, check.failures) == (True, "198.51.100.7", 0)
        assert check.due_at - check.at == 60_000
        assert await hub.proxy_watch.round(active) == 0
        fake.mode = "drop"
        pauses: list[int] = []
        for number in range(3):
            active = [await hub.proxies.update("prx_1", {"notes": f"changed {number}"})]
            await asyncio.sleep(0.002)
            check.due_at = 0
            hub.proxy_watch._mine["prx_1"] = check
            assert await hub.proxy_watch.round(active) == 1
            check = (await hub.proxy_watch.last())["prx_1"]
            pauses.append(check.due_at - check.at)
            assert (check.ok, check.failures, bool(check.kind)) == (False, number + 1, True)
        assert pauses == [120_000, 240_000, 480_000]


async def test_one_process_of_several_checks_and_all_follow_changes(tmp_path: Path) -> None:
    """D24: the lease is decided in the database; what one process changes, the other goes by within a second."""
    with postgres_database() as url:
        async with FaultUpstream() as probe, FakeProxy() as fake:
            probe.answer(faults.json_answer({"ip": "198.51.100.7"}))
            async with (
                _hub(tmp_path / "a", probe, database_url=url, proxy_check_seconds=60, master_key="A" * 43 + "=") as one,
                _hub(tmp_path / "b", probe, database_url=url, proxy_check_seconds=60, master_key="A" * 43 + "=") as two,
            ):
                connection = await one.store.connections.create(provider="openai", name="c", secret="sk-1")
                entry = await one.proxies.create("prx_1", {**_fields(fake), "password": "secret-word"})
                await one.proxies.assign("account", connection.id, entry.id)
                async with asyncio.timeout(5):
                    while two.store.connections.peek(connection.id) is None or not two.proxies.uses.all():
                        await asyncio.sleep(0.02)
                target = two.targets.get(two.store.connections.get(connection.id), "gpt-4o")
                assert target.proxy is not None
                assert (target.proxy.url, target.way) == (
                    f"http://:secret-word@127.0.0.1:{fake.port}",
                    f"proxy of account {connection.id}: p",
                )
                assert [await one.proxy_watch.round([entry]), await two.proxy_watch.round([entry])] == [1, 0]
                await one.store.flush()
                assert (await two.proxy_watch.last())["prx_1"].ok
                # A call in one process counts in what the other shows.
                two.proxy_watch.record.note(target.proxy, None, 0.01)
                await two.store.flush()
                assert (await one.proxy_watch.record.since(1))["prx_1"].answered == 1
                await one.proxies.delete("prx_1", force=True)
                async with asyncio.timeout(5):
                    while two.targets.get(two.store.connections.get(connection.id), "gpt-4o").proxy is not None:
                        await asyncio.sleep(0.02)


async def test_levels_survive_a_restart(tmp_path: Path) -> None:
    async with FaultUpstream() as probe, FakeProxy() as fake:
        async with _hub(tmp_path, probe) as hub:
            await hub.proxies.write("provider", "openai", "prx_1", {**_fields(fake), "password": "secret-word"})
        assert "secret-word" not in (tmp_path / "hubroute.db").read_bytes().decode("latin-1")
        async with _hub(tmp_path, probe) as hub:
            connection = await hub.store.connections.create(provider="openai", name="c", secret="sk-1")
            found = hub.targets.get(connection, "gpt-4o").proxy
            assert found is not None
            assert found.url == f"http://:secret-word@127.0.0.1:{fake.port}"
