"""Liveness and readiness: ``/health`` says that the process answers, ``/ready`` that it can do its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.version import VERSION
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub

DOOR = Door("health", route_class=b"PUBLIC")


def routes(hub: Hub) -> list[Route]:
    """The door's routes; public, and without anything an anonymous caller should not know."""
    return [
        Route("/health", alive, DOOR, public=True),
        Route("/ready", ready, DOOR, public=True),
    ]


async def alive(exchange: Exchange) -> None:
    """200 as long as the process answers at all."""
    await exchange.answer_json({"status": "ok", "version": VERSION})


async def ready(exchange: Exchange) -> None:
    """200 when the store answers and the write-behind queue has room, else 503 with the part at fault."""
    report = await exchange.hub.store.health()
    faults = [] if report.get("ok") else ["store"]
    if exchange.hub.leaving:
        faults.append("shutting down")
    await exchange.answer_json({"status": "ready" if not faults else "not ready", "faults": faults}, status=503 if faults else 200)
