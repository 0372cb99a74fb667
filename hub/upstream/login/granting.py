"""Requests to an authorization server: register a client, ask for a code, turn codes and refresh tokens into tokens, revoke.

Imported at the first login, as :mod:`hub.upstream.login.discovery` is.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from mcp.client.auth import OAuthFlowError
from mcp.client.auth.oauth2 import PKCEParameters, check_registration_usable
from mcp.client.auth.utils import validate_authorization_response_iss
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthMetadata, OAuthToken
from pydantic import AnyUrl, ValidationError

from hub.errors import HubError
from hub.upstream.login.discovery import scopes_of
from hub.upstream.login.model import Client, Method
from hub.upstream.login.way import LoginFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.fetch import Answer
    from hub.upstream.login.discovery import Found
    from hub.upstream.login.way import Way

#: What may stand in a request header as it is, and no longer than servers take.
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_METHODS: tuple[Method, Method] = ("client_secret_basic", "client_secret_post")
_LONGEST_SECONDS = 10 * 365 * 86_400


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a token endpoint gave. ``seconds`` is how long ``access`` lasts, None where it does not say."""

    access: str
    refresh: str
    seconds: int | None
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Secrets:
    """A client with its secret in the open, for the length of one request."""

    client: Client
    secret: str


def pkce() -> tuple[str, str]:
    """A new code verifier and its S256 challenge."""
    made = PKCEParameters.generate()
    return made.code_verifier, made.code_challenge


def address(found: Found, client_id: str, redirect_uri: str, state: str, challenge: str, scopes: Iterable[str]) -> str:
    """Where the browser asks for a code."""
    asked = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "resource": found.resource,
    }
    scope = " ".join(scopes)
    if scope:
        asked["scope"] = scope
    if "offline_access" in scope.split():
        asked["prompt"] = "consent"  # OpenID Connect grants it in no other way
    joint = "&" if "?" in found.authorization_endpoint else "?"
    return f"{found.authorization_endpoint}{joint}{urlencode(asked)}"


def check_issuer(given: str | None, issuer: str, *, expected: bool) -> None:
    """Raise LoginFailed when an answer does not come from the issuer that was asked (RFC 9207, mix-up)."""
    metadata = OAuthMetadata.model_validate(
        {
            "issuer": issuer,
            "authorization_endpoint": issuer,
            "token_endpoint": issuer,
            "authorization_response_iss_parameter_supported": expected,
        }
    )
    try:
        validate_authorization_response_iss(given, metadata)
    except OAuthFlowError:
        raise LoginFailed("the answer comes from another authorization server than the one that was asked", reason="iss") from None


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


async def redeem(way: Way, endpoint: str, known: Secrets, *, code: str, verifier: str, redirect_uri: str, resource: str) -> Tokens:
    """Tokens for a code. Raises LoginFailed."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "resource": resource,
    }
    return await _tokens(way, endpoint, known, form, (code, verifier))


async def renew(way: Way, endpoint: str, known: Secrets, *, refresh: str, resource: str) -> Tokens:
    """New tokens for a refresh token. Raises LoginFailed."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "resource": resource}
    return await _tokens(way, endpoint, known, form, (refresh,))


async def revoke(way: Way, endpoint: str, known: Secrets, tokens: Iterable[tuple[str, str]]) -> bool:
    """Take tokens back (RFC 7009), given as kind and token; whether the server agreed to all of them."""
    agreed = True
    for kind, token in tokens:
        form, headers = _authenticated(known, {"token": token, "token_type_hint": kind})
        try:
            answer = await way.post(endpoint, "the revocation endpoint", form=form, headers=headers)
        except HubError:
            agreed = False
        else:
            agreed = agreed and answer.status == 200
    return agreed


async def _tokens(way: Way, endpoint: str, known: Secrets, form: dict[str, str], sent: tuple[str, ...]) -> Tokens:
    form, headers = _authenticated(known, form)
    answer = await way.post(endpoint, "the token endpoint", form=form, headers=headers)
    if answer.status not in (200, 201):
        raise way.refused(answer, "the token endpoint", (*sent, known.secret))
    try:
        given = OAuthToken.model_validate_json(answer.body)
    except ValidationError:
        way.fail("the token endpoint gave no bearer token in the form of RFC 6749")
    for token in (given.access_token, given.refresh_token):
        if token is not None and not _TOKEN.fullmatch(token):
            way.fail("the token endpoint gave a token that cannot be sent in a header")
    seconds = given.expires_in
    if seconds is not None:
        seconds = min(max(seconds, 0), _LONGEST_SECONDS)
    return Tokens(given.access_token, given.refresh_token or "", seconds, scopes_of(given.scope))


def _authenticated(known: Secrets, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """A form and headers that say which client asks (RFC 6749, 2.3.1)."""
    client = known.client
    if client.method == "client_secret_basic":
        pair = f"{quote(client.id, safe='')}:{quote(known.secret, safe='')}"
        return form, {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    secret = {"client_secret": known.secret} if client.method == "client_secret_post" else {}
    return {**form, "client_id": client.id, **secret}, {}


def _method(offered: tuple[str, ...], *, secret: bool) -> Method:
    """How to authenticate at the token endpoint: where there is no secret yet, without one if the server takes that."""
    first: Method = "client_secret_basic" if secret else "none"
    for method in _METHODS if secret else ("none", *_METHODS):
        if offered.count(method):
            return method
    return first
