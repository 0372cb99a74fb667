"""Restart and shutdown of a real process: streams end, nothing acknowledged is lost, no client is refused (REL-16)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.command import COMMAND, LIMIT, answer, environment, hubroute, serving
from tests.hub.test_cli_lifetime import SlowVendor

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def _owner(data: Path) -> dict[str, str]:
    return {"authorization": f"Bearer {answer(data, 'keys', 'create', 'owner', '--scopes', 'manage')['key']}"}


async def _started(http: httpx.AsyncClient) -> str | None:
    return (await http.get("/api/system-info")).json()["process"]["startedAt"]


async def test_a_restart_under_load_loses_nothing(tmp_path: Path) -> None:
    """REL-16: keys are made all the while; each that was acknowledged is there afterwards, and no connection is refused."""
    data = tmp_path / "data"
    with serving(data) as served:
        headers = await asyncio.to_thread(_owner, data)
        made: list[str] = []
        faults: list[Exception] = []
        over = asyncio.Event()

        async def writing(number: int) -> None:
            count = 0
            while not over.is_set():
                count += 1
                try:
                    # A connection for each call: none that stood idle is closed under it.
                    async with httpx.AsyncClient(base_url=served.url, headers={**headers, "connection": "close"}, timeout=LIMIT) as one:
                        reply = await one.post("/api/keys", json={"name": f"{number}-{count}"})
                except httpx.TransportError as error:
                    faults.append(error)
                else:
                    assert reply.status_code == 201, reply.text
                    made.append(reply.json()["id"])

        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as http, asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(writing(number))
            await asyncio.sleep(0.2)
            before = await _started(http)
            reply = await http.post("/api/restart")
            assert (reply.status_code, reply.json()) == (200, {"status": "restarting"})
            acknowledged = len(made)
            async with asyncio.timeout(30):
                while len(made) < acknowledged + 40:
                    await asyncio.sleep(0.05)
            over.set()
        assert faults == []
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as http:
            assert await _started(http) != before
            total = (await http.get("/api/keys", params={"limit": 1})).json()["total"]
            assert total == len(made) + 2
            listed = {one["id"] for one in (await http.get("/api/keys", params={"limit": 1000})).json()["keys"]}
            assert set(made) <= listed
            verdict = (await http.get("/api/compliance/audit-log/verify")).json()
            assert verdict["ok"], verdict
        assert json.loads((data / "hub.json").read_text())["pid"] == served.process.pid
        assert served.process.poll() is None
        assert served.stop() == 0


@pytest.mark.parametrize("way", ["/api/restart", "/api/shutdown"])
async def test_running_answers_end_first(tmp_path: Path, way: str) -> None:
    data = tmp_path / "data"
    async with SlowVendor().listening() as vendor:
        with serving(data) as served:
            headers = await asyncio.to_thread(_owner, data)
            add = ("providers", "add", "openai", "--name", "v", "--api-key", "k", "--base-url", vendor.url, "--allow-private", "-m", "m")
            assert (await asyncio.to_thread(hubroute, data, *add)).returncode == 0
            ask = {"model": "openai/m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as http:
                async with http.stream("POST", "/v1/chat/completions", json=ask) as response:
                    lines = response.aiter_lines()
                    assert "one" in await anext(lines)
                    reply = await http.post(way)
                    assert reply.status_code == 200
                    if way == "/api/shutdown":
                        assert reply.json()["success"] is True
                    vendor.go.set()
                    assert "data: [DONE]" in [line async for line in lines]
                if way == "/api/shutdown":
                    assert await asyncio.to_thread(served.process.wait, LIMIT) == 0
                else:
                    # On a connection of its own: one that was idle may be closed in the moment that a request is on its way.
                    async with httpx.AsyncClient(base_url=served.url, timeout=LIMIT) as anew:
                        assert (await anew.get("/health")).status_code == 200
                    assert served.process.poll() is None


async def test_a_stop_signal_wins_over_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with SlowVendor().listening() as vendor:
        with serving(data) as served:
            headers = await asyncio.to_thread(_owner, data)
            add = ("providers", "add", "openai", "--name", "v", "--api-key", "k", "--base-url", vendor.url, "--allow-private", "-m", "m")
            assert (await asyncio.to_thread(hubroute, data, *add)).returncode == 0
            ask = {"model": "openai/m", "stream": True, "messages": [{"role": "user", "content": "x"}]}
            async with (
                httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as http,
                http.stream("POST", "/v1/chat/completions", json=ask) as response,
            ):
                lines = response.aiter_lines()  # kept: a generator that nobody holds closes the response
                assert "one" in await anext(lines)
                await http.post("/api/restart")
                await asyncio.sleep(0.1)
                served.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.1)
                vendor.go.set()
                assert "data: [DONE]" in [line async for line in lines]
                assert await asyncio.to_thread(served.process.wait, LIMIT) == 0


async def test_a_hub_that_drains_takes_calls_until_its_proxy_has_turned_elsewhere(tmp_path: Path) -> None:
    """REL-16: who looks at ``/ready`` and keeps connections open loses no call; each answer after the signal ends its connection."""
    data = tmp_path / "data"
    with serving(data, HUBROUTE_DRAIN_SECONDS="1.5") as served:
        headers = await asyncio.to_thread(_owner, data)
        ready, faults, after = asyncio.Event(), [], 0
        ready.set()

        async def calling(http: httpx.AsyncClient) -> None:
            nonlocal after
            while ready.is_set():
                try:
                    reply = await http.get("/api/keys")
                except httpx.TransportError as error:
                    faults.append(error)
                else:
                    assert reply.status_code == 200, reply.text
                    after += reply.headers.get("connection") == "close"

        async with (
            httpx.AsyncClient(base_url=served.url, headers=headers, timeout=LIMIT) as http,
            httpx.AsyncClient(base_url=served.url, timeout=LIMIT) as watch,
            asyncio.TaskGroup() as group,
        ):
            calls = [group.create_task(calling(http)) for _ in range(4)]
            await asyncio.sleep(0.3)
            signalled = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            while (answered := await watch.get("/ready")).status_code == 200:
                await asyncio.sleep(0.02)
            assert answered.json() == {"status": "not ready", "faults": ["shutting down"]}
            await asyncio.sleep(0.5)
            alive = await watch.get("/health")
            assert (alive.status_code, alive.headers["connection"]) == (200, "close")
            ready.clear()
            await asyncio.wait(calls)
        assert await asyncio.to_thread(served.process.wait, LIMIT) == 0
        assert time.monotonic() - signalled > 1.4
    assert faults == []
    assert after > 4


async def test_the_second_signal_does_not_wait_for_the_drain(tmp_path: Path) -> None:
    with serving(tmp_path / "data", HUBROUTE_DRAIN_SECONDS="30") as served:
        async with httpx.AsyncClient(base_url=served.url, timeout=LIMIT) as http, asyncio.timeout(10):
            assert (await http.get("/ready")).status_code == 200
            served.process.send_signal(signal.SIGTERM)
            while (await http.get("/ready")).status_code == 200:
                await asyncio.sleep(0.02)
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.process.wait, 10) == 0


def test_the_command_line_can_ask_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as served:
        assert answer(data, "call", "system-restart")["status"] == "restarting"
        deadline = time.monotonic() + 20
        while not hubroute(data, "call", "system-info").stdout:
            assert time.monotonic() < deadline
        assert answer(data, "call", "system-shutdown")["success"] is True
        assert served.process.wait(LIMIT) == 0
    done = hubroute(data, "call", "system-restart")
    assert (done.returncode, "hubroute serve" in done.stderr) == (1, True)


def test_a_socket_from_a_service_manager_is_taken(tmp_path: Path) -> None:
    """sd_listen_fds: the socket is file 3, and the process whose number is named takes it."""
    data = tmp_path / "data"
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    port = sock.getsockname()[1]
    # The number of the process is known to itself only: it writes it down and becomes the program.
    script = "import os, sys; os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
    script += "os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
    command = [sys.executable, "-c", script, str(sock.fileno()), *COMMAND, "serve", "--port", "1"]
    process: subprocess.Popen[Any] = subprocess.Popen(
        command, env=environment(data), cwd=tmp_path, pass_fds=[sock.fileno()], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        assert b"listens" in os.read(process.stdout.fileno(), 65536)
        assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
        sock.close()
