"""What is stored of a remote A2A agent: how to reach it, its card as it states it now, and the card that its owner allowed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, field_validator

from hub.upstream.model import Standing
from hub.wire import Body


class Signed(StrEnum):
    """What is known of the signatures of a card (A2A 1.0, section 8.4)."""

    UNSIGNED = "unsigned"
    UNVERIFIED = "unverified"  # there are signatures, and no trusted key to check them with
    VERIFIED = "verified"  # one was made with a trusted key
    INVALID = "invalid"  # trusted keys are set, and no signature fits any of them


class Agent(Body):
    """A remote agent. Its name, with ``agent-`` before it, is the namespace of its skills.

    ``credential`` and ``headers`` hold sealed values. ``seen`` is the whole card as it was stated last, ``approved`` as it was
    when it was allowed, ``digest`` the seal of the latter.
    """

    url: str = Field(max_length=2000, description="Address that the owner gave: of the card, or of the agent.")
    card_url: str = Field(default="", max_length=2100, description="Where the card was found.")
    headers: dict[str, str] = Field(default_factory=dict[str, str], description="Sealed request headers.")
    credential: str = Field(default="", description="Sealed credential, sent as the card's security scheme has it.")
    scheme: str = Field(default="", max_length=200, description="Which security scheme of the card the credential is for.")
    trusted_keys: tuple[dict[str, Any], ...] = Field(default=(), max_length=16, description="Public keys that sign the card, as JWK.")
    enabled: bool = Field(default=True, description="False hides its skills.")
    allow_private: bool = Field(default=False, description="Whether it may be on a private or loopback address.")
    timeout_seconds: float = Field(default=600.0, gt=0, le=86_400, description="How long one call may take.")
    cost_per_call: float | None = Field(default=None, ge=0, le=1000, description="US dollars that one call costs.")
    standing: Standing = Field(default=Standing.PENDING, description="Where the card stands.")
    seen: dict[str, Any] = Field(default_factory=dict[str, Any], description="The card as the agent states it now.")
    approved: dict[str, Any] | None = Field(default=None, description="The card as it was allowed.")
    digest: str = Field(default="", description="SHA-256 of the allowed card in canonical JSON.")
    findings: tuple[str, ...] = Field(default=(), description="What the scan of the card found.")
    reason: str = Field(default="", description="Why the card is refused.")
    signed: Signed = Field(default=Signed.UNSIGNED, description="What is known of its signatures.")
    etag: str = Field(default="", max_length=500, description="The card's entity tag.")
    changed_at: int | None = Field(default=None, description="When the card was last found changed, in epoch milliseconds.")

    @field_validator("url")
    @classmethod
    def _http_only(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value

    @property
    def offered(self) -> bool:
        """Whether the skills of the allowed card are offered."""
        return self.enabled and self.standing is Standing.APPROVED and self.approved is not None
