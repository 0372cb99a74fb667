"""A webhook as it is stored."""

from __future__ import annotations

from pydantic import Field

from hub.wire import Body


class Webhook(Body):
    """An address that hears of events. Secrets are sealed; the one before also signs until ``previous_until`` (epoch ms).

    ``disabled_at`` and ``disabled_reason`` are set when the hub switched it off by itself.
    """

    url: str = Field(description="Where events are POSTed.")
    events: tuple[str, ...] = Field(description="Names of events, or patterns with *.")
    secret: str = Field(description="What signs, sealed.")
    previous: str = Field(default="", description="What signed before, sealed; empty for none.")
    previous_until: int = Field(default=0, description="Until when that signs, too.")
    enabled: bool = Field(default=True, description="Whether events are sent.")
    description: str = Field(default="", description="A note.")
    disabled_at: int | None = Field(default=None, description="When the hub switched it off.")
    disabled_reason: str = Field(default="", description="Why.")
