"""What the skills of the media services share: how their inputs are read, whom they reach, and what is said of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from hub.planning.pinned import pinned
from hub.wire import header

if TYPE_CHECKING:
    from hub.context import Context
    from hub.media.order import Delivered


class MediaAsk(BaseModel):
    """An input in the words of a public dialect: snake_case, and other fields are kept for the provider."""

    model_config = ConfigDict(extra="allow")

    provider: str = Field(default="", max_length=100, description="Provider id or alias; only its connections are used.")

    def others(self) -> dict[str, Any]:
        """The fields that the hub does not know."""
        return dict(self.model_extra or {})


def addressed(ctx: Context, provider: str, model: str) -> str:
    """The model string for a model at the provider that an address or a field names. Raises NotFound for an unknown one, BadRequest
    for a model of another."""
    return pinned(ctx.hub, provider, model) if provider else model


def told(delivered: Delivered[Any]) -> dict[str, str]:
    """The headers of an answer: where it is from, what it used and what it cost."""
    row, usage = delivered.row, delivered.usage
    headers = {
        "x-omniroute-provider": row.provider,
        "x-omniroute-model": header(row.model),
        "x-omniroute-latency-ms": str(row.latency_ms),
        "x-omniroute-tokens-in": str(usage.prompt),
        "x-omniroute-tokens-out": str(usage.output),
    }
    if delivered.cost is not None:
        headers["x-omniroute-response-cost"] = f"{delivered.cost:.10f}"
    if delivered.dropped:
        headers["x-hubroute-dropped"] = header(", ".join(delivered.dropped))[:1000]
    return headers
