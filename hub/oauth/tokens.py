"""One JWT access token: what its head says before anything is believed, and its claims once the signature holds (RFC 9068, RFC 8725)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jwt

from hub.oauth.keyset import ALGORITHMS
from hub.oauth.refused import TokenRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds by which clocks may differ.
LEEWAY = 30
_TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt"})
#: Headers that name keys or forms of their own. A token does not choose what it is checked with.
_HEADERS = frozenset({"crit", "b64", "cty", "zip", "enc"})
#: Claims of ID tokens and of security events; and the one of tokens that only who holds a key may use, which is not checked here.
_OTHER_TOKENS = frozenset({"at_hash", "c_hash", "events", "cnf"})
_OTHER_KINDS = frozenset({"ID", "Refresh", "Offline", "Logout"})
_LONGEST_KID = 256


class Head(NamedTuple):
    """What a token says of itself, not yet believed."""

    algorithm: str
    kid: str | None
    issuer: str


def peek(token: str) -> Head:
    """The head of a token. Raises TokenRefused for one that no key can make valid."""
    try:
        found = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError) as error:
        raise TokenRefused(f"malformed: {type(error).__name__}") from None
    header, issuer = found["header"], found["payload"].get("iss")
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("its algorithm is not taken")
    if _HEADERS & header.keys() or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise TokenRefused("its head is not that of an access token")
    if kid is not None and len(kid) > _LONGEST_KID:
        raise TokenRefused("its kid is too long")
    if not isinstance(issuer, str):
        raise TokenRefused("it names no issuer")
    return Head(algorithm, kid, issuer)


def claims_of(token: str, head: Head, key: jwt.PyJWK, *, now: float) -> dict[str, Any]:
    """The claims of a token that ``key`` signed and that is valid at ``now`` (seconds since 1970). Who it is for is not looked at.

    Raises TokenRefused.
    """
    try:
        # The times are ours to check: the hub's clock is the one that counts.
        options: Any = {
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
            "verify_aud": False,
            "require": ["exp", "iss", "aud"],
        }
        claims = jwt.decode(token, key, algorithms=[head.algorithm], issuer=head.issuer, options=options)
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
        raise TokenRefused("its signature does not hold") from None
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenRefused(f"malformed: {type(error).__name__}") from None
    if _OTHER_TOKENS & claims.keys() or claims.get("typ") in _OTHER_KINDS:
        raise TokenRefused("it is not a bearer access token", trusted=True)
    _in_time(claims, now)
    return claims


def _in_time(claims: Mapping[str, Any], now: float) -> None:
    if now >= moment(claims, "exp", 0) + LEEWAY:
        raise TokenRefused("it has expired", trusted=True)
    if max(moment(claims, "nbf", 0), moment(claims, "iat", 0)) > now + LEEWAY:
        raise TokenRefused("it is not valid yet", trusted=True)


def moment(claims: Mapping[str, Any], name: str, otherwise: float) -> float:
    """A time among the claims, in seconds since 1970. Raises TokenRefused for what is none."""
    value = claims.get(name, otherwise)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**53:
        raise TokenRefused(f"its {name} is no time", trusted=True)
    return value
