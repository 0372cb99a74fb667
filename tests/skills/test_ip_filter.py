"""The IP filter at the doors: HTTP, MCP, WebSocket and gRPC, before anybody is asked for a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest
from grpc import aio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.fakes.hub import Running, running_hub
from transports._a2a_grpc import _peer  # pyright: ignore[reportPrivateUsage]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

PATH = "/api/settings/ip-filter"
ME, OTHER = "203.0.113.7", "198.51.100.9"


class Site:
    """A hub behind a reverse proxy on this machine, whose word on addresses is believed."""

    def __init__(self, running: Running, client: httpx.AsyncClient) -> None:
        self.running, self.client = running, client

    async def put(self, *, at: str = "", **body: Any) -> httpx.Response:
        return await self.client.put(PATH, json=body, headers={"x-forwarded-for": at} if at else {})

    async def status(self, at: str, path: str = "/v1/models") -> int:
        return (await self.client.get(path, headers={"x-forwarded-for": at} if at else {})).status_code


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    options = {"trusted_proxies": "127.0.0.1", "grpc_address": "127.0.0.1:0"}
    async with (
        running_hub(tmp_path_factory.mktemp("filter"), **options) as running,
        httpx.AsyncClient(base_url=running.url, timeout=20) as client,
    ):
        client.headers.update(await running.headers())
        yield Site(running, client)


@pytest.fixture
async def site(shared: Site) -> AsyncIterator[Site]:
    yield shared
    bans = (await shared.client.get(PATH)).json()["tempBans"]
    for ban in bans:
        await shared.put(removeBan=ban["ip"])
    assert (await shared.put(enabled=False, mode="blacklist", blacklist=[], whitelist=[])).status_code == 200


async def test_off_at_first(site: Site) -> None:
    assert (await site.client.get(PATH)).json() == {
        "enabled": False,
        "mode": "blacklist",
        "blacklist": [],
        "whitelist": [],
        "tempBans": [],
        "yourAddress": "127.0.0.1",
    }
    assert not site.running.hub.addresses.active
    assert await site.status(OTHER) == 200


async def test_the_blacklist(site: Site) -> None:
    assert (await site.put(enabled=True, blacklist=[" 198.51.100.9 ", "2001:DB8::/32", "::ffff:192.0.2.1", "198.51.100.9"])).json()[
        "blacklist"
    ] == ["198.51.100.9", "2001:db8::/32", "192.0.2.1"]
    assert [await site.status(at) for at in (OTHER, ME, "2001:db8::5", "192.0.2.1", "")] == [403, 200, 403, 403, 200]
    assert (await site.put(addBlacklist="203.0.113.0/24")).json()["blacklist"][-1] == "203.0.113.0/24"
    assert await site.status(ME) == 403
    assert (await site.put(removeBlacklist="203.0.113.0/24")).status_code == 200
    assert await site.status(ME) == 200
    assert (await site.put(enabled=False)).json()["blacklist"][0] == "198.51.100.9"
    assert await site.status(OTHER) == 200


async def test_the_whitelist(site: Site) -> None:
    assert (await site.put(enabled=True, mode="whitelist", addWhitelist=ME)).status_code == 200
    assert [await site.status(at) for at in (ME, OTHER, "nonsense", "")] == [200, 403, 403, 200]
    # What a client writes itself before the proxy's word does not count.
    assert await site.status(f"{ME}, {OTHER}") == 403
    assert (await site.put(removeWhitelist=ME)).json()["whitelist"] == []


async def test_every_door_is_shut_before_the_key(site: Site) -> None:
    """Public addresses, bad keys, unknown paths, MCP, WebSocket: the same answer, which tells nothing of keys."""
    await site.put(enabled=True, blacklist=[OTHER])
    shut = {"x-forwarded-for": OTHER}
    async with httpx.AsyncClient(base_url=site.running.url) as stranger:
        for method, path in (
            ("GET", "/"),
            ("GET", "/health"),
            ("GET", "/.well-known/agent-card.json"),
            ("GET", "/v1/models"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/api/mcp/stream"),
            ("POST", "/a2a"),
            ("GET", "/nothing/here"),
            ("GET", PATH),
        ):
            answer = await stranger.request(method, path, headers={**shut, "authorization": "Bearer hr_wrong"})
            assert answer.status_code == 403, (path, answer.text)
            assert "takes no requests from your address" in answer.text
    url = f"ws{site.running.url.removeprefix('http')}/v1/ws"
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, additional_headers={**shut, "authorization": site.client.headers["authorization"]}, proxy=None):
            pass
    assert caught.value.response.status_code == 403
    async with connect(url, additional_headers={"authorization": site.client.headers["authorization"]}, proxy=None):
        pass


async def test_grpc(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC tells the peer itself; here the machine's own, so it is made to say another."""
    await site.put(enabled=True, blacklist=[OTHER])
    monkeypatch.setattr("transports._a2a_grpc._peer", lambda _: OTHER)
    async with aio.insecure_channel(site.running.hub.listening["GRPC"]) as channel:
        call = channel.unary_unary("/lf.a2a.v1.A2AService/GetTask")
        with pytest.raises(aio.AioRpcError) as caught:
            await call(b"")
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_peers_of_grpc() -> None:
    found = [_peer(one) for one in ("ipv4:192.0.2.1:443", "ipv6:[::1]:443", "ipv6:%5B2001:db8::1%5D:50051", "unix:/tmp/x", "")]
    assert found == ["192.0.2.1", "::1", "2001:db8::1", "", ""]


async def test_bans(site: Site) -> None:
    banned = (await site.put(tempBan={"ip": f"::ffff:{OTHER}", "durationMs": 60_000, "reason": "too many"})).json()
    assert [(ban["ip"], ban["reason"]) for ban in banned["tempBans"]] == [(OTHER, "too many")]
    assert 0 < banned["tempBans"][0]["remainingMs"] <= 60_000
    assert (banned["enabled"], await site.status(OTHER), await site.status(ME)) == (False, 403, 200)
    # Banned again it is banned once.
    assert len((await site.put(tempBan={"ip": OTHER})).json()["tempBans"]) == 1
    assert (await site.put(removeBan=OTHER)).json()["tempBans"] == []
    assert await site.status(OTHER) == 200
    await site.put(tempBan={"ip": OTHER, "durationMs": 1})
    assert (await site.client.get(PATH)).json()["tempBans"] == []


async def test_nobody_shuts_himself_out_by_mistake(site: Site) -> None:
    for body in (
        {"enabled": True, "mode": "whitelist"},
        {"enabled": True, "blacklist": ["203.0.113.0/24"]},
        {"tempBan": {"ip": ME}},
        {"tempBan": {"ip": f"::ffff:{ME}"}},
    ):
        answer = await site.put(at=ME, **body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "would_shut_out"), answer.text
    shown = (await site.client.get(PATH, headers={"x-forwarded-for": ME})).json()
    assert (shown["enabled"], shown["blacklist"], shown["tempBans"], shown["yourAddress"]) == (False, [], [], ME)
    assert (await site.put(at=ME, tempBan={"ip": ME}, force=True)).status_code == 200
    assert await site.status(ME) == 403
    # From this machine everything can be mended.
    assert (await site.put(removeBan=ME)).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"force": True}, ""),
        ({"blacklist": ["example.com"]}, "blacklist.0"),
        ({"blacklist": ["203.0.113.7", "203.0.113.0/33"]}, "blacklist.1"),
        ({"addWhitelist": "10.0.0"}, "addWhitelist"),
        ({"removeBlacklist": ""}, "removeBlacklist"),
        ({"mode": "grey"}, "mode"),
        ({"tempBan": {"ip": "203.0.113.0/24"}}, "tempBan.ip"),
        ({"tempBan": {"ip": ME, "durationMs": 0}}, "tempBan.durationMs"),
        ({"removeBan": "x"}, "removeBan"),
        ({"colour": "red"}, "colour"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
)
async def test_bad_changes(site: Site, body: dict[str, Any], field: str) -> None:
    answer = await site.put(**body)
    assert answer.status_code == 400, answer.text
    if field:
        assert answer.json()["error"]["details"][0]["field"] == field
    assert (await site.client.get(PATH)).json()["enabled"] is False


async def test_who_may_change_it(site: Site) -> None:
    weak = await site.running.headers("read:*", "chat")
    for method in ("GET", "PUT"):
        assert (await site.client.request(method, PATH, json={"enabled": True}, headers=weak)).status_code == 403
        async with httpx.AsyncClient(base_url=site.running.url) as nobody:
            assert (await nobody.request(method, PATH, json={"enabled": True})).status_code == 401
