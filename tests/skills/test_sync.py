"""Two hubs that sync over sockets: what goes where, what wins, what is refused, and what an eavesdropper cannot do."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.errors import BadRequest
from hub.sync import sealing
from hub.sync.merging import Item, merge
from tests.fakes.database import postgres_database
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hub.records import Connection

pytestmark = pytest.mark.anyio


@dataclass
class Side:
    """A hub and a client of it."""

    running: Running
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        answer = await self.client.request(method, path, json=body or None)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    async def connect(self, name: str, provider: str = "openai") -> str:
        made = await self.ask("POST", "/api/providers", 201, provider=provider, name=name, apiKey=f"sk-{name}-secret")
        return made["connection"]["id"]

    async def combo(self, name: str, *models: str) -> str:
        return (await self.ask("POST", "/api/combos", 201, name=name, models=list(models)))["id"]

    def connection(self, name: str) -> Connection | None:
        return next((one for one in self.running.hub.store.connections.all() if one.name == name), None)

    def combos(self) -> dict[str, str]:
        return {one.name: one.body.strategy for one in self.running.hub.combos.all()}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    with postgres_database() if request.param == "postgresql" else nullcontext("") as url:
        yield url


@pytest.fixture(scope="module")
async def sides(tmp_path_factory: pytest.TempPathFactory, database: str) -> AsyncIterator[tuple[Side, Side]]:
    """The hub that is asked, and the one that asks."""
    async with (
        running_hub(tmp_path_factory.mktemp("cloud"), database_url=database) as one,
        running_hub(tmp_path_factory.mktemp("own"), allow_private=True) as two,
        httpx.AsyncClient(base_url=one.url, headers=await one.headers(), timeout=30) as there,
        httpx.AsyncClient(base_url=two.url, headers=await two.headers(), timeout=30) as here,
    ):
        yield Side(one, there), Side(two, here)


@pytest.fixture
async def pair(sides: tuple[Side, Side]) -> AsyncIterator[tuple[Side, Side]]:
    """Both without anything set up."""
    yield sides
    for side in sides:
        await side.ask("POST", "/api/sync/cloud", action="disable")
        for one in side.running.hub.mappings.all():
            await side.running.hub.mappings.delete(one.id)
        for one in side.running.hub.combos.all():
            await side.running.hub.combos.delete(one.id)
        for one in side.running.hub.store.connections.all():
            await side.running.hub.store.connections.delete(one.id)
        for one in side.running.hub.sync_tokens.all():
            await side.running.hub.sync_tokens.revoke(one.id)
        await side.running.hub.store.values.delete("modelAliases")


async def token(cloud: Side, **more: Any) -> str:
    return (await cloud.ask("POST", "/api/sync/tokens", 201, name="own", **more))["token"]


async def enable(cloud: Side, own: Side, **more: Any) -> dict[str, Any]:
    return await own.ask("POST", "/api/sync/cloud", action="enable", url=cloud.running.url, token=await token(cloud, **more))


async def sync(own: Side, **more: Any) -> dict[str, Any]:
    return await own.ask("POST", "/api/sync/cloud", action="sync", **more)


async def test_both_become_the_same_and_follow_one_another(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    await cloud.connect("north")
    await own.connect("south", "groq")
    combo = await cloud.combo("daily", "openai/gpt-4o")
    await cloud.ask("POST", "/api/model-combo-mappings", 201, pattern="gpt-9*", comboId=combo)
    await cloud.ask("PUT", "/api/models/alias", alias="best", model="openai/gpt-4o")
    await cloud.ask("PATCH", "/api/settings", stickyRoundRobinLimit=7, backupSchedule={"keep": 99})
    assert await own.ask("GET", "/api/sync/cloud") == {
        **dict.fromkeys(("connected", "url", "lastSync", "lastError", "intervalMinutes")), "enabled": False,
    }  # fmt: skip
    done = await enable(cloud, own, secrets=True, write=True)
    assert (done["conflicts"], done["refused"]) == ([], [])
    assert {"connection north", "combo daily", "aliases model aliases"} <= set(done["here"])
    assert done["there"] == ["connection south"]
    for side in pair:
        assert (side.connection("north").secret.reveal(), side.connection("south").secret.reveal()) == (
            "sk-north-secret",
            "sk-south-secret",
        )  # pyright: ignore[reportOptionalMemberAccess] - as set up
        assert side.running.hub.directory.aliases() == {"best": "openai/gpt-4o"}
        assert side.running.hub.mappings.all()[0].body.combo_id == combo
        assert side.running.hub.preferences.current.sticky_round_robin_limit == 7
    assert own.running.hub.preferences.current.backup_schedule.keep == 7
    again = await sync(own)
    assert not (again["here"])
    assert not (again["there"])
    assert not (again["conflicts"])
    # A change here goes there, a deletion there comes here.
    await own.ask("PUT", f"/api/combos/{combo}", strategy="random")
    await cloud.ask("DELETE", f"/api/providers/{cloud.connection('south').id}")  # pyright: ignore[reportOptionalMemberAccess] - as set up
    plan = await sync(own, dryRun=True)
    assert (plan["dryRun"], plan["there"], len(plan["deletedHere"])) == (True, ["combo daily"], 1)
    assert (cloud.combos(), own.connection("south") is not None) == ({"daily": "priority"}, True)
    done = await sync(own)
    assert (cloud.combos(), own.connection("south")) == ({"daily": "random"}, None)
    state = await own.ask("GET", "/api/sync/cloud")
    assert (state["enabled"], state["connected"], state["lastError"]) == (True, True, None)
    await own.ask("PATCH", "/api/settings", stickyRoundRobinLimit=None)
    await sync(own)
    assert cloud.running.hub.preferences.current.sticky_round_robin_limit == 3


async def test_the_later_of_two_changes_stays_and_is_told(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    first, second = await cloud.combo("first", "openai/gpt-4o"), await cloud.combo("second", "openai/gpt-4o")
    third = await cloud.combo("third", "openai/gpt-4o")
    await enable(cloud, own, write=True)
    await own.ask("PUT", f"/api/combos/{first}", strategy="random")
    await cloud.ask("PUT", f"/api/combos/{second}", strategy="weighted")
    await asyncio.sleep(0.01)
    await cloud.ask("PUT", f"/api/combos/{first}", strategy="round-robin")
    await own.ask("PUT", f"/api/combos/{second}", strategy="cost-optimized")
    await own.ask("DELETE", f"/api/combos/{third}")
    await cloud.ask("PUT", f"/api/combos/{third}", strategy="random")
    done = await sync(own)
    assert {one["name"]: one["kept"] for one in done["conflicts"]} == {"first": "there", "second": "here", "third": "there"}
    wanted = {"first": "round-robin", "second": "cost-optimized", "third": "random"}
    assert (cloud.combos(), own.combos()) == (wanted, wanted)


async def test_without_secrets_no_credential_moves(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    identity = await cloud.connect("north")
    await enable(cloud, own, write=True)
    made = own.connection("north")
    assert made is not None
    assert (made.secret.reveal(), made.active) == ("", False)
    await own.ask("PUT", f"/api/providers/{identity}", apiKey="sk-mine", isActive=True)
    await sync(own)
    assert cloud.connection("north").secret.reveal() == "sk-north-secret"  # pyright: ignore[reportOptionalMemberAccess] - as set up
    # A new address there would take this hub's key along.
    await cloud.ask("PUT", f"/api/providers/{identity}", baseUrl="https://evil.example/v1")
    done = await sync(own)
    assert "another address" in done["refused"][0]["why"]
    assert own.connection("north").base_url == ""  # pyright: ignore[reportOptionalMemberAccess] - as set up


async def test_a_token_that_only_reads(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    await own.combo("mine", "openai/gpt-4o")
    await cloud.combo("theirs", "openai/gpt-4o")
    done = await enable(cloud, own)
    assert (done["write"], done["there"]) == (False, [])
    assert (set(cloud.combos()), set(own.combos())) == ({"theirs"}, {"mine", "theirs"})
    sealed = sealing.seal({"puts": [], "gone": []}, to=cloud.running.hub.sync_serving.public_key(), token="x", about={})
    secret = (await cloud.ask("POST", "/api/sync/tokens", 201, name="reader"))["token"]
    async with httpx.AsyncClient(base_url=cloud.running.url, headers={"x-sync-token": secret}) as reader:
        assert (await reader.post("/api/sync/bundle", json={"base": "", "bundle": sealed})).status_code == 403


async def test_one_name_made_apart_is_told_and_left(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    await cloud.combo("same", "openai/gpt-4o")
    mine = await own.combo("same", "openai/gpt-4o-mini")
    done = await enable(cloud, own, write=True)
    assert [one["name"] for one in done["refused"]] == ["same", "same"]
    assert own.running.hub.combos.find("same").id == mine  # pyright: ignore[reportOptionalMemberAccess] - as set up


async def test_the_bundle(pair: tuple[Side, Side]) -> None:
    """Entity tags, the one hub a token belongs to, expiry, revocation."""
    cloud, own = pair
    await cloud.connect("north")
    made = await cloud.ask("POST", "/api/sync/tokens", 201, name="t", secrets=True, expiresInDays=1)
    secret, key = made["token"], own.running.hub.sync_serving.public_key()
    assert secret.startswith("osync_")
    assert len(secret) == 49
    assert secret not in (await cloud.client.get("/api/sync/tokens")).text
    headers = {"x-sync-recipient": key, "x-sync-nonce": "n" * 16}
    async with httpx.AsyncClient(base_url=cloud.running.url) as peer:

        async def get(**more: str) -> httpx.Response:
            return await peer.get("/api/sync/bundle", headers={**headers, "x-sync-token": secret, **more})

        first = await get()
        assert first.status_code == 200
        assert "sk-north-secret" not in first.text
        assert first.headers["etag"] == f'"{first.json()["version"]}"'
        assert (await get(**{"if-none-match": first.headers["etag"]})).status_code == 304
        bearer = await peer.get("/api/sync/bundle", headers={**headers, "authorization": f"Bearer {secret}"})
        assert bearer.status_code == 200
        assert (await get(**{"x-sync-recipient": sealing.public_key(b"x" * 32)})).status_code == 403
        assert (await get(**{"x-sync-recipient": "none"})).status_code == 400
        assert (await get(**{"x-sync-token": secret[:-1] + "x"})).status_code == 401
        assert (await get(**{"x-sync-token": ""})).status_code in (400, 401)
        await cloud.connect("west")
        assert (await get(**{"if-none-match": first.headers["etag"]})).status_code == 200
        begin = cloud.running.hub.clock.now_ms()
        cloud.running.hub.clock.now_ms = lambda: begin + 2 * 86_400_000
        try:
            assert (await get()).status_code == 401
        finally:
            del cloud.running.hub.clock.now_ms
        gone = await cloud.ask("DELETE", f"/api/sync/tokens/{made['syncToken']['id']}")
        assert gone["syncToken"]["name"] == "t"
        assert (await get()).status_code == 401
    await cloud.ask("DELETE", f"/api/sync/tokens/{made['syncToken']['id']}", 404)


async def test_a_hub_that_was_changed_meanwhile_takes_nothing(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    secret = await token(cloud, write=True)
    about = {"direction": "push", "version": "0" * 64}
    item = {"kind": "combo", "id": "combo_x", "name": "x", "at": 1, "print": "p", "body": {}}
    sealed = sealing.seal({"puts": [item], "gone": []}, to=cloud.running.hub.sync_serving.public_key(), token=secret, about=about)
    async with httpx.AsyncClient(base_url=cloud.running.url, headers={"x-sync-token": secret}) as peer:
        assert (await peer.post("/api/sync/bundle", json={"base": "0" * 64, "bundle": sealed})).status_code == 409
        assert (await peer.post("/api/sync/bundle", json={"base": "1" * 64, "bundle": sealed})).status_code == 400
        assert (await peer.post("/api/sync/bundle", json={"base": "1", "bundle": {"v": 1}})).status_code == 400
        assert (await peer.post("/api/sync/bundle", json=[])).status_code == 400
    assert not cloud.combos()
    assert not own.combos()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"action": "fly"}, 400),
        ({}, 400),
        ({"action": "enable"}, 502),
        ({"action": "enable", "url": "http://hub.example.com", "token": "osync_x"}, 400),
        ({"action": "enable", "url": "https://u:p@hub.example.com", "token": "osync_x"}, 400),
        ({"action": "enable", "url": "https://hub.example.com/path", "token": "osync_x"}, 400),
        ({"action": "enable", "url": "ftp://hub.example.com", "token": "osync_x"}, 400),
        ({"action": "enable", "url": "http://127.0.0.1:9", "token": "osync_x"}, 502),
        ({"action": "sync"}, 503),
        ({"action": "verify"}, 503),
        ({"action": "sync", "more": 1}, 400),
    ],
)
async def test_bad_requests_keep_sync_off(pair: tuple[Side, Side], body: dict[str, Any], status: int) -> None:
    refused = await pair[1].client.post("/api/sync/cloud", json=body)
    assert refused.status_code == status, refused.text
    assert (await pair[1].ask("GET", "/api/sync/cloud"))["enabled"] is False


async def test_a_wrong_token_and_a_private_address_are_refused(pair: tuple[Side, Side]) -> None:
    """SEC-10: without the owner's word no request goes to a private address."""
    cloud, own = pair
    refused = await own.client.post("/api/sync/cloud", json={"action": "enable", "url": cloud.running.url, "token": "osync_wrong"})
    assert refused.status_code == 502
    assert "401" in refused.text
    assert "osync_wrong" not in refused.text
    for url in ("https://127.0.0.1:1", "https://10.0.0.1", "https://[::1]", "https://169.254.169.254"):
        answer = await cloud.client.post("/api/sync/cloud", json={"action": "enable", "url": url, "token": "osync_x"})
        assert answer.status_code in (400, 403, 502), (url, answer.text)
        assert "private" in answer.text or "address" in answer.text, answer.text


async def test_the_clock_and_the_scheduler(pair: tuple[Side, Side]) -> None:
    cloud, own = pair
    assert await own.running.hub.syncing.tick() is False
    started = await own.ask("POST", "/api/sync/initialize")
    assert (started["success"], started["modelSyncEnabled"]) == (True, False)
    await enable(cloud, own)
    assert (await own.ask("GET", "/api/sync/initialize"))["modelSyncEnabled"] is True
    assert await own.running.hub.syncing.tick() is False
    checked = await own.ask("POST", "/api/sync/cloud", action="verify")
    assert "answers" in checked["message"]
    begin = own.running.hub.clock.now_ms()
    own.running.hub.clock.now_ms = lambda: begin + 16 * 60_000
    try:
        assert await own.running.hub.syncing.tick() is True
    finally:
        del own.running.hub.clock.now_ms


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/sync/cloud"),
        ("POST", "/api/sync/cloud"),
        ("POST", "/api/sync/initialize"),
        ("GET", "/api/sync/initialize"),
        ("GET", "/api/sync/tokens"),
        ("POST", "/api/sync/tokens"),
        ("DELETE", "/api/sync/tokens/x"),
        ("PUT", "/api/cloud/credentials/update"),
        ("POST", "/api/cloud/credentials/update"),
        ("PUT", "/api/cloud/models/alias"),
    ],
)
async def test_who_may_not(sides: tuple[Side, Side], method: str, path: str) -> None:
    running = sides[0].running
    async with httpx.AsyncClient(base_url=running.url) as nobody:
        assert (await nobody.request(method, path)).status_code == 401
        assert (await nobody.request(method, path, headers=await running.headers("operator"))).status_code == 403


async def test_the_seeds_cloud_routes(pair: tuple[Side, Side]) -> None:
    side = pair[0]
    identity = await side.connect("north")
    assert (await side.ask("PUT", "/api/cloud/models/alias", model="openai/gpt-4o", alias="best"))["success"] is True
    key = await side.running.headers("chat")
    async with httpx.AsyncClient(base_url=side.running.url, headers=key) as client:
        told = (await client.post("/api/cloud/auth")).json()
        assert told["modelAliases"] == {"best": "openai/gpt-4o"}
        assert (
            told["connections"][0] | {"provider": "openai", "hasApiKey": True, "maskedApiKey": "…cret", "projectId": None}
            == told["connections"][0]
        )
        assert (await client.get("/api/cloud/models/alias")).json() == {"aliases": {"best": "openai/gpt-4o"}}
        found = await client.post("/api/cloud/model/resolve", json={"alias": "best"})
        assert found.json() == {"alias": "best", "provider": "openai", "model": "gpt-4o"}
        assert (await client.post("/api/cloud/model/resolve", json={"alias": "gpt-4o"})).status_code == 404
        assert (await client.post("/api/cloud/model/resolve", json={})).status_code == 400
    for method in ("PUT", "POST"):
        body = {"provider": "openai", "credentials": {"accessToken": f"sk-{method}"}}
        assert (await side.ask(method, "/api/cloud/credentials/update", **body))["success"] is True
        assert side.running.hub.store.connections.get(identity).secret.reveal() == f"sk-{method}"
    for credentials in ({}, {"refreshToken": "r"}, {"accessToken": "a", "expiresIn": 3}, {"accessToken": "a", "x": 1}):
        await side.ask("PUT", "/api/cloud/credentials/update", 400, provider="openai", credentials=credentials)
    await side.ask("PUT", "/api/cloud/credentials/update", 404, provider="anthropic", credentials={"accessToken": "a"})
    await side.ask("PUT", "/api/cloud/models/alias", 400, model="", alias="x")


def test_a_bundle_opens_for_its_hub_alone_and_about_its_question() -> None:
    own, other = b"a" * 32, b"b" * 32
    about = {"direction": "pull", "version": "1", "nonce": "n"}
    sealed = sealing.seal({"items": [1]}, to=sealing.public_key(own), token="osync_t", about=about)
    assert sealing.unseal(sealed, secret=own, token="osync_t", about=about) == {"items": [1]}
    for secret, token_, told in ((other, "osync_t", about), (own, "osync_u", about), (own, "osync_t", {**about, "nonce": "m"})):
        with pytest.raises(BadRequest, match="does not open"):
            sealing.unseal(sealed, secret=secret, token=token_, about=told)
    text = sealed["text"]
    for wrong in ({"text": text[:-4] + "AAAA"}, {"text": ""}, {"key": "x"}, {"key": "A" * 43}, {"v": 2}, {"alg": "none"}, {"more": 1}):
        with pytest.raises(BadRequest):
            sealing.unseal({**sealed, **wrong}, secret=own, token="osync_t", about=about)


def test_every_difference_has_one_outcome() -> None:
    def item(value: str, at: int = 0) -> Item:
        return Item(kind="k", id="x", name="x", at=at, print=value, body=None)

    def outcome(base: str | None, here: Item | None, there: Item | None) -> tuple[int, int, int, int, int]:
        found = merge({"k:x": base} if base else {}, {"k:x": here} if here else {}, {"k:x": there} if there else {})
        return len(found.here), len(found.there), len(found.gone_here), len(found.gone_there), len(found.conflicts)

    assert outcome("a", item("a"), item("a")) == (0, 0, 0, 0, 0)
    assert outcome(None, item("a"), item("a")) == (0, 0, 0, 0, 0)
    assert outcome("a", item("b"), item("a")) == (0, 1, 0, 0, 0)
    assert outcome("a", item("a"), item("b")) == (1, 0, 0, 0, 0)
    assert outcome("a", item("b", 2), item("c", 1)) == (0, 1, 0, 0, 1)
    assert outcome("a", item("b", 1), item("c", 2)) == (1, 0, 0, 0, 1)
    assert outcome(None, item("b", 1), item("c", 2)) == (1, 0, 0, 0, 1)
    assert outcome(None, item("a"), None) == (0, 1, 0, 0, 0)
    assert outcome(None, None, item("a")) == (1, 0, 0, 0, 0)
    assert outcome("a", item("a"), None) == (0, 0, 1, 0, 0)
    assert outcome("a", None, item("a")) == (0, 0, 0, 1, 0)
    assert outcome("a", item("b"), None) == (0, 1, 0, 0, 1)
    assert outcome("a", None, item("b")) == (1, 0, 0, 0, 1)
    assert outcome("a", None, None) == (0, 0, 0, 0, 0)
