"""Faults under the doors of Google's, Ollama's and OpenAI's older dialect: real hub, real sockets, upstreams that misbehave."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import upstream as faults
from tests.fakes.doors import rows_of
from tests.fakes.hub import Running, impatient, running_hub
from tests.fakes.upstream import FaultUpstream
from tests.fakes.vendor import chunk, connect, good, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"first_byte_timeout": 0.5, "idle_timeout": 0.5, "connect_timeout": 1.0, "max_body_mb": 1}
WORDS = "Hello from upstream"


@dataclass(frozen=True)
class Way:
    """One way in: where a request goes, what it is, and how the pieces of its stream are read."""

    path: str
    body: dict[str, Any]
    streamed: str
    stream: dict[str, Any]

    def whole(self) -> tuple[str, dict[str, Any]]:
        return self.path, {**self.body, **({"stream": False} if "stream" in self.stream else {})}

    def flowing(self) -> tuple[str, dict[str, Any]]:
        return self.streamed, {**self.body, **self.stream}


MODEL = "openai/gpt-4o-mini"
TURNS = [{"role": "user", "content": "Hi"}]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
GEMINI = f"/v1beta/models/{MODEL}"
WAYS = {
    "gemini": Way(f"{GEMINI}:generateContent", CONTENTS, f"{GEMINI}:streamGenerateContent?alt=sse", {}),
    "gemini-array": Way(f"{GEMINI}:generateContent", CONTENTS, f"{GEMINI}:streamGenerateContent", {}),
    "ollama": Way("/api/chat", {"model": MODEL, "messages": TURNS}, "/api/chat", {"stream": True}),
    "generate": Way("/api/generate", {"model": MODEL, "prompt": "Hi"}, "/api/generate", {"stream": True}),
    "completions": Way("/v1/completions", {"model": MODEL, "prompt": "Hi"}, "/v1/completions", {"stream": True}),
}


def pieces(name: str, text: str) -> list[Any]:
    """What a client of this way reads of a stream, as JSON."""
    if name == "gemini-array":
        return json.loads(text)
    lines = [line.removeprefix("data: ") for line in text.replace("\r", "").split("\n") if line.strip()]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def is_end(name: str, piece: Any) -> bool:
    if name.startswith("gemini"):
        return "finishReason" in piece.get("candidates", [{}])[0]
    return piece.get("done", False) if name in ("ollama", "generate") else bool(piece.get("choices", [{}])[0].get("finish_reason"))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, **SETTINGS) as hub:
        await impatient(hub)
        yield hub


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        yield server


@pytest.fixture
async def client(running: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers("chat"), timeout=20) as session:
        yield session


FAULTS = {
    "reset": faults.reset_before_head(),
    "silent": faults.silent(),
    "html": faults.html(),
    "error-200": faults.json_answer({"error": {"message": "overloaded"}}),
    "500": faults.json_answer({"error": {"message": "boom"}}, status=500),
    "401": faults.json_answer({"error": {"message": "bad key"}}, status=401),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_the_first_byte_falls_back(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, name: str, fault: str
) -> None:
    """REL-01, REL-02, REL-03: the client sees one clean answer, streamed or not."""
    async with FaultUpstream() as bad:
        bad.answer(FAULTS[fault])
        await connect(running, bad)
        await connect(running, upstream)
        upstream.answer(stream("Hello", " from", " upstream"))
        path, body = WAYS[name].flowing()
        answer = await client.post(path, json=body)
        found = pieces(name, answer.text)
        assert answer.status_code == 200
        assert [is_end(name, piece) for piece in found] == [False] * (len(found) - 1) + [True]
        upstream.answer(good())
        path, body = WAYS[name].whole()
        assert WORDS in (await client.post(path, json=body)).text


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("name", WAYS)
async def test_a_stream_cut_in_the_middle_ends_with_an_error(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, name: str, then: str
) -> None:
    """REL-01: an error in the dialect's own shape, never a silent stop, nor what a client takes for the end."""
    await connect(running, upstream)
    begun = [chunk({"role": "assistant", "content": ""}), chunk({"content": "one "}), chunk({"content": "two"})]
    upstream.answer(faults.cut_sse(begun, last=b'data: {"id": "half', then=then))
    path, body = WAYS[name].flowing()
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    found = pieces(name, answer.text)
    assert found[-1]["error"]
    assert "one" in answer.text
    assert not any(is_end(name, piece) for piece in found[:-1])
    assert "[DONE]" not in answer.text
    (row,) = await rows_of(running)
    assert (row.outcome, row.usage.estimated) == ("error", True)


OWN = {
    "gemini": ("gemini", "/v1beta", [{"candidates": [{"content": {"parts": [{"text": "one"}], "role": "model"}}], "kept": {"x": 1}}]),
    "gemini-array": ("gemini", "/v1beta", [{"candidates": [{"content": {"parts": [{"text": "one"}], "role": "model"}}], "kept": {"x": 1}}]),
    "ollama": ("ollama", "", [{"model": "m", "message": {"role": "assistant", "content": "one"}, "done": False, "kept": 1}]),
}


@pytest.mark.parametrize("name", OWN)
async def test_passing_bytes_that_are_cut_end_with_an_error(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, name: str
) -> None:
    """REL-01, D20: what came is passed as it was, in the framing that the client asked for."""
    provider, base, begun = OWN[name]
    await running.hub.store.connections.create(
        provider=provider, name="own", base_url=upstream.url + base, secret="" if provider == "ollama" else "sk-1", allow_private=True
    )
    if provider == "ollama":
        data = b"".join(json.dumps(one).encode() + b"\n" for one in begun) + b'{"half'
        upstream.answer(faults.answer_bytes(data, headers=[("content-type", "application/x-ndjson")]))
    else:
        upstream.answer(faults.cut_sse([json.dumps(one) for one in begun], last=b'data: {"half', then="close"))
    path, body = WAYS[name].flowing()
    model = f"{provider}/m"
    answer = await client.post(path.replace(MODEL, model), json={**body, **({"model": model} if "model" in body else {})})
    found = pieces(name, answer.text)
    # The bare error that Google's own SDKs look for comes before the event with the same.
    assert [one for one in found if "error" not in one] == begun
    assert found[-1]["error"]


@pytest.mark.parametrize("name", WAYS)
async def test_a_client_that_leaves_frees_the_upstream_and_pays_for_what_came(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, name: str
) -> None:
    """REL-06, D22."""
    upstream.answer(stream(*(["word "] * 200), delay=0.02))
    await connect(running, upstream)
    path, body = WAYS[name].flowing()
    async with client.stream("POST", path, json=body) as answer:
        data = answer.aiter_bytes()
        for _ in range(4):
            await anext(data)
    assert await upstream.closed_by_client(timeout=2.0)
    for _ in range(100):
        if rows := await rows_of(running):
            break
        await asyncio.sleep(0.02)
    assert rows[0].outcome == "cancelled"
    assert 0 < rows[0].usage.output < 200


@pytest.mark.parametrize("name", WAYS)
async def test_who_may_not_is_refused_in_the_dialects_shape(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient, name: str
) -> None:
    """SEC-01, SEC-42: no key, a key without the scope, and a body over the limit."""
    await connect(running, upstream)
    path, body = WAYS[name].whole()
    tries = [
        (401, await client.post(path, json=body, headers={"authorization": ""})),
        (403, await client.post(path, json=body, headers=await running.headers("read:health"))),
        (413, await client.post(path, content=b'{"x": "' + b"a" * 1_100_000 + b'"}')),
    ]
    for status, answer in tries:
        assert answer.status_code == status
        error = answer.json()["error"]
        if name.startswith("gemini"):
            assert (error["code"], bool(error["message"])) == (status, True)
        else:
            assert isinstance(error, str) if name in ("ollama", "generate") else error["type"]
    assert not upstream.requests


async def test_addresses_that_are_none(running: Running, client: httpx.AsyncClient) -> None:
    for path in ("/v1beta/models/x:noSuchMethod", "/v1beta/models/x", "/v1beta/models/:generateContent", "/v1beta/elsewhere"):
        answer = await client.post(path, json=CONTENTS)
        assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND"), path
    put = await client.put("/v1beta/models", json={})
    assert (put.status_code, put.json()["error"]["status"], put.headers["allow"]) == (405, "UNIMPLEMENTED", "GET")
    for query in ("pageSize=x", "pageToken=-1", "pageSize=99999999999999999999"):
        answer = await client.get(f"/v1beta/models?{query}")
        assert (answer.status_code, answer.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


async def test_a_key_in_the_address_is_neither_logged_nor_sent_on(
    running: Running, upstream: FaultUpstream, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """SEC-25: also when a call fails and the log says so."""
    await connect(running, upstream)
    upstream.answer(good())
    key = await running.key("chat")
    async with httpx.AsyncClient(base_url=running.url, timeout=20) as plain:
        assert (await plain.post(f"{GEMINI}:generateContent?key={key}", json=CONTENTS)).status_code == 200
        upstream.answer(faults.html())
        failed = await plain.post(f"{GEMINI}:generateContent?key={key}", json=CONTENTS)
    assert failed.status_code >= 500
    assert key not in str(upstream.requests[0].headers) + upstream.requests[0].target
    said = capsys.readouterr()
    assert key not in caplog.text + said.out + said.err + failed.text
