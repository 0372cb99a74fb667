"""SEC-03: every skill x every set of scopes over REST, MCP and A2A. The doors agree cell by cell, and each refusal leaves a row.

The skills are the real ones with their addresses and scopes, but what they do is replaced by an error
that tells that the call came through, so that a cell costs a request and nothing else.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hub.access.scopes import BUNDLES, SCOPES, expand
from hub.call import Hub
from hub.errors import Conflict, HubError
from hub.registry import Skills
from hub.settings import Settings
from tests.fakes.mcp import modern
from transports._http import App, all_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.skill import Skill

pytestmark = pytest.mark.anyio

CONNECT = "mcp:connect"
GRANTS = [*SCOPES, *BUNDLES, "*", "read:*"]
SKILLS = Skills.load()
ASK = {"model": "auto", "messages": [{"role": "user", "content": "hello"}]}


class Reached(Conflict):
    """The call went all the way to the skill."""


def stub(skill: Skill) -> Skill:
    async def whole(ctx: Any, ask: Any) -> Any:
        raise Reached("reached", code="reached")

    async def stream(ctx: Any, ask: Any) -> AsyncIterator[Any]:
        raise Reached("reached", code="reached")
        yield

    return dataclasses.replace(skill, run=stream if skill.streams else whole)


class Doors:
    """The hub's app, called without a socket, and the verdict of each door on one call: reached, denied, or the door's own refusal."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.app = App(hub, all_routes(hub))
        self.calls = 0

    async def send(self, method: str, path: str, token: str | None, body: Any = None, **headers: str) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        named = {
            "host": "127.0.0.1",
            "content-type": "application/json",
            **headers,
            **({"authorization": f"Bearer {token}"} if token else {}),
        }
        incoming = [{"type": "http.request", "body": data, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            if not incoming:
                await asyncio.Event().wait()  # a client that stays
            return incoming.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"", "http_version": "1.1", "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 20128), "root_path": "", "raw_path": path.encode(),
        }  # fmt: skip
        await self.app(scope, receive, send)
        text = b"".join(message.get("body", b"") for message in sent)
        return sent[0]["status"], json.loads(text) if text else None

    async def rest(self, method: str, path: str, token: str | None, *, stream: bool = False) -> str:
        body = {**ASK, "stream": stream} if method in ("POST", "PUT", "PATCH") else None
        status, answer = await self.send(method, path, token, body)
        # A skill's input is read after its scopes: who may not call learns nothing of what it takes.
        # A moved address shows its new place to those who may call it.
        return {409: "reached", 400: "reached", 308: "reached", 426: "reached", 403: "denied", 401: "stranger"}.get(
            status, f"{status} {answer}"
        )

    async def mcp(self, tool: str, token: str | None) -> str:
        body, headers = modern("tools/call", {"name": tool, "arguments": ASK})
        status, answer = await self.send("POST", "/api/mcp/stream", token, body, **headers)
        if "result" in answer:
            detail = answer["result"]["_meta"]["hubroute/error"]
            return "reached" if detail["code"] in ("reached", "bad_request") else f"{detail}"
        if answer["error"]["message"] == f"Unknown tool: {tool}":
            return "denied"
        return {403: "no door", 401: "stranger"}.get(status, f"{status} {answer}")

    async def tools(self, token: str | None) -> set[str]:
        body, headers = modern("tools/list")
        _, answer = await self.send("POST", "/api/mcp/stream", token, body, **headers)
        return {tool["name"] for tool in answer["result"]["tools"]}

    async def a2a(self, agent: str, token: str | None) -> str:
        self.calls += 1
        message = {"messageId": f"m{self.calls}", "role": "ROLE_USER", "parts": [{"text": "x"}], "metadata": {"skill": agent}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        status, answer = await self.send("POST", "/a2a", token, body, **{"a2a-version": "1.0"})
        if "result" in answer:
            return "reached" if answer["result"]["task"]["metadata"]["error"]["code"] == "reached" else f"{answer}"
        words = answer["error"].get("message", "")
        if status == 403:
            return "denied" if "needs the scope" in words else "no door"
        return "stranger" if status == 401 else f"{status} {answer}"

    async def straight(self, skill: Skill, token: str) -> str:
        """The one path behind all doors."""
        ctx = self.hub.context(self.hub.authenticate(token), "test")
        called = anext(self.hub.stream(skill, ASK, ctx)) if skill.streams else self.hub.call(skill, ASK, ctx)
        try:
            await called
        except Reached:
            return "reached"
        except HubError as error:
            return "denied" if error.status == 403 else "reached"
        raise AssertionError("the stub did not run")


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    hub = Hub(Settings(data_dir=tmp_path), skills=Skills({skill.name: stub(skill) for skill in SKILLS}))
    await hub.open()
    yield Doors(hub)
    await hub.close()


def addresses(skill: Skill) -> list[tuple[str, str]]:
    """Every REST address of a skill, with something in place of its parameters."""
    return [(address.method, _filled(address.method, address.path)) for address in skill.rest]


def _filled(method: str, path: str) -> str:
    named = {"{id}": "x", "{provider}": "openai", "{model:path}": "x:generateContent" if method == "POST" else "x"}
    for part, value in named.items():
        path = path.replace(part, value)
    return path


async def cells(doors: Doors, skill: Skill, token: str) -> dict[str, str]:
    """The verdict of each door that leads to a skill."""
    found: dict[str, str] = {}
    proved = {(method, route.path) for route in doors.app.routes if route.proves for method in route.methods}
    for method, path in addresses(doors.hub.find(skill.twin) if skill.twin else skill):
        if (method, path) in proved:
            continue  # it takes no key but a token of its own kind
        found[f"{method} {path}"] = await doors.rest(method, path, token, stream=skill.streams)
    if skill.mcp:
        found["mcp"] = await doors.mcp(skill.mcp.tool, token)
    if skill.a2a:
        found["a2a"] = await doors.a2a(skill.a2a.id, token)
    return found


async def test_the_doors_agree_on_every_cell(doors: Doors) -> None:
    """SEC-03, SEC-54, SEC-80."""
    wrong: list[str] = []
    refused: Counter[str] = Counter()
    for grant in GRANTS:
        key, token = await doors.hub.store.keys.create(grant, grants=[grant, CONNECT])
        scopes = expand([grant, CONNECT])
        for skill in doors.hub.skills:
            want = "reached" if skill.scopes <= scopes else "denied"
            found = await cells(doors, skill, token)
            refused[key.id] += list(found.values()).count("denied")
            if skill.typed and grant in ("chat", "*", "read-only"):
                found["straight"] = await doors.straight(skill, token)
                refused[key.id] += found["straight"] == "denied"
            wrong += [f"{grant} {skill.name} {door}: {verdict}, not {want}" for door, verdict in found.items() if verdict != want]
        shown = {skill.mcp.tool for skill in doors.hub.skills if skill.mcp and "core" in skill.mcp.profiles and skill.scopes <= scopes}
        if await doors.tools(token) != shown:
            wrong.append(f"{grant}: tools/list does not show what may be called")
    assert not wrong, "\n".join(wrong)
    await _recorded(doors, refused)


async def _recorded(doors: Doors, refused: Counter[str]) -> None:
    """Each refusal has its row, under the key that was refused."""
    rows: Counter[str] = Counter()
    while True:
        page, total = await doors.hub.store.audit.page(limit=1000, offset=rows.total(), outcome="denied")
        rows.update(row.key_id for row in page)
        if rows.total() >= total:
            break
    assert rows == +refused
    assert rows.total() > 500


async def test_mcp_and_agents_need_their_own_scope_as_well(doors: Doors) -> None:
    """Whatever else a key holds; and that refusal is recorded too."""
    agents, tools = sorted(doors.hub.skills.by_a2a), sorted(doors.hub.skills.by_tool)
    for grant in GRANTS:
        if CONNECT in expand([grant]):
            continue
        key, token = await doors.hub.store.keys.create(grant, grants=[grant])
        assert await doors.mcp(tools[0], token) == "no door"
        assert await doors.a2a(agents[0], token) == "no door"
        rows, _ = await doors.hub.store.audit.page(key_id=key.id)
        assert [(row.door, row.outcome, row.target, row.skill) for row in rows] == [
            ("a2a", "denied", CONNECT, ""),
            ("mcp", "denied", CONNECT, ""),
        ]


@pytest.mark.parametrize("token", [None, "hr_000000000000_0000000000000000000000000000000000000000", "x"])
async def test_without_a_valid_key_every_door_says_the_same(doors: Doors, token: str | None) -> None:
    """SEC-01: only public addresses answer, and those only to who sends no key at all."""
    for skill in doors.hub.skills:
        public = any(address.public for address in skill.rest) and token is None
        found = await cells(doors, skill, token)  # type: ignore[arg-type]
        assert set(found.values()) <= {"reached" if public else "stranger"}, (skill.name, found)


async def test_scopes_come_from_the_key_alone(doors: Doors) -> None:
    """Never from the request: not from a body, a query, a header or metadata."""
    _, token = await doors.hub.store.keys.create("poor", grants=["chat", CONNECT])
    claims = {"scopes": ["*"], "scope": "manage", "role": "owner"}
    status, _ = await doors.send("POST", "/api/keys", token, {**claims, "name": "x"}, **{"x-scopes": "manage", "x-role": "owner"})
    assert status == 403
    body, headers = modern("tools/call", {"name": "omniroute_get_health", "arguments": claims, "scopes": ["*"]})
    _, answer = await doors.send("POST", "/api/mcp/stream", token, body, **headers)
    assert answer["error"]["message"].startswith("Unknown tool")
    message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "x"}], "metadata": {"skill": "health-report", **claims}}
    params = {"message": message, "metadata": claims, "scopes": ["*"]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": params}
    _, answer = await doors.send("POST", "/a2a", token, body, **{"a2a-version": "1.0"})
    assert "needs the scope" in answer["error"]["message"]
    assert await doors.hub.store.audit.verify() is None


async def test_every_route_is_a_skill_s_or_one_of_a_few(doors: Doors) -> None:
    """A new address cannot stay out of the matrix unnoticed."""
    ours = {(address.method, address.path) for skill in SKILLS for address in skill.rest}
    others = sorted(
        {f"{method} {route.path}" for route in doors.app.routes for method in route.methods if (method, route.path) not in ours}
    )
    protocols = (
        "/a2a",
        "/api/mcp/",
        "/.well-known/agent",
        "/.well-known/oauth-protected-resource",
        "/owner",
        "/login",
        "/logout",
        "/dashboard",
    )
    protocols = (*protocols, "/api/auth/log", "/api/auth/setup", "/api/auth/oidc/")  # the way in, before anybody has a scope
    unmatched = [path for path in others if not path.split(" ")[1].startswith(protocols)]
    # What runs nothing: pages, liveness, and the version that Ollama's clients look for.
    told = [f"GET {base}/api/{name}" for base in ("", "/v1") for name in ("ps", "version")]
    back = "GET /api/oauth/{provider}/callback"  # a page that a browser comes back to
    assert unmatched == sorted(["GET /", "POST /", "GET /health", "GET /ready", "GET /openapi.json", back, *told])
