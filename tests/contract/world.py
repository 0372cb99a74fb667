"""The hub that the contract is tried at, the outside world behind it, and what must exist before an operation can succeed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.cloud_agents import tasks as life
from hub.providers.base import Failure, FailureKind
from tests.compression.conftest import STATUS, TOOLS, tool_turn
from tests.fakes import acp_agent, listeners, market, media, painters, pictures, searchers, speakers, tunnel, vendors
from tests.fakes.hashes import quick_hashes
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.receiver import Receiver
from tests.fakes.signin import CLIENT, CODE, SignIn, signing_in
from tests.fakes.upstream import Behaviour, FaultUpstream, Received, json_answer
from tests.skills.test_tunnels import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

MODEL = vendors.MODELS["openai"]
PASSWORD = "the-password-of-a-test"
#: Words that the vendor of chats thinks about for ever.
STAYS = "what is the last digit of pi"
HI = [{"role": "user", "content": "Hi"}]
#: Tables that grow by being asked: they say that something was tried, not that something was changed.
_RECORDS = (
    "audit",
    "usage",
    "decision",
    "latency",
    "stamp",
    "state",
    "session",
    "revision",
    "webhook_deliver",
    "webhook_stand",
    "batch",
    "file",
    "task",
    "response",
    "spend",
)
#: Columns that say how a row fares when it is used.
_FARES = frozenset({"test_status", "cooldown_until", "backoff_level"})


def openai(request: Received) -> Behaviour:
    """One vendor of every service, of the fakes of each."""
    path = request.target.partition("?")[0]
    for end, vendor in _SERVICES.items():
        if path.startswith(end):
            return vendor(request)
    if STAYS.encode() in request.body:
        return Behaviour(lambda exchange: exchange.hold())
    headers = {**request.headers, "authorization": f"Bearer {vendors.KEY}"}
    try:
        return vendors.answer(dataclasses.replace(request, target=f"/openai{request.target}", headers=headers))
    except AttributeError as error:  # no object where one should be
        return json_answer({"error": {"message": str(error), "type": "invalid_request_error"}}, status=400)


_SERVICES: dict[str, Callable[[Received], Behaviour]] = {
    "/v1/embeddings": media.openai_embeddings,
    "/v1/moderations": media.openai_moderation,
    "/v1/images": pictures.openai_images,
    "/v1/audio/speech": speakers.openai,
    "/v1/audio/transcriptions": listeners.openai,
}


def coder(request: Received) -> Behaviour:
    """An agent elsewhere whose work goes on for ever."""
    if request.target == "/tasks":
        return json_answer({"id": "cx_31", "status": "pending"})
    return json_answer({"id": "cx_31", "status": "running", "pr_url": None})


@dataclass
class World:
    """``owner`` has every right, ``poor`` a key that can do next to nothing, ``nobody`` none."""

    running: Running
    owner: httpx.AsyncClient
    poor: httpx.AsyncClient
    nobody: httpx.AsyncClient
    upstream: FaultUpstream
    receiver: Receiver
    agents: FaultUpstream
    vendor: SignIn
    number: Iterator[int] = field(default_factory=itertools.count)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """The body of an answer, which must be a success."""
        answer = await self.owner.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def make(self, names: tuple[str, ...]) -> dict[str, str]:
        """What a row needs, by name."""
        made: dict[str, str] = {"n": str(next(self.number)), "hook": self.receiver.hook, "upstream": self.upstream.url}
        for name in names:
            made[name] = await MAKERS[name](self, made)
            made["n"] = str(next(self.number))
        return made

    def stored(self) -> dict[str, str]:
        """What every table holds, but for the records of what was asked."""
        url = f"file:{self.running.hub.settings.data_dir}/hubroute.db?mode=ro"
        with sqlite3.connect(url, uri=True) as base:
            names = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            kept = [name for name in names if not any(part in name for part in _RECORDS)]
            return {name: _rows(base, name) for name in kept}


def _rows(base: sqlite3.Connection, table: str) -> str:
    """The rows of a table, without the columns that say when something was used."""
    columns = [row[1] for row in base.execute(f'PRAGMA table_info("{table}")') if not row[1].startswith("last_") and row[1] not in _FARES]
    names = ", ".join(f'"{column}"' for column in columns)
    return repr(base.execute(f'SELECT {names} FROM "{table}"').fetchall())


async def _made(world: World, method: str, path: str, *where: str, **body: Any) -> str:
    found = await world.ask(method, path, json=body)
    for name in where:
        found = found[name]
    return str(found)


async def _connection(world: World, made: dict[str, str]) -> str:
    data = {"baseUrl": f"{world.upstream.url}/v1", "allowPrivate": True}
    name = f"own {made['n']}"
    return await _made(
        world, "POST", "/api/providers", "connection", "id",
        provider="openai", name=name, apiKey=media.KEY, priority=100, providerSpecificData=data,
    )  # fmt: skip


async def _node(world: World, made: dict[str, str]) -> str:
    return await _made(
        world, "POST", "/api/provider-nodes", "node", "id",
        name=f"Node {made['n']}", prefix=f"node{made['n']}", apiType="chat", baseUrl=f"{world.upstream.url}/v1", type="openai-compatible",
    )  # fmt: skip


async def _model(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/provider-models", "model", "id", provider="openai", modelId=f"own-{made['n']}")


async def _combo(world: World, made: dict[str, str]) -> str:
    made["comboName"] = f"combo {made['n']}"
    return await _made(
        world, "POST", "/api/combos", "id", name=made["comboName"], models=[MODEL], strategy="priority", config={"maxRetries": 1}
    )


async def _used(world: World, made: dict[str, str]) -> str:
    """A call through the combo."""
    body = {"model": made["comboName"], "messages": HI}
    answer = await world.owner.post("/v1/chat/completions", json=body, headers={"x-session-id": "s-1"})
    assert answer.status_code == 200, answer.text
    await world.running.hub.store.flush()
    return made["comboName"]


async def _mapping(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/model-combo-mappings", "mapping", "id", pattern=f"map-{made['n']}-*", comboId=made["combo"])


async def _alias(world: World, made: dict[str, str]) -> str:
    return await _made(world, "PUT", "/api/models/alias", "alias", model=MODEL, alias=f"alias-{made['n']}")


async def _key(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/keys", "id", name=f"key {made['n']}")


async def _budget(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/usage/budget", "apiKeyId", apiKeyId=made["key"], dailyLimitUsd=1)


async def _registered(world: World, made: dict[str, str]) -> str:
    body = {"name": "r", "provider": "openai", "accountId": "a", "dailyBudget": 9, "hourlyBudget": 3, "idempotencyKey": f"i-{made['n']}"}
    return await _made(world, "POST", "/api/v1/registered-keys", "keyId", **body)


async def _hook(world: World, made: dict[str, str]) -> str:
    return await _made(
        world, "POST", "/api/webhooks", "webhook", "id", url=world.receiver.hook, events=["*"], secret="s" * 32, description="d"
    )


async def _skill(world: World, made: dict[str, str]) -> str:
    body = {"name": f"s {made['n']}", "description": "d", "schema": {"input": {"type": "object"}}}
    return await _made(world, "POST", "/api/skills/install", "id", **body, handler={"type": "skill", "skill": "health"})


async def _skill_run(world: World, made: dict[str, str]) -> str:
    name = (await world.ask("GET", f"/api/skills/{made['skill']}"))["skill"]["name"]
    return await _made(world, "POST", "/api/skills/executions", "execution", "id", skillName=name, input={})


async def _skillsmp(world: World, made: dict[str, str]) -> str:
    """The marketplace that is chosen."""
    await world.ask("PATCH", "/api/settings", json={"skillsEnabled": True, "skillsProvider": "skillsmp", "skillsmpApiKey": market.KEY})
    return "skillsmp"


async def _skillssh(world: World, made: dict[str, str]) -> str:
    """The other marketplace, chosen."""
    await world.ask("PATCH", "/api/settings", json={"skillsEnabled": True, "skillsProvider": "skillssh"})
    return "skillssh"


async def _memory(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/memory", "id", content=f"c {made['n']}", key=f"k{made['n']}", type="factual")


async def _proxy(world: World, made: dict[str, str]) -> str:
    body = {"name": f"p {made['n']}", "host": "127.0.0.1", "port": 9, "username": "u", "password": "p", "status": "inactive"}
    return await _made(world, "POST", "/api/v1/management/proxies", "id", **body)


async def _assigned(world: World, made: dict[str, str]) -> str:
    body = {"scope": "combo", "scopeId": made["combo"], "proxyId": made["proxy"]}
    return await _made(world, "PUT", "/api/v1/management/proxies/assignments", "assignment", "proxyId", **body)


async def _pipeline(world: World, made: dict[str, str]) -> str:
    body = {"name": f"c {made['n']}", "description": "d", "pipeline": [{"engine": "rtk", "intensity": "standard"}], "languagePacks": ["en"]}
    return await _made(world, "POST", "/api/context/combos", "id", **body)


async def _file(world: World, made: dict[str, str]) -> str:
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": MODEL, "messages": HI}}
    answer = await world.owner.post("/v1/files", data={"purpose": "batch"}, files={"file": ("b.jsonl", json.dumps(line).encode())})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


async def _batch(world: World, made: dict[str, str]) -> str:
    body = {"input_file_id": made["file"], "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {"a": "b"}}
    return await _made(world, "POST", "/v1/batches", "id", **body)


async def _over(world: World, made: dict[str, str]) -> str:
    """The batch is over."""
    await world.ask("POST", f"/v1/batches/{made['batch']}/cancel")
    while (await world.ask("GET", f"/v1/batches/{made['batch']}"))["status"] not in ("cancelled", "completed"):
        pass
    return made["batch"]


async def _suite(world: World, made: dict[str, str]) -> str:
    case = {"name": "one", "input": {"messages": HI}, "expected": {"strategy": "contains", "value": "heard"}}
    return await _made(world, "POST", "/api/evals/suites", "suite", "id", name=f"suite {made['n']}", cases=[case])


async def _run(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/evals", "suiteId", suiteId=made["suite"], target={"type": "model", "id": MODEL})


async def _task(world: World, made: dict[str, str]) -> str:
    source = {"repoName": "acme/shop", "repoUrl": "https://github.com/acme/shop", "branch": "main"}
    return await _made(world, "POST", "/api/v1/agents/tasks", "data", "id", providerId="codex-cloud", prompt="Fix it", source=source)


async def _talk(world: World, made: dict[str, str]) -> str:
    """A task of the agent door that is over."""
    params = {"skill": "quota-management", "messages": HI, "metadata": {"model": MODEL}}
    found = await world.ask("POST", "/a2a", json={"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": params})
    return found["result"]["task"]["id"]


async def _agent(world: World, made: dict[str, str]) -> str:
    body = {"id": f"agent-{made['n']}", "name": "Mine", "binary": "mine", "versionCommand": "mine --version"}
    await world.ask("POST", "/api/acp/agents", json=body)
    return body["id"]


async def _backup(world: World, made: dict[str, str]) -> str:
    return (await world.ask("PUT", "/api/db-backups"))["id"]


async def _copy(world: World, made: dict[str, str]) -> str:
    answer = await world.owner.get("/api/db-backups/export")
    assert answer.status_code == 200
    return answer.content.decode("latin-1")


async def _begun(world: World, made: dict[str, str]) -> str:
    """A login that waits for its code; gives the code."""
    begun = await world.ask("GET", f"/api/oauth/{CODE}/authorize")
    made["state"], made["redirect"] = begun["state"], begun["redirectUri"]
    uris = world.vendor.clients[CLIENT]["redirect_uris"]
    uris.append(begun["redirectUri"])
    async with httpx.AsyncClient() as browser:
        sent = await browser.get(begun["authUrl"])
    return dict(httpx.URL(sent.headers["location"]).params)["code"]


async def _cooling(world: World, made: dict[str, str]) -> str:
    """A model that is locked out at its connection."""
    hub = world.running.hub
    connection = hub.store.connections.get(made["connection"])
    assert connection is not None
    hub.resilience.failed(connection, "openai", "gone-model", Failure(FailureKind.MODEL, 404, "no such model"))
    return made["connection"]


async def _raw(world: World, made: dict[str, str]) -> str:
    """A raw output that was kept."""
    settings = "/api/settings/compression"
    await world.ask("PUT", settings, json={"enabled": True, "defaultMode": "rtk", "rtkConfig": {"rawOutputRetention": "always"}})
    body = {"model": MODEL, "messages": tool_turn(f"{STATUS}\n  {made['n']}"), "tools": TOOLS}
    answer = await world.owner.post("/v1/chat/completions", json=body)
    await world.ask("PUT", settings, json={"enabled": False, "defaultMode": "off"})
    assert answer.status_code == 200, answer.text
    return world.upstream.requests[-1].json()["messages"][3]["content"].partition("; the whole: ")[2].rstrip("]")


async def _open_talk(world: World, made: dict[str, str]) -> str:
    """A task of the agent door whose vendor does not answer."""
    message = {
        "messageId": made["n"],
        "role": "ROLE_USER",
        "parts": [{"text": STAYS}],
        "metadata": {"skill": "smart-routing", "model": MODEL},
    }
    params = {"message": message, "configuration": {"returnImmediately": True}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
    return (await world.ask("POST", "/a2a", json=body, headers={"a2a-version": "1.0"}))["result"]["task"]["id"]


async def _account(world: World, made: dict[str, str]) -> str:
    return await _made(world, "POST", "/api/providers", "connection", "id", provider="groq", name=f"g {made['n']}", apiKey="gsk-old")


async def _member(world: World, made: dict[str, str]) -> str:
    """A connection of the node."""
    return await _made(world, "POST", "/api/providers", "connection", "id", provider=made["node"], name=f"m {made['n']}", apiKey="sk-node")


async def _stated(world: World, made: dict[str, str]) -> str:
    """The vendor said what is left at a connection."""
    hub = world.running.hub
    hub.quotas.observe(
        made["connection"], [(b"x-ratelimit-limit-requests", b"9"), (b"x-ratelimit-remaining-requests", b"5")], hub.clock.now_ms()
    )
    return made["connection"]


async def _pipe(world: World, made: dict[str, str]) -> str:
    """An open stream of MCP's older transport."""
    stream = await world.stack.enter_async_context(world.owner.stream("GET", "/api/mcp/sse"))
    lines = aiter(stream.aiter_lines())
    world.stack.push_async_callback(lines.aclose)  # not before: the session ends with it
    while not (line := await anext(lines)).startswith("data: "):
        pass
    return line.partition("session_id=")[2]


async def _session(world: World, made: dict[str, str]) -> str:
    """An MCP session."""
    from tests.fakes.mcp import open_session

    key = world.owner.headers["authorization"].removeprefix("Bearer ")
    return (await open_session(world.owner, key))["mcp-session-id"]


MAKERS: dict[str, Callable[[World, dict[str, str]], Awaitable[str]]] = {
    name[1:]: maker
    for name, maker in globals().copy().items()
    if name.startswith("_") and getattr(maker, "__module__", "") == __name__ and name not in ("_made",) and callable(maker)
}


@asynccontextmanager
async def worlds(folder: Path, **settings: Any) -> AsyncIterator[World]:
    """A hub with vendors of every service behind it; programs of this machine are those of a folder."""
    tools, home = folder / "bin", folder / "home"
    home.mkdir(parents=True)
    for name in ("cloudflared", "ngrok"):
        tunnel.install(tools, name)
    acp_agent.install(tools, "mine")
    async with AsyncExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        patch.setenv("HOME", str(home))
        patch.setattr(life, "FIRST_MS", 100)
        allowed: dict[str, Any] = {"allow_private": True, "push_allowed_hosts": "127.0.0.1", "port": free_port(), "acp_custom_agents": True}
        stack.enter_context(quick_hashes())
        shops = await stack.enter_async_context(FaultUpstream())
        shops.script(market.Web().answer)
        allowed |= {name: shops.url + path for name, path in market.BASES.items()}
        running = await stack.enter_async_context(running_hub(folder, **{**allowed, **settings}))
        await impatient(running)
        upstream = await _connected(running, stack)
        keys = {"owner": await running.headers(), "poor": await running.headers("execute:agents"), "nobody": {}}
        clients = [
            await stack.enter_async_context(httpx.AsyncClient(base_url=running.url, headers=headers, timeout=30))
            for headers in keys.values()
        ]
        receiver = await stack.enter_async_context(Receiver())
        agents = await stack.enter_async_context(FaultUpstream())
        agents.script(coder)
        vendor = await stack.enter_async_context(signing_in())
        await running.hub.login.record.set_password(await running.hub.login._passwords.hash(PASSWORD))
        world = World(running, *clients, upstream, receiver, agents, vendor, stack=stack)
        await world.ask(
            "POST",
            "/api/v1/agents/credentials",
            json={"providerId": "codex-cloud", "apiKey": "k" * 20, "baseUrl": agents.url, "allowPrivate": True},
        )
        await world.ask("PUT", f"/api/oauth-clients/{CODE}", json={"clientId": CLIENT, "baseUrl": vendor.base_url, "allowPrivate": True})
        yield world


async def _connected(running: Running, stack: AsyncExitStack) -> FaultUpstream:
    """A connection of each vendor; the first is that of chats."""
    first: FaultUpstream | None = None
    for provider, handler, path, secret in (
        ("openai", openai, "/v1", media.KEY),
        ("cohere", media.cohere_rerank, "/compatibility/v1", media.KEY),
        ("serper-search", searchers.serper, "", media.KEY),
        ("runwayml", painters.runway(), "/v1", media.KEY),
        ("comfyui", painters.comfy(painters.MP3, "audio"), "", ""),
    ):
        upstream = await stack.enter_async_context(FaultUpstream())
        upstream.script(handler)
        await running.hub.store.connections.create(
            provider=provider, name=f"my {provider}", base_url=upstream.url + path, secret=secret, allow_private=True, priority=1
        )
        first = first or upstream
    assert first is not None
    return first
