"""Does a connection work? One request that spends nothing, the provider's own list of models, and a small chat where one is asked for.

What the provider itself says goes into the verdict, bounded and without the credential, with what was reached and what to do about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.chat import ChatRequest, Message, Role, Text
from hub.errors import HubError
from hub.log import masked
from hub.outbound.base import Fault, OutboundError, Timeouts
from hub.providers.base import FailureKind, LocalAdapter
from hub.providers.catalog import CHAT
from hub.secret import mask

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.outbound.base import Incoming, Outgoing
    from hub.providers.base import Adapter, Target
    from hub.providers.catalog import ProviderRow
    from hub.records import Connection

#: Statuses of a models address that say nothing about the credential.
_NOT_OFFERED = frozenset({404, 405, 501})
_WITHIN = Timeouts(connect=10, first_byte=20, idle=20)
_ERROR = 600
#: Enough for every server's least, and hardly anything.
_TOKENS = 16

_CHECK_URL = "check baseUrl (of most servers it ends in /v1), the type, chatPath and modelsPath"
#: What to do about a failure: by kind, by what went wrong on the way, or by the code of our own error.
_REMEDIES: dict[str, str] = {
    FailureKind.AUTH: "check the API key: the provider does not take it",
    FailureKind.PERMISSION: "the key is known, but lacks a right: check its permissions, project and region at the provider",
    FailureKind.CREDIT: "the account has no money left: top it up at the provider",
    FailureKind.RATE: "the provider limits requests: try again later",
    FailureKind.QUOTA: "the account's quota is used up: try again when it is renewed",
    FailureKind.MODEL: "check the model's name, and baseUrl and chatPath where there should be one",
    FailureKind.CALLER: _CHECK_URL,
    FailureKind.CAPACITY: "the provider is overloaded: try again later",
    FailureKind.SERVER: "the fault is the provider's: try again later",
    Fault.ADDRESS_REFUSED: "set allowPrivate if this is a server in your own network; other reserved addresses are never reached",
    Fault.NAME_UNKNOWN: "check the host's name in baseUrl",
    Fault.CONNECT_FAILED: "check host and port in baseUrl, and that the server runs",
    Fault.CONNECT_TIMEOUT: "check host and port in baseUrl, and that no firewall stands between",
    Fault.TLS_FAILED: "check that the server speaks https with a certificate for this name; a plain one needs http://",
    Fault.FIRST_BYTE_TIMEOUT: "the server takes the request and does not answer: check its log",
    Fault.PROXY_FAILED: "check the connection's proxy",
    "malformed_answer": _CHECK_URL,
}


class Verdict(msgspec.Struct, kw_only=True):
    """What a probe found. ``models`` is None where the provider lists none.

    ``method`` says how it was found: ``models`` or ``chat``, ``none`` where nothing could be asked; ``reached`` is the address without its
    query. ``kind`` is ``ok`` or what went wrong, ``source`` whether the ``upstream``, the ``network`` or the hub (``local``) says so.
    """

    valid: bool
    error: str | None = None
    warning: str | None = None
    status: int | None = None
    latency_ms: int = 0
    models: list[str] | None = None
    method: str = "models"
    reached: str = ""
    kind: str = "ok"
    source: str = "upstream"
    code: str = ""
    remedy: str | None = None


async def probe(hub: Hub, connection: Connection, *, row: ProviderRow | None = None, model: str = "") -> Verdict:
    """Ask the provider for its models with this connection's credential, and ``model`` for a word where it is given.

    ``row`` is a provider that is not in the catalogue. Never raises for what the provider does.
    """
    began = hub.clock.monotonic()
    row = row or hub.catalog.get(connection.provider)
    verdict = await _guarded(hub, row, connection, "")
    if model and (verdict.valid or verdict.status in _NOT_OFFERED):
        listed = verdict.models
        verdict = await _guarded(hub, row, connection, model)
        verdict.models = listed
    verdict.latency_ms = round((hub.clock.monotonic() - began) * 1000)
    return verdict


async def _guarded(hub: Hub, row: ProviderRow, connection: Connection, model: str) -> Verdict:
    sent: list[Outgoing] = []
    try:
        verdict = await (_talk(hub, row, connection, model, sent) if model else _list(hub, row, connection, sent))
    except HubError as error:
        verdict = _failed(error)
        verdict.method = "chat" if model else "models"
    verdict.reached = _where(sent[-1]) if sent else ""
    return verdict


def _failed(error: HubError) -> Verdict:
    """What it means that a request could not be sent or its answer not be read; a login that is over is as good as a 401."""
    fault = error.fault if isinstance(error, OutboundError) else None
    network = fault is not None and fault not in (Fault.ADDRESS_REFUSED, Fault.LOGIN_ENDED)
    source = "network" if network else "upstream" if error.code == "malformed_answer" else "local"
    verdict = _refused(error.message, error.code or "config", source)
    verdict.status = 401 if fault is Fault.LOGIN_ENDED else None
    return verdict


async def _list(hub: Hub, row: ProviderRow, connection: Connection, sent: list[Outgoing]) -> Verdict:
    adapter = hub.adapters.get(row.format)
    if adapter is None:
        return _refused(f"{row.name} speaks {row.format!r}, which this version cannot test", "config", "local")
    if isinstance(adapter, LocalAdapter):
        return Verdict(valid=True, models=[model.id for model in row.models], source="local")
    target = hub.targets.draft(row, connection)
    outgoing = adapter.models_request(target)
    if outgoing is None:
        words = "this provider offers no request that costs nothing, so the key was not proven"
        return Verdict(valid=True, warning=words, method="none", source="local")
    incoming, body = await _send(hub, outgoing, target, sent)
    if incoming.status < 300:
        models = adapter.parse_models(body)
        words = None if models else "the provider answers, but its list of models is empty or none at all, so the key was not proven"
        return Verdict(valid=True, status=incoming.status, models=models, warning=words, remedy=None if models else _CHECK_URL)
    if incoming.status in _NOT_OFFERED:
        words = "the provider answers, but lists no models, so the key was not proven"
        return Verdict(valid=True, status=incoming.status, warning=words)
    return _answered(adapter, row, incoming, body)


async def _talk(hub: Hub, row: ProviderRow, connection: Connection, model: str, sent: list[Outgoing]) -> Verdict:
    adapter = hub.adapters.get(row.speaks(CHAT, model))
    if adapter is None or isinstance(adapter, LocalAdapter):
        return _refused(f"{row.name} offers no chats that could be tried", "config", "local")
    target = hub.targets.draft(row, connection, model)
    request = ChatRequest(model=model, messages=[Message(Role.USER, [Text("Hi")])], max_tokens=_TOKENS)
    incoming, body = await _send(hub, adapter.prepare(request, target).outgoing, target, sent)
    if incoming.status < 300:
        adapter.parse(body, target)
        return Verdict(valid=True, status=incoming.status, method="chat")
    verdict = _answered(adapter, row, incoming, body)
    verdict.method = "chat"
    return verdict


async def _send(hub: Hub, outgoing: Outgoing, target: Target, sent: list[Outgoing]) -> tuple[Incoming, bytes]:
    outgoing.timeouts = _WITHIN
    sent.append(outgoing)
    incoming = await hub.outbound.send(outgoing)
    return incoming, mask(await incoming.read(), target.secret)


def _answered(adapter: Adapter, row: ProviderRow, incoming: Incoming, body: bytes) -> Verdict:
    """A refusal in the provider's own words."""
    failure = adapter.classify(incoming.status, incoming.headers, body)
    verdict = _refused(f"{row.name} answered {incoming.status}: {failure.message}", failure.kind.value, "upstream")
    verdict.status, verdict.code = incoming.status, failure.code
    return verdict


def _refused(words: str, kind: str, source: str) -> Verdict:
    return Verdict(valid=False, error=masked(words)[:_ERROR], kind=kind, source=source, remedy=_REMEDIES.get(kind))


def _where(outgoing: Outgoing) -> str:
    """The address of a request without its query, which may hold a key."""
    origin = outgoing.origin
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{origin.scheme}://{host}:{origin.port}{outgoing.target.partition('?')[0]}"


async def list_models(hub: Hub, connection: Connection) -> tuple[list[str], str]:
    """The models of a connection and where the list is from: ``provider``, ``connection`` or ``catalogue``."""
    if connection.models:
        return list(connection.models), "connection"
    verdict = await probe(hub, connection)
    if verdict.models:
        return verdict.models, "provider"
    return [model.id for model in hub.catalog.get(connection.provider).models], "catalogue"
