"""The real command line as a child process, with a data folder and an environment of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.settings import Settings
from tests.fakes.database import furnish

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-P", str(ROOT / "hub" / "launcher.py")]
LIMIT = 60


def environment(data_dir: Path, **more: str) -> dict[str, str]:
    """This process's environment without the settings of the machine, plus the folder's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUBROUTE_")}
    return {**kept, "HUBROUTE_DATA_DIR": str(data_dir), **more}


def hubroute(data_dir: Path, *args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end, from a folder that is not the checkout."""
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [*COMMAND, *args],
        input=stdin,
        env=environment(data_dir, **env),
        cwd=data_dir.parent,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def answer(data_dir: Path, *args: str, **env: str) -> Any:
    """The JSON that a command prints; it must succeed."""
    done = hubroute(data_dir, *args, "--json", **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(slots=True)
class Served:
    """A hub in a child process. ``words`` is what it said before it served."""

    process: subprocess.Popen[str]
    url: str
    words: str

    def stop(self) -> int:
        """Ask it to stop and wait for its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)


@contextmanager
def serving(data_dir: Path, *args: str, first: bool = False, command: Sequence[str] = COMMAND, **env: str) -> Iterator[Served]:
    """``hubroute serve`` on a free port until the block ends. With ``first`` nothing is there; else the database is, without rows.

    ``command`` is another installation's.
    """
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    if not first and not env.get("HUBROUTE_DATABASE_URL"):
        furnish(Settings(data_dir=data_dir))
    log = data_dir.parent / f"{data_dir.name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, "serve", "--port", "0", *args],
            env=environment(data_dir, **env),
            cwd=data_dir.parent,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout is not None
    watch = threading.Timer(LIMIT, process.kill)
    watch.start()
    try:
        # The greeting is one write that fits a pipe, so one read has all of it.
        words = os.read(process.stdout.fileno(), 65536).decode()
        if not words:
            raise AssertionError(f"the hub did not start: {log.read_text()}")
        # Only the start is watched: a hub that several tests share may be needed for longer on a busy machine.
        watch.cancel()
        yield Served(process, json.loads((data_dir / "hub.json").read_text())["url"], words)
    finally:
        watch.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
