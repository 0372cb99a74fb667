"""An authorization server whose access tokens the hub takes, as the operator describes it in the settings."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from hub.access import scopes
from hub.errors import BadRequest
from hub.outbound.address import LOOPBACK, parse_url

_Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_Grants = Annotated[tuple[_Text, ...], Field(max_length=100)]

#: What a client may ask an authorization server for (RFC 6749, 3.3); it also goes into a header.
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
#: Scopes that a token's own words never give: a mapping must name them.
_BY_MAPPING = frozenset({"manage", "process"})


class Issuer(BaseModel):
    """One authorization server. Its principals are callers of their own, told apart by issuer and subject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(
        max_length=500, description="The issuer as its tokens name it, character for character; https, or http on loopback."
    )
    audience: Annotated[tuple[_Text, ...], Field(max_length=20)] = Field(
        default=(), description="Further names of this hub in `aud`, besides its own addresses."
    )
    scopes: Annotated[dict[_Text, _Grants], Field(max_length=200)] = Field(
        default={}, description="What a scope (or role) of the token gives here. Empty: scopes that are named like ours count as ours."
    )
    grants: _Grants = Field(default=(), description="What every valid token gives.")
    ask: Annotated[tuple[_Text, ...], Field(max_length=100)] = Field(
        default=(), description="Scopes that clients are told to ask for at first; empty: what the door needs."
    )
    scope_claim: str = Field(
        default="", max_length=200, description="Claim with the scopes or roles, dots lead inwards; empty: scope, scp."
    )
    principal_claim: _Text = Field(default="sub", description="Claim that names who calls; it must never be given to somebody else.")
    jwks_url: str = Field(default="", max_length=500, description="Where the keys are; empty: where the issuer's metadata says.")
    allow_private: bool = Field(default=False, description="The issuer itself is on a private network.")
    per_minute: int = Field(default=0, ge=0, description="Calls that spend money a minute, for each principal; 0: no limit.")
    per_day: int = Field(default=0, ge=0, description="The same a day.")
    daily_usd: float | None = Field(default=None, gt=0, description="Budget in dollars a day that a principal gets when it first comes.")
    allowed_models: Annotated[tuple[_Text, ...], Field(max_length=200)] = Field(default=(), description="Models; empty: all.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        _address("issuer", self.issuer)
        if "?" in self.issuer:
            raise ValueError("issuer has no query (RFC 8414, 2)")
        if self.jwks_url:
            _address("jwks_url", self.jwks_url)
        wrong = scopes.unknown([*self.grants, *(grant for grants in self.scopes.values() for grant in grants)])
        if wrong:
            raise ValueError(f"unknown grants: {', '.join(map(repr, wrong))}; write scopes, bundles or prefixes as for keys")
        if bad := [name for name in self.ask if not _SCOPE_TOKEN.fullmatch(name)]:
            raise ValueError(f"ask: {bad[0]!r} cannot be asked for; a scope has no blanks and no quotes")
        return self

    def granted(self, names: frozenset[str]) -> frozenset[str]:
        """Our scopes for the scopes of a token. Wildcards and bundles count in the settings only, never in a token."""
        if self.scopes:
            found = [grant for name in names for grant in self.scopes.get(name, ())]
        else:
            found = [name for name in names if name in scopes.ALL and name not in _BY_MAPPING]
        return scopes.expand([*self.grants, *found])

    @property
    def offered(self) -> list[str]:
        """The scopes that clients may ask this issuer for, which mean something here."""
        if self.scope_claim:
            return list(self.ask)
        names = self.scopes or sorted(scopes.ALL - _BY_MAPPING)
        return [name for name in names if _SCOPE_TOKEN.fullmatch(name)]

    def asking(self, missing: frozenset[str]) -> list[str]:
        """The scopes to ask this issuer for so that its tokens give ours that are missing: for each the narrowest, if any gives it."""
        found: list[str] = []
        for scope in sorted(missing - scopes.expand(self.grants)):
            giving = [(len(given), name) for name in self.offered if scope in (given := self.granted(frozenset({name})))]
            if giving:
                found.append(min(giving)[1])
        return list(dict.fromkeys(found))

    def __str__(self) -> str:
        return self.issuer


def _address(field: str, url: str) -> None:
    """Raise ValueError for what is no address, or one that anybody on the way could answer for."""
    try:
        origin, _ = parse_url(url, field=field)
    except BadRequest as error:
        raise ValueError(error.message) from None
    if origin.scheme != "https" and origin.host not in LOOPBACK:
        raise ValueError(f"{field} must be https; http is for loopback only")
