"""Tunnels: real little programs that behave as cloudflared, ngrok and tailscale; what they may, and that they end (SEC-30)."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.call import Hub
from hub.settings import Settings
from hub.tunnels import leftover
from hub.tunnels.tunnel import Tunnel
from tests.fakes.hub import Running, running_hub
from tests.fakes.tunnel import URLS, alive, install, noted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

CANARY = "canary-tunnel-token"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Site:
    """A hub with its port fixed, a client with every right, and a folder of programs."""

    def __init__(self, running: Running, client: httpx.AsyncClient, folder: Path) -> None:
        self.running, self.client, self.folder = running, client, folder

    async def status(self, kind: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/tunnels/{kind}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, kind: str, action: str = "enable", **more: Any) -> httpx.Response:
        return await self.client.post(f"/api/tunnels/{kind}", json={"action": action, **more})


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("programs")
    folder.chmod(0o700)
    patch = pytest.MonkeyPatch()
    patch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    patch.setattr(Tunnel, "patience", 8.0)
    for name in ("NGROK_AUTHTOKEN", "CLOUDFLARED_BIN", "CLOUDFLARED_PROTOCOL"):
        patch.delenv(name, raising=False)
    patch.setenv("HUBROUTE_MASTER_KEY", "A" * 43 + "=")
    async with (
        running_hub(tmp_path_factory.mktemp("tunnels"), port=free_port()) as running,
        httpx.AsyncClient(base_url=running.url, timeout=20) as client,
    ):
        client.headers.update(await running.headers())
        yield Site(running, client, folder)
    patch.undo()


@pytest.fixture
async def site(shared: Site) -> AsyncIterator[Site]:
    yield shared
    for kind in URLS:
        await shared.post(kind, "disable")
        (shared.folder / kind).unlink(missing_ok=True)
    assert shared.running.hub.tunnels.hosts == set()


async def test_nothing_is_installed_and_nothing_is_fetched(site: Site) -> None:
    found = await site.status("cloudflared")
    assert (found["supported"], found["installed"], found["managedInstall"], found["installSource"]) == (True, False, False, None)
    assert (found["phase"], found["running"], found["pid"], found["publicUrl"], found["apiUrl"]) == (
        "not_installed",
        False,
        None,
        None,
        None,
    )
    assert found["targetUrl"] == f"http://127.0.0.1:{site.running.hub.settings.port}"
    assert "install cloudflared" in found["installHelp"]
    answer = await site.post("cloudflared")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_installed")
    assert [one["kind"] for one in (await site.client.get("/api/tunnels")).json()["tunnels"]] == list(URLS)


async def test_what_would_be_reachable_is_shown_before(site: Site) -> None:
    found = await site.status("ngrok")
    assert found["blockers"] == []
    assert "/health" in found["reachable"]["withoutKey"]
    assert "/v1/models" not in found["reachable"]["withoutKey"]
    assert {"openai", "a2a", "mcp"} <= set(found["reachable"]["withKey"])


@pytest.mark.parametrize("kind", list(URLS))
async def test_open_and_close(site: Site, kind: str) -> None:
    """SEC-30: an absolute path, a list of arguments, a fixed environment without the hub's own settings, a group that ends."""
    path = install(site.folder, kind)
    opened = (await site.post(kind)).json()
    assert (opened["success"], opened["action"]) == (True, "enable"), opened
    status = opened["status"]
    assert (status["phase"], status["running"], status["publicUrl"]) == ("running", True, URLS[kind])
    assert (status["apiUrl"], status["binaryPath"], status["installSource"]) == (f"{URLS[kind]}/v1", str(path), "path")
    note = noted(site.folder, kind)
    assert (note["pid"], os.getpgid(note["pid"])) == (status["pid"], status["pid"])
    assert status["targetUrl"] in note["args"]
    assert not [name for name in note["env"] if name.startswith("HUBROUTE")]
    assert (note["env"]["HOME"] == note["cwd"]) is (kind == "cloudflared")
    # Opened again it stays as it is.
    assert (await site.post(kind)).json()["status"]["pid"] == status["pid"]
    closed = (await site.post(kind, "disable")).json()["status"]
    assert (closed["phase"], closed["running"], closed["pid"], closed["publicUrl"]) == ("stopped", False, None, None)
    assert not alive(note["pid"])
    assert not list((site.running.hub.settings.data_dir / "tunnels").glob("*.json"))


async def test_the_hub_is_called_by_its_public_name_while_a_tunnel_stands(site: Site) -> None:
    """SEC-07: its host is allowed while it runs and no longer; the agent card and pages of the tunnel's own origin follow."""
    install(site.folder, "cloudflared")
    host = URLS["cloudflared"].removeprefix("https://")
    named = {"host": host, "origin": URLS["cloudflared"]}
    assert (await site.client.get("/v1/models", headers=named)).status_code == 403
    await site.post("cloudflared")
    assert (await site.client.get("/v1/models", headers=named)).status_code == 200
    assert (await site.client.get("/v1/models", headers={"host": "evil.trycloudflare.com"})).status_code == 403
    card = (await site.client.get("/.well-known/agent-card.json", headers={"a2a-version": "1.0"})).json()
    assert card["supportedInterfaces"][0]["url"] == f"{URLS['cloudflared']}/a2a"
    await site.post("cloudflared", "disable")
    assert (await site.client.get("/v1/models", headers=named)).status_code == 403
    card = (await site.client.get("/.well-known/agent-card.json", headers={"a2a-version": "1.0"})).json()
    assert card["supportedInterfaces"][0]["url"].startswith("http://127.0.0.1")


async def test_clients_of_a_tunnel_are_not_this_machine(site: Site) -> None:
    """The IP filter sees who came through the tunnel, not the program that brought them here over loopback."""
    install(site.folder, "cloudflared")
    await site.post("cloudflared")
    host = URLS["cloudflared"].removeprefix("https://")
    await site.client.put("/api/settings/ip-filter", json={"enabled": True, "blacklist": ["198.51.100.9"]})
    try:
        for forwarded, status in (("198.51.100.9", 403), ("127.0.0.1, 198.51.100.9", 403), ("203.0.113.7", 200)):
            answer = await site.client.get("/v1/models", headers={"host": host, "x-forwarded-for": forwarded})
            assert answer.status_code == status, forwarded
        shown = await site.client.get("/api/settings/ip-filter", headers={"host": host, "x-forwarded-for": "203.0.113.7"})
        assert shown.json()["yourAddress"] == "203.0.113.7"
        # Without the tunnel's name nobody's word is believed.
        assert (await site.client.get("/v1/models", headers={"x-forwarded-for": "198.51.100.9"})).status_code == 200
    finally:
        await site.client.put("/api/settings/ip-filter", json={"enabled": False, "blacklist": []})


async def test_tokens_and_names_of_the_owner(site: Site) -> None:
    """SEC-22: a token goes to the program through its environment, and into no argument, answer, log or row."""
    install(site.folder, "ngrok")
    answer = await site.post("ngrok", authToken=CANARY, hostname="hub.example.com")
    assert answer.json()["status"]["publicUrl"] == "https://hub.example.com"
    note = noted(site.folder, "ngrok")
    assert (note["env"]["NGROK_AUTHTOKEN"], CANARY in str(note["args"])) == (CANARY, False)
    install(site.folder, "cloudflared")
    named = await site.post("cloudflared", authToken=CANARY, hostname="stable.example.com")
    assert named.json()["status"]["publicUrl"] == "https://stable.example.com"
    note = noted(site.folder, "cloudflared")
    assert (note["env"]["TUNNEL_TOKEN"], "run" in note["args"]) == (CANARY, True)
    assert CANARY not in answer.text + named.text
    hub = site.running.hub
    await hub.store.flush()
    assert CANARY not in (hub.settings.data_dir / "hubroute.db").read_bytes().decode("latin-1")
    assert hub.tunnels.hosts == {"hub.example.com", "stable.example.com"}


@pytest.mark.parametrize(
    ("kind", "mode", "words", "phase"),
    [
        ("cloudflared", "crash", "ended by itself (status 3)", "error"),
        ("cloudflared", "rubbish", "ended by itself (status 0)", "error"),
        ("ngrok", "login", "authToken", "needs_auth"),
        ("tailscale", "login", "tailscale up", "needs_auth"),
    ],
)
async def test_programs_that_fail(site: Site, kind: str, mode: str, words: str, phase: str) -> None:
    install(site.folder, kind, mode)
    token = {"authToken": CANARY, "hostname": "hub.example.com"} if mode == "crash" else {}
    answer = await site.post(kind, **token)
    assert answer.status_code == 503, answer.text
    assert words in answer.json()["error"]
    assert CANARY not in answer.text
    status = await site.status(kind)
    assert (status["phase"], status["running"], words in status["lastError"]) == (phase, False, True)
    assert not alive(noted(site.folder, kind)["pid"])
    install(site.folder, kind)
    assert (await site.post(kind)).json()["status"]["lastError"] is None


async def test_silence_has_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tunnel, "patience", 0.6)
    install(site.folder, "cloudflared", "silent")
    answer = await site.post("cloudflared")
    assert (answer.status_code, "no public address within 0.6 seconds" in answer.json()["error"]) == (503, True)
    assert not alive(noted(site.folder, "cloudflared")["pid"])


async def test_closing_ends_one_that_is_opening(site: Site) -> None:
    install(site.folder, "cloudflared", "silent")
    opening = asyncio.create_task(site.post("cloudflared"))
    async with asyncio.timeout(5):
        while not (site.folder / "cloudflared.json").exists() or (await site.status("cloudflared"))["phase"] != "starting":
            await asyncio.sleep(0.02)
    await site.post("cloudflared", "disable")
    assert ((await opening).status_code, (await site.status("cloudflared"))["phase"]) == (503, "stopped")
    assert (await site.status("cloudflared"))["running"] is False


async def test_one_that_dies_is_noticed(site: Site) -> None:
    install(site.folder, "cloudflared", "dies")
    assert (await site.post("cloudflared")).status_code == 200
    async with asyncio.timeout(5):
        while (await site.status("cloudflared"))["running"]:
            await asyncio.sleep(0.02)
    status = await site.status("cloudflared")
    assert (status["phase"], status["publicUrl"]) == ("error", None)
    assert "ended by itself (status 1)" in status["lastError"]
    assert site.running.hub.tunnels.hosts == set()


async def test_a_chatty_one_is_read_for_as_long_as_it_runs(site: Site) -> None:
    """A line without end is passed over, and a full pipe stops nobody."""
    install(site.folder, "cloudflared", "chatty")
    assert (await site.post("cloudflared")).status_code == 200
    first = (site.folder / "noise").read_text() if (site.folder / "noise").exists() else ""
    async with asyncio.timeout(5):
        while not (site.folder / "noise").exists() or (site.folder / "noise").read_text() in ("", first):
            await asyncio.sleep(0.02)
    assert len((await site.status("cloudflared"))["log"]) <= 40


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("cloudflared", {}, 400),
        ("cloudflared", {"action": "explode"}, 400),
        ("cloudflared", {"action": "enable", "colour": 1}, 400),
        ("cloudflared", {"action": "enable", "hostname": "hub.example.com"}, 400),
        ("cloudflared", {"action": "enable", "authToken": "a-long-token"}, 400),
        ("ngrok", {"action": "enable", "hostname": "hub.example.com; rm -rf /"}, 400),
        ("ngrok", {"action": "enable", "hostname": "--config=/etc/passwd"}, 400),
        ("ngrok", {"action": "enable", "authToken": "two words here"}, 400),
        ("tailscale", {"action": "enable", "authToken": "a-long-token"}, 400),
        ("tailscale", {"action": "enable", "hostname": "hub.example.com"}, 400),
        ("wormhole", {"action": "enable"}, 404),
    ],
)
async def test_bad_orders(site: Site, kind: str, body: dict[str, Any], status: int) -> None:
    """SEC-30: nothing that a caller writes becomes a program, a flag or a shell's words."""
    answer = await site.client.post(f"/api/tunnels/{kind}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


async def test_who_may(site: Site) -> None:
    weak = await site.running.headers("read:*", "chat", "process")
    for method, path in (("GET", "/api/tunnels/ngrok"), ("POST", "/api/tunnels/ngrok"), ("GET", "/api/tunnels")):
        assert (await site.client.request(method, path, json={"action": "enable"}, headers=weak)).status_code == 403
        async with httpx.AsyncClient(base_url=site.running.url) as nobody:
            assert (await nobody.request(method, path, json={"action": "enable"})).status_code == 401
    assert (await site.client.get("/api/tunnels/wormhole")).status_code == 404


async def test_programs_that_others_may_change_are_not_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site.folder, "cloudflared").chmod(0o777)
    assert "can be changed by everybody" in (await site.post("cloudflared")).json()["error"]
    monkeypatch.setenv("CLOUDFLARED_BIN", "cloudflared")
    assert "absolute path" in (await site.post("cloudflared")).json()["error"]
    monkeypatch.setenv("CLOUDFLARED_BIN", str(install(site.folder, "ngrok")))
    assert (await site.status("cloudflared"))["installSource"] == "env"


async def test_not_while_strangers_are_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers without keys, or may start no programs, is not made reachable; one that stops asking is closed again."""
    folder = tmp_path / "programs"
    install(folder, "cloudflared")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    hub = Hub(Settings(data_dir=tmp_path / "open", port=free_port(), require_api_key=False, programs="off"))
    await hub.open()
    assert "HUBROUTE_REQUIRE_API_KEY" in hub.locked_down()[0]
    with pytest.raises(Exception, match=r"HUBROUTE_REQUIRE_API_KEY=true; .*HUBROUTE_PROGRAMS"):
        await hub.tunnels.enable("cloudflared")
    await hub.close()
    hub = Hub(Settings(data_dir=tmp_path / "shut", port=free_port()))
    await hub.open()
    assert (await hub.tunnels.enable("cloudflared")).url == URLS["cloudflared"]
    hub.openings.append(lambda: "the login was switched off")
    assert hub.locked_down() == ["the login was switched off"]
    await hub.store.values.set("anything", 1)
    async with asyncio.timeout(7):
        while hub.tunnels.hosts:
            await asyncio.sleep(0.02)
    await hub.close()
    assert not alive(noted(folder, "cloudflared")["pid"])


async def test_no_orphan_when_the_hub_stops_or_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM, then SIGKILL for the whole group; what a killed hub left is ended by the next, and nothing else."""
    folder = tmp_path / "programs"
    install(folder, "cloudflared", "stubborn")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("hub.tunnels.tunnel._GRACE", 0.3)
    settings = Settings(data_dir=tmp_path / "data", port=free_port())
    hub = Hub(settings)
    await hub.open()
    await hub.tunnels.enable("cloudflared")
    note = noted(folder, "cloudflared")
    await hub.close()
    assert (alive(note["pid"]), alive(note["child"])) == (False, False)
    # As if the hub were killed: the program runs on, and so does a stranger with a number that was written down.
    install(folder, "cloudflared")
    left = await asyncio.create_subprocess_exec(str(folder / "cloudflared"), start_new_session=True, stderr=asyncio.subprocess.DEVNULL)
    other = await asyncio.create_subprocess_exec("/bin/sleep", "60", start_new_session=True)
    leftover.note(tmp_path / "data" / "tunnels" / "cloudflared.json", left.pid)
    leftover.note(tmp_path / "data" / "tunnels" / "ngrok.json", other.pid)
    path = tmp_path / "data" / "tunnels" / "ngrok.json"
    path.write_bytes(path.read_bytes().replace(b'"began":"', b'"began":"9'))
    hub = Hub(settings)
    await hub.open()
    assert await left.wait() == -signal.SIGTERM
    assert alive(other.pid)
    other.kill()
    await other.wait()
    await hub.close()
