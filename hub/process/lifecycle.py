"""How the process that serves a hub is asked to stop or to start anew, and how a listening socket outlives it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from hub.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

#: The first file that a process is handed over by whoever starts it (sd_listen_fds).
LISTEN_FD = 3


class Lifecycle:
    """What a hub knows of its process. Empty-handed unless ``hubroute serve`` runs it."""

    def __init__(self) -> None:
        self._begin: Callable[[bool], object] | None = None
        self._ending = False

    def attach(self, begin: Callable[[bool], object]) -> None:
        """Whoever serves says how to stop; called with True to start anew. It returns at once."""
        self._begin = begin

    @property
    def able(self) -> bool:
        """Whether the process can be asked."""
        return self._begin is not None

    def end(self, *, again: bool) -> None:
        """Stop once running answers have ended, and with ``again`` start anew.

        Raises Conflict where the process is not ours to stop, Unavailable while it stops already.
        """
        if self._begin is None:
            words = "this process was not started by `hubroute serve`: it ends with the client or command that started it"
            raise Conflict(f"{words}; restart that", code="not_served")
        if self._ending:
            raise Unavailable("the hub stops already", retry_after=5)
        self._ending = True
        self._begin(again)


def handed_over() -> socket.socket | None:
    """The listening socket that this process was started with, by itself at a restart or by a service manager; used once."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) < 1:
        return None
    os.set_inheritable(LISTEN_FD, False)
    try:
        sock = socket.socket(fileno=LISTEN_FD)
    except OSError as error:
        raise Conflict(f"file {LISTEN_FD} was handed over as a socket and is none ({error.strerror})") from None
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise Conflict(f"file {LISTEN_FD} was handed over and is no TCP socket")
    return sock
