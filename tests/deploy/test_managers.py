"""What service managers and containers get from a hub: word that it is ready and that it stops, and whether it is well."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from hub.process.announce import announce
from tests.fakes.command import COMMAND, LIMIT, answer, hubroute, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        sock.settimeout(LIMIT)
        sock.bind(address)
        yield sock


def test_a_manager_hears_of_ready_restart_and_stop_and_health_says_the_same(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with manager(str(tmp_path / "notify")) as heard, serving(data, NOTIFY_SOCKET=str(tmp_path / "notify")) as served:
        assert heard.recv(100) == b"READY=1"
        port = served.url.rpartition(":")[2]
        assert hubroute(data, "health", "--port", port).stdout == "ready\n"
        assert json.loads(hubroute(data, "health", "--json", HUBROUTE_PORT=port, HUBROUTE_HOST="0.0.0.0").stdout) == {"status": "ready"}
        assert json.loads(hubroute(data, "health", "--live", "--json", "--port", port).stdout)["status"] == "ok"
        assert answer(data, "call", "system-restart")["status"] == "restarting"
        assert heard.recv(100) == b"READY=1", "a restart is not told as a stop: the process stays"
        assert served.stop() == 0
        assert heard.recv(100) == b"STOPPING=1"
    done = hubroute(data, "health", "--port", port)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"no hub answers on 127.0.0.1:{port} (Connection refused)" in done.stderr


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "is no hub"),
        (b"SSH-2.0\r\n", "no hub answers"),
        (b'HTTP/1.1 503 no\r\ncontent-length: 9\r\n\r\n{"status"', "is no hub"),
        (b'HTTP/1.1 503 no\r\ncontent-length: 34\r\n\r\n{"status":"no","faults":["store"]}', "is not ready: store"),
        (b"", "no hub answers"),
    ],
)
def test_health_of_what_is_no_hub_or_not_well(tmp_path: Path, said: bytes, words: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        asking = subprocess.Popen(
            [*COMMAND, "health", "--timeout", "20", "--port", str(server.getsockname()[1])],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        client, _ = server.accept()
        with closing(client):
            client.recv(1000)
            client.sendall(said)
        _, errors = asking.communicate(timeout=LIMIT)
    assert asking.returncode == 1
    assert words in errors, errors


def test_health_needs_a_port_to_ask_at(tmp_path: Path) -> None:
    done = hubroute(tmp_path / "data", "health", "--port", "0")
    assert (done.returncode, done.stderr.startswith("error: with port 0")) == (2, True)


def test_a_word_to_a_manager_never_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for nowhere in ("", "vsock:1", str(tmp_path / "gone"), "@gone"):
        monkeypatch.setenv("NOTIFY_SOCKET", nowhere)
        announce("READY=1")
    name = f"@{tmp_path.name}-notify"
    with manager(name.replace("@", "\0")) as heard:
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        announce("READY=1")
        assert heard.recv(100) == b"READY=1"
