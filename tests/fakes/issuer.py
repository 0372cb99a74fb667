"""An authorization server on loopback: metadata, keys, registration, authorization codes with PKCE, tokens. Written from the RFCs.

It knows nothing of the hub. What it signs, and with which key, is a test's to choose.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.fakes.upstream import FaultUpstream, answer_bytes, json_answer

if TYPE_CHECKING:
    from tests.fakes.upstream import Behaviour, Received


@cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key for the same number: making one takes long."""
    return rsa.generate_private_key(65537, bits)


@dataclass(frozen=True)
class Signer:
    """A private key with the algorithm and the name that go with it."""

    private: Any
    algorithm: str
    kid: str | None

    def public(self, **more: Any) -> dict[str, Any]:
        """Its entry in a JWK set."""
        kind: Any = {"R": RSAAlgorithm, "P": RSAAlgorithm, "E": ECAlgorithm}[self.algorithm[0]]
        kind = OKPAlgorithm if self.algorithm == "EdDSA" else kind
        entry: dict[str, Any] = kind.to_jwk(self.private.public_key(), as_dict=True)
        entry.pop("key_ops", None)
        entry |= {"use": "sig", "alg": self.algorithm, **({"kid": self.kid} if self.kid else {}), **more}
        return {name: value for name, value in entry.items() if value is not None}

    def pem(self) -> bytes:
        """The public key as a file has it: what is tried as the secret of an HMAC."""
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, claims: dict[str, Any], **head: Any) -> str:
        """A token; head fields that are None are left out."""
        fields = {"typ": "at+jwt", "kid": self.kid, **head}
        kept = {name: value for name, value in fields.items() if value is not None}
        # Not by `jwt.encode`, which has its own opinion of claims.
        return jwt.PyJWS().encode(json.dumps(claims).encode(), self.private, algorithm=self.algorithm, headers=kept)


def signer(algorithm: str = "RS256", kid: str | None = "one", number: int = 0) -> Signer:
    """A key for an algorithm."""
    made: dict[str, Callable[[], Any]] = {
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    return Signer(made[algorithm]() if algorithm in made else rsa_key(number), algorithm, kid)


def raw_token(head: object, claims: object, signature: bytes = b"") -> str:
    """A token put together by hand."""
    return ".".join(coded(json.dumps(part).encode()) for part in (head, claims)) + "." + coded(signature)


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class _Code:
    client: str
    redirect: str
    challenge: str
    scope: str
    resource: str
    nonce: str


@dataclass
class Counted:
    """How often it was asked for each thing."""

    metadata: int = 0
    keys: int = 0
    registrations: int = 0


class Issuer(FaultUpstream):
    """See the module's docstring. ``signers`` are its keys, the last one signs; ``subject`` is who logs in, ``now`` its clock."""

    def __init__(self, *signers: Signer, path: str = "", openid: bool = False) -> None:
        super().__init__()
        self.signers = list(signers or [signer()])
        self.path = path
        self.openid = openid
        self.subject = "alice"
        self.now: Callable[[], float] = time.time
        self.counted = Counted()
        #: What is answered instead of the JWK set or of metadata, its headers, and the scopes that are never given.
        self.keys: Behaviour | None = None
        self.described: dict[str, Any] | Behaviour = {}
        self.key_headers: dict[str, str] = {}
        self.withheld: frozenset[str] = frozenset()
        self.asked: list[dict[str, str]] = []
        #: Further claims of ID tokens, or what is given in place of one; and the secret of each client that has one.
        self.person: dict[str, Any] = {}
        self.id_token: Callable[[dict[str, Any]], str] | None = None
        self.secrets: dict[str, str] = {}
        self._clients: dict[str, list[str]] = {}
        self._codes: dict[str, _Code] = {}
        self.script(self._answer)

    @property
    def issuer(self) -> str:
        return self.url + self.path

    def claims(self, audience: str | list[str], scope: str | None = "mcp:connect read:models", **more: Any) -> dict[str, Any]:
        """The claims of an access token (RFC 9068); those that are None are left out."""
        now = int(self.now())
        claims: dict[str, Any] = {
            "iss": self.issuer, "sub": self.subject, "aud": audience, "scope": scope, "client_id": "test",
            "iat": now, "exp": now + 300, "jti": secrets.token_hex(8), **more,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, audience: str | list[str], scope: str | None = "mcp:connect read:models", **more: Any) -> str:
        """An access token, signed with the newest key."""
        return self.signers[-1].sign(self.claims(audience, scope, **more))

    def key_set(self) -> bytes:
        return json.dumps({"keys": [one.public() for one in self.signers]}).encode()

    def known(self, client: str, redirect: str, secret: str = "") -> None:
        """Register a client by hand."""
        self._clients[client] = [redirect]
        self.secrets[client] = secret

    def _answer(self, request: Received) -> Behaviour:
        parts = urlsplit(request.target)
        handler = {
            self._well_known: self._metadata,
            f"{self.path}/keys": self._keys,
            f"{self.path}/register": self._register,
            f"{self.path}/authorize": self._authorize,
            f"{self.path}/token": self._token,
        }.get(parts.path)
        return handler(request) if handler else json_answer({"error": "not_found"}, status=404)

    @property
    def _well_known(self) -> str:
        return f"{self.path}/.well-known/openid-configuration" if self.openid else f"/.well-known/oauth-authorization-server{self.path}"

    def _metadata(self, _: Received) -> Behaviour:
        self.counted.metadata += 1
        if not isinstance(self.described, dict):
            return self.described
        return json_answer({
            "issuer": self.issuer,
            "jwks_uri": f"{self.issuer}/keys",
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "registration_endpoint": f"{self.issuer}/register",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.described,
        })  # fmt: skip

    def _keys(self, request: Received) -> Behaviour:
        self.counted.keys += 1
        if self.keys is not None:
            return self.keys
        body = self.key_set()
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if request.headers.get("if-none-match") == tag:
            return answer_bytes(b"", status=304, headers=[("etag", tag), *self.key_headers.items()])
        return answer_bytes(body, headers=[("content-type", "application/json"), ("etag", tag), *self.key_headers.items()])

    def _register(self, request: Received) -> Behaviour:
        self.counted.registrations += 1
        asked = request.json()
        client = f"client-{secrets.token_hex(4)}"
        self._clients[client] = asked["redirect_uris"]
        return json_answer({**asked, "client_id": client, "token_endpoint_auth_method": "none"}, status=201)

    def _authorize(self, request: Received) -> Behaviour:
        """The user consents at once. Anything but an exact redirect address and S256 is refused (OAuth 2.1, 4.1.1)."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}
        self.asked.append(asked)
        if asked["redirect_uri"] not in self._clients.get(asked["client_id"], []) or asked.get("code_challenge_method") != "S256":
            return json_answer({"error": "invalid_request"}, status=400)
        code = secrets.token_urlsafe(16)
        scope = " ".join(one for one in asked.get("scope", "").split() if one not in self.withheld)
        self._codes[code] = _Code(
            asked["client_id"], asked["redirect_uri"], asked["code_challenge"], scope, asked.get("resource", ""),
            asked.get("nonce", ""),
        )  # fmt: skip
        where = f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.issuer})}"
        return answer_bytes(b"", status=302, headers=[("location", where)])

    def _token(self, request: Received) -> Behaviour:
        asked = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        code = self._codes.pop(asked.get("code", ""), None)
        proof = coded(hashlib.sha256(asked.get("code_verifier", "").encode()).digest())
        client, secret = _client(request, asked)
        if code is None or code.challenge != proof or code.client != client or code.redirect != asked["redirect_uri"]:
            return json_answer({"error": "invalid_grant"}, status=400)
        if self.secrets.get(client, "") != secret:
            return json_answer({"error": "invalid_client"}, status=401)
        token = self.token(code.resource, code.scope, client_id=code.client)
        given = {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": code.scope}
        return json_answer({**given, "id_token": self._identity(code)} if "openid" in code.scope.split() else given)

    def _identity(self, code: _Code) -> str:
        """An ID token (OpenID Connect Core, 2)."""
        claims = self.claims(code.client, None, **{"client_id": None, "nonce": code.nonce or None, **self.person})
        return self.id_token(claims) if self.id_token else self.signers[-1].sign(claims, typ="JWT")


def _client(request: Received, asked: dict[str, str]) -> tuple[str, str]:
    """Which client asks for tokens, and its secret (RFC 6749, 2.3.1)."""
    kind, _, pair = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return asked.get("client_id", ""), asked.get("client_secret", "")
    client, _, secret = base64.b64decode(pair).decode().partition(":")
    return unquote(client), unquote(secret)


@dataclass
class Browser:
    """The user's browser for a client that logs in: follows the redirect of the authorization server and hands back what it brings."""

    seen: list[str] = field(default_factory=list[str])

    async def open(self, url: str) -> None:
        import httpx

        async with httpx.AsyncClient() as http:
            answer = await http.get(url)
        assert answer.status_code == 302, answer.text
        self.seen.append(answer.headers["location"])
