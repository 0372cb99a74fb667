"""Login by the owner's own identity provider (OpenID Connect): code flow with PKCE, state and nonce, for named people only.

What a login under way knows is sealed into a cookie of the browser that began it, so that any process can end it, and no other browser
can (SEC-51, SEC-55).
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.errors import BadRequest, Forbidden, HubError, NotFound, UpstreamFailed
from hub.fetch import exchange
from hub.log import logger
from hub.oauth.discovery import QUICK, discover
from hub.oauth.issuer import Issuer
from hub.oauth.keycache import KeyCache
from hub.oauth.refused import TokenRefused
from hub.outbound.address import parse_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.clock import Clock
    from hub.oauth.discovery import ServerMetadata
    from hub.outbound.client import Outbound
    from hub.settings import Settings
    from hub.store.store import Store

log = logger("hub.login.oidc")
START, CALLBACK = "/api/auth/oidc/start", "/api/auth/oidc/callback"
MINUTES = 10
_PLACE = "login/oidc"
_LARGEST = 64 * 1024
#: How long what the provider says of itself is believed.
_FRESH_SECONDS = 600
_STALE = "this login is too old or was begun in another browser; begin anew"


class Attempt(msgspec.Struct, frozen=True):
    """A login under way. ``then`` is where its browser goes afterwards."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str
    then: str
    until: int


def provider(settings: Settings) -> Issuer:
    """The identity provider of the settings."""
    return Issuer(issuer=settings.oidc_issuer, allow_private=settings.oidc_allow_private)


class Oidc:
    """:meth:`start` sends a browser to the provider, :meth:`finish` looks at what it brings back. HubErrors are in words for a person."""

    def __init__(self, settings: Settings, outbound: Outbound, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._outbound = outbound
        self._store = store
        self._clock = clock
        self._keys: KeyCache | None = None
        self._known: tuple[float, ServerMetadata] | None = None
        if self.configured:
            self._keys = KeyCache(provider(settings), outbound, clock)

    @property
    def configured(self) -> bool:
        """Whether the settings name a provider."""
        return bool(self._settings.oidc_issuer)

    async def start(self, base: str, then: str) -> tuple[str, str]:
        """Where the browser logs in, and what it must bring back in its cookie. ``base`` is how it reaches this hub."""
        metadata = await self._metadata()
        endpoint = self._checked(metadata.authorization_endpoint, "authorization_endpoint")
        attempt = Attempt(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            redirect_uri=base + CALLBACK,
            then=then,
            until=self._clock.now_ms() + MINUTES * 60_000,
        )
        protocol = await _protocol()
        url = protocol.address(
            endpoint,
            client_id=self._settings.oidc_client_id,
            redirect_uri=attempt.redirect_uri,
            scope=self._settings.oidc_scopes,
            state=attempt.state,
            nonce=attempt.nonce,
            verifier=attempt.verifier,
        )
        return url, self._store.seal(msgspec.json.encode(attempt).decode(), _PLACE)

    async def finish(self, answer: Mapping[str, str], sealed: str) -> tuple[str, str]:
        """Who logged in, and where the browser goes now. Raises Forbidden for somebody who is not allowed, BadRequest, UpstreamFailed."""
        if not self.configured:
            raise NotFound("no identity provider is set up here")
        attempt = self._attempt(sealed)
        if not hmac.compare_digest(answer.get("state", "").encode("utf-8", "replace"), attempt.state.encode()):
            raise BadRequest(_STALE, code="oidc_state")
        metadata = await self._metadata()
        self._check_issuer(answer.get("iss"), metadata)
        if answer.get("error") or not answer.get("code"):
            # Who is refused there must not be told apart here by words of the address, which anybody can write.
            raise Forbidden("the identity provider did not log you in", code="oidc_refused")
        return self._allowed(await self._claims(answer["code"], attempt, metadata)), attempt.then

    async def close(self) -> None:
        """End a fetch under way."""
        if self._keys is not None:
            await self._keys.close()

    def _attempt(self, sealed: str) -> Attempt:
        try:
            attempt = msgspec.json.decode(self._store.unseal(sealed, _PLACE).reveal(), type=Attempt)
        except (HubError, msgspec.DecodeError):
            raise BadRequest(_STALE, code="oidc_state") from None
        if attempt.until <= self._clock.now_ms():
            raise BadRequest(_STALE, code="oidc_state")
        return attempt

    def _check_issuer(self, given: str | None, metadata: ServerMetadata) -> None:
        """RFC 9207: an answer that says whose it is must say this one's; one that should say so must."""
        if given != metadata.issuer and (given is not None or metadata.authorization_response_iss_parameter_supported):
            raise BadRequest("the answer comes from another identity provider than the one that was asked", code="oidc_issuer")

    async def _metadata(self) -> ServerMetadata:
        """What the provider says of itself. Raises NotFound where none is set up, UpstreamFailed."""
        if self._keys is None:
            raise NotFound("no identity provider is set up here; see HUBROUTE_OIDC_ISSUER")
        now, issuer = self._clock.monotonic(), self._settings.oidc_issuer
        if self._known is None or now >= self._known[0]:
            self._known = now + _FRESH_SECONDS, await discover(self._outbound, issuer, private=self._keys.private(issuer))
        return self._known[1]

    def _checked(self, url: str, name: str) -> str:
        """An endpoint that codes and secrets may go to."""
        keys = self._keys
        if not url or keys is None:
            raise UpstreamFailed(f"the identity provider's metadata has no {name}")
        if parse_url(url, field=name)[0].scheme != "https" and not keys.private(url):
            raise UpstreamFailed(f"the identity provider's {name} is not https")
        return url

    async def _claims(self, code: str, attempt: Attempt, metadata: ServerMetadata) -> Mapping[str, Any]:
        settings, keys = self._settings, self._keys
        endpoint = self._checked(metadata.token_endpoint, "token_endpoint")
        if keys is None:
            raise NotFound("no identity provider is set up here")
        protocol = await _protocol()
        form, headers = protocol.token_request(
            code,
            client_id=settings.oidc_client_id,
            secret=settings.oidc_client_secret,
            methods=metadata.token_endpoint_auth_methods_supported,
            redirect_uri=attempt.redirect_uri,
            verifier=attempt.verifier,
        )
        answer = await exchange(
            self._outbound,
            "POST",
            endpoint,
            form=form,
            headers=headers,
            most=_LARGEST,
            private=keys.private(endpoint),
            timeouts=QUICK,
        )
        given = _tokens(answer.status, answer.body)
        try:
            head = protocol.peek(given["id_token"])
            known = await keys.current()
            key = known.find(head.algorithm, head.kid) or (await keys.other(known)).find(head.algorithm, head.kid)
            if key is None:
                raise TokenRefused("its key is none of the provider's")
            return protocol.claims_of(
                given["id_token"],
                head,
                key,
                issuer=metadata.issuer,
                client_id=settings.oidc_client_id,
                nonce=attempt.nonce,
                access_token=given.get("access_token", ""),
                now=self._clock.now_ms() // 1000,
            )
        except TokenRefused as error:
            log.warning("an ID token is refused", reason=str(error))
            raise UpstreamFailed("the identity provider's answer does not hold; the log says why", code="oidc_token") from None

    def _allowed(self, claims: Mapping[str, Any]) -> str:
        """Who it is, if the settings name them: by subject, or by an e-mail address that the provider has verified."""
        named = [one.strip() for one in self._settings.oidc_allowed.split(",") if one.strip()]
        email = claims.get("email")
        if claims["sub"] in named:
            return str(claims["sub"])
        if (
            isinstance(email, str)
            and claims.get("email_verified") is True
            and email.lower() in [one.lower() for one in named if "@" in one]
        ):
            return email
        log.warning("a login by the identity provider is refused: the person is not in oidc_allowed", subject=str(claims["sub"])[:200])
        raise Forbidden(
            "you are logged in there, but may not use this hub; its owner names people in HUBROUTE_OIDC_ALLOWED", code="oidc_person"
        )


def _tokens(status: int, body: bytes) -> dict[str, str]:
    """What the token endpoint gave. Its own words may hold secrets and go nowhere."""
    try:
        given: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        given = None
    if status != 200 or not isinstance(given, dict):
        raise UpstreamFailed(f"the identity provider's token endpoint answers {status}; begin anew", code="oidc_token")
    found: dict[str, str] = {name: text for name, text in given.items() if isinstance(text, str)}  # pyright: ignore[reportUnknownVariableType] - JSON edge
    if not found.get("id_token"):
        raise UpstreamFailed("the identity provider gave no ID token; is the scope openid asked for?", code="oidc_token")
    return found


async def _protocol() -> Any:
    return await asyncio.to_thread(importlib.import_module, "hub.login.protocol")
