"""Calls that are answered without the SDK: the same answers as with it, and everything unusual is left to it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hub.context import Context
from hub.errors import RateLimited
from hub.registry import Skills
from hub.skill import CostClass, Mcp, skill
from tests.fakes.hub import running_hub
from tests.fakes.mcp import META, MODERN, READ, STREAM, Nothing, Said, Watch, client, make_skills, modern, open_session
from transports import _mcp_fast, mcp_http
from transports._mcp_fast import Fast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

PLAIN: list[tuple[str, Any]] = [
    ("echo", {"text": "hé \u2028 \U0001f600 \x00 \"quoted\" \\ </script>"}),
    ("echo", {"text": "x", "deep": {"a": [1, 2.5, None, True, {"b": "c"}]}}),
    ("echo", {}),
    ("echo", {"text": 5}),
    ("echo", None),
    ("refused", {}),
    ("faulty", {}),
]  # fmt: skip
#: Bodies that differ from an ordinary call in one thing.
ODD: list[dict[str, Any]] = [
    {"id": None},
    {"id": 1.5},
    {"id": True},
    {"id": [1]},
    {"jsonrpc": "1.0"},
    {"method": "tools/list"},
    {"extra": 1},
    {"params": {"name": "nope", "arguments": {}, "_meta": META}},
    {"params": {"name": "count", "arguments": {"x": 1}, "_meta": META}},
    {"params": {"name": "echo", "arguments": {"text": "x"}}},
    {"params": {"name": "echo", "arguments": [], "_meta": META}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "_meta": {**META, "progressToken": 1}}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "_meta": {**META, "io.modelcontextprotocol/logLevel": "info"}}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2025-11-25"}}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "_meta": {**META, "io.modelcontextprotocol/clientCapabilities": 5}}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "_meta": {**META, "io.modelcontextprotocol/clientCapabilities": {"roots": 1}}}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "_meta": {**META, "io.modelcontextprotocol/clientInfo": {"name": 1}}}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "requestState": "abc", "_meta": META}},
    {"params": {"name": "echo", "arguments": {"text": "x"}, "inputResponses": {}, "_meta": META}},
]
HEADS: list[dict[str, str]] = [
    {"mcp-method": "tools/list"},
    {"mcp-name": "other"},
    {"mcp-name": "=?base64?ZWNobw==?="},
    {"mcp-param-text": "x"},
    {"mcp-protocol-version": "2099-01-01"},
    {"accept": "application/json"},
    {"accept": "*/*"},
    {"accept": "text/html"},
    {"content-type": "text/plain"},
]


class Paths:
    """The hub's answers with the fast path and without it; ``taken`` says which requests it answered."""

    def __init__(self, http: httpx.AsyncClient, token: str, patch: pytest.MonkeyPatch) -> None:
        self.http, self.token, self.on = http, token, True
        self.taken: list[bool] = []
        real = Fast.answer

        async def answer(fast: Fast, exchange: Any, data: bytes) -> bool:
            done = await real(fast, exchange, data) if self.on else False
            self.taken.append(done)
            return done

        patch.setattr(Fast, "answer", answer)

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    async def ask(self, body: Any, headers: dict[str, str], *, on: bool) -> tuple[int, Any]:
        self.on = on
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        answer = await self.http.post(STREAM, content=content, headers={**headers, **self.headers})
        return answer.status_code, _plain(answer)

    async def both(self, body: Any, headers: dict[str, str]) -> tuple[bool, Any]:
        """Whether the fast path answered, and the answer, which is the same without it."""
        with_it = await self.ask(body, headers, on=True)
        taken = self.taken[-1]
        without = await self.ask(body, headers, on=False)
        assert with_it == without
        return taken, with_it


def _plain(answer: httpx.Response) -> Any:
    """An answer's message, whether it came as JSON or as the last event of a stream; ids of requests made equal."""
    text = re.sub(r"req_[0-9a-f]+", "req_", answer.text)
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        text = text.rpartition("data: ")[2].strip()
    return orjson.loads(text) if text.startswith("{") else text


def reading(watch: Watch) -> Skills:
    """The usual skills, and more that only read."""

    @skill("refused", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("refused"), read_only=True)
    async def refused(ctx: Context, ask: Nothing) -> Said:
        """Refuse."""
        raise RateLimited("come back later", retry_after=7, field="text", data={"left": 0})

    @skill("faulty", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("faulty"), read_only=True)
    async def faulty(ctx: Context, ask: Nothing) -> Said:
        """Fail with a fault of ours."""
        raise RuntimeError("password=hunter2")

    @skill("slow", scopes=[READ], cost=CostClass.FREE, mcp=Mcp("slow"), read_only=True)
    async def slow(ctx: Context, ask: Nothing) -> Said:
        """Wait for ever."""
        watch.started.set()
        try:
            await watch.go.wait()
        except asyncio.CancelledError:
            watch.cancelled.set()
            raise
        return Said(said="", caller="")

    return Skills({one.name: one for one in (*make_skills(watch), refused, faulty, slow)})


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[tuple[Running, Watch]]:
    watch = Watch()
    async with running_hub(tmp_path, skills=reading(watch), doors=[mcp_http]) as running:
        yield running, watch


@pytest.fixture
async def paths(here: tuple[Running, Watch], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Paths]:
    async with httpx.AsyncClient(base_url=here[0].url, timeout=20) as http:
        yield Paths(http, await here[0].key(READ, "mcp:connect"), monkeypatch)


def test_the_revision_is_the_sdks() -> None:
    assert [_mcp_fast.MODERN] == [MODERN] == list(MODERN_PROTOCOL_VERSIONS)


@pytest.mark.parametrize(("name", "arguments"), PLAIN)
async def test_plain_calls_are_answered_alike(paths: Paths, name: str, arguments: Any) -> None:
    body, headers = modern("tools/call", {"name": name, "arguments": arguments})
    taken, (status, answer) = await paths.both(body, headers)
    assert taken
    assert status == 200
    assert answer["id"] == body["id"]


@pytest.mark.parametrize("change", ODD, ids=lambda change: orjson.dumps(change).decode()[:90])
async def test_odd_bodies_are_the_sdks(paths: Paths, change: dict[str, Any]) -> None:
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    params = change.get("params", {})
    taken, _ = await paths.both({**body, **change}, {**headers, **({"mcp-name": params["name"]} if params else {})})
    assert not taken


@pytest.mark.parametrize("change", HEADS, ids=str)
async def test_odd_heads_are_the_sdks(paths: Paths, change: dict[str, str]) -> None:
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    taken, _ = await paths.both(body, {**headers, **change})
    assert not taken


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"id":1}', b"\xff\xfe", b"[" * 5000, b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}']
)
async def test_garbage_is_the_sdks(paths: Paths, body: bytes) -> None:
    _, headers = modern("tools/call", {"name": "echo"})
    assert not (await paths.both(body, headers))[0]


async def test_a_repeated_routing_header_is_refused(paths: Paths) -> None:
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    twice = [*headers.items(), *paths.headers.items(), ("mcp-name", "echo")]
    answer = await paths.http.post(STREAM, content=orjson.dumps(body), headers=twice)
    assert answer.status_code == 400
    assert "more than once" in answer.json()["error"]["message"]


async def test_a_client_that_says_more_of_itself(paths: Paths) -> None:
    """What the protocol does not know in ``_meta`` changes nothing, and differs from call to call."""
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    capabilities = {"elicitation": {"form": {}}, "sampling": {}}
    for number in range(3):
        meta = {
            **META,
            "io.modelcontextprotocol/clientCapabilities": capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": "n", "version": "1"},
        }
        body["params"]["_meta"] = {**meta, "vendor/toolUseId": f"id-{number}"}
        assert (await paths.both(body, headers))[0]


async def test_a_tool_of_another_scope_does_not_exist(here: tuple[Running, Watch], paths: Paths) -> None:
    """SEC-54: not on this path either."""
    paths.token = await here[0].key("mcp:connect")
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    taken, (_, answer) = await paths.both(body, headers)
    assert not taken
    assert answer["error"]["message"] == "Unknown tool: echo"


async def test_a_revoked_key_ends_at_once(here: tuple[Running, Watch], paths: Paths) -> None:
    body, headers = modern("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    assert (await paths.both(body, headers))[0]
    for key in here[0].hub.store.keys.all():
        await here[0].hub.store.keys.revoke(key.id)
    assert (await paths.both(body, headers))[1][0] == 401


def call_in(number: int, name: str, arguments: Any, **meta: Any) -> dict[str, Any]:
    """A call in a session."""
    params = {"name": name, "arguments": arguments, **({"_meta": meta} if meta else {})}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


async def session_of(paths: Paths) -> dict[str, str]:
    """Headers of a new session in which the SDK has answered a call."""
    headers = await open_session(paths.http, paths.token)
    del headers["authorization"]
    paths.on = True
    answer = await paths.http.post(STREAM, json=call_in(1, "echo", {"text": "x"}), headers={**headers, **paths.headers})
    assert answer.status_code == 200
    assert not paths.taken[-1]
    return headers


@pytest.mark.parametrize(("name", "arguments"), PLAIN)
async def test_calls_in_a_session_are_answered_alike(paths: Paths, name: str, arguments: Any) -> None:
    headers = await session_of(paths)
    assert (await paths.both(call_in(2, name, arguments), headers))[0]


async def test_a_session_is_its_openers_and_ends(here: tuple[Running, Watch], paths: Paths) -> None:
    """SEC-55: another key finds no such session, and nobody does after its end."""
    headers = await session_of(paths)
    mine, paths.token = paths.token, await here[0].key(READ, "mcp:connect")
    taken, (status, _) = await paths.both(call_in(3, "echo", {"text": "x"}), headers)
    assert (taken, status) == (False, 404)
    paths.token = mine
    # The stranger's try took nothing away from the session's owner.
    assert (await paths.ask(call_in(4, "echo", {"text": "x"}), headers, on=True))[0] == 200
    await paths.http.delete(STREAM, headers={**headers, **paths.headers})
    taken, (status, _) = await paths.both(call_in(5, "echo", {"text": "x"}), headers)
    assert (taken, status) == (False, 404)


async def test_what_a_session_must_be_asked_for_is_the_sdks(paths: Paths) -> None:
    headers = await session_of(paths)
    assert not (await paths.both(call_in(6, "echo", {"text": "x"}), {**headers, "mcp-protocol-version": "2025-06-18"}))[0]
    assert not (await paths.both(call_in(7, "count", {"x": 1}), headers))[0]
    paths.on = True
    answer = await paths.http.post(STREAM, json=call_in(8, "echo", {"text": "x"}, progressToken=1), headers={**headers, **paths.headers})
    assert "notifications/progress" in answer.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdks_client_takes_it(here: tuple[Running, Watch], paths: Paths, mode: str) -> None:
    token = await here[0].key(READ, "mcp:connect")
    async with client(here[0], token, mode=mode) as mcp:
        for number in range(3):
            result = await mcp.call_tool("echo", {"text": f"{number}"})
            assert result.structured_content == {"said": f"{number}", "caller": "test key 2", "missing": None}
    assert paths.taken.count(True) >= 2


async def test_who_leaves_ends_the_call(here: tuple[Running, Watch], paths: Paths) -> None:
    """REL-06: on this path, too."""
    _, watch = here
    body, headers = modern("tools/call", {"name": "slow", "arguments": {}})
    asking = asyncio.create_task(paths.http.post(STREAM, json=body, headers={**headers, **paths.headers}))
    await watch.started.wait()
    asking.cancel()
    async with asyncio.timeout(5):
        await watch.cancelled.wait()
