"""Transcription when something is wrong: forms, files, vendors, and callers who leave; and what a large file costs in memory."""

from __future__ import annotations

import asyncio
import base64
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from hub.money.budgets import Budget
from tests.fakes import listeners as vendors
from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub
from tests.fakes.media import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.fakes.upstream import Behaviour
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL = "/v1/audio/transcriptions"
FILE = ("talk.wav", vendors.SOUND, "audio/wav")
ASK = {"model": "openai/whisper-1"}


def _left(running: Running) -> list[Path]:
    """The files of uploads that are still on disk."""
    folder = running.hub.spool.folder
    return list(folder.iterdir()) if folder.is_dir() else []


async def _gone(running: Running) -> None:
    """No file of an upload is left, within five seconds."""
    async with asyncio.timeout(5):
        while _left(running):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("data", "files", "param"),
    [
        (ASK, {"other": FILE}, "file"),
        (ASK, {"file": ("talk.wav", b"", "audio/wav")}, "file"),
        ({}, {"file": FILE}, "model"),
        ({"model": ""}, {"file": FILE}, "model"),
        ({**ASK, "response_format": "docx"}, {"file": FILE}, "response_format"),
        ({**ASK, "response_format": "diarized_json"}, {"file": FILE}, "response_format"),
        ({**ASK, "response_format": "srt", "stream": "true"}, {"file": FILE}, "response_format"),
        ({**ASK, "temperature": "warm"}, {"file": FILE}, "temperature"),
        ({**ASK, "temperature": "2"}, {"file": FILE}, "temperature"),
        ({**ASK, "timestamp_granularities[]": "syllable"}, {"file": FILE}, "timestamp_granularities"),
        ({**ASK, "include[]": "secrets"}, {"file": FILE}, "include"),
        ({**ASK, "stream": "perhaps"}, {"file": FILE}, "stream"),
        ({"model": "openai/gpt-4o"}, {"file": FILE}, "model"),
        ({"model": "openai/tts-1"}, {"file": FILE}, "model"),
    ],
)
async def test_a_wrong_form_is_refused_by_name(
    running: Running, client: httpx.AsyncClient, joined: Join, data: dict[str, Any], files: dict[str, Any], param: str
) -> None:
    """In OpenAI's shape, before anything is sent, and nothing stays on disk."""
    upstream = await joined("openai", vendors.openai)
    answer = await client.post(URL, data=data, files=files)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"].partition(".")[0], error["type"]) == (400, param, "invalid_request_error"), error
    assert upstream.requests == []
    await _gone(running)


async def test_what_is_no_file_is_refused(client: httpx.AsyncClient, joined: Join) -> None:
    """A text in its place, two files, and JSON that holds neither."""
    await joined("openai", vendors.openai)
    answers = [
        await client.post(URL, files={"file": (None, b"!!!"), "model": (None, b"openai/whisper-1")}),
        await client.post(URL, data=ASK, files=[("file", FILE), ("file", FILE)]),
        await client.post(URL, json={**ASK, "file": "data:audio/wav,plain"}),
        await client.post(URL, json=ASK),
    ]
    assert [(one.status_code, one.json()["error"]["param"]) for one in answers] == [(400, "file")] * 4


async def test_json_and_the_providers_own_address_reach_it_too(client: httpx.AsyncClient, joined: Join) -> None:
    """A data URL is a file; its name gets the ending that vendors go by."""
    upstream = await joined("openai", vendors.openai)
    body = {"model": "whisper-1", "file": "data:audio/wav;base64," + base64.b64encode(vendors.SOUND).decode()}
    answer = await client.post("/v1/providers/openai/audio/transcriptions", json=body)
    assert (answer.status_code, answer.json()["text"]) == (200, vendors.TEXT)
    assert vendors.form_of(upstream.requests[0]).files["file"][0] == "file.wav"


async def test_a_file_over_the_limit(tmp_path: Path) -> None:
    """REL-08: refused while it comes."""
    async with running_hub(tmp_path, max_upload_mb=1) as running:
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=30) as client:
            answer = await client.post(URL, data=ASK, files={"file": ("a.wav", b"x" * (2 << 20), "audio/wav")})
            assert (answer.status_code, answer.json()["error"]["type"]) == (413, "invalid_request_error")
        await _gone(running)


async def test_translation(client: httpx.AsyncClient, joined: Join) -> None:
    """Where the model can; the others say so by name."""
    await joined("openai", vendors.openai)
    url = "/v1/audio/translations"
    answer = await client.post(url, data={**ASK, "response_format": "srt"}, files={"file": FILE})
    assert (answer.status_code, answer.text.startswith("1\n00:00:00,000 --> ")) == (200, True)
    refused = await client.post(url, data={"model": "openai/gpt-4o-transcribe"}, files={"file": FILE})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    assert (await client.post(url, data={**ASK, "response_format": "diarized_json"}, files={"file": FILE})).status_code == 400


@pytest.mark.parametrize(
    "fault",
    [
        faults.json_answer({}, status=429),
        faults.json_answer({}, status=500),
        faults.html(),
        faults.malformed_json(),
        faults.json_answer({"no": "text"}),
        faults.reset_before_head(),
        faults.cut(b'{"text": "half of a long answer"}', at=12),
    ],
)
async def test_another_target_takes_over(client: httpx.AsyncClient, joined: Join, fault: Behaviour) -> None:
    """REL-01, REL-03: the file is sent again from its beginning."""
    (await joined("openai", vendors.openai)).answer(fault)
    await joined("deepgram", vendors.deepgram)
    assert (await client.post("/api/combos", json={"name": "ears", "models": ["openai/whisper-1", "deepgram/nova-3"]})).status_code == 201
    answer = await client.post(URL, data={"model": "ears"}, files={"file": FILE})
    assert (answer.status_code, answer.headers["x-omniroute-provider"], answer.json()["text"]) == (200, "deepgram", vendors.TEXT)


async def test_a_form_that_one_lacks_goes_to_another(client: httpx.AsyncClient, joined: Join) -> None:
    """gpt-4o-transcribe says no times; the next target of the combo does."""
    first = await joined("openai", vendors.openai)
    await joined("deepgram", vendors.deepgram)
    await client.post("/api/combos", json={"name": "ears", "models": ["openai/gpt-4o-transcribe", "deepgram/nova-3"]})
    answer = await client.post(URL, data={"model": "ears", "response_format": "vtt"}, files={"file": FILE})
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "deepgram")
    assert first.requests == []


async def test_a_job_that_fails(client: httpx.AsyncClient, joined: Join) -> None:
    """Its reason is told, and no secret with it."""
    await joined("assemblyai", vendors.AssemblyAi("error"), "/v2")
    answer = await client.post(URL, data={"model": "assemblyai/best"}, files={"file": FILE})
    assert answer.status_code == 502
    assert "Transcoding failed" in answer.text
    assert KEY not in answer.text


async def test_a_job_that_never_ends(tmp_path: Path) -> None:
    """Its time is the request's."""
    async with running_hub(tmp_path, request_seconds=2) as running, faults.FaultUpstream() as upstream:
        upstream.script(vendors.AssemblyAi("never"))
        await running.hub.store.connections.create(
            provider="assemblyai", base_url=f"{upstream.url}/v2", name="a", secret=KEY, allow_private=True
        )
        async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=30) as client:
            answer = await client.post(URL, data={"model": "assemblyai/universal-2"}, files={"file": FILE})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "job_timeout")


async def test_a_caller_who_leaves_while_a_job_runs(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06: nobody asks for the job any more, its file is gone, and what the provider charges for is recorded."""
    upstream = await joined("assemblyai", vendors.AssemblyAi("never"), "/v2")
    asking = asyncio.create_task(client.post(URL, data={"model": "assemblyai/universal-2"}, files={"file": FILE}))
    await upstream.received(3)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    async with asyncio.timeout(1):
        while running.hub.ledger.running:
            await asyncio.sleep(0.01)
    await _gone(running)
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="transcription")
    assert [(row.outcome, row.cost) for row in rows] == [("cancelled", pytest.approx(4 * 4.167e-5))]


async def test_a_caller_who_leaves_while_the_vendor_listens(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06: the connection to the vendor is closed within a second."""
    upstream = await joined("openai", vendors.openai)
    upstream.answer(faults.silent())
    big = ("talk.wav", vendors.SOUND + bytes(2 << 20), "audio/wav")
    asking = asyncio.create_task(client.post(URL, data=ASK, files={"file": big}))
    await upstream.received(1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await upstream.closed_by_client(1)
    await _gone(running)


async def test_a_caller_who_leaves_while_sending(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06: what has come of the file is removed, and nothing was sent."""
    upstream = await joined("openai", vendors.openai)
    began = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + bytes(2 << 20)
        began.set()
        await asyncio.sleep(30)

    heads = {"content-type": "multipart/form-data; boundary=b"}
    sending = asyncio.create_task(client.post(URL, content=body(), headers=heads))
    await began.wait()
    async with asyncio.timeout(5):
        while not _left(running):
            await asyncio.sleep(0.01)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await _gone(running)
    assert upstream.requests == []


async def test_a_stream_that_breaks_off(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-01: nobody takes the part for the whole."""
    upstream = await joined("openai", vendors.openai)
    upstream.answer(faults.sse([orjson.dumps({"type": "transcript.text.delta", "delta": "Hello"}).decode()], end=b""))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(URL, data={"model": "openai/gpt-4o-transcribe", "stream": "true"}, files={"file": FILE})
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="transcription")
    assert [row.outcome for row in rows] == ["error"]


async def test_a_budget_holds_the_seconds_before_the_call(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: four seconds at a hundredth of a cent each, and money for two such files."""
    await joined("openai", vendors.openai)
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.0009))
    heads = {"authorization": f"Bearer {secret}"}
    answers = await asyncio.gather(*(client.post(URL, data=ASK, files={"file": FILE}, headers=heads) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 3


@asynccontextmanager
async def _sink() -> AsyncGenerator[tuple[str, list[int]]]:
    """A vendor that counts the bytes of a request's body and keeps none of them."""
    counted: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        left = next(int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        counted.append(left)
        while left:
            left -= len(await reader.read(min(left, 65536))) or left
        body = orjson.dumps({"metadata": {"duration": 1.0}, "results": {"channels": [{"alternatives": [{"transcript": "long"}]}]}})
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", counted


def _resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures by /proc")
async def test_a_large_file_passes_in_little_memory(running: Running, client: httpx.AsyncClient, tmp_path: Path) -> None:
    """90 MiB in and out again in less than 40 MiB, the client's and the vendor's share included."""
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.write(vendors.wav(0.1)[:44])
        file.truncate(90 << 20)
    async with _sink() as (url, counted):
        await running.hub.store.connections.create(provider="deepgram", base_url=f"{url}/v1", name="d", secret=KEY, allow_private=True)
        data = {"model": "deepgram/nova-3"}
        await client.post(URL, data=data, files={"file": FILE})
        before, peak, done = _resident(), 0, asyncio.Event()

        async def watch() -> None:
            nonlocal peak
            while not done.is_set():
                peak = max(peak, _resident())
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        with large.open("rb") as file:
            answer = await client.post(URL, data=data, files={"file": ("large.wav", file, "audio/wav")}, timeout=120)
        done.set()
        await watching
    assert (answer.status_code, answer.json()["text"], counted[-1]) == (200, "long", 90 << 20), answer.text
    assert peak - before < 40 << 20, f"{(peak - before) >> 20} MiB"
    await _gone(running)
