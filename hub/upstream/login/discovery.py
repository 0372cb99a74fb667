"""Who grants tokens for an MCP server: its challenge, its resource metadata, and the authorization server's own metadata.

RFC 9728, RFC 8414 with OpenID's form, RFC 9207 and RFC 7636 as the MCP authorization specification of 2026-07-28 puts
them together. Documents are parsed by the SDK. Imported at the first login: the SDK is slow to load.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
from mcp.client.auth import utils
from mcp.shared.auth import OAuthMetadata, ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import ValidationError

from hub.fetch import exchange
from hub.grants.model import clean, scopes_of
from hub.grants.way import MOST_BYTES, LoginFailed
from hub.outbound.base import OutboundError
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.fetch import Answer
    from hub.grants.way import Way
    from hub.upstream.model import Server

_REFUSALS = frozenset({401, 403})


@dataclass(frozen=True, slots=True)
class Found:
    """An authorization server that may grant tokens for ``resource``. ``scopes`` are those that a login asks for.

    ``answers_issuer`` says that it names itself in each answer (RFC 9207); ``documents`` that a client may be named by the
    address of a document of its own.
    """

    issuer: str
    resource: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str
    revocation_endpoint: str
    answers_issuer: bool
    documents: bool
    methods: tuple[str, ...]
    scopes: tuple[str, ...]


async def discover(way: Way, server: Server) -> Found:
    """Find out who grants tokens for a server. Raises LoginFailed with the reason when nobody trustworthy does."""
    header = await _challenge(way, server)
    challenge = httpx2.Response(401, headers={"www-authenticate": header} if header else {})
    resource = await _resource(way, server, utils.extract_resource_metadata_from_www_auth(challenge))
    metadata = await _metadata(way, server, resource)
    asked = utils.extract_scope_from_www_auth(challenge)
    endpoints = {
        name: way.check(str(url), name) if (url := getattr(metadata, name)) is not None else ""
        for name in ("authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint")
    }
    if "S256" not in (metadata.code_challenge_methods_supported or ()):
        way.fail("the authorization server does not say that it supports PKCE with S256")
    return Found(
        issuer=str(metadata.issuer),
        resource=str(resource.resource) if resource else resource_url_from_server_url(server.url),
        answers_issuer=metadata.authorization_response_iss_parameter_supported is True,
        documents=metadata.client_id_metadata_document_supported is True,
        methods=tuple(metadata.token_endpoint_auth_methods_supported or ()),
        scopes=_scopes(server, asked, resource, metadata),
        **endpoints,
    )


async def _challenge(way: Way, server: Server) -> str:
    """What the server says to a request without a token; empty when it does not refuse one."""
    accept = {"accept": "application/json, text/event-stream", "mcp-protocol-version": LATEST_PROTOCOL_VERSION}
    ping: Any = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _HELLO}
    method, body = ("GET", None) if server.transport == "sse" else ("POST", ping)
    try:
        answer = await exchange(
            way.outbound,
            method,
            server.url,
            headers=accept,
            body=body,
            most=MOST_BYTES,
            private=server.allow_private,
            body_of=frozenset(),
        )
    except OutboundError as error:
        raise LoginFailed(f"the MCP server {way.server} cannot be reached: {error.message}") from error
    return answer.header("www-authenticate") if answer.status in _REFUSALS else ""


_HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "hubroute", "version": VERSION}}


async def _resource(way: Way, server: Server, named: str | None) -> ProtectedResourceMetadata | None:
    """The server's own word on who grants tokens for it; None where it publishes none (servers before 2025-06-18)."""
    for url in utils.build_protected_resource_metadata_discovery_urls(named, server.url):
        answer = await way.get(url, "resource metadata")
        if answer.status >= 500 or answer.status == 429:
            way.fail(f"its resource metadata answered {answer.status}; try again later")
        if answer.status != 200:
            continue
        try:
            found = ProtectedResourceMetadata.model_validate_json(answer.body)
        except ValidationError:
            continue
        if not check_resource_allowed(resource_url_from_server_url(server.url), str(found.resource)):
            way.fail("its resource metadata is that of another resource, so tokens for it would be somebody else's")
        return found
    return None


async def _metadata(way: Way, server: Server, resource: ProtectedResourceMetadata | None) -> OAuthMetadata:
    """The metadata of the authorization server, which must name itself as it was named to us (RFC 8414, 3.3)."""
    issuer = _issuer(way, server, resource)
    for url in utils.build_oauth_authorization_server_metadata_discovery_urls(issuer, server.url):
        answer = await way.get(url, "the authorization server's metadata")
        if answer.status >= 500 or answer.status == 429:
            way.fail(f"the authorization server's metadata answered {answer.status}; try again later")
        if answer.status == 200:
            return _named(way, _parsed(way, answer), issuer or _origin(server.url), exact=issuer is not None)
    return way.fail("no OAuth metadata was found for it; give it fixed headers if it takes a key")


def _issuer(way: Way, server: Server, resource: ProtectedResourceMetadata | None) -> str | None:
    """Which authorization server to use: the one that the owner named, else the first that the server names."""
    wanted = server.oauth.issuer if server.oauth else ""
    if resource is None:
        return wanted or None
    named = [str(one) for one in resource.authorization_servers]
    if not wanted:
        return named[0]
    for one in named:
        if utils.issuers_match(one, wanted):
            return one
    return way.fail("it does not name the authorization server that was set for it")


def _parsed(way: Way, answer: Answer) -> OAuthMetadata:
    try:
        return OAuthMetadata.model_validate_json(answer.body)
    except ValidationError:
        way.fail("the authorization server's metadata is not in the form of RFC 8414")


def _named(way: Way, metadata: OAuthMetadata, issuer: str, *, exact: bool) -> OAuthMetadata:
    given = str(metadata.issuer)
    if given != issuer and (exact or not utils.issuers_match(given, issuer)):
        way.fail("the authorization server's metadata names another issuer than the one that was asked")
    return metadata


def _origin(url: str) -> str:
    parts = httpx2.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode('ascii')}"


def _scopes(server: Server, asked: str | None, resource: ProtectedResourceMetadata | None, metadata: OAuthMetadata) -> tuple[str, ...]:
    """What to ask for, no more than is named (SEC-54): by the owner, by the challenge, or by the resource's metadata."""
    wanted: Iterable[str] = (server.oauth.scopes if server.oauth else ()) or scopes_of(asked)
    if not wanted and resource is not None:
        wanted = resource.scopes_supported or ()
    found = clean(wanted)
    if "offline_access" in (metadata.scopes_supported or ()) and found and "offline_access" not in found:
        return (*found, "offline_access")  # without it such a server gives nothing to refresh with
    return found
