"""The agent card, in the forms of A2A 1.0 and 0.3, made from the skills of the registry.

A card says what is so (capability truthfulness): streaming, push notifications and an extended card are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agents.message import INPUT_MODES, OUTPUT_MODES
from hub.access.scopes import SCOPES
from hub.tasks.agent_view import AGENT_DESCRIPTION, AGENT_NAME, introductions
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.oauth.resource import Login
    from hub.records import Caller
    from hub.registry import Skills
    from hub.skill import Skill

_BEARER = "A key of this hub; `hubroute keys create NAME` makes one."
_LOGIN = "An access token (JWT) of this authorization server, made for this hub's address (RFC 8707)."
#: Fields of the 0.3 card that its clients need and the 1.0 card has under other names.
_OLD_FIELDS = ("protocolVersion", "url", "preferredTransport", "additionalInterfaces", "security", "supportsAuthenticatedExtendedCard")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the agent is: base URL of its HTTP doors without a trailing slash, and the address of gRPC where that is on.

    ``logins`` are the authorization servers whose access tokens are taken beside keys.
    """

    base: str
    grpc: str = ""
    logins: tuple[Login, ...] = ()


def visible(skills: Skills, caller: Caller) -> list[Skill]:
    """The agent skills that a caller's key may use."""
    return [made for made in skills.by_a2a.values() if made.scopes <= caller.scopes]


def card_v1(place: Place, skills: Iterable[Skill]) -> dict[str, Any]:
    """The A2A 1.0 card (AgentCard of the specification, and nothing else). 1.0 interfaces come first."""
    base, logins = place.base, place.logins
    grpc = [{"url": place.grpc, "protocolBinding": "GRPC", "protocolVersion": "1.0"}] if place.grpc else []
    return {
        "name": AGENT_NAME,
        "description": AGENT_DESCRIPTION,
        "supportedInterfaces": [
            {"url": f"{base}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"},
            {"url": f"{base}/a2a/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"},
            *grpc,
            {"url": f"{base}/a2a", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"},
        ],
        "provider": {"organization": AGENT_NAME, "url": base},
        "version": VERSION,
        "capabilities": {"streaming": True, "pushNotifications": True, "extendedAgentCard": True},
        "securitySchemes": {
            "bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer", "description": _BEARER}},
            **{name: _login_v1(one) for name, one in _named(logins).items()},
        },
        "securityRequirements": [{"schemes": {name: {"list": []}}} for name in ("bearer", *_named(logins))],
        "defaultInputModes": list(INPUT_MODES),
        "defaultOutputModes": list(OUTPUT_MODES),
        "skills": _skills(skills),
    }


def card_v03(place: Place, skills: Iterable[Skill]) -> dict[str, Any]:
    """The A2A 0.3 card, with the fields that the seed's clients read (``authentication``)."""
    base, logins = place.base, place.logins
    return {
        "protocolVersion": "0.3.0",
        "name": AGENT_NAME,
        "description": AGENT_DESCRIPTION,
        "url": f"{base}/a2a",
        "preferredTransport": "JSONRPC",
        "additionalInterfaces": [{"url": f"{base}/a2a", "transport": "JSONRPC"}, {"url": f"{base}/a2a/rest", "transport": "HTTP+JSON"}],
        "provider": {"organization": AGENT_NAME, "url": base},
        "version": VERSION,
        "capabilities": {"streaming": True, "pushNotifications": True, "stateTransitionHistory": False},
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "description": _BEARER},
            **{name: _login_v03(one) for name, one in _named(logins).items()},
        },
        "security": [{name: []} for name in ("bearer", *_named(logins))],
        "supportsAuthenticatedExtendedCard": True,
        "defaultInputModes": list(INPUT_MODES),
        "defaultOutputModes": list(OUTPUT_MODES),
        "skills": _skills(skills),
        "authentication": {"schemes": ["bearer"], "apiKeyHeader": "Authorization"},
    }


def _named(logins: Sequence[Login]) -> dict[str, Login]:
    """The further schemes by name: any one of them will do."""
    return {f"login{number}" if number > 1 else "login": one for number, one in enumerate(logins, 1)}


def _login_v1(login: Login) -> dict[str, Any]:
    if login.openid:
        return {"openIdConnectSecurityScheme": {"openIdConnectUrl": login.metadata_url, "description": _LOGIN}}
    return {
        "oauth2SecurityScheme": {
            "flows": {"authorizationCode": _flow(login)},
            "oauth2MetadataUrl": login.metadata_url,
            "description": _LOGIN,
        }
    }


def _login_v03(login: Login) -> dict[str, Any]:
    if login.openid:
        return {"type": "openIdConnect", "openIdConnectUrl": login.metadata_url, "description": _LOGIN}
    flows = {"authorizationCode": _flow(login)}
    return {"type": "oauth2", "flows": flows, "oauth2MetadataUrl": login.metadata_url, "description": _LOGIN}


def _flow(login: Login) -> dict[str, Any]:
    scopes = {name: SCOPES.get(name, "") for name in login.scopes}
    return {"authorizationUrl": login.authorization_url, "tokenUrl": login.token_url, "pkceRequired": True, "scopes": scopes}


def card_both(place: Place, skills: Iterable[Skill]) -> dict[str, Any]:
    """The 1.0 card with what a 0.3 client must find in it, for clients that do not say which they speak.

    0.3 keeps its card at the same address and its clients send no version; those of 1.0 skip fields they do not know.
    """
    made = list(skills)
    new, old = card_v1(place, made), card_v03(place, made)
    schemes = {name: {**scheme, **old["securitySchemes"][name]} for name, scheme in new["securitySchemes"].items()}
    return {**new, **{name: old[name] for name in _OLD_FIELDS}, "securitySchemes": schemes}


def _skills(skills: Iterable[Skill]) -> list[dict[str, Any]]:
    modes = {"inputModes": list(INPUT_MODES), "outputModes": list(OUTPUT_MODES)}
    return [{**one, **modes} for one in introductions(skills)]
