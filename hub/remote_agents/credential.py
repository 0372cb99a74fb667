"""An owner's credential for an agent, sent as the agent's card wants it: its security schemes, in the forms of A2A 1.0 and 0.3."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
#: Headers that are not a card's to choose: what frames a request, and what the hub says itself.
_OURS = frozenset(
    ("accept", "a2a-version", "connection", "content-length", "content-type", "expect", "host", "te", "transfer-encoding", "upgrade")
)


@dataclass(frozen=True, slots=True)
class _Scheme:
    """How a credential is sent: in which header, after which word."""

    name: str
    header: str
    before: str


def headers(card: Mapping[str, Any], wanted: str, secret: str) -> dict[str, str]:
    """The header that carries a credential: by the scheme that is named, else the card's first that fits; Bearer where it states none.

    Raises BadRequest for a scheme that the card does not have or that no secret alone can satisfy.
    """
    schemes = list(_schemes(card))
    chosen = next((one for one in schemes if wanted in ("", one.name)), None)
    if chosen is None:
        if wanted or _stated(card):
            names = ", ".join(one.name for one in schemes) or "none"
            raise BadRequest(f"the agent's card has no security scheme {wanted!r} that takes a secret; it has: {names}", field="scheme")
        chosen = _Scheme("", "authorization", "Bearer ")
    if chosen.before == "Basic " and ":" in secret:
        secret = base64.b64encode(secret.encode()).decode()
    return {chosen.header: chosen.before + secret}


def _stated(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: Any = card.get("securitySchemes")
    stated = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    return {name: cast("dict[str, Any]", one) for name, one in stated.items() if isinstance(one, dict)}


def _schemes(card: Mapping[str, Any]) -> Iterator[_Scheme]:
    """The schemes that a secret alone satisfies, in the card's order."""
    for name, stated in _stated(card).items():
        kind, facts = _kind(stated)
        sent = _sent(kind, facts)
        if sent is not None:
            yield _Scheme(name, *sent)


def _sent(kind: str, facts: dict[str, Any]) -> tuple[str, str] | None:
    """The header of a scheme and the word before the secret; None where a secret alone is not enough."""
    if kind in ("oauth2", "openidconnect"):
        return "authorization", "Bearer "
    if kind == "http":
        word = str(facts.get("scheme") or "bearer").lower()
        return ("authorization", f"{word.capitalize()} ") if word in ("bearer", "basic") else None
    return _key_header(facts) if kind == "apikey" else None


def _key_header(facts: dict[str, Any]) -> tuple[str, str] | None:
    """The header of an API key; None where it goes elsewhere, or into a header that is not the card's to choose."""
    place, header = facts.get("location", facts.get("in", "header")), str(facts.get("name", "")).lower()
    fitting = place == "header" and _HEADER.fullmatch(header) is not None and header not in _OURS
    return (header, "") if fitting else None


def _kind(stated: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The kind of a scheme in lower case, and its facts: 1.0 names the kind by a field, 0.3 by ``type``."""
    for name, facts in stated.items():
        kind = {
            "httpAuthSecurityScheme": "http",
            "apiKeySecurityScheme": "apikey",
            "oauth2SecurityScheme": "oauth2",
            "openIdConnectSecurityScheme": "openidconnect",
        }.get(name)
        if kind is not None:
            return kind, cast("dict[str, Any]", facts) if isinstance(facts, dict) else {}
    return str(stated.get("type", "")).lower(), stated
