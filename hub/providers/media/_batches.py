"""Inputs in as many requests as a provider takes them in, and what comes of them as one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.chat import Usage
from hub.errors import BadRequest
from hub.media.vectors import Vectors, require
from hub.money.units import NO_UNITS
from hub.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hub.media.order import Line
    from hub.providers.base import Target

    #: Sends some of the inputs; their vectors in order, and the tokens that the provider counted, 0 where it counts none.
    Send = Callable[[Sequence[Any]], Awaitable[tuple[list[list[float]], float]]]


def most(target: Target, service: str, count: int) -> int:
    """How many of so many inputs go into one request of a service."""
    return min(count, target.provider.batch.get(service, count))


async def batched(inputs: Sequence[Any], size: int, line: Line, send: Send) -> tuple[Vectors, Usage | None]:
    """The vectors of all inputs, ``size`` of them a request, one after the other, and the tokens of all together.

    What a request before the last used is charged for, whatever becomes of the rest (D22). Raises UpstreamFailed for a request
    that gives more or fewer vectors than it had inputs; what ``send`` raises.
    """
    floats: list[list[float]] = []
    tokens = told = 0.0
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        found, used = await send(part)
        require(len(found), len(part))
        floats += found
        told += used
        tokens += used or sum(estimate_tokens(one) if isinstance(one, str) else len(one) for one in part)
        if start + size < len(inputs):
            line.taken(Usage(input=round(tokens), estimated=not told), NO_UNITS)
    return Vectors(floats), Usage(input=round(told)) if told > 0 else None


def require_fits(count: int, target: Target, service: str, field: str) -> None:
    """Raise BadRequest for more inputs than one request of a service may have, where they cannot be cut apart."""
    allowed = most(target, service, count)
    if count > allowed:
        words = f"{field}: {target.provider.name} takes at most {allowed} at once, not {count}; send fewer"
        raise BadRequest(words, field=field)
