"""Files, through OpenAI's SDK and by hand: kept whole, found by their key only, gone in time (SEC-04, SEC-41, SEC-42)."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from hub.settings import Settings
from tests.fakes.clock import Still
from tests.fakes.command import answer, serving
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


def contents(running: Running) -> list[Path]:
    """What is on the disk of kept and of half-sent files."""
    data = running.hub.settings.data_dir
    return [one for folder in ("files", "uploads") if (data / folder).is_dir() for one in (data / folder).iterdir()]


@pytest.mark.parametrize("size", [0, 5, 3 * MIB + 7])
async def test_a_file_through_the_sdk(running: Running, sdk: openai.AsyncOpenAI, size: int) -> None:
    """Kept, listed, read back and deleted; nothing of it stays on the disk."""
    data = os.urandom(size)
    made = await sdk.files.create(file=("näme.jsonl", data, "application/jsonl"), purpose="batch")
    assert (made.bytes, made.filename, made.purpose, made.object, made.status) == (size, "näme.jsonl", "batch", "file", "processed")
    assert made.expires_at is None
    assert (await sdk.files.retrieve(made.id)).to_dict() == made.to_dict()
    assert (await sdk.files.content(made.id)).content == data
    assert [one.id async for one in sdk.files.list(purpose="batch")] == [made.id]
    assert [one.id async for one in sdk.files.list(purpose="vision")] == []
    gone = await sdk.files.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "file")
    with pytest.raises(openai.NotFoundError):
        await sdk.files.retrieve(made.id)
    assert contents(running) == []


async def test_pages_in_both_orders(sdk: openai.AsyncOpenAI, client: httpx.AsyncClient) -> None:
    """The SDK walks all pages; ``after`` must be a file of this key."""
    made = [(await sdk.files.create(file=(f"{at}.txt", b"x"), purpose="user_data")).id for at in range(5)]
    assert [one.id async for one in sdk.files.list(limit=2, order="asc")] == made
    assert [one.id async for one in sdk.files.list(limit=2)] == made[::-1]
    stranger = await client.get("/v1/files", params={"after": made[0]})
    assert (stranger.status_code, stranger.json()["error"]["param"]) == (400, "after")
    assert (await client.get("/v1/files", params={"limit": 0})).status_code == 400


async def test_no_key_finds_another_s_file(running: Running, sdk: openai.AsyncOpenAI, client: httpx.AsyncClient) -> None:
    """SEC-04: another key's id and one that is none look the same, and the file stays."""
    made = await sdk.files.create(file=("a.txt", b"mine"), purpose="user_data")
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        answers: list[Any] = []
        assert (await client.request(method, f"/v1/files/..%2fhubroute.db{path}")).status_code == 404
        for file_id in (made.id, f"file-{'0' * 32}", "file-x", "hubroute.db"):
            given = await client.request(method, f"/v1/files/{file_id}{path}")
            assert given.status_code == 404
            answers.append(given.json()["error"] | {"message": ""})
        assert all(one == answers[0] for one in answers)
    assert (await client.get("/v1/files")).json()["data"] == []
    assert (await sdk.files.content(made.id)).content == b"mine"


async def test_a_content_is_never_a_page(sdk: openai.AsyncOpenAI, running: Running) -> None:
    """SEC-41: an HTML file is saved, not shown; its name cannot add a header."""
    made = await sdk.files.create(file=('a"\r\nx-evil: 1.html', b"<script>", "text/html"), purpose="user_data")
    assert len(made.id) == len("file-") + 32
    read = await sdk.files.with_raw_response.content(made.id)
    assert read.headers["content-disposition"].startswith("attachment; filename=")
    assert read.headers["x-content-type-options"] == "nosniff"
    assert "x-evil" not in read.headers
    assert read.headers["content-type"] == "text/html"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"data": {"purpose": "batch"}}, "file"),
        ({"files": {"file": ("a", b"x")}}, "purpose"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "Bad purpose!"}}, "purpose"),
        ({"files": {"file": ("a", b"x")}, "data": {"purpose": "batch", "expires_after[seconds]": "60"}}, "expires_after"),
        (
            {
                "files": {"file": ("a", b"x")},
                "data": {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            },
            "expires_after.seconds",
        ),
        ({"files": [("file", ("a", b"x")), ("file", ("b", b"x"))], "data": {"purpose": "batch"}}, "file"),
    ],
)
async def test_a_wrong_form_names_its_field(client: httpx.AsyncClient, running: Running, body: dict[str, Any], field: str) -> None:
    """And nothing is kept."""
    if "files" not in body:
        body = {"files": {"other": ("a", b"x")}, **body}
    refused = await client.post("/v1/files", **body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"].startswith(field.split(".")[0])
    assert contents(running) == []


async def test_what_is_cut_off_or_too_large_leaves_nothing(client: httpx.AsyncClient, running: Running) -> None:
    """REL-06, SEC-42: a form without its end, and one over the quota of the key, whose setting is named."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    kind = {"content-type": "multipart/form-data; boundary=b"}
    cut = await client.post("/v1/files", content=head + b"x" * (2 * MIB), headers=kind)
    assert (cut.status_code, cut.json()["error"]["code"]) == (400, "bad_request")
    assert contents(running) == []
    running.hub.files.quota = 3 * MIB
    first = await client.post("/v1/files", files={"file": ("a", b"x" * (2 * MIB))}, data={"purpose": "batch"})
    assert first.status_code == 200
    second = await client.post("/v1/files", files={"file": ("a", b"x" * (2 * MIB))}, data={"purpose": "batch"})
    assert (second.status_code, second.json()["error"]["code"]) == (413, "file_quota_exceeded")
    assert "HUBROUTE_FILE_QUOTA_MB" in second.json()["error"]["message"]
    assert [one.name for one in contents(running)] == [first.json()["id"]]
    both = [client.post("/v1/files", files={"file": ("a", b"x" * (MIB - 9000))}, data={"purpose": "batch"}) for _ in range(4)]
    assert sorted(one.status_code for one in await asyncio.gather(*both)) == [200, 413, 413, 413]


async def test_a_full_disk_is_said(client: httpx.AsyncClient, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """REL-10: 507, nothing is kept, and it works again afterwards."""
    real = os.rename

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    refused = await client.post("/v1/files", files={"file": ("a", b"x" * MIB)}, data={"purpose": "batch"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (507, "insufficient_storage")
    assert "No space left" in refused.json()["error"]["message"]
    monkeypatch.setattr(os, "rename", real)
    assert (await client.get("/v1/files")).json()["data"] == []
    assert (await client.post("/v1/files", files={"file": ("a", b"x" * MIB)}, data={"purpose": "batch"})).status_code == 200


async def test_files_go_in_time(tmp_path: Path) -> None:
    """Past its time a file is not found, and the sweep removes it with what a kill left."""
    clock = Still()
    async with running_hub(tmp_path, clock=clock) as running:
        options: dict[str, Any] = {"base_url": f"{running.url}/v1", "api_key": await running.key("chat"), "max_retries": 0}
        async with openai.AsyncOpenAI(**options) as sdk:
            made = await sdk.files.create(
                file=("a.txt", b"x"), purpose="user_data", expires_after={"anchor": "created_at", "seconds": 3600}
            )
            stays = await sdk.files.create(file=("b.txt", b"x"), purpose="user_data")
            assert made.expires_at == made.created_at + 3600
            left = running.hub.files.path(f"file-{'a' * 32}")
            left.write_bytes(b"a kill came before its row")
            young = running.hub.files.path(f"file-{'b' * 32}")
            young.write_bytes(b"its row comes next")
            now = clock.now_ms() / 1000
            for path, age in ((left, 4000), (young, 10), (running.hub.files.path(stays.id), 4000)):
                os.utime(path, (now - age, now - age))
            assert await running.hub.files.sweep() == 1
            clock.advance(3600)
            with pytest.raises(openai.NotFoundError):
                await sdk.files.content(made.id)
            os.utime(young, (now + 3600, now + 3600))
            assert await running.hub.files.sweep() == 1
            assert {one.name for one in contents(running)} == {stays.id, young.name}


async def test_a_row_without_its_content_goes(running: Running, sdk: openai.AsyncOpenAI) -> None:
    """Somebody removed the content: the file is said to be gone; alone on the database, its row goes."""
    made = await sdk.files.create(file=("a.txt", b"x"), purpose="user_data")
    running.hub.files.path(made.id).unlink()
    with pytest.raises(openai.NotFoundError, match="upload it again"):
        await sdk.files.content(made.id)
    assert len((await sdk.files.list()).data) == (1 if running.hub.settings.postgres else 0)


async def test_files_go_with_their_key(running: Running, sdk: openai.AsyncOpenAI) -> None:
    """A key that is deleted leaves nothing on the disk."""
    await sdk.files.create(file=("a.txt", b"x"), purpose="user_data")
    owner = await running.headers("manage")
    (key,) = [one for one in running.hub.store.keys.all() if one.scopes == frozenset({"chat"})]
    async with httpx.AsyncClient(base_url=running.url, headers=owner) as manager:
        assert (await manager.delete(f"/api/keys/{key.id}")).status_code == 200
    assert contents(running) == []


async def test_nobody_without_a_key_keeps_files(tmp_path: Path) -> None:
    """With the model API open on loopback, files still want a key: they would be everybody's."""
    async with running_hub(tmp_path, require_api_key=False) as running, httpx.AsyncClient(base_url=running.url) as nobody:
        assert (await nobody.get("/v1/files")).status_code == 401
        refused = await nobody.post("/v1/files", files={"file": ("a", b"x")}, data={"purpose": "batch"})
        assert (refused.status_code, contents(running)) == (401, [])


async def _form(size: int) -> AsyncIterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    for _ in range(size // MIB):
        yield b"x" * MIB
    yield b"\r\n--b--\r\n"


def _peak(pid: int) -> float:
    """The most memory that a process has held so far, in MiB."""
    words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(words["VmHWM"].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
async def test_a_large_upload_takes_no_memory_and_survives_a_kill(tmp_path: Path) -> None:
    """SEC-42, REL-09: 96 MiB up and down add less than 40 MiB; what was acknowledged is there after kill -9."""
    data, size = tmp_path / "data", 96 * MIB
    owner = await asyncio.to_thread(answer, data, "keys", "create", "owner", "--scopes", "*")
    headers = {"authorization": f"Bearer {owner['key']}"}
    with serving(data) as served:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:
            small = await client.post("/v1/files", files={"file": ("a", b"x")}, data={"purpose": "user_data"})
            assert small.status_code == 200
            before = _peak(served.process.pid)
            kind = {"content-type": "multipart/form-data; boundary=b"}
            made = (await client.post("/v1/files", content=_form(size), headers=kind)).json()
            assert made["bytes"] == size
            async with client.stream("GET", f"/v1/files/{made['id']}/content") as read:
                assert sum([len(piece) async for piece in read.aiter_bytes()]) == size
            assert _peak(served.process.pid) - before < 40
            served.process.kill()
    with serving(data) as served:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=60) as client:
            found = (await client.get("/v1/files")).json()["data"]
            assert {one["id"] for one in found} == {made["id"], small.json()["id"]}
            assert (Settings(data_dir=data).data_dir / "files" / made["id"]).stat().st_size == size
