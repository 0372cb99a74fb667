"""A child process in a group of its own: a fixed environment, no shell, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
from typing import TYPE_CHECKING

from hub.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Longest line that a child may write, in bytes.
LINE = 8 * 1024 * 1024
#: How long a group has between SIGTERM and SIGKILL.
GRACE = 2.0
#: The kernel ends a killed process at once; only what left the group on purpose could keep its pipes open for longer.
_REAPED = 5.0


def environment(path: str, folders: Iterable[str], more: Iterable[str] = ()) -> dict[str, str]:
    """What a child sees: its own folder first in PATH, home and user, plain output, and the variables of the hub's that ``more`` names.

    Nothing of a request gets here, and no setting of the hub (SEC-30).
    """
    user = pwd.getpwuid(os.getuid()).pw_name
    made = {
        "PATH": os.pathsep.join(dict.fromkeys([os.path.dirname(path), *folders])),
        "HOME": os.path.expanduser("~"),
        "USER": user,
        "LOGNAME": user,
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
    }
    return made | {name: os.environ[name] for name in more if name in os.environ}


async def spawn(arguments: Sequence[str], *, env: dict[str, str], cwd: str, talk: bool) -> asyncio.subprocess.Process:
    """Start a program by its absolute path as the leader of a new process group. ``talk`` gives it a stdin.

    Raises Unavailable when the system cannot start it.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE if talk else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
            limit=LINE,
        )
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else "its arguments cannot be given to a program"
        raise Unavailable(f"{os.path.basename(arguments[0])} cannot be started: {words}") from error


async def end(process: asyncio.subprocess.Process, *, patience: float = 0.0, grace: float = GRACE) -> None:
    """End a child and its whole group, and reap it. Safe to call for one that has ended; a cancelled caller still leaves no child.

    ``patience`` is for children that end when their stdin does: the seconds from its closing to SIGTERM. ``grace`` are those from
    SIGTERM to SIGKILL.
    """
    try:
        if patience and process.stdin is not None:
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await process.wait()
        if process.returncode is None and grace:
            _signal(process, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await process.wait()
    finally:
        # The group may outlive its leader, whose children hold the pipes.
        _signal(process, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_REAPED):
            await process.wait()
    # A child that wrote more than was read leaves a pipe whose end nobody would come to; asyncio has no public way to close it.
    process._transport.close()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: SLF001


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
