"""The control socket: authority, calls side by side, streams, cancelling, bad clients, long paths."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, Field

from hub.call import Hub
from hub.context import Context
from hub.errors import BadRequest, Conflict, HubError, Unauthenticated, Unavailable
from hub.process import control
from hub.process.control import Remote, RemoteError
from hub.process.reach import Local, join_or_own, reach
from hub.records import Caller
from hub.registry import Skills
from hub.settings import Settings
from hub.skill import CostClass, skill
from hub.store.lock import FolderLocked
from transports.control import Listener

pytestmark = pytest.mark.anyio

LIMIT = 5


class Ask(BaseModel):
    text: str = Field(default="", description="What to do.")


class Piece(BaseModel):
    text: str


class Watched:
    """What the skills of this file note for the tests."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()


def skills(watched: Watched) -> Skills:
    @skill("echo", scopes=["read:health"], cost=CostClass.FREE)
    async def echo(ctx: Context, ask: Ask) -> Piece:
        """Say it back."""
        await ctx.progress(1, 2, "half")
        return Piece(text=f"{ctx.caller.name} {ctx.door} {ask.text}")

    @skill("count", scopes=["read:health"], cost=CostClass.FREE)
    async def count(ctx: Context, ask: Ask) -> AsyncIterator[Piece]:
        """Count to the number, slowly after the first."""
        yield Piece(text="0")
        watched.started.set()
        try:
            await watched.go.wait()
            yield Piece(text="1")
        finally:
            if not watched.go.is_set():
                watched.cancelled.set()

    @skill("refuse", scopes=["manage"], cost=CostClass.FREE)
    async def refuse(ctx: Context, ask: Ask) -> Piece:
        """Refuse, or fail when asked to."""
        if ask.text == "fault":
            raise RuntimeError("secret detail")
        raise Conflict("not now", code="busy", field="text", data={"why": ["x"]}, retry_after=3)

    return Skills({made.name: made for made in (echo, count, refuse)})


@pytest.fixture
def watched() -> Watched:
    return Watched()


@asynccontextmanager
async def listening(folder: Path, watched: Watched) -> AsyncIterator[tuple[Hub, Listener]]:
    hub = Hub(Settings(data_dir=folder, shutdown_seconds=1), skills=skills(watched))
    await hub.open()
    listener = Listener(hub, "http://here")
    await listener.open(folder)
    try:
        yield hub, listener
    finally:
        await listener.close(folder)
        await hub.close()


@pytest.fixture
async def served(tmp_path: Path, watched: Watched) -> AsyncIterator[tuple[Hub, Listener]]:
    async with listening(tmp_path / "data", watched) as both:
        yield both


@asynccontextmanager
async def client(folder: Path, key: str | None = None) -> AsyncIterator[Remote]:
    remote = await Remote.connect(folder, key=key)
    assert remote is not None
    try:
        yield remote
    finally:
        await remote.close()


async def talk(folder: Path, *lines: bytes) -> list[Any]:
    """What the hub answers to these lines before it hangs up or we do."""
    reader, writer = await asyncio.open_unix_connection(str(folder / "hub.sock"))
    writer.write(b"".join(lines))
    writer.write_eof()
    data = await asyncio.wait_for(reader.read(), LIMIT)
    writer.close()
    return [orjson.loads(line) for line in data.splitlines()]


async def test_hello_tells_who_answers(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    async with client(tmp_path / "data") as remote:
        assert remote.about["pid"] == os.getpid()
        assert remote.about["url"] == "http://here"


async def test_without_a_key_the_client_is_the_owner_with_one_it_has_its_authority(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    _, token = await served[0].store.keys.create("small", grants=("read:health",))
    async with client(tmp_path / "data") as owner, client(tmp_path / "data", key=token) as small:
        steps: list[tuple[float, float | None, str]] = []
        assert await owner.call("echo", {"text": "a"}, progress=lambda *step: steps.append(step)) == {"text": "owner cli a"}
        assert steps == [(1, 2, "half")]
        assert await small.call("echo", {"text": "b"}) == {"text": "small cli b"}
        with pytest.raises(RemoteError) as refused:
            await small.call("refuse", {})
        assert (refused.value.status, refused.value.data) == (403, {"missing": ["manage"]})


async def test_a_key_that_is_not_valid_is_refused(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    with pytest.raises(Unauthenticated):
        await Remote.connect(tmp_path / "data", key="hr_wrong")


async def test_errors_keep_their_shape_and_faults_their_secrets(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    async with client(tmp_path / "data") as remote:
        with pytest.raises(RemoteError) as refused:
            await remote.call("refuse", {})
        error = refused.value
        assert (error.status, error.code, error.field, error.data, error.retry_after) == (409, "busy", "text", {"why": ["x"]}, 3)
        with pytest.raises(RemoteError) as fault:
            await remote.call("refuse", {"text": "fault"})
        assert (fault.value.status, "secret" in fault.value.message) == (500, False)
        with pytest.raises(RemoteError) as unknown:
            await remote.call("nothing", {})
        assert unknown.value.status == 404
        with pytest.raises(RemoteError) as wrong:
            await remote.call("echo", {"text": 5})
        assert (wrong.value.status, wrong.value.field) == (400, "text")


async def test_streams_come_item_by_item_and_leaving_stops_them(served: tuple[Hub, Listener], tmp_path: Path, watched: Watched) -> None:
    async with client(tmp_path / "data") as remote:
        async with aclosing(remote.stream("count", {})) as items:
            assert await anext(items) == {"text": "0"}
        await asyncio.wait_for(watched.cancelled.wait(), LIMIT)
        watched.go.set()
        assert await remote.call("count", {}) == [{"text": "0"}, {"text": "1"}]
        assert [item async for item in remote.stream("echo", {})] == [{"text": "owner cli "}]


async def test_a_client_that_goes_away_stops_its_calls(served: tuple[Hub, Listener], tmp_path: Path, watched: Watched) -> None:
    async with client(tmp_path / "data") as remote:
        assert await anext(remote.stream("count", {})) == {"text": "0"}
    await asyncio.wait_for(watched.cancelled.wait(), LIMIT)


async def test_closing_lets_calls_end_and_no_longer(tmp_path: Path, watched: Watched) -> None:
    folder = tmp_path / "data"
    async with listening(folder, watched) as (_, listener), client(folder) as remote, client(folder) as idle:
        call = asyncio.create_task(remote.call("count", {}))
        await watched.started.wait()
        closing = asyncio.create_task(listener.close(folder, seconds=LIMIT))
        with pytest.raises(Unavailable):
            await idle.call("echo", {})
        watched.go.set()
        assert await asyncio.wait_for(call, LIMIT) == [{"text": "0"}, {"text": "1"}]
        await asyncio.wait_for(closing, LIMIT)
        assert not (folder / "hub.sock").exists()


async def test_closing_at_once_cancels(tmp_path: Path, watched: Watched) -> None:
    folder = tmp_path / "data"
    async with listening(folder, watched) as (_, listener), client(folder) as remote:
        call = asyncio.create_task(remote.call("count", {}))
        await watched.started.wait()
        await asyncio.wait_for(listener.close(folder), LIMIT)
        assert watched.cancelled.is_set()
        with pytest.raises(HubError):
            await call


@pytest.mark.parametrize(
    "lines",
    [
        [b"{not json\n"],
        [b"[]\n"],
        [b'{"op": "call", "id": 1, "skill": "echo"}\n'],
        [b'{"op": "hello", "protocol": 99}\n'],
        [control.hello(None), b'{"op": "dance"}\n'],
        [control.hello(None), b'{"op": "call", "skill": "echo"}\n'],
        [control.hello(None), b'{"op": "call", "id": 1, "skill": "count"}\n', b'{"op": "call", "id": 1, "skill": "count"}\n'],
        [b"\xff\xfe\n"],
    ],
)
async def test_what_is_no_request_is_answered_and_ends_the_session(
    served: tuple[Hub, Listener], tmp_path: Path, lines: list[bytes]
) -> None:
    answers = await talk(tmp_path / "data", *lines)
    refusals = [answer["error"]["status"] for answer in answers if answer.get("ok") is False]
    assert refusals == [400]
    async with client(tmp_path / "data") as remote:  # the next client is served
        assert await remote.call("echo", {})


async def test_a_line_over_the_limit_is_refused(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "data" / "hub.sock"))
    writer.write(control.hello(None))
    await reader.readline()
    answer = asyncio.create_task(reader.readline())
    try:
        while not answer.done():
            writer.write(b" " * 1_048_576)
            await writer.drain()
    except ConnectionError:
        pass
    assert orjson.loads(await asyncio.wait_for(answer, LIMIT))["error"]["status"] == 400
    writer.close()


async def test_the_socket_is_its_owners_alone(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "data" / "hub.sock").stat().st_mode) == 0o600


async def test_a_long_path_has_its_socket_in_a_private_folder(tmp_path: Path, watched: Watched) -> None:
    folder = tmp_path / ("d" * 100) / "data"
    async with listening(folder, watched):
        path = control.address(folder)
        assert path is not None
        assert path.parent != folder
        assert len(os.fsencode(path)) <= 100
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        async with client(folder) as remote:
            assert await remote.call("echo", {})
    assert not path.parent.exists()
    assert await Remote.connect(folder) is None


async def test_a_socket_left_by_a_killed_hub_is_replaced(tmp_path: Path, watched: Watched) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    dead = await asyncio.start_unix_server(lambda *_: None, path=str(folder / "hub.sock"))
    dead.close()
    (folder / "hub.sock").touch()
    assert await Remote.connect(folder) is None
    async with listening(folder, watched), client(folder) as remote:
        assert await remote.call("echo", {})


async def test_reach_joins_the_owner_of_the_folder_or_becomes_it(served: tuple[Hub, Listener], tmp_path: Path) -> None:
    async with reach(Settings(data_dir=tmp_path / "data")) as found:
        assert isinstance(found, Remote)
    async with reach(Settings(data_dir=tmp_path / "mine")) as found:
        assert isinstance(found, Local)
        assert (await found.call("keys-list", {}))["total"] == 0
        with pytest.raises(BadRequest, match="HTTP address"):
            await found.call("chat", {})
        pieces = await found.call("smart-routing-stream", {"messages": [{"content": "hello"}]})
        assert "hello" in "".join(piece["text"] for piece in pieces)


async def test_a_folder_whose_owner_does_not_answer_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watched: Watched) -> None:
    monkeypatch.setattr("hub.process.reach.PATIENCE", 0.0)
    hub = Hub(Settings(data_dir=tmp_path / "data"), skills=skills(watched))
    await hub.open()
    try:
        with pytest.raises(FolderLocked, match=str(os.getpid())):
            await join_or_own(Settings(data_dir=tmp_path / "data"))
    finally:
        await hub.close()


async def test_local_and_remote_give_the_same(served: tuple[Hub, Listener], tmp_path: Path, watched: Watched) -> None:
    local = Local(served[0], Caller.owner())
    watched.go.set()
    async with client(tmp_path / "data") as remote:
        for name in ("echo", "count"):
            assert await local.call(name, {"text": "x"}) == await remote.call(name, {"text": "x"})
            assert [item async for item in local.stream(name, {})] == [item async for item in remote.stream(name, {})]
    steps: list[tuple[float, float | None, str]] = []
    await local.call("echo", {}, progress=lambda *step: steps.append(step))
    assert steps == [(1, 2, "half")]
