"""From the claims of a valid access token to the caller that it stands for here."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

from hub.errors import BadRequest
from hub.records import NO_LIMITS, PRINCIPAL, Caller, KeyLimits
from hub.store.inputs import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.oauth.issuer import Issuer

_LONGEST_SUBJECT = 255
_MOST_NAMES = 1000


def caller_of(issuer: Issuer, claims: Mapping[str, Any], *, ends_ms: int) -> Caller:
    """The caller of a token; the same subject of the same issuer is always the same one, of another issuer never.

    Raises BadRequest when the claim that names it is missing or no line of plain text.
    """
    name = _at(claims, issuer.principal_claim)
    if not isinstance(name, str):
        raise BadRequest(f"the claim {issuer.principal_claim} names nobody")
    subject = words(issuer.principal_claim, name, limit=_LONGEST_SUBJECT)
    return Caller(
        key_id=identity(issuer.issuer, subject),
        # The issuer first: no subject can pass for the name of a key where policies match names by their beginning.
        name=f"{issuer.issuer}#{subject}",
        scopes=issuer.granted(_names(issuer, claims)),
        allowed_models=issuer.allowed_models,
        limits=KeyLimits(per_minute=issuer.per_minute, per_day=issuer.per_day) if issuer.per_minute or issuer.per_day else NO_LIMITS,
        issuer=issuer.issuer,
        ends_ms=ends_ms,
    )


def identity(issuer: str, subject: str) -> str:
    """The stable id of a principal, in the place of a key's."""
    return PRINCIPAL + blake2b(f"{issuer}\n{subject}".encode(), digest_size=16).hexdigest()


def audiences_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """Whom a token is for."""
    return frozenset(_texts(claims.get("aud")))


def _names(issuer: Issuer, claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes, roles or groups in the claim that the issuer keeps them in."""
    if issuer.scope_claim:
        return frozenset(_split(_at(claims, issuer.scope_claim)))
    return frozenset(_split(claims.get("scope", claims.get("scp"))))


def _split(value: Any) -> Iterable[str]:
    return value.split()[:_MOST_NAMES] if isinstance(value, str) else _texts(value)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [one for one in found[:_MOST_NAMES] if isinstance(one, str)]


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name; where there is none, what its dots lead to."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        value = cast("dict[str, Any]", value).get(part) if isinstance(value, dict) else None
    return value
