"""What a serving process tells the service manager that started it (sd_notify): that it is ready, and that it stops."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

READY = "READY=1"
STOPPING = "STOPPING=1"


def announce(state: str) -> None:
    """Tell the service manager; nothing where there is none. It never fails: a manager that hears nothing has a timeout of its own."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # A name that begins with @ is in the abstract namespace, where it begins with a zero byte.
        sock.sendto(state.encode(), address.replace("@", "\0", 1) if address[0] == "@" else address)
