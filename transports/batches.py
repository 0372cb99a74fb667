"""The door of batches: requests that come from a file are answered as if they had come to the address that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transports._inside import Inside

if TYPE_CHECKING:
    from hub.call import Hub
    from transports._http import Route


def routes(hub: Hub) -> list[Route]:
    """No address of its own: the hub is told that there are doors."""
    hub.batches.serve(Inside(hub, "batch"))
    return []
