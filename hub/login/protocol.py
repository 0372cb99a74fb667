"""OpenID Connect on the wire, by Authlib: the address of the login, the token request, the checks of an ID token. Imported at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import jwt
from joserfc.errors import JoseError

from hub.oauth import tokens
from hub.oauth.refused import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

# Authlib has no type hints.
_claims: Any = importlib.import_module("authlib.oidc.core.claims")
_parameters: Any = importlib.import_module("authlib.oauth2.rfc6749.parameters")
_auth: Any = importlib.import_module("authlib.oauth2.auth")
_challenge: Any = importlib.import_module("authlib.oauth2.rfc7636.challenge")
_BASIC, _POST = "client_secret_basic", "client_secret_post"


def address(endpoint: str, *, client_id: str, redirect_uri: str, scope: str, state: str, nonce: str, verifier: str) -> str:
    """Where the browser logs in: the code flow with PKCE."""
    proof = {"code_challenge": _challenge.create_s256_code_challenge(verifier), "code_challenge_method": "S256"}
    return _parameters.prepare_grant_uri(endpoint, client_id, "code", redirect_uri, scope, state, nonce=nonce, **proof)


def token_request(
    code: str, *, client_id: str, secret: str, methods: list[str], redirect_uri: str, verifier: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Form and headers that turn a code into tokens, as the client that we are at the provider (RFC 6749, 2.3.1)."""
    body = _parameters.prepare_token_request("authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=verifier)
    method = "none" if not secret else _POST if methods and _BASIC not in methods and _POST in methods else _BASIC
    known = (quote(client_id, safe=""), quote(secret, safe="")) if method == _BASIC else (client_id, secret)
    _, headers, body = _auth.ClientAuth(*known, method).prepare("POST", "", {}, body)
    return dict(parse_qsl(body, keep_blank_values=True)), headers


def peek(token: str) -> tokens.Head:
    """What an ID token says of itself, not yet believed. Raises TokenRefused."""
    return tokens.peek(token)


def claims_of(
    token: str, head: tokens.Head, key: jwt.PyJWK, *, issuer: str, client_id: str, nonce: str, access_token: str, now: float
) -> Mapping[str, Any]:
    """The claims of an ID token that ``key`` signed, for this client and this login (OpenID Connect Core, 3.1.3.7). Raises TokenRefused."""
    unchecked: Any = {f"verify_{name}": False for name in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")}
    try:
        found = jwt.decode_complete(token, key, algorithms=[head.algorithm], options=unchecked)
        claims = _claims.CodeIDToken(
            found["payload"],
            found["header"],
            options={"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client_id}},
            params={"nonce": nonce, "client_id": client_id, "access_token": access_token},
        )
        claims.validate(now=now, leeway=tokens.LEEWAY)
    except (jwt.PyJWTError, JoseError, ValueError, TypeError) as error:
        raise TokenRefused(f"{type(error).__name__}: {error}"[:200]) from None
    if not isinstance(claims["sub"], str) or not claims["sub"]:
        raise TokenRefused("it names nobody")
    return claims
