"""Metadata of an OAuth authorization server: where it is published, and how it is read and checked.

RFC 8414 and OpenID Connect Discovery 1.0. Knows nothing of what the metadata is used for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import UpstreamFailed
from hub.fetch import exchange
from hub.outbound.base import Timeouts

if TYPE_CHECKING:
    from hub.outbound.client import Outbound

#: Metadata is small and its server is near at hand or broken.
QUICK = Timeouts(connect=5, first_byte=5, idle=5)
_LARGEST = 64 * 1024


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an authorization server says of itself. ``found_at`` is where it said so, ``openid`` whether in OpenID's form."""

    issuer: str
    jwks_uri: str = ""
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    registration_endpoint: str = ""
    scopes_supported: list[str] = []
    code_challenge_methods_supported: list[str] = []
    token_endpoint_auth_methods_supported: list[str] = []
    authorization_response_iss_parameter_supported: bool = False
    found_at: str = ""
    openid: bool = False


def places(issuer: str) -> list[tuple[str, bool]]:
    """The addresses at which an issuer's metadata may be, in the order to try; whether each is in OpenID's form.

    For ``https://host/path``: RFC 8414 puts the well-known part before the path (3.1), OpenID after it (4.1).
    """
    scheme, _, rest = issuer.partition("://")
    host, _, path = rest.partition("/")
    base, path = f"{scheme}://{host}", f"/{path.rstrip('/')}" if path.rstrip("/") else ""
    found = [(f"{base}/.well-known/oauth-authorization-server{path}", False), (f"{base}/.well-known/openid-configuration{path}", True)]
    return [*found, (f"{base}{path}/.well-known/openid-configuration", True)] if path else found


async def discover(outbound: Outbound, issuer: str, *, private: bool = False) -> ServerMetadata:
    """The metadata of an issuer. ``private`` allows private addresses.

    Raises UpstreamFailed in words for the operator, with what was wrong at the place that came closest, and OutboundError.
    """
    faults: list[UpstreamFailed] = []
    for url, openid in places(issuer):
        answer = await exchange(outbound, "GET", url, most=_LARGEST, private=private, timeouts=QUICK)
        if answer.status != 200:
            faults.append(UpstreamFailed(f"{url} answers {answer.status}{_redirected(answer.status)}", upstream_status=answer.status))
            continue
        try:
            return _read(answer.body, issuer, url, openid=openid)
        except UpstreamFailed as error:
            faults.insert(0, error)
    raise faults[0] if faults else UpstreamFailed(f"{issuer} publishes no metadata")


def _read(body: bytes, issuer: str, url: str, *, openid: bool) -> ServerMetadata:
    try:
        found = msgspec.json.decode(body, type=ServerMetadata)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UpstreamFailed(f"{url} is not the metadata of an authorization server: {error}") from None
    if found.issuer != issuer:
        # A server that speaks for another one could hand out its own keys in that one's name (RFC 8414, 3.3).
        raise UpstreamFailed(
            f"{url} is the metadata of {found.issuer[:200]!r}, not of {issuer!r}; write the issuer exactly as it names itself"
        )
    return msgspec.structs.replace(found, found_at=url, openid=openid)


def _redirected(status: int) -> str:
    return ", and redirects are not followed" if 300 <= status < 400 else ""
