"""Requests to an authorization server: ask for a code, turn codes and refresh tokens into tokens, revoke.

Imported at the first login: the SDK that reads the answers is slow to load.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from mcp.client.auth import OAuthFlowError
from mcp.client.auth.oauth2 import PKCEParameters
from mcp.client.auth.utils import validate_authorization_response_iss
from mcp.shared.auth import OAuthMetadata, OAuthToken
from pydantic import BaseModel, Field, ValidationError

from hub.errors import HubError
from hub.grants.model import scopes_of
from hub.grants.way import LoginFailed, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.grants.model import Client
    from hub.grants.way import Way

#: What may stand in a request header as it is, and no longer than servers take.
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_LONGEST_SECONDS = 10 * 365 * 86_400
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


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


class Device(BaseModel):
    """What a device endpoint gave: ``user_code`` is typed at ``verification_uri`` while the hub asks every ``interval`` seconds."""

    device_code: str = Field(min_length=1, max_length=8192)
    user_code: str = Field(min_length=1, max_length=200)
    verification_uri: str = Field(max_length=2000)
    verification_uri_complete: str = Field(default="", max_length=4000)
    expires_in: int = Field(ge=1, le=86_400)
    interval: float = Field(default=5.0, ge=0, le=300)


def pkce() -> tuple[str, str]:
    """A new code verifier and its S256 challenge."""
    made = PKCEParameters.generate()
    return made.code_verifier, made.code_challenge


def address(endpoint: str, asked: Mapping[str, str], scopes: Iterable[str] = ()) -> str:
    """Where the browser asks for a code: the endpoint with these fields and scopes."""
    fields, scope = dict(asked), " ".join(scopes)
    if scope:
        fields["scope"] = scope
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(fields)}"


def code_fields(client_id: str, redirect_uri: str, state: str, challenge: str) -> dict[str, str]:
    """What every request for a code holds (RFC 6749, 4.1.1; RFC 7636)."""
    return {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }


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


async def redeem(way: Way, endpoint: str, known: Secrets, *, code: str, verifier: str, redirect_uri: str, resource: str = "") -> Tokens:
    """Tokens for a code. Raises LoginFailed."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        **_of(resource),
    }
    return await _tokens(way, endpoint, known, form, (code, verifier))


async def renew(way: Way, endpoint: str, known: Secrets, *, refresh: str, resource: str = "") -> Tokens:
    """New tokens for a refresh token. Raises LoginFailed."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh, **_of(resource)}
    return await _tokens(way, endpoint, known, form, (refresh,))


async def collect(way: Way, endpoint: str, known: Secrets, *, device_code: str) -> Tokens:
    """Tokens for a device code (RFC 8628, 3.4). Raises LoginFailed, with the reason authorization_pending while the user has not agreed."""
    form = {"grant_type": DEVICE_GRANT, "device_code": device_code}
    return await _tokens(way, endpoint, known, form, (device_code,))


async def trade(way: Way, endpoint: str, *, code: str, verifier: str) -> Tokens:
    """A key that lasts, for a code: what some servers give in place of tokens. Raises LoginFailed."""
    body = {"code": code, "code_verifier": verifier, "code_challenge_method": "S256"}
    answer = await way.post(endpoint, "the key endpoint", body=body)
    if answer.status not in (200, 201):
        raise way.refused(answer, "the key endpoint", (code, verifier))
    key = read(answer).get("key")
    if not isinstance(key, str):
        way.fail("the key endpoint gave no key")
    return Tokens(sendable(way, key), "", None, ())


async def device(way: Way, endpoint: str, known: Secrets, scopes: Iterable[str]) -> Device:
    """Begin a login by device code (RFC 8628, 3.1). Raises LoginFailed."""
    scope = " ".join(scopes)
    form, headers = authenticated(known, {"client_id": known.client.id, **({"scope": scope} if scope else {})})
    answer = await way.post(endpoint, "the device endpoint", form=form, headers=headers)
    if answer.status not in (200, 201) or way.says_error(answer):
        raise way.refused(answer, "the device endpoint", (known.secret,))
    try:
        given = Device.model_validate_json(answer.body)
    except ValidationError:
        way.fail("the device endpoint gave no codes in the form of RFC 8628")
    for url in filter(None, (given.verification_uri, given.verification_uri_complete)):
        way.check(url, "the address to enter the code at")
    if not given.user_code.isprintable():
        way.fail("the device endpoint gave a code that nobody could type")
    return given


async def revoke(way: Way, endpoint: str, known: Secrets, tokens: Iterable[tuple[str, str]]) -> bool:
    """Take tokens back (RFC 7009), given as kind and token; whether the server agreed to all of them."""
    agreed = True
    for kind, token in tokens:
        form, headers = authenticated(known, {"token": token, "token_type_hint": kind})
        try:
            answer = await way.post(endpoint, "the revocation endpoint", form=form, headers=headers)
        except HubError:
            agreed = False
        else:
            agreed = agreed and answer.status == 200
    return agreed


async def _tokens(way: Way, endpoint: str, known: Secrets, form: dict[str, str], sent: tuple[str, ...]) -> Tokens:
    form, headers = authenticated(known, form)
    answer = await way.post(endpoint, "the token endpoint", form=form, headers=headers)
    if answer.status not in (200, 201) or way.says_error(answer):
        raise way.refused(answer, "the token endpoint", (*sent, known.secret))
    try:
        given = OAuthToken.model_validate_json(answer.body)
    except ValidationError:
        way.fail("the token endpoint gave no bearer token in the form of RFC 6749")
    for token in (given.access_token, given.refresh_token):
        if token is not None:
            sendable(way, token)
    seconds = given.expires_in
    if seconds is not None:
        seconds = min(max(seconds, 0), _LONGEST_SECONDS)
    return Tokens(given.access_token, given.refresh_token or "", seconds, scopes_of(given.scope))


def authenticated(known: Secrets, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """A form and headers that say which client asks (RFC 6749, 2.3.1)."""
    client = known.client
    if client.method == "client_secret_basic":
        pair = f"{quote(client.id, safe='')}:{quote(known.secret, safe='')}"
        return form, {"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    secret = {"client_secret": known.secret} if client.method == "client_secret_post" else {}
    return {**form, "client_id": client.id, **secret}, {}


def sendable(way: Way, token: str) -> str:
    """A token that may stand in a header. Raises LoginFailed for another."""
    return token if _TOKEN.fullmatch(token) else way.fail("the token endpoint gave a token that cannot be sent in a header")


def _of(resource: str) -> dict[str, str]:
    """What the tokens are for, where the server is to know (RFC 8707)."""
    return {"resource": resource} if resource else {}
