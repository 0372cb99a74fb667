"""Embeddings for the doors of dialects that have a form of their own for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transports._chat_door import plain_header

if TYPE_CHECKING:
    from hub.chat import Usage
    from transports._http import Exchange


@dataclass(frozen=True, slots=True)
class Made:
    """One vector for each text, what they used, and the headers of the answer."""

    vectors: list[list[float]]
    usage: Usage
    headers: list[tuple[bytes, bytes]]


async def vectors_of(exchange: Exchange, fields: dict[str, Any], dialect: str) -> Made:
    """The vectors that the ``embeddings`` skill makes for its input, whose other fields are of this dialect. Raises HubError."""
    exchange.cancel_when_gone()
    found = await exchange.hub.call(exchange.hub.find("embeddings"), {**fields, "dialect": dialect}, exchange.ctx)
    delivered = found.delivered
    row = delivered.row
    headers = [(b"x-omniroute-provider", row.provider.encode()), (b"x-omniroute-model", plain_header(row.model))]
    if delivered.cost is not None:
        headers.append((b"x-omniroute-response-cost", f"{delivered.cost:.10f}".encode()))
    if delivered.dropped:
        headers.append((b"x-hubroute-dropped", plain_header(", ".join(delivered.dropped))))
    return Made(delivered.value.values(), delivered.usage, headers)
