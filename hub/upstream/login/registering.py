"""Clients of this hub at authorization servers of MCP servers: registered here and now, or by hand before.

Imported at the first login, as :mod:`hub.upstream.login.discovery` is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.client.auth import OAuthFlowError
from mcp.client.auth.oauth2 import check_registration_usable
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl, ValidationError

from hub.grants.model import Client, Method
from hub.grants.tokens import Secrets

if TYPE_CHECKING:
    from hub.fetch import Answer
    from hub.grants.way import Way
    from hub.upstream.login.discovery import Found

_METHODS: tuple[Method, Method] = ("client_secret_basic", "client_secret_post")


async def register(way: Way, found: Found, redirect_uri: str, *, web: bool) -> tuple[Secrets, int | None]:
    """A client of our own at an authorization server (RFC 7591), and when its secret ends (epoch seconds, None never)."""
    asked = OAuthClientMetadata(
        redirect_uris=[AnyUrl(redirect_uri)],
        token_endpoint_auth_method=_method(found.methods, secret=False),
        client_name="HubRoute",
        application_type="web" if web else "native",
        scope=" ".join(found.scopes) or None,
    )
    answer = await way.post(
        found.registration_endpoint, "the client registration", body=asked.model_dump(mode="json", by_alias=True, exclude_none=True)
    )
    if answer.status not in (200, 201):
        raise way.refused(answer, "the client registration")
    given = _registered(way, answer, redirect_uri)
    method = given.token_endpoint_auth_method or ("client_secret_basic" if given.client_secret else "none")
    client = Client.model_validate({"id": given.client_id, "method": method})  # the SDK has checked that it is one of ours
    return Secrets(client, given.client_secret or ""), given.client_secret_expires_at or None


def _registered(way: Way, answer: Answer, redirect_uri: str) -> OAuthClientInformationFull:
    """What an authorization server made of a registration. Raises LoginFailed where that is of no use (RFC 7591, 3.2.1)."""
    try:
        given = OAuthClientInformationFull.model_validate_json(answer.body)
        check_registration_usable(given)
    except (ValidationError, OAuthFlowError):
        way.fail("the authorization server registered a client that cannot be used")
    if given.redirect_uris and redirect_uri not in [str(one) for one in given.redirect_uris]:
        way.fail("the authorization server registered another redirect address than the one that was asked for")
    return given


def configured(found: Found, client_id: str, *, secret: bool) -> Client:
    """A client that was registered by hand, with the method that its server takes."""
    return Client(id=client_id, method=_method(found.methods, secret=True) if secret else "none")


def _method(offered: tuple[str, ...], *, secret: bool) -> Method:
    """How to authenticate at the token endpoint: where there is no secret yet, without one if the server takes that."""
    first: Method = "client_secret_basic" if secret else "none"
    for method in _METHODS if secret else ("none", *_METHODS):
        if offered.count(method):
            return method
    return first
