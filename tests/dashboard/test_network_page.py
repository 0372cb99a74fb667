"""Proxies & network: the pool, levels, tries, the IP filter that does not lock its owner out, and tunnels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.conftest import Dashboard
from tests.dashboard.test_pages import csrf
from tests.dashboard.test_routing_pages import sent
from tests.fakes import upstream as faults
from tests.fakes.hub import running_hub
from tests.fakes.proxy import FakeProxy
from tests.fakes.tunnel import URLS, install
from tests.fakes.upstream import FaultUpstream
from tests.skills.test_tunnels import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
URL = "/dashboard/network"
ME, OTHER = "203.0.113.7", "198.51.100.9"
CANARY = "canary-proxy-pass"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that open tunnels."""
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o700)
    return folder


@pytest.fixture(scope="module")
async def dashboard(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> AsyncIterator[Dashboard]:
    """A hub behind a reverse proxy that it believes, with a port of its own and a place that tells who asks."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    patch.delenv("CLOUDFLARED_BIN", raising=False)
    async with FaultUpstream() as probe:
        probe.answer(faults.json_answer({"ip": "198.51.100.77"}))
        options = {"proxy_probe_url": f"{probe.url}/ip", "proxy_check_seconds": 0, "trusted_proxies": "127.0.0.1", "port": free_port()}
        async with running_hub(tmp_path_factory.mktemp("network"), allow_private=True, **options) as running:
            _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
            yield Dashboard(running, token)
    patch.undo()


async def test_a_proxy_is_added_tried_assigned_changed_and_deleted(dashboard: Dashboard) -> None:
    account = await dashboard.ask("connections-create", provider="openai", name="mine", apiKey="sk-x")
    async with dashboard.client() as client, FakeProxy() as fake:
        assert "leave this machine directly" in (await client.get(URL)).text
        refused = await sent(client, URL, "add", status=400, name="out", host="127.0.0.1", port="70000", password=CANARY)
        assert 'class="field wrong"' in refused.text
        assert CANARY not in refused.text
        fields = {"name": "<out>", "type": "http", "host": "127.0.0.1", "port": str(fake.port), "allowPrivate": "on"}
        await sent(client, URL, "add", **fields, username="me", password=CANARY)
        [kept] = (await dashboard.ask("proxies-list")).items
        place = f"{URL}/proxies/{kept.id}"
        tried = await sent(client, URL, "try", status=200, id=kept.id)
        assert "198.51.100.77" in tried.text
        assert "&lt;out&gt;" in tried.text
        for what in ("global", "provider:openai", f"account:{account.id}"):
            await sent(client, URL, "assign", what=what, proxyId=kept.id)
        refused = await sent(client, URL, "assign", status=404, what="provider:no-such", proxyId=kept.id)
        assert 'role="alert"' in refused.text
        page = (await client.get(URL, params={"account": account.id})).text
        assert "as the level of the account says" in page
        assert "mine (openai)" in page
        page = (await client.get(place)).text
        assert CANARY not in page
        assert page.count("Take away") == 3
        refused = await sent(client, place, "delete", status=409)
        assert "the proxy is assigned to" in refused.text
        assert "Delete it and its assignments" in refused.text
        await sent(client, place, "unassign", scope="account", scopeId=account.id)
        await sent(client, URL, "unassign", scope="global", scopeId="")
        assert [one.scope for one in (await dashboard.ask("proxies-assignments")).items] == ["provider"]
        fields |= {"csrf": csrf(page), "do": "change", "status": "active", "name": "out", "region": "eu"}
        assert (await client.post(place, data={**fields, "username": "me"})).status_code == 303
        changed = (await dashboard.ask("proxies-list", id=kept.id)).proxy
        assert (changed.name, changed.region, changed.password) == ("out", "eu", "***")
        assert (await client.post(place, data={**fields, "username": "", "open": "on"})).status_code == 303
        changed = (await dashboard.ask("proxies-list", id=kept.id)).proxy
        assert (changed.username, changed.password) == ("", "")
        assert (await client.post(place, data={**fields, "port": "0"})).status_code == 400
        fake.mode = "refuse"
        tried = await sent(client, place, "try", status=200, target="")
        assert "does not work" in tried.text
        await sent(client, place, "delete", force="1")
        assert (await client.get(place)).status_code == 404


async def test_the_filter_does_not_lock_its_owner_out(dashboard: Dashboard) -> None:
    async with dashboard.client(headers={"x-forwarded-for": ME}) as client:
        assert ME in (await client.get(URL)).text
        wanted = {"enabled": "on", "mode": "whitelist", "whitelist": OTHER, "blacklist": ""}
        refused = await sent(client, URL, "filter", status=400, **wanted)
        assert "You would lose your own way in" in refused.text
        assert f">{OTHER}</textarea>" in refused.text
        assert 'name="force"' in refused.text
        assert not (await dashboard.ask("ip-filter-get")).enabled
        refused = await sent(client, URL, "filter", status=400, **{**wanted, "whitelist": "no address"})
        assert 'role="alert"' in refused.text
        await sent(client, URL, "filter", **{**wanted, "whitelist": f"{OTHER}\n203.0.113.0/24"})
        rules = await dashboard.ask("ip-filter-get")
        assert (rules.enabled, rules.mode, rules.whitelist) == (True, "whitelist", [OTHER, "203.0.113.0/24"])
        await sent(client, URL, "filter", **{**wanted, "whitelist": f"{OTHER}\n203.0.113.0/24"})
        assert "Nothing was changed" in (await client.get(URL)).text
        await sent(client, URL, "filter", force="on", **wanted)
        assert (await client.get(URL)).status_code == 403
    await dashboard.ask("ip-filter-update", enabled=False, mode="blacklist", whitelist=[])


async def test_addresses_are_banned_for_a_time(dashboard: Dashboard) -> None:
    async with dashboard.client(headers={"x-forwarded-for": ME}) as client:
        fields = {"tempBan.ip": OTHER, "tempBan.durationMs": "86400000", "tempBan.reason": "<script>"}
        await sent(client, URL, "ban", **fields)
        page = (await client.get(URL)).text
        assert "&lt;script&gt;" in page
        [ban] = (await dashboard.ask("ip-filter-get")).temp_bans
        assert 86_000_000 < ban.remaining_ms <= 86_400_000
        refused = await sent(client, URL, "ban", status=400, **{**fields, "tempBan.ip": "nobody"})
        assert 'class="field wrong"' in refused.text
        refused = await sent(client, URL, "ban", status=400, **{**fields, "tempBan.ip": ME})
        assert "shuts me out" in refused.text
        await sent(client, URL, "unban", ip=OTHER)
        assert not (await dashboard.ask("ip-filter-get")).temp_bans


async def test_a_tunnel_is_opened_and_closed(dashboard: Dashboard, programs: Path) -> None:
    """SEC-30: it is said what can be reached, and why a tunnel is refused."""
    await dashboard.ask("login-update", password="correct horse battery")
    _, dashboard.token = await dashboard.running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
    await dashboard.running.key("chat")
    async with dashboard.client() as client:
        page = (await client.get(URL)).text
        assert "not installed" in page
        assert "/api/auth/login" in page
        install(programs, "cloudflared")
        await sent(client, URL, "open", kind="cloudflared")
        page = (await client.get(URL)).text
        assert f'href="{URLS["cloudflared"]}"' in page
        await sent(client, URL, "close", kind="cloudflared")
        assert f'href="{URLS["cloudflared"]}"' not in (await client.get(URL)).text
        refused = await sent(client, URL, "open", status=400, kind="cloudflared", hostname="hub.example.com")
        assert 'role="alert"' in refused.text
        await sent(client, URL, "open", status=404, kind="no-such")
        await dashboard.ask("login-update", requireLogin=False)
        page = (await client.get(URL)).text
        assert "No tunnel is opened now" in page
        assert "Open it to the internet" not in page
        await dashboard.ask("login-update", requireLogin=True)


async def test_which_fields_a_program_takes(dashboard: Dashboard) -> None:
    takes = {one.kind: one.takes for one in (await dashboard.ask("tunnels-list")).tunnels}
    assert takes == {"cloudflared": ["authToken", "hostname"], "ngrok": ["authToken", "hostname"], "tailscale": []}
