"""Does a connection work? One cheap request that spends nothing: the provider's own list of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import HubError
from hub.outbound.base import Fault, OutboundError, Timeouts
from hub.providers.base import LocalAdapter
from hub.secret import mask

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.records import Connection

#: Statuses of a models address that say nothing about the credential.
_NOT_OFFERED = frozenset({404, 405, 501})


class Verdict(msgspec.Struct, kw_only=True):
    """What a probe found. ``models`` is None where the provider lists none."""

    valid: bool
    error: str | None = None
    warning: str | None = None
    status: int | None = None
    latency_ms: int = 0
    models: list[str] | None = None


async def probe(hub: Hub, connection: Connection) -> Verdict:
    """Ask the provider for its models with this connection's credential. Never raises for what the provider does."""
    began = hub.clock.monotonic()
    try:
        verdict = await _ask(hub, connection)
    except HubError as error:
        over = isinstance(error, OutboundError) and error.fault is Fault.LOGIN_ENDED
        verdict = Verdict(valid=False, error=error.message, status=401 if over else None)
    verdict.latency_ms = round((hub.clock.monotonic() - began) * 1000)
    return verdict


async def _ask(hub: Hub, connection: Connection) -> Verdict:
    row = hub.catalog.get(connection.provider)
    adapter = hub.adapters.get(row.format)
    if adapter is None:
        return Verdict(valid=False, error=f"{row.name} speaks {row.format!r}, which this version cannot test")
    if isinstance(adapter, LocalAdapter):
        return Verdict(valid=True, models=[model.id for model in row.models])
    target = hub.targets.get(connection, "")
    outgoing = adapter.models_request(target)
    if outgoing is None:
        return Verdict(valid=True, warning="this provider offers no request that costs nothing, so the key was not proven")
    outgoing.timeouts = Timeouts(connect=10, first_byte=20, idle=20)
    incoming = await hub.outbound.send(outgoing)
    body = mask(await incoming.read(), target.secret)
    if incoming.status < 300:
        return Verdict(valid=True, status=incoming.status, models=adapter.parse_models(body))
    if incoming.status in _NOT_OFFERED:
        return Verdict(valid=True, status=incoming.status, warning="the provider answers, but lists no models, so the key was not proven")
    failure = adapter.classify(incoming.status, incoming.headers, body)
    return Verdict(valid=False, status=incoming.status, error=f"{row.name} answered {incoming.status}: {failure.message}")


async def list_models(hub: Hub, connection: Connection) -> tuple[list[str], str]:
    """The models of a connection and where the list is from: ``provider``, ``connection`` or ``catalogue``."""
    if connection.models:
        return list(connection.models), "connection"
    verdict = await probe(hub, connection)
    if verdict.models:
        return verdict.models, "provider"
    return [model.id for model in hub.catalog.get(connection.provider).models], "catalogue"
