"""Embeddings for the hub's own use, from the model that an owner names: routed, priced and recorded like those that clients ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import Usage
from hub.errors import BudgetExceeded, BudgetSpent, HubError, NotConfigured, UpstreamFailed
from hub.log import logger
from hub.media.jobs import EmbedJob
from hub.media.order import Order
from hub.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.context import Context
    from hub.media.engine import MediaEngine

log = logger("hub.embeddings")
SERVICE = "embeddings"
#: How long none is asked for after one failed, in seconds.
_PAUSE = 30.0


class Embeddings:
    """Makes vectors. One per process; holds no state of a request."""

    def __init__(self, engine: MediaEngine) -> None:
        self._engine = engine

    def lexical(self, model: str) -> bool:
        """Whether a model's vectors compare spelling only.

        Raises HubError where it cannot be used: no such model, no connection, a provider without embeddings.
        """
        found = self._engine.format_of(model, SERVICE)
        if found is None:
            raise NotConfigured(
                f"no provider is connected that could make embeddings with {model!r}; add one first", field="embeddingModel"
            )
        return getattr(found, "by_spelling", False)

    async def embed(self, model: str, texts: Sequence[str], ctx: Context, *, seconds: float) -> list[list[float]]:
        """The vectors of these texts, in their order. Raises HubError; a usage row is left either way."""
        self.lexical(model)
        order = Order(SERVICE, model, EmbedJob(list(texts)), "embeddings", usage=estimate(texts), seconds=seconds, admitted=True)
        vectors = (await self._engine.run(order, ctx)).value.values()
        if not all(vectors):
            raise UpstreamFailed("the provider gave an empty embedding", code="malformed_answer")
        return vectors


class Patient:
    """Vectors for what must not wait for them: none where one cannot be had in time, nor for a while after that failed.

    ``without`` says in the log what is not done then.
    """

    def __init__(self, embeddings: Embeddings, clock: Clock, without: str) -> None:
        self._embeddings = embeddings
        self._clock = clock
        self._without = without
        self._not_before = 0.0
        self.failures = 0

    async def vector(self, model: str, text: str, ctx: Context, *, seconds: float) -> list[float] | None:
        """The vector of a text, None where there is none now."""
        if self._clock.monotonic() < self._not_before:
            return None
        try:
            return (await self._embeddings.embed(model, [text], ctx, seconds=seconds))[0]
        except (BudgetSpent, BudgetExceeded):
            return None  # this caller's money is no reason to stop for others
        except HubError as error:
            self.failures += 1
            self._not_before = self._clock.monotonic() + _PAUSE
            log.warning(f"no embedding: {self._without} for a while", reason=error.message, seconds=_PAUSE)
            return None


def estimate(inputs: Sequence[str] | Sequence[Sequence[int]]) -> Usage:
    """What inputs use at least as a rule: tokens as they are, texts by their length."""
    return Usage(input=sum(estimate_tokens(one) if isinstance(one, str) else len(one) for one in inputs), estimated=True)
