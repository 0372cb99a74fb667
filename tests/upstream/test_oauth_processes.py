"""Logins on two processes that share a PostgreSQL database, and from the command line."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fakes.command import COMMAND, Served, answer, environment, hubroute, serving
from tests.fakes.database import postgres_database
from tests.fakes.protected import Protected, protected
from tests.upstream.browser import Browser, free_port
from tests.upstream.test_oauth import call, ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture
async def far() -> AsyncIterator[Protected]:
    async with protected() as server:
        yield server


@contextmanager
def two(tmp_path: Path) -> Generator[tuple[Served, Served, str]]:
    """Two hubs on one database, with one public address; and a key of theirs."""
    port = free_port()
    with postgres_database() as url:
        shared = {
            "HUBROUTE_DATABASE_URL": url,
            "HUBROUTE_MASTER_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "HUBROUTE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        }
        made = answer(tmp_path / "one", "keys", "create", "ann", "--scopes", "manage", **shared)
        with serving(tmp_path / "one", "--port", str(port), **shared) as one, serving(tmp_path / "two", **shared) as other:
            yield one, other, made["key"]


async def test_two_processes_refresh_once(tmp_path: Path, far: Protected) -> None:
    """SEC-52: the same login on two processes is refreshed once; its rotation is kept by both, and a second use never happens."""
    with two(tmp_path) as (one, other, key):
        headers = {"authorization": f"Bearer {key}"}
        async with (
            httpx.AsyncClient(base_url=one.url, headers=headers, timeout=60) as first,
            httpx.AsyncClient(base_url=other.url, headers=headers, timeout=60) as second,
        ):
            await ready(first, far)
            async with asyncio.timeout(10):
                while await call(second) != "ann":  # it follows within a second
                    await asyncio.sleep(0.05)
            far.issuer.pause = 0.5
            for turn in (1, 2):
                far.issuer.expire()
                said = await asyncio.gather(*(call(client) for client in (first, second) for _ in range(3)))
                assert said == ["ann"] * 6
                assert far.issuer.refreshed == turn
            far.issuer.pause = 0
            # The browser may come back to either of them.
            url = (await first.post("/api/mcp/servers/far/login")).json()["url"]
            async with Browser() as browser:
                back = await browser.answer_url(url)
                elsewhere = back.replace(urlsplit(one.url).netloc, urlsplit(other.url).netloc, 1)
                assert (await browser.get(elsewhere)).status_code == 200
                assert (await browser.get(back)).status_code == 400
            assert await call(second) == "ann"


async def test_the_command_waits_for_the_login(tmp_path: Path, far: Protected) -> None:
    """`hubroute mcp-servers login` shows the address, waits for the browser, and says how it went."""
    folder, port = tmp_path / "data", free_port()
    with serving(folder, "--port", str(port)):
        added = await asyncio.to_thread(hubroute, folder, "mcp-servers", "add", "far", far.url, "--allow-private", "--oauth", "per-user")
        assert added.returncode == 0, added.stderr
        assert "mcp-servers login far" in added.stderr
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "mcp-servers",
            "login",
            "far",
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None
        line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
        url = re.search(r"http://\S+", line)
        assert url is not None, line
        async with Browser() as browser:
            assert (await browser.log_in(url[0])).status_code == 200
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, b"connected" in out) == (0, True), err
        listed = await asyncio.to_thread(answer, folder, "mcp-servers", "logins", "far")
        assert listed["logins"][0]["state"] == "connected"
        out_ = await asyncio.to_thread(hubroute, folder, "mcp-servers", "logout", "far")
        assert "taken back" in out_.stdout
        assert far.issuer.revoked


def test_a_login_needs_a_hub_that_runs(tmp_path: Path) -> None:
    """Without a hub nobody would be there when the browser comes back; the command says so at once."""
    done = hubroute(tmp_path / "data", "mcp-servers", "login", "far")
    assert (done.returncode, "start the hub" in done.stderr) == (1, True)
