"""A batch against an instant provider, and the memory of a large upload.

The hub is a child process; the provider answers from this one, which so costs it nothing that the hub is blamed for.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from bench.load import rss_mib

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

LINES = 10_000
LIMIT_SECONDS = 60.0
UPLOAD_MIB = 512
LIMIT_MIB = 40.0
_MIB = 1024 * 1024
_ROOT = Path(__file__).resolve().parents[1]
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
    }
).encode()
_WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A provider that answers at once."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            start = head.index(b"content-length: ") + 16
            await reader.readexactly(int(head[start : head.index(b"\r\n", start)]))
            writer.write(_WHOLE)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


@asynccontextmanager
async def _hub(folder: str) -> AsyncGenerator[tuple[httpx.AsyncClient, int]]:
    """A hub in a child process with an account at the provider; a client with every right, and the process's id."""
    provider = await asyncio.start_server(_serve, "127.0.0.1", 0)
    command = [sys.executable, "-P", str(_ROOT / "hub" / "launcher.py")]
    env = {**os.environ, "HUBROUTE_DATA_DIR": folder, "HUBROUTE_FILE_QUOTA_MB": "4096", "HUBROUTE_LOG_LEVEL": "warning"}
    key = json.loads(subprocess.check_output([*command, "keys", "create", "bench", "--scopes", "*", "--json"], env=env))["key"]
    process = await asyncio.create_subprocess_exec(*command, "serve", "--port", "0", env=env, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        await process.stdout.readline()
        url = json.loads((Path(folder) / "hub.json").read_text())["url"]
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=120) as client:
            address = f"http://127.0.0.1:{provider.sockets[0].getsockname()[1]}/v1"
            body = {"provider": "openai", "name": "bench", "apiKey": "sk-bench", "baseUrl": address, "allowPrivate": True}
            (await client.post("/api/providers", json=body)).raise_for_status()
            yield client, process.pid
    finally:
        process.terminate()
        await process.wait()
        provider.close()


async def _uploaded(client: httpx.AsyncClient, content: bytes) -> str:
    made = await client.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
    return made.raise_for_status().json()["id"]


async def batch_seconds(client: httpx.AsyncClient, lines: int = LINES) -> float:
    """Seconds from the creation of a batch to its end."""
    chat: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
    request = {"method": "POST", "url": "/v1/chat/completions", "body": chat}
    content = "\n".join(json.dumps({"custom_id": f"r{at}", **request}) for at in range(lines)).encode()
    file = await _uploaded(client, content)
    began = time.perf_counter()
    ask = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch = (await client.post("/v1/batches", json=ask)).raise_for_status().json()
    while batch["status"] != "completed":
        await asyncio.sleep(0.2)
        batch = (await client.get(f"/v1/batches/{batch['id']}")).raise_for_status().json()
    if batch["request_counts"]["completed"] != lines:
        raise RuntimeError(f"the batch ended with {batch['request_counts']}")
    return time.perf_counter() - began


async def upload_mib(client: httpx.AsyncClient, pid: int, size: int = UPLOAD_MIB) -> float:
    """MiB that a large upload adds to what the hub holds, at its peak."""
    await _uploaded(client, b"{}\n")

    async def form() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
        for _ in range(size):
            yield bytes(_MIB)
        yield b"\r\n--b--\r\n"

    before = peak = rss_mib(pid)
    sending = asyncio.create_task(client.post("/v1/files", content=form(), headers={"content-type": "multipart/form-data; boundary=b"}))
    while not sending.done():
        peak = max(peak, rss_mib(pid))
        await asyncio.sleep(0.05)
    (await sending).raise_for_status()
    return peak - before


async def measure() -> list[str]:
    """Two lines of the bench's table."""
    with tempfile.TemporaryDirectory() as folder:
        async with _hub(folder) as (client, pid):
            added = await upload_mib(client, pid)
            seconds = await batch_seconds(client)
    return [
        f"{f'batch of {LINES:,} lines':28}{seconds:9.1f}s{'':8}{f'{LIMIT_SECONDS:.0f} s':>8}{'  over' if seconds > LIMIT_SECONDS else ''}",
        f"{f'upload of {UPLOAD_MIB} MiB, RSS':28}{added:+7.1f}MiB{'':8}{f'{LIMIT_MIB:.0f} MiB':>8}{'  over' if added > LIMIT_MIB else ''}",
    ]
