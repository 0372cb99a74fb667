"""The A2A door over gRPC, an extra (``hubroute[grpc]``): off until ``grpc_address`` is set, and nothing of it is loaded before."""

from __future__ import annotations

import importlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from hub.errors import NotConfigured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.call import Hub


@asynccontextmanager
async def listening(hub: Hub, seconds_left: Callable[[], float]) -> AsyncGenerator[None]:
    """Answer over gRPC while open, where a setting says so; running calls may take ``seconds_left()`` at the end.

    Raises NotConfigured without the extra or a readable certificate, Conflict when the address cannot be had.
    """
    if not hub.settings.grpc_address:
        yield
        return
    try:
        listener = importlib.import_module("transports._a2a_grpc").Listener(hub)
    except ModuleNotFoundError as error:
        raise NotConfigured(f"grpc_address is set, and the Python package {error.name!r} is missing; install `hubroute[grpc]`") from error
    await listener.open()
    try:
        yield
    finally:
        await listener.close(seconds_left())
