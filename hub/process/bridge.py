"""``hubroute mcp`` beside a running hub: standard input and output joined to the hub's control socket.

Blocking threads and no event loop: a client waits for this to start, and it only carries bytes.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

from hub.errors import Unavailable
from hub.process.control import address, hello, line, welcomed

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 65536


def connect(data_dir: Path) -> socket.socket | None:
    """The control socket of the hub that owns a folder, None when none listens."""
    path = address(data_dir)
    if path is None:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        return None
    return sock


def bridge(sock: socket.socket, *, key: str | None) -> None:
    """Speak MCP through the hub until standard input ends or its reader is gone.

    Raises Unauthenticated for a bad key, Unavailable when the hub goes away first.
    """
    with sock, sock.makefile("rb") as incoming:
        sock.sendall(hello(key))
        welcomed(incoming.readline())
        sock.sendall(line({"op": "mcp"}))
        ended = threading.Event()
        threading.Thread(target=_send, args=(sock, ended), name="stdin", daemon=True).start()
        try:
            while data := incoming.read1(_PIECE):
                _write(data)
        except BrokenPipeError:
            return
        except ConnectionError:
            data = b""
        if not ended.is_set():
            raise Unavailable("the hub stopped, and this MCP session with it; start the session again")


def _send(sock: socket.socket, ended: threading.Event) -> None:
    """Carry standard input to the hub; runs in a thread of its own, because either side may be waiting for the other."""
    try:
        while data := os.read(0, _PIECE):
            sock.sendall(data)
        ended.set()
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        return  # the hub is gone; the reading side says so


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]
