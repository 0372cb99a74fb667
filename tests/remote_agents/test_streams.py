"""Agents that stream badly: break, hang, flood, lie, forget their tasks (REL-01 to REL-03, REL-19), over a socket by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.sdk_agent import card_of, served

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from tests.remote_agents.conftest import Owner

pytestmark = pytest.mark.anyio

TASK = "t-1"


def status(state: str, text: str = "") -> dict[str, Any]:
    """A status of 1.0."""
    message = {"message": {"messageId": "m", "role": "ROLE_AGENT", "parts": [{"text": text}]}} if text else {}
    return {"state": f"TASK_STATE_{state}", **message}


def task(state: str, *texts: str, **more: Any) -> dict[str, Any]:
    """A whole task with one artifact."""
    artifacts = [{"artifactId": "a", "parts": [{"text": text} for text in texts]}] if texts else []
    return {"id": TASK, "contextId": "c-1", "status": status(state), "artifacts": artifacts, **more}


def update(state: str, text: str = "", *, task_id: str = TASK) -> dict[str, Any]:
    """A change of the status."""
    return {"statusUpdate": {"taskId": task_id, "contextId": "c-1", "status": status(state, text)}}


def piece(text: str, *, append: bool = True, task_id: str = TASK) -> dict[str, Any]:
    """A piece of the artifact."""
    artifact = {"artifactId": "a", "parts": [{"text": text}]}
    return {"artifactUpdate": {"taskId": task_id, "contextId": "c-1", "artifact": artifact, "append": append}}


BEGIN = [{"task": task("WORKING")}, piece("one ", append=False)]
BREAK = object()
HANG = object()


@dataclass
class Script:
    """What an agent answers to each method; a list is a stream. ``asked`` is what it was asked."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: list[str] = field(default_factory=list[str])
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    card: dict[str, Any] = field(default_factory=dict[str, Any])


@asynccontextmanager
async def scripted(**answers: Any) -> AsyncIterator[Script]:
    script = Script(answers={"SendStreamingMessage": BEGIN, "CancelTask": task("CANCELED"), **answers})

    async def handle(request: Request) -> Response:
        body = await request.json()
        script.asked.append(body["method"])
        if body["method"] == "CancelTask":
            script.cancelled.set()
        answer = script.answers.get(body["method"], {"error": {"code": -32601, "message": "no such method"}})
        answer = answer() if callable(answer) else answer
        if isinstance(answer, list):
            return StreamingResponse(_frames(script, answer), media_type="text/event-stream")
        if isinstance(answer, Response):
            return answer
        whole = answer if "error" in answer else {"result": answer}
        return Response(orjson.dumps({"jsonrpc": "2.0", "id": body["id"], **whole}), media_type="application/json")

    async def show(request: Request) -> Response:
        return Response(orjson.dumps(script.card))

    async with served(lambda _: [Route("/rpc", handle, methods=["POST"]), Route("/card.json", show)]) as (url, _):
        script.url = f"{url}/card.json"
        script.card = card_of(f"{url}/rpc")
        yield script


async def _frames(script: Script, items: list[Any]) -> AsyncIterator[bytes]:
    try:
        for item in items:
            if item is BREAK:
                raise ConnectionResetError
            if item is HANG:
                await asyncio.sleep(30)
            elif isinstance(item, bytes):
                yield item
            else:
                yield b"data: " + orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": item}) + b"\n\n"
    finally:
        script.left.set()


async def test_a_stream_that_breaks_is_resumed_once(owner: Owner) -> None:
    """REL-01, REL-19: what was told before the break and what the second stream shows give the whole, without gap or duplicate."""
    again = [{"task": task("WORKING", "one two ")}, piece("three"), update("COMPLETED")]
    async with scripted(SendStreamingMessage=[*BEGIN, BREAK], SubscribeToTask=again) as script:
        await owner.add(script.url)
        async with owner.http.stream("POST", "/api/agents/far/stream", json={"message": "go"}) as answer:
            found = [orjson.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: ")]
        assert [one["artifact"]["parts"][0]["text"] for one in found if one["artifact"]] == ["one ", "two ", "three"]
        assert found[-1]["reply"]["text"] == "one two three"
        assert script.asked == ["SendStreamingMessage", "SubscribeToTask"]


@pytest.mark.parametrize(
    "second", [[BREAK], {"error": {"code": -32004, "message": "not here"}}, [HANG]], ids=["breaks", "unsupported", "hangs"]
)
async def test_then_the_task_is_polled(owner: Owner, second: Any) -> None:
    """REL-02: a second stream that breaks, is not there or falls silent makes way for looking; a silent agent is not waited for in vain."""
    looks = iter([task("WORKING", "one two"), task("COMPLETED", "one two three")])
    async with scripted(SendStreamingMessage=[*BEGIN, BREAK], SubscribeToTask=second, GetTask=lambda: next(looks)) as script:
        owner.running.hub.remote_agents.pace = replace(owner.running.hub.remote_agents.pace, idle=0.2)
        await owner.add(script.url)
        assert (await owner.call("go"))["text"] == "one two three"
        assert script.asked == ["SendStreamingMessage", "SubscribeToTask", "GetTask", "GetTask"]


async def test_an_agent_that_does_not_stream_after_all(owner: Owner) -> None:
    """A card that lies about streaming: the message is sent again as one that is not streamed, and the card is looked at."""
    no = {"error": {"code": -32004, "message": "no streams"}}
    async with scripted(SendStreamingMessage=no, SendMessage={"task": task("COMPLETED", "done")}) as script:
        await owner.add(script.url)
        assert (await owner.call("go"))["text"] == "done"
        assert script.asked == ["SendStreamingMessage", "SendMessage"]


def _broken() -> dict[str, tuple[Any, str]]:
    deep: Any = "x"
    for _ in range(200):
        deep = [deep]
    far = {"artifactUpdate": {"taskId": TASK, "artifact": {"artifactId": "a", "parts": [{"data": deep}]}}}
    return {
        "no task named": ([], "broke off before it named a task"),
        "breaks at once": ([BREAK], "closed"),
        "not JSON": ([b"data: {oops\n\n"], "not JSON"),
        "not an object": ([b"data: [1]\n\n"], "neither a result nor an error"),
        "nothing we know": ([{"weather": "fine"}], "neither with a task nor with a message"),
        "no id": ([{"task": {"status": status("WORKING")}}], "without a usable id"),
        "long id": ([{"task": {**task("WORKING"), "id": "x" * 5000}}], "without a usable id"),
        "error in the stream": ([*BEGIN, b'data: {"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"bad day"}}\n\n'], "bad day"),
        "large event": ([*BEGIN, b"data: " + b"x" * 5_000_000], "larger than"),
        "deep data": ([*BEGIN, far], "nested more than"),
        "flood of bytes": ([*BEGIN, *[piece("x" * 1_000_000)] * 20], "too large"),
        "flood of artifacts": (
            [
                *BEGIN,
                *[{"artifactUpdate": {"taskId": TASK, "artifact": {"artifactId": f"{n}", "parts": [{"text": "x"}]}}} for n in range(1100)],
            ],
            "more than 1000 artifacts",
        ),
    }


@pytest.mark.parametrize(("items", "words"), _broken().values(), ids=_broken())
async def test_what_is_no_stream_of_a_task(owner: Owner, items: list[Any], words: str) -> None:
    """REL-03, SEC-63: each gives one clear error, within bounds, and a task that began is cancelled."""
    async with scripted(SendStreamingMessage=items) as script:
        await owner.add(script.url)
        failed = await owner.call("go", status=502)
        assert words in failed["error"], failed
        if items[:1] == BEGIN[:1]:
            await asyncio.wait_for(script.cancelled.wait(), 10)
        else:
            assert "CancelTask" not in script.asked


async def test_a_flood_of_words_is_thinned(owner: Owner) -> None:
    """REL-18: thousands of progress notes neither fill the hub's task nor hold up the answer."""
    flood = [update("WORKING", f"step {n}") for n in range(5000)]
    async with scripted(SendStreamingMessage=[*BEGIN, *flood, update("COMPLETED")]) as script:
        await owner.add(script.url)
        async with owner.http.stream("POST", "/api/agents/far/stream", json={"message": "go"}) as answer:
            found = [orjson.loads(line[6:]) async for line in answer.aiter_lines() if line.startswith("data: ")]
        assert len([one for one in found if one["words"]]) == 500
        assert found[-1]["reply"]["text"] == "one "


async def test_news_of_other_tasks_are_nothing(owner: Owner) -> None:
    """SEC-55: an agent cannot slip another task's artifacts, or its end, into a call."""
    other = [piece("evil", task_id="t-2"), update("FAILED", "evil", task_id="t-2"), {"task": {**task("FAILED"), "id": "t-3"}}]
    async with scripted(SendStreamingMessage=[*BEGIN, *other, piece("two"), update("COMPLETED")]) as script:
        await owner.add(script.url)
        assert (await owner.call("go"))["text"] == "one two"


async def test_a_stream_that_hangs_ends_at_the_limit(owner: Owner) -> None:
    """REL-02: the call ends at its own limit, the connection is dropped and the task cancelled."""
    async with scripted(SendStreamingMessage=[*BEGIN, HANG]) as script:
        await owner.add(script.url, timeoutSeconds=0.3)
        assert "did not finish within 0.3 s" in (await owner.call("go", status=504))["error"]
        await asyncio.wait_for(script.cancelled.wait(), 10)
        await asyncio.wait_for(script.left.wait(), 10)


async def test_a_task_is_cancelled_once_its_id_is_known(owner: Owner) -> None:
    """REL-06: whoever leaves before the agent has said a word cancels the task all the same."""
    entered, go = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        entered.set()
        await go.wait()
        yield b"data: " + orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": {"task": task("WORKING")}}) + b"\n\n"
        await asyncio.sleep(30)

    async with scripted(SendStreamingMessage=lambda: StreamingResponse(slowly(), media_type="text/event-stream")) as script:
        await owner.add(script.url)
        call = asyncio.create_task(owner.call("go"))
        await asyncio.wait_for(entered.wait(), 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not script.cancelled.is_set()
        go.set()
        await asyncio.wait_for(script.cancelled.wait(), 10)


async def test_an_agent_that_forgets_or_fails_while_it_is_polled(owner: Owner) -> None:
    """REL-19: a lost task ends the call at once; an agent that is down for a moment is waited for, for good it is not."""
    lost = {"error": {"code": -32001, "message": "who?"}}
    down = Response(status_code=500)
    answers = iter([down, down, task("COMPLETED", "at last")])
    async with scripted(SendMessage={"task": task("WORKING")}, GetTask=lost) as script:
        script.card["capabilities"]["streaming"] = False
        await owner.add(script.url)
        assert "knows its own task no more" in (await owner.call("go", status=502))["error"]
        script.answers["GetTask"] = lambda: next(answers)
        assert (await owner.call("go"))["text"] == "at last"
        script.answers["GetTask"] = down
        assert "status 500" in (await owner.call("go", status=502))["error"]


def _refusals() -> dict[str, tuple[Any, int, str]]:
    def rpc(code: int) -> dict[str, Any]:
        return {"error": {"code": code, "message": "key sk-abcdefghijklmnopqrstuvwxyz012345 is wrong"}}

    def http(code: int, **headers: str) -> Callable[[], Response]:
        return lambda: Response(b"<html>", status_code=code, headers=headers)

    return {
        "401": (http(401), 503, "wants a credential"),
        "403": (http(403), 503, "wants a credential"),
        "429": (http(429, **{"retry-after": "7"}), 429, "status 429"),
        "503": (http(503), 503, "status 503"),
        "500": (http(500), 502, "status 500"),
        "302": (http(302, location="http://169.254.169.254/"), 502, "status 302"),
        "bad parameters": (rpc(-32602), 400, "answered"),
        "its own fault": (rpc(-32603), 502, "answered"),
        "content type": (rpc(-32005), 400, "answered"),
    }


@pytest.mark.parametrize(("answer", "code", "words"), _refusals().values(), ids=_refusals())
async def test_refusals(owner: Owner, answer: Any, code: int, words: str) -> None:
    """SEC-22, REL-03: the error says whose turn it is, and shows no secret that the agent repeats."""
    async with scripted(SendStreamingMessage=answer) as script:
        await owner.add(script.url)
        failed = str(await owner.call("go", status=code))
        assert words in failed
        assert "sk-abcdefghij" not in failed
