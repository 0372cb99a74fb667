"""Little programs that behave as cloudflared, ngrok and tailscale do: what they print, where, and when they end.

``install(folder, name, mode)`` writes one. It notes its arguments, its environment and its pid in ``folder/name.json``. Modes: empty
(opens a tunnel and stays), ``silent``, ``crash``, ``login``, ``rubbish``, ``dies`` (opens, then ends), ``stubborn`` (ignores SIGTERM,
with a child of its own), ``chatty`` (fills its pipes for as long as it runs).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
URLS = {
    "cloudflared": "https://calm-blue-river-stone.trycloudflare.com",
    "ngrok": "https://1f2e-203-0-113-7.ngrok-free.app",
    "tailscale": "https://box.tail1234.ts.net",
}


def install(folder: Path, name: str, mode: str = "") -> Path:
    """An executable ``name`` in ``folder``, for this user alone."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"from tests.fakes.tunnel import main\nmain({str(folder)!r}, {name!r}, {mode!r})\n"
    )
    path.chmod(0o700)
    return path


def noted(folder: Path, name: str) -> dict[str, Any]:
    """What the program noted of its latest start: ``args``, ``env``, ``pid``, ``cwd``, and ``child`` where it has one."""
    return json.loads((folder / f"{name}.json").read_text())


def alive(pid: int) -> bool:
    """Whether a process runs (one that is only to be reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def main(folder: str, name: str, mode: str) -> None:
    note: dict[str, Any] = {"args": sys.argv[1:], "env": dict(os.environ), "pid": os.getpid(), "cwd": os.getcwd()}
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        note["child"] = subprocess.Popen(
            [sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"]
        ).pid
    Path(folder, f"{name}.json").write_text(json.dumps(note))
    if mode == "crash":
        print("failed to sufficiently increase receive buffer size", file=sys.stderr)
        print(f"error: {os.environ.get('TUNNEL_TOKEN')} is bad", file=sys.stderr, flush=True)
        sys.exit(3)
    if mode == "silent":
        time.sleep(600)
    if mode == "login":
        _login(name)
    if mode == "rubbish":
        sys.stdout.buffer.write(b"\xff\xfe\n" + b"see https://www.example.com and https://api.trycloudflare.com/tunnel\n")
        sys.stdout.flush()
        sys.exit(0)
    if mode == "chatty":
        sys.stderr.write("x" * 9_000_000 + "\n")
    _open(name)
    if mode == "dies":
        time.sleep(0.1)
        sys.exit(1)
    while mode == "chatty":
        sys.stdout.write("noise " * 2000 + "\n")
        sys.stdout.flush()
        Path(folder, "noise").write_text(str(time.time()))
    time.sleep(600)


def _login(name: str) -> None:
    if name == "ngrok":
        print(
            '{"err":"authentication failed: Usage of ngrok requires a verified account. ERR_NGROK_4018","lvl":"eror","msg":"failed"}',
            flush=True,
        )
    else:
        print("Logged out.", file=sys.stderr, flush=True)
    time.sleep(0.05)
    sys.exit(1)


def _open(name: str) -> None:
    if name == "cloudflared":
        token = os.environ.get("TUNNEL_TOKEN")
        lines = [
            "INF Requesting new quick Tunnel on trycloudflare.com...",
            'ERR failed once: Post "https://api.trycloudflare.com/tunnel": timeout, trying again',
            f"INF |  {URLS[name]}                                |",
        ]
        for line in ["INF Starting tunnel", f"INF token {token}", "INF Registered tunnel connection connIndex=0"] if token else lines:
            print(f"2026-11-27T07:00:00Z {line}", file=sys.stderr, flush=True)
    elif name == "ngrok":
        wanted = sys.argv[sys.argv.index("--url") + 1] if "--url" in sys.argv else URLS[name]
        print('{"lvl":"info","msg":"open config file","path":"/x/ngrok.yml","err":null}')
        print('{"addr":"127.0.0.1:4040","lvl":"info","msg":"starting web service","obj":"web"}')
        print(
            json.dumps(
                {"addr": sys.argv[2], "lvl": "info", "msg": "started tunnel", "name": "command_line", "url": wanted}, separators=(",", ":")
            ),
            flush=True,
        )
    else:
        print(f"Available on the internet:\n\n{URLS[name]}/\n|-- proxy http://127.0.0.1:20128\n\nPress Ctrl+C to exit.", flush=True)
