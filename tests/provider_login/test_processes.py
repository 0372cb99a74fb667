"""Accounts on two processes with one database, a hub that is killed in the middle of a refresh, and the command line."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.command import COMMAND, answer, environment, hubroute, serving
from tests.fakes.signin import CLIENT, CODE, DEVICE
from tests.provider_login.conftest import CHAT, fields
from tests.upstream.browser import free_port
from tests.upstream.test_oauth_processes import two

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.signin import SignIn

pytestmark = pytest.mark.anyio


async def log_in(hub: httpx.AsyncClient, vendor: SignIn, elsewhere: str = "") -> dict[str, Any]:
    """The owner's client, and a login with the browser, which may come back to another process."""
    body = {"clientId": CLIENT, "baseUrl": vendor.base_url, "allowPrivate": True}
    assert (await hub.put(f"/api/oauth-clients/{CODE}", json=body)).status_code == 200
    begun = (await hub.get(f"/api/oauth/{CODE}/authorize")).json()
    vendor.clients[CLIENT]["redirect_uris"].append(begun["redirectUri"])
    async with httpx.AsyncClient() as browser:
        back = (await browser.get(begun["authUrl"])).headers["location"]
        url = f"{elsewhere}/api/oauth/{CODE}/callback" if elsewhere else begun["redirectUri"]
        assert (await browser.get(url, params=fields(back))).status_code == 200
    came = (await hub.post(f"/api/oauth/{CODE}/poll-callback", json={"state": begun["state"]})).json()
    assert came["success"], came
    return came["connection"]


async def test_two_processes_refresh_an_account_once(tmp_path: Path, vendor: SignIn) -> None:
    """REL-15 over processes: a lease in the account's own row; the browser may come back to either of them."""
    with two(tmp_path) as (one, other, key):
        headers = {"authorization": f"Bearer {key}"}
        async with (
            httpx.AsyncClient(base_url=one.url, headers=headers, timeout=60) as first,
            httpx.AsyncClient(base_url=other.url, headers=headers, timeout=60) as second,
        ):
            await log_in(first, vendor, other.url)
            async with asyncio.timeout(10):
                while (await second.post("/v1/chat/completions", json=CHAT)).status_code != 200:  # it follows within a second
                    await asyncio.sleep(0.05)
            vendor.pause = 0.3
            for turn in (1, 2):
                vendor.expire()
                chats = (client.post("/v1/chat/completions", json=CHAT) for client in (first, second) for _ in range(10))
                assert {one.status_code for one in await asyncio.gather(*chats)} == {200}
                assert vendor.refreshed == turn


async def test_a_hub_that_dies_with_the_new_tokens_gives_the_account_up_once(tmp_path: Path, vendor: SignIn) -> None:
    """REL-15: the provider has rotated, and nobody has stored what it gave. The next hub does not wait for the dead one's lease, is
    told that the old token is spent, marks the account, and asks no more; a new login mends it."""
    folder = tmp_path / "data"
    key = answer(folder, "keys", "create", "ann", "--scopes", "manage")["key"]
    headers = {"authorization": f"Bearer {key}"}
    port = ("--port", str(free_port()))
    with serving(folder, *port) as served:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=30) as hub:
            made = await log_in(hub, vendor)
            vendor.expire()
            vendor.stolen = 3.0
            chat = asyncio.create_task(hub.post("/v1/chat/completions", json=CHAT))
            async with asyncio.timeout(10):
                while not vendor.refreshed:
                    await asyncio.sleep(0.02)
            served.process.send_signal(signal.SIGKILL)
            served.process.wait(10)
            with pytest.raises(httpx.HTTPError):
                await chat
    vendor.stolen = 0.0
    with serving(folder, *port) as served:
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=30) as hub:
            assert (await hub.post("/v1/chat/completions", json=CHAT)).status_code in (401, 502, 503)
            shown = (await hub.get(f"/api/providers/{made['id']}")).json()["connection"]
            assert (shown["testStatus"], shown["loginState"]) == ("expired", "ended")
            assert (await hub.post("/v1/chat/completions", json=CHAT)).status_code in (401, 502, 503)
            assert vendor.refreshed == 2
            begun = (await hub.get(f"/api/oauth/{CODE}/authorize", params={"connectionId": made["id"]})).json()
            async with httpx.AsyncClient(follow_redirects=True) as browser:
                assert (await browser.get(begun["authUrl"])).status_code == 200
            assert (await hub.post(f"/api/oauth/{CODE}/poll-callback", json={"state": begun["state"]})).json()["success"]
            assert (await hub.post("/v1/chat/completions", json=CHAT)).status_code == 200


async def test_the_command_line_logs_in(tmp_path: Path, vendor: SignIn) -> None:
    """`hubroute providers clients` keeps the client, `providers login` shows the address or the code and waits; no hub need run."""
    folder = tmp_path / "data"
    listed = await asyncio.to_thread(answer, folder, "providers", "clients")
    assert {one["provider"]: one["configured"] for one in listed}["openrouter"] is True
    where = ("--base-url", vendor.base_url, "--allow-private")
    none = await asyncio.to_thread(hubroute, folder, "providers", "login", CODE)
    assert (none.returncode, "providers clients databricks" in none.stderr) == (1, True)
    kept = await asyncio.to_thread(
        hubroute, folder, "providers", "clients", CODE, "--client-id", CLIENT, "--client-secret", "-", *where, stdin="canary-secret-1\n"
    )
    assert (kept.returncode, "canary" in kept.stdout) == (0, False), kept.stderr
    vendor.clients[CLIENT].update(client_secret="canary-secret-1", token_endpoint_auth_method="client_secret_post")
    out, err, code = await _logged_in(folder, vendor, CODE, "--name", "mine", browser=True)
    assert (code, "mine" in out) == (0, True), err
    shown = (await asyncio.to_thread(answer, folder, "providers", "list"))["connections"]
    assert [(one["name"], one["authType"]) for one in shown] == [("mine", "oauth")]
    vendor.clients[CLIENT].update(client_secret="", token_endpoint_auth_method="none")
    await asyncio.to_thread(
        answer, folder, "providers", "clients", DEVICE, "--client-id", CLIENT, "--base-url", f"{vendor.url}/api/v4", "--allow-private"
    )
    out, err, code = await _logged_in(folder, vendor, DEVICE, "--device", browser=False)
    assert (code, "WDJB-MJHT" in err) == (0, True), err
    vendor.name = vendor.url
    pasted = await _pasted(folder, vendor)
    assert (pasted[0], "oauth" in pasted[1]) == (0, True), pasted
    gone = await asyncio.to_thread(hubroute, folder, "providers", "clients", DEVICE, "--remove")
    assert gone.returncode == 0


async def _begun(folder: Path, *args: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        "providers",
        "login",
        *args,
        env=environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def _logged_in(folder: Path, vendor: SignIn, provider: str, *args: str, browser: bool) -> tuple[str, str, int | None]:
    process = await _begun(folder, provider, *args)
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
    if browser:
        url = re.search(r"http://\S+", line)
        assert url is not None, line
        async with httpx.AsyncClient(follow_redirects=True) as client:
            assert (await client.get(url[0])).status_code == 200
    else:
        vendor.agree()
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return out.decode(), line + err.decode(), process.returncode


async def _pasted(folder: Path, vendor: SignIn) -> tuple[int | None, str]:
    process = await _begun(folder, DEVICE, "--paste")
    assert process.stderr is not None
    url = re.search(r"http://\S+", (await asyncio.wait_for(process.stderr.readline(), 30)).decode())
    assert url is not None
    async with httpx.AsyncClient() as client:
        sent = await client.get(url[0])
    out, err = await asyncio.wait_for(process.communicate(f"{sent.headers['location']}\n".encode()), 30)
    return process.returncode, (out + err).decode()
