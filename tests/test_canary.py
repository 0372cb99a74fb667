"""SEC-22: unique strings in every secret field, every flow with them and its failures at log level debug, and a search for them everywhere.

What is searched: the hub's log and words, every HTTP answer with its headers, MCP and A2A output, the
files of the data folder or every row of the PostgreSQL database, ``hubroute doctor`` and other commands.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from hub.providers.base import Adapter
from hub.providers.catalog import Catalog
from hub.registry import load
from tests.fakes.command import hubroute, serving
from tests.fakes.database import postgres_database
from tests.fakes.mcp import modern
from tests.fakes.proxy import FakeProxy
from tests.fakes.upstream import Behaviour, FaultUpstream, Received, answer_bytes, cut_sse, json_answer, reset_before_head, sse
from tests.fakes.vendor import chunk, chunks, completion

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

#: What an upstream does, always with the credential it was sent in its words.
KINDS = ["ok", "e400", "e401", "e402", "e403", "e404", "e429", "e500", "html", "reset", "cut", "event"]


def kind_of(request: Received) -> str:
    """The word before ``/v1``, also where a proxy passes the whole address on."""
    found = re.search(r"/(\w+)/v1/", request.target)
    assert found is not None, request.target
    return found[1]


def answer(request: Received) -> Behaviour:
    """What the provider of the request's kind says."""
    kind = kind_of(request)
    echo = f"the key {request.headers.get('authorization', '')} is not right"
    error = {"error": {"message": echo, "type": "server_error", "code": echo, "param": echo}}
    stream = request.method == "POST" and request.json().get("stream")
    if kind == "ok":
        return sse(chunks("Hello")) if stream else json_answer(completion())
    if kind.startswith("e4") or kind == "e500":
        return json_answer(error, status=int(kind[1:]), headers=[("x-echo", echo), ("x-request-id", echo)])
    if kind == "html":
        return answer_bytes(f"<html>{echo}</html>".encode(), headers=[("content-type", "text/html")])
    if kind == "reset":
        return reset_before_head()
    if kind == "cut":
        return cut_sse(chunks("Hel")[:2], last=f"data: {json.dumps(error)[:60]}".encode())
    return sse([chunk({"content": "Hel"}), json.dumps(error)], delay=0.02)


def vendors(count: int) -> list[tuple[str, str]]:
    """Providers of the OpenAI format, each with one of its chat models."""
    formats = load("hub.providers", Adapter, lambda adapter: adapter.name)
    found: list[tuple[str, str]] = []
    for row in Catalog.load().providers.values():
        model = next((one.id for one in row.models if one.kind == "chat" and (one.wire or row.format) == "openai"), "")
        if (
            row.format == "openai"
            and row.auth.type == "bearer"
            and row.auth.value == "Bearer {key}"
            and not row.base_url_template
            and model
        ):
            found.append((row.id, model))
    assert "openai" in formats
    assert len(found) >= count
    return found[:count]


@dataclass
class Search:
    """The secrets of a run, and everything that was seen of it."""

    secrets: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])
    seen: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])

    def plant(self, name: str, prefix: str = "", *, raw: str = "", digests: bool = True) -> str:
        """A new secret of this name. Its middle is looked for, so that a masked end or beginning does not hide the rest.

        Plain digests are looked for as well: what is stored of a key must be keyed.
        """
        value = raw or prefix + secrets.token_hex(16)
        middle = value[len(prefix) :][:-6]
        self.secrets[name] = [middle.encode(), base64.b64encode(value.encode())[:-4], middle.encode("utf-16-le")]
        if digests:
            self.secrets[name] += [hashlib.sha256(value.encode()).hexdigest().encode(), hashlib.sha256(value.encode()).digest()]
        return value

    def look(self, where: str, data: bytes | str) -> None:
        """Something that may be read by others than the owner of the secrets."""
        self.seen.append((where, data.encode() if isinstance(data, str) else data))

    def found(self) -> list[str]:
        """Every place that holds a secret."""
        return [
            f"{name} is in {where}: …{data[max(0, at - 80) : at + 60]!r}…"
            for where, data in self.seen
            for name, forms in self.secrets.items()
            for form in forms
            if (at := data.find(form)) >= 0
        ]


class Client:
    """Talks to the hub, and keeps every answer for the search."""

    def __init__(self, http: httpx.AsyncClient, token: str, search: Search) -> None:
        self.http = http
        self.token = token
        self.search = search

    async def send(self, method: str, path: str, body: Any = None, *, keep: bool = True, **headers: str) -> httpx.Response:
        named = {"authorization": f"Bearer {self.token}", **headers}
        content = body if isinstance(body, bytes) else None
        try:
            answer = await self.http.request(method, path, json=None if content else body, content=content, headers=named)
        except httpx.RemoteProtocolError as error:  # a stream that the hub cut
            self.search.look(f"{method} {path}", str(error))
            return httpx.Response(599)
        if keep:
            self.search.look(f"{method} {path}", repr(answer.headers.raw).encode() + answer.content)
        return answer

    async def everywhere(self, model: str) -> None:
        """One prompt through every door that runs it."""
        messages = [{"role": "user", "content": "hello"}]
        for stream in (False, True):
            await self.send("POST", "/v1/chat/completions", {"model": model, "messages": messages, "stream": stream})
        await self.tool("omniroute_route_request", model=model, messages=messages)
        for method in ("SendMessage", "SendStreamingMessage"):
            message = {"messageId": secrets.token_hex(4), "role": "ROLE_USER", "parts": [{"text": "hello"}]}
            params = {"message": {**message, "metadata": {"skill": "smart-routing", "model": model}}}
            await self.send("POST", "/a2a", {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, **{"a2a-version": "1.0"})
        seed = {"skill": "smart-routing", "messages": messages, "metadata": {"model": model}}
        await self.send("POST", "/a2a", {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": seed})

    async def tool(self, name: str, **arguments: Any) -> None:
        body, headers = modern("tools/call", {"name": name, "arguments": arguments})
        await self.send("POST", "/api/mcp/stream", body, **headers)


def rows_of(url: str) -> Iterator[tuple[str, bytes]]:
    """Every row of every table of a PostgreSQL database as text."""
    with psycopg.connect(url) as link:
        tables = [row[0] for row in link.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()]
        for table in tables:
            for (row,) in link.execute(f'SELECT row_to_json(t)::text FROM "{table}" t').fetchall():  # type: ignore[arg-type]
                yield table, row.encode()


async def command(search: Search, data: Path, *args: str, **env: str) -> Any:
    done = await asyncio.to_thread(hubroute, data, *args, **env)
    search.look(f"hubroute {' '.join(args)}", done.stdout + done.stderr)
    return done


async def connections(client: Client, upstream: FaultUpstream, search: Search, proxy: FakeProxy) -> list[tuple[str, str]]:
    """One connection for each kind of upstream, and two behind a proxy; (connection id, model)."""
    made: list[tuple[str, str]] = []
    for kind, (provider, model) in zip([*KINDS, "ok", "ok"], vendors(len(KINDS) + 2), strict=True):
        key = search.plant(f"key of {provider} ({kind})", "sk-")
        fields: dict[str, Any] = {
            "provider": provider,
            "name": kind,
            "apiKey": key,
            "baseUrl": f"{upstream.url}/{kind}/v1",
            "allowPrivate": True,
        }
        if len(made) >= len(KINDS):
            port = proxy.port if len(made) == len(KINDS) else 9  # nothing listens on the discard port
            word = search.plant(f"password of the proxy of {provider}")
            fields["proxy"] = f"http://someone:{word}@127.0.0.1:{port}"
        answer = await client.send("POST", "/api/providers", fields)
        assert answer.status_code == 201, answer.text
        made.append((answer.json()["connection"]["id"], f"{provider}/{model}"))
    return made


async def management(client: Client, made: list[tuple[str, str]], search: Search, upstream: FaultUpstream) -> None:
    """What owners do, what goes wrong when they do, and what reads it afterwards."""
    for identity, _ in made:
        await client.send("POST", f"/api/providers/{identity}/test")
        await client.send("GET", f"/api/providers/{identity}/models")
        await client.send("GET", f"/api/providers/{identity}")
        await client.send("PUT", f"/api/providers/{identity}", {"name": "renamed", "apiKey": search.plant(f"new key of {identity}", "sk-")})
    where = {"baseUrl": f"{upstream.url}/e401/v1", "allowPrivate": True}
    await client.send("POST", "/api/providers/validate", {"provider": "openai", "apiKey": search.plant("validated key", "sk-"), **where})
    misplaced = search.plant("a key in the wrong place", "sk-")
    for body in (
        {"provider": "openai", "name": "x", "apiKey": [misplaced]},
        {"provider": "openai", "name": "x", "apiKey": {"value": misplaced}},
        {"provider": "openai", "name": "x", "apiKey": misplaced, "baseUrl": "ftp://nowhere"},
        {"provider": "openai", "name": "x", "apiKey": misplaced, "priority": misplaced},
        {"provider": "openai", "name": "x", "apiKey": misplaced, "providerSpecificData": {"clientSecret": {"password": misplaced}}},
        {"provider": "openai", "name": "x", "apiKey": f"{misplaced}\nx: y"},
        {"provider": "openai", "name": "x", "apiKey": misplaced, "unknown": [{"accessToken": misplaced}]},
        f'{{"apiKey": "{misplaced}"'.encode(),
    ):
        await client.send("POST", "/api/providers", body)
    for path in (
        "/api/providers",
        "/api/keys",
        "/api/usage/analytics",
        "/api/usage/quota",
        "/api/monitoring/health",
        "/v1/models",
        "/ready",
    ):
        await client.send("GET", path)
    for tool in ("omniroute_get_health", "omniroute_check_quota", "omniroute_cost_report", "omniroute_list_models_catalog"):
        await client.tool(tool)


async def strangers(client: Client, search: Search) -> None:
    """Keys that are wrong, in every place where one may be sent."""
    wrong = search.plant("a wrong key", "hr_")
    for path in ("/v1/models", "/api/keys", "/a2a", "/api/mcp/stream", "/nowhere"):
        method = "POST" if path in ("/a2a", "/api/mcp/stream") else "GET"
        for headers in (
            {"authorization": f"Bearer {wrong}"},
            {"authorization": "", "x-api-key": wrong},
            {"authorization": f"Basic {wrong}"},
        ):
            answer = await client.send(method, path, {} if method == "POST" else None, **headers)
            assert answer.status_code in (401, 404), answer.text


async def logins(client: Client, search: Search, link: str) -> None:
    """The owner's password, session and second factor, and wrong ones."""
    password, wrong = search.plant("the owner's password"), search.plant("a wrong password of the owner's")
    made = await client.send("POST", "/api/auth/setup", {"token": link, "password": password}, keep=False)
    assert made.status_code == 200, made.text
    search.plant("a session", raw=made.cookies["auth_token"], digests=False)  # random: a plain digest will do
    for body in (
        {"password": wrong},
        {"password": [wrong]},
        {"password": wrong, "code": wrong},
        f'{{"password": "{wrong}'.encode(),
    ):
        await client.send("POST", "/api/auth/login", body)
    await client.send("POST", "/api/auth/setup", {"token": search.plant("a wrong link"), "password": password})
    await client.send("GET", f"/owner?token={link}")
    await client.send("POST", "/api/settings/require-login", {"password": password, "currentPassword": wrong})
    factor = await client.send("POST", "/api/auth/totp", keep=False)
    search.plant("the second factor", raw=factor.json()["secret"])
    await client.send("POST", "/api/auth/totp/confirm", {"code": "000000"})
    await client.send("DELETE", "/api/auth/totp", {"password": wrong})
    for path in ("/api/auth/sessions", "/api/auth/totp", "/api/policies", "/login"):
        await client.send("GET", path)


async def flows(client: Client, search: Search, proxy: FakeProxy) -> None:
    """Everything that happens while the hub runs."""
    async with asyncio.timeout(10):  # on PostgreSQL another process's key is seen within a second
        while (await client.send("GET", "/v1/models")).status_code == 401:
            await asyncio.sleep(0.05)
    made = await client.send("POST", "/api/keys", {"name": "made", "scopes": ["*"]}, keep=False)
    token = made.json()["key"]
    search.plant("a hub key", made.json()["keyPrefix"] + "_", raw=token)
    client.token = token
    # What fails here is meant to be told at once.
    await client.send("PATCH", "/api/settings", {"resilienceSettings": {"waitForCooldown": {"enabled": False}}})
    async with FaultUpstream() as upstream:
        upstream.script(answer)
        targets = await connections(client, upstream, search, proxy)
        for _, model in targets:
            await client.everywhere(model)
        used = {kind_of(request) for request in upstream.requests}
        assert used == set(KINDS), "a kind of upstream was never called"
        assert any(line.startswith(("CONNECT", "POST")) for line in proxy.seen), "the proxy was never used"
        await management(client, targets, search, upstream)
        await strangers(client, search)


def stored(search: Search, data: Path, database: str) -> None:
    """The database at rest, and every other file of the folder."""
    held = {path.name: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for name, content in held.items():
        search.look(f"file {name}", content)
    if database:
        for table, row in rows_of(database):
            search.look(f"table {table}", row)
    else:
        assert len(held["hubroute.db"]) > 50_000


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
async def test_no_secret_leaves_its_place(tmp_path: Path, dialect: str, request: pytest.FixtureRequest) -> None:
    """SEC-22, SEC-25."""
    search, data, database = Search(), tmp_path / "data", ""
    env = {"HUBROUTE_LOG_LEVEL": "debug", "HUBROUTE_LOG_FORMAT": "json"}
    raw = secrets.token_bytes(32)
    env["HUBROUTE_MASTER_KEY"] = search.plant("master key", raw=base64.b64encode(raw).decode())
    search.secrets["master key"] += [raw, raw.hex().encode()]
    if dialect == "postgresql":
        given = request.getfixturevalue("postgres_url")
        database = given.replace("@", f":{search.plant('database password')}@", 1)
        env["HUBROUTE_DATABASE_URL"] = database
    async with FakeProxy() as proxy:
        with serving(data, **env) as served:
            first = re.search(r"API key .*: (hr_\w+)", served.words)
            link = re.search(r"token=(\S+)", served.words)
            assert first is not None
            assert link is not None
            search.plant("the first key", raw=first[1][16:])
            search.plant("the owner's link", raw=link[1], digests=False)  # random, once, for a day: a plain digest will do
            owner = await command(search, data, "keys", "create", "root", "--scopes", "*", "--json", **env)
            token = json.loads(owner.stdout)["key"]
            search.seen.pop()  # the one answer that shows it
            search.plant("the root key", raw=token[16:])
            async with httpx.AsyncClient(base_url=served.url, timeout=30) as http:
                client = Client(http, token, search)
                await flows(client, search, proxy)
                await logins(client, search, link[1])
            commands = [
                ("doctor", "--json", "--online"),
                ("providers", "list", "--json"),
                ("keys", "list", "--json"),
                ("settings", "--json"),
            ]
            await asyncio.gather(*(command(search, data, *args, **env) for args in commands))
            assert served.stop() == 0
    log = (tmp_path / "data.log").read_text()
    search.look("the log", log)
    assert "attempt failed" in log
    assert len(search.secrets) > 20
    stored(search, data, database)
    assert search.found() == []


@pytest.fixture
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HUBROUTE_DATABASE_URL", "mysql://someone:{}@127.0.0.1/x"),
        ("HUBROUTE_DATABASE_URL", "postgresql://someone:{}@127.0.0.1:9/x"),
        ("HUBROUTE_MASTER_KEY", "{}"),
        ("HUBROUTE_MASTER_KEY", "{}="),
    ],
)
async def test_a_setting_that_is_wrong_is_not_repeated(tmp_path: Path, name: str, value: str) -> None:
    """SEC-22: also in a traceback at level debug."""
    search = Search()
    env = {name: value.format(search.plant(name)), "HUBROUTE_LOG_LEVEL": "debug"}
    done = await command(search, tmp_path / "data", "keys", "list", **env)
    assert done.returncode != 0
    await command(search, tmp_path / "data", "doctor", "--json", **env)
    assert search.found() == []


def test_the_search_finds_what_is_there() -> None:
    """A search that can fail: every form of a secret, wherever it stands."""
    search = Search()
    value = search.plant("x", "sk-")
    for form in (value, base64.b64encode(value.encode()).decode(), hashlib.sha256(value.encode()).hexdigest(), value[3:-6] + "…"):
        search.seen.clear()
        search.look("here", f"before {form} after")
        assert search.found(), form
    search.seen.clear()
    search.look("here", f"…{value[-4:]}")
    assert search.found() == []
