"""Embeddings from the model that an owner names: resolved, sent and priced like any other call, with a usage row each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hub.chat import Usage
from hub.errors import BadRequest, HubError, NotConfigured, UpstreamFailed
from hub.outbound.base import Timeouts
from hub.providers.base import EmbeddingAdapter, LocalAdapter
from hub.query import Query
from hub.records import Caller, UsageRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hub.clock import Clock
    from hub.context import Context
    from hub.outbound.client import Outbound
    from hub.plan import Planner
    from hub.prices import Prices
    from hub.providers.base import Adapter, Embedded, Target
    from hub.targets import Targets


class Embeddings:
    """Makes vectors. One per process; holds no state of a request."""

    def __init__(
        self,
        *,
        planner: Planner,
        targets: Targets,
        adapters: Mapping[str, Adapter],
        outbound: Outbound,
        prices: Prices,
        clock: Clock,
        add_usage: Callable[[UsageRow], None],
    ) -> None:
        self._planner = planner
        self._targets = targets
        self._adapters = adapters
        self._outbound = outbound
        self._prices = prices
        self._clock = clock
        self._add_usage = add_usage

    def target(self, model: str) -> tuple[EmbeddingAdapter, Target]:
        """Where a model's embeddings come from. Raises HubError: no such model, no connection, a format without embeddings."""
        plan = self._planner.plan(Query(model=model, caller=Caller.owner(), peek=True))
        if plan.resolution.rule == "demo-fallback":
            raise NotConfigured(
                f"no provider is connected that could make embeddings with {model!r}; add one first", field="embeddingModel"
            )
        option = plan.options[0]
        target = self._targets.get(option.connection, option.model)
        adapter = self._adapters[target.provider.format]
        if not isinstance(adapter, EmbeddingAdapter):
            raise BadRequest(
                f"{target.provider.name} speaks a format without embeddings here; name a model of another provider", field="embeddingModel"
            )
        return adapter, target

    def lexical(self, model: str) -> bool:
        """Whether a model's vectors compare spelling only. Raises as :meth:`target` does."""
        return self.target(model)[0].embeds_by_spelling

    async def embed(self, model: str, texts: Sequence[str], ctx: Context, *, seconds: float) -> Embedded:
        """The vectors of these texts, in their order. Raises HubError, UpstreamFailed above all; a usage row is left either way."""
        adapter, target = self.target(model)
        began, at = self._clock.monotonic(), self._clock.now_ms()
        row = UsageRow(
            request_id=ctx.request_id, at=at, door=ctx.door, skill="embeddings", key_id=ctx.caller.key_id, key_name=ctx.caller.name,
            provider=target.provider.id, model=target.model, requested_model=model, connection_id=target.connection_id, usage=Usage(),
            cost=0.0, price_source="none", status=200, outcome="ok", latency_ms=0,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                found = await self._send(adapter, target, texts, seconds)
            row.usage = found.usage
            priced = await self._prices.lookup(target.provider.id, target.model)
            if priced is None:
                row.cost, row.price_source = None, "unknown"
            else:
                row.cost, row.price_source = self._prices.cost(priced.price, row.usage), priced.source
        except BaseException as error:
            row.outcome, row.status, row.error_code = _how_it_failed(error)
            if isinstance(error, TimeoutError):
                raise UpstreamFailed(f"no embedding within {seconds:g} s", code="embedding_timeout") from error
            raise
        finally:
            row.latency_ms = round((self._clock.monotonic() - began) * 1000)
            self._add_usage(row)
        return found

    async def _send(self, adapter: EmbeddingAdapter, target: Target, texts: Sequence[str], seconds: float) -> Embedded:
        outgoing = adapter.embed(list(texts), target)
        outgoing.timeouts = Timeouts(seconds, seconds, seconds)
        local = isinstance(adapter, LocalAdapter)
        incoming = await (adapter.answer(outgoing) if local else self._outbound.send(outgoing))
        body = await incoming.read()
        if incoming.status >= 300:
            raise UpstreamFailed(f"{target.provider.name} answered {incoming.status} to an embedding", upstream_status=incoming.status)
        found = adapter.parse_embedded(body)
        if len(found.vectors) != len(texts) or not all(found.vectors):
            raise UpstreamFailed(f"{target.provider.name} gave {len(found.vectors)} embeddings for {len(texts)} texts")
        if not found.usage.total:
            estimate = Usage(input=sum(max(1, len(text) // 4) for text in texts), estimated=True)
            found.usage = estimate
        return found


def _how_it_failed(error: BaseException) -> tuple[str, int, str]:
    """Outcome, status and code of a usage row."""
    if isinstance(error, HubError):
        return "error", error.status, error.code
    if isinstance(error, asyncio.CancelledError):
        return "cancelled", 499, "cancelled"
    return "error", 504 if isinstance(error, TimeoutError) else 502, "embedding_failed"
