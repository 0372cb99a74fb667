"""What is said in chats is stored by choice only: nothing by default, sealed, bounded, per key, for a while, and forgotten at a word."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.content import contents as recordings
from hub.content.model import part, shares
from hub.records import Caller
from tests.content.conftest import CANARY, MODEL, Desk
from tests.fakes.hub import running_hub
from tests.fakes.upstream import cut_sse, json_answer, reset_before_head, sse
from tests.fakes.vendor import chunk, chunks, completion, connect, stream

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
DAY_MS = 86_400_000
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_nothing_is_stored_by_default_and_all_is_sealed_when_it_is(desk: Desk) -> None:
    """SEC-22, SEC-23: what was said lies nowhere in the database, whether it is stored or not."""
    answer = "and is home by dawn"
    desk.upstream.answer(json_answer(completion(answer)))
    first = await desk.chat()
    assert not await desk.lies(CANARY)
    assert await desk.stored() == []
    assert (await desk.said(first, 404))["code"] == "not_found"
    state = await desk.turn()
    assert (state["enabled"], state["days"], state["requests"]) == (True, 7, 0)
    second = await desk.chat()
    assert not await desk.lies(CANARY)
    assert not await desk.lies(answer)
    assert await desk.stored() == [second], "what was before the switch is not stored"
    found = await desk.said(second)
    assert json.loads(found["request"]["text"])["messages"][0]["content"] == CANARY
    call = found["calls"][0]
    assert (call["provider"], call["status"], call["address"]) == ("openai", 200, f"{desk.upstream.url}/v1/chat/completions")
    assert json.loads(call["sent"]["text"])["model"] == "gpt-4o-mini"
    assert json.loads(call["answer"]["text"])["choices"][0]["message"]["content"] == answer
    assert "authorization" not in json.dumps(found).lower()
    await desk.turn(enabled=False)
    await desk.chat()
    assert await desk.stored() == [second], "off again, what was stored stays"
    assert (await desk.said(second))["request"] == found["request"]


async def test_looks_and_turns_are_in_the_audit_log(desk: Desk) -> None:
    await desk.turn()
    request = await desk.chat()
    await desk.said(request)
    await desk.ask("PATCH", "/api/settings", json={"requestContent": {"enabled": False}})
    await desk.ask("DELETE", f"/api/usage/request-logs/{request}/content")
    rows = await desk.ask("GET", "/api/compliance/audit-log", params={"limit": 50})
    seen = [(row["skill"], row["target"]) for row in reversed(rows)]
    assert seen == [
        ("request-content-set", ""),
        ("request-content-get", request),
        ("settings-update", ""),
        ("request-content-forget", request),
    ]
    assert rows[-1]["details"]["input"] == {"enabled": True}


_STREAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": CANARY}], "stream": True}),
    "anthropic": (
        "/v1/messages",
        {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": CANARY}], "stream": True},
    ),
    "gemini": (f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse&key=$KEY", {"contents": [{"parts": [{"text": CANARY}]}]}),
    "ollama": ("/api/chat", {"model": MODEL, "messages": [{"role": "user", "content": CANARY}]}),
    "openai-responses": ("/v1/responses", {"model": MODEL, "input": CANARY, "stream": True, "store": False}),
}


@pytest.mark.parametrize("dialect", _STREAMED)
@ON_SQLITE
async def test_streams_are_kept_as_they_came(desk: Desk, dialect: str) -> None:
    """In each dialect: the client's own body and address without its key, what was made of it, the provider's raw bytes."""
    await desk.turn()
    desk.upstream.answer(stream("up ", "and away"))
    path, body = _STREAMED[dialect]
    raw = json.dumps(body, indent=1).encode()
    key = desk.http.headers["authorization"].removeprefix("Bearer ")
    headers = {"x-goog-api-key": key, "authorization": ""} if dialect == "gemini" else {}
    answer = await desk.http.post(path.replace("$KEY", key), content=raw, headers={**headers, "cookie": "a=b", "user-agent": "me/1"})
    assert answer.status_code == 200, answer.text
    found = await desk.said(answer.headers["x-request-id"])
    assert (found["dialect"], found["path"]) == (dialect, path.replace("&key=$KEY", ""))
    assert found["headers"] == {"accept": "*/*", "user-agent": "me/1"}
    assert found["request"] == {"text": raw.decode(), "size": len(raw), "truncated": False, "binary": False}
    call = found["calls"][0]
    assert CANARY in call["sent"]["text"]
    assert desk.upstream.requests[-1].body.decode() == call["sent"]["text"]
    assert call["answer"]["text"] == "".join(f"data: {event}\n\n" for event in chunks("up ", "and away")) + "data: [DONE]\n\n"
    assert key not in json.dumps(found)


@ON_SQLITE
async def test_each_call_of_a_request_is_kept_without_our_credentials(desk: Desk) -> None:
    """Fallback: what was refused and why, who was not reached, who answered. A provider that repeats our key is masked (SEC-25)."""
    for _ in range(2):
        await connect(desk.running, desk.upstream)
    await desk.turn()
    echo = json_answer({"error": {"message": "wrong key sk-upstream-secret-0002"}}, status=401)
    said = sse([chunk({"content": "key sk-upstream-secret-0003"}), chunk({}, finish="stop")])
    desk.upstream.answer(reset_before_head(), echo, said)
    found = await desk.said(await desk.chat(stream=True))
    assert [call["status"] for call in found["calls"]] == [None, 401, 200]
    assert [call["answer"]["size"] > 0 for call in found["calls"]] == [False, True, True]
    assert "upstream-secret" not in json.dumps(found)
    assert "key [masked]" in found["calls"][2]["answer"]["text"]


@ON_SQLITE
async def test_a_stream_that_breaks_is_kept_as_far_as_it_came(desk: Desk) -> None:
    await desk.turn()
    desk.upstream.answer(cut_sse([chunk({"content": "half"})]))
    found = await desk.said(await desk.chat(stream=True))
    assert "half" in found["calls"][0]["answer"]["text"]


@ON_SQLITE
async def test_long_ones_are_cut_and_say_so(desk: Desk) -> None:
    await desk.turn(requestKb=3)
    desk.upstream.answer(json_answer(completion("ß" * 5000)))
    found = await desk.said(await desk.chat("x" * 5000))
    call = found["calls"][0]
    parts = [found["request"], call["sent"], call["answer"]]
    assert all(one["truncated"] and one["size"] > 5000 for one in parts)
    assert sum(len(one["text"].encode()) for one in parts) <= 3 * 1024
    short = await desk.said(await desk.chat("y"))
    assert not short["request"]["truncated"]
    assert short["calls"][0]["answer"]["truncated"]
    assert len(short["calls"][0]["answer"]["text"]) > 1000, "what others leave is used"


async def test_keys_that_want_none_and_keys_that_are_not_named(desk: Desk) -> None:
    quiet = {"authorization": f"Bearer {await desk.running.key('chat', no_log=True)}"}
    named, other = [await desk.running.headers("chat") for _ in range(2)]
    await desk.turn()
    assert await desk.said(await desk.chat(key=quiet), 404)
    names = {key.name: key.id for key in desk.running.hub.store.keys.all()}
    state = await desk.turn(keys=["test key 3", "nobody"])
    assert state["unknownKeys"] == ["nobody"]
    assert await desk.said(await desk.chat(key=other), 404)
    mine = await desk.chat(key=named)
    await desk.turn(keys=[names["test key 3"]])
    again = await desk.chat(key=named)
    assert await desk.stored() == [again, mine]
    assert await desk.stored(apiKey="test key 3") == [again, mine]
    assert await desk.stored(apiKey="test key 4") == []


async def test_forgetting_one_all_of_a_key_and_everything(desk: Desk) -> None:
    key = await desk.running.headers("chat")
    await desk.turn()
    requests = [await desk.chat() for _ in range(3)]
    theirs = [await desk.chat(key=key) for _ in range(2)]
    where = "/api/usage/request-logs"
    assert await desk.ask("DELETE", f"{where}/{requests[0]}/content") == {"requests": 1}
    assert await desk.ask("DELETE", f"{where}/{requests[0]}/content") == {"requests": 0}
    assert await desk.said(requests[0], 404)
    assert await desk.ask("DELETE", f"{where}/content", params={"apiKey": "test key 2"}) == {"requests": 2}
    assert await desk.stored() == requests[:0:-1]
    assert await desk.said(theirs[0], 404)
    await desk.ask("DELETE", f"{where}/content", 400)
    await desk.ask("DELETE", f"{where}/content", 400, params={"apiKey": "x", "everything": "true"})
    assert await desk.ask("DELETE", f"{where}/content", params={"everything": "true"}) == {"requests": 2}
    assert await desk.stored() == []
    usage = await desk.ask("GET", f"{where}", params={"format": "json"})
    assert usage["total"] == 5, "usage stays"


async def test_it_goes_when_it_is_old_or_too_much(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.turn(days=3)
    hub = desk.running.hub
    old = await desk.chat()
    assert (await desk.said(old))["request"]
    now_ms = hub.clock.now_ms
    monkeypatch.setattr(hub.clock, "now_ms", lambda: now_ms() + 3 * DAY_MS + 1000)
    young = await desk.chat()
    await hub.retention.sweep()
    assert await desk.stored() == [young]
    # What no compression makes small: a MiB is full after a few, and the oldest goes at once.
    await desk.turn(totalMb=1, requestKb=1024)
    kept = [await desk.chat(_noise(number)) for number in range(6)]
    await hub.store.flush()
    await hub.store.contents.trim()
    stored = await desk.stored()
    assert 1 <= len(stored) < 6
    assert stored == kept[::-1][: len(stored)]
    assert (await desk.ask("GET", "/api/settings/request-content"))["bytes"] <= 1024 * 1024


def _noise(number: int) -> str:
    return random.Random(number).randbytes(100_000).hex()


@ON_SQLITE
async def test_answers_given_again_and_requests_within_the_hub(desk: Desk) -> None:
    """A cached answer has no call; a question that no client wrote is kept in the hub's own form."""
    await desk.turn()
    for calls in (1, 0):
        assert len((await desk.said(await desk.chat(temperature=0)))["calls"]) == calls
    hub = desk.running.hub
    ctx = hub.context(Caller.owner(), "mcp")
    await hub.call(hub.find("smart-routing"), {"model": MODEL, "messages": [{"role": "user", "content": CANARY}]}, ctx)
    found = await desk.said(ctx.request_id)
    assert (found["dialect"], found["path"]) == ("", "")
    assert CANARY in found["request"]["text"]


@ON_SQLITE
async def test_the_panel_of_a_fusion_is_kept_call_by_call(desk: Desk) -> None:
    await desk.turn()
    models = [MODEL, "openai/gpt-4o"]
    combo = {"name": "both", "strategy": "fusion", "models": models}
    await desk.ask("POST", "/api/combos", 201, json=combo)
    request = await desk.chat(model="both")
    assert sorted(await desk.stored()) == sorted([request, f"{request}.1", f"{request}.2"])
    assert (await desk.said(f"{request}.1"))["dialect"] == ""
    assert json.loads((await desk.said(request))["request"]["text"])["model"] == "both"


@ON_SQLITE
async def test_what_waits_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL: with the database away, or too much waiting, requests go on and their content is left out."""
    await desk.turn()
    monkeypatch.setattr(recordings, "MOST_WAITING", -1)
    lost = await desk.chat()
    assert await desk.said(lost, 404)
    assert (await desk.ask("GET", "/api/settings/request-content"))["leftOut"] == 1
    monkeypatch.undo()
    monkeypatch.setattr(recordings, "MOST_HELD", 10)
    found = await desk.said(await desk.chat(stream=True))
    answer = found["calls"][0]["answer"]
    assert answer["truncated"]
    assert answer["text"] == ""
    assert desk.running.hub.contents.held == 0
    assert desk.running.hub.store.contents.waiting == 0


@ON_SQLITE
async def test_many_at_once_leave_nothing_in_memory(desk: Desk) -> None:
    await desk.turn()
    desk.upstream.script(lambda request: stream("a", "b", "c"))
    ids = await asyncio.gather(*(desk.chat(stream=True) for _ in range(60)))
    assert sorted(await desk.stored()) == sorted(ids)
    assert desk.running.hub.contents.held == 0
    assert desk.running.hub.store.contents.waiting == 0


@ON_SQLITE
async def test_a_backup_holds_none_of_it(desk: Desk, tmp_path: Path) -> None:
    await desk.turn()
    request = await desk.chat()
    assert await desk.stored() == [request]
    target = tmp_path / "backup.db"
    await desk.running.hub.store.snapshot(target)
    with sqlite3.connect(target) as raw:
        assert raw.execute("SELECT count(*) FROM request_contents").fetchone() == (0,)
        assert raw.execute("SELECT count(*) FROM usage").fetchone() == (1,)


async def test_with_it_off_a_request_has_no_tape(tmp_path: Path) -> None:
    """One attribute is looked at, and nothing else happens."""
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as http:
        hub = running.hub
        assert hub.contents.on is False

        def begun(*_: Any) -> None:
            raise AssertionError("recorded")

        hub.contents.begin = begun  # type: ignore[method-assign]
        body = {"model": "demo", "messages": [{"role": "user", "content": CANARY}]}
        assert (await http.post("/v1/chat/completions", json=body)).status_code == 200


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=13), st.integers(0, 20_000))
def test_shares_fill_what_there_is_and_no_more(sizes: list[int], most: int) -> None:
    kept = shares(sizes, most)
    assert all(0 <= one <= size for one, size in zip(kept, sizes, strict=True))
    assert sum(kept) <= most
    assert sum(kept) >= min(sum(sizes), most - len(sizes))
    cut = [one for one, size in zip(kept, sizes, strict=True) if one < size]
    assert not cut or max(kept) <= max(cut) + 1 + most % max(1, len(sizes)), "nobody has more than those who lack some"


@given(st.text(max_size=50), st.binary(max_size=20), st.integers(0, 120))
def test_parts_are_texts_whatever_is_cut(words: str, rest: bytes, most: int) -> None:
    text = words.encode("utf-8", "replace")
    whole = part(text, most, size=len(text))
    assert whole.cut == (most < len(text))
    assert text.decode().startswith(whole.text)
    assert not whole.binary
    other = part(text + rest, most, size=len(text + rest))
    assert other.binary or (text + rest).startswith(other.text.encode())
