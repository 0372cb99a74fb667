"""A tunnel must not outlive its hub: what a hub that was killed left running is ended when the next one starts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

_STEP, _STEPS = 0.1, 50


def note(path: Path, pid: int) -> None:
    """Write down that a child runs. Where the system does not say when a process began, nothing is written."""
    began = _began(pid)
    if began is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps({"pid": pid, "began": began}))


def forget(path: Path) -> None:
    """It has ended."""
    path.unlink(missing_ok=True)


async def end(paths: Iterable[Path]) -> list[str]:
    """End the children that were written down and still run, and nothing else; their names."""
    ended: list[str] = []
    for path in paths:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            told = orjson.loads(path.read_bytes())
            if await _ended(int(told["pid"]), str(told["began"])):
                ended.append(path.stem)
        forget(path)
    return ended


async def _ended(pid: int, began: str) -> bool:
    # A number is given to other processes later: only one that began at the same moment is the child.
    if _began(pid) != began:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
        for _ in range(_STEPS):
            if _began(pid) != began:
                return True
            await asyncio.sleep(_STEP)
        os.killpg(pid, signal.SIGKILL)
    return True


def _began(pid: int) -> str | None:
    """When a process began, in the kernel's own units; None where there is none that runs, or the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
