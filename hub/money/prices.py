"""What a call costs: which price applies to a model, and the formula from tokens to dollars (D17, routing.md 6).

A price comes from the first layer that knows one: the user's override, what was imported, the provider's row
of the catalogue, the genai-prices data. A price that nobody knows is None, never 0.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from hub.clock import Clock
from hub.providers.catalog import Price, Tier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelPrice

    from hub.chat import Usage
    from hub.providers.catalog import Catalog

MILLION = 1_000_000
ANY_MODEL = "*"
_KEPT = 4096  # model names come from callers: what is remembered of them is bounded
_CHANGING_FOR = 60.0  # seconds for which a price that varies with the time of day is kept

#: Our rate -> its name in the genai-prices data.
_RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "reasoning": "output_reasoning_mtok",
}
#: The same for tokens that are sound, which have no long-context rates.
_AUDIO_RATES = {
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "audio_cache_read": "cache_audio_read_mtok",
}


@dataclass(frozen=True, slots=True)
class Priced:
    """A price and the layer it came from: ``override``, ``synced``, ``catalogue`` or ``genai-prices``."""

    price: Price
    source: str


class Prices:
    """Prices of models. ``overrides`` gives provider id -> model id (or ``*``) -> price, as the user set
    them; ``synced`` those that were imported."""

    def __init__(
        self,
        catalog: Catalog,
        overrides: Callable[[], Mapping[str, Mapping[str, Price]]],
        *,
        synced: Callable[[], Mapping[str, Mapping[str, Price]]] = dict,
        clock: Clock | None = None,
    ) -> None:
        self._catalog = catalog
        self._layers = (("override", overrides), ("synced", synced))
        self._clock = clock or Clock()
        self._kept: dict[tuple[str, str], tuple[Priced | None, float | None]] = {}
        self._data: DataSnapshot | None = None

    def clear(self) -> None:
        """Forget what was looked up, after overrides changed."""
        self._kept.clear()

    async def lookup(self, provider: str, model: str) -> Priced | None:
        """The price of a provider's model; None when unknown. Never blocks the event loop: the genai-prices data (0.3 s
        to import) is loaded in a thread, the first time that no other layer knows a model."""
        if self._data is None and (provider, model) not in self._kept and self._own(provider, model) is None and self._listed_as(provider):
            self._data = await asyncio.to_thread(_load)
        return self.price_of(provider, model)

    def knows(self, provider: str, model: str) -> bool:
        """Whether :meth:`kept` can tell: the price was looked up before."""
        return (provider, model) in self._kept

    def kept(self, provider: str, model: str) -> Priced | None:
        """The price that was found when it was last looked up; None when it is unknown or was not looked up."""
        found = self._kept.get((provider, model))
        return found[0] if found is not None else None

    def price_of(self, provider: str, model: str) -> Priced | None:
        """The price of a provider's model; None when unknown. May load the genai-prices data; in a coroutine use :meth:`lookup`."""
        kept = self._kept.get((provider, model))
        if kept is not None and (kept[1] is None or self._clock.monotonic() < kept[1]):
            return kept[0]
        until: float | None = None
        found = self._own(provider, model)
        if found is None:
            found, changing = self._from_data(provider, model)
            until = self._clock.monotonic() + _CHANGING_FOR if changing else None
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[provider, model] = (found, until)
        return found

    @staticmethod
    def cost(price: Price, usage: Usage) -> float | None:
        """Dollars of one call, each token charged in one place; None when a rate that it needs is unknown.

        Without a rate of their own, cached prompt tokens are charged as input and reasoning as output
        (:func:`rough` tells). The long-context rates apply to the whole call. ``per_query`` is added once.
        """
        if price.input is None and price.output is None and price.per_query is None:
            return None
        total = 0.0
        for tokens, rate in _charges(_at(price, usage.prompt), usage):
            if tokens <= 0:
                continue
            if rate is None:
                return None
            total += tokens * rate
        return total / MILLION + (price.per_query or 0.0)

    @staticmethod
    def estimate(price: Price, prompt_tokens: int, max_output: int, *, hour_cache: bool = True) -> float | None:
        """The most a call can cost: for a reservation. None when input or output has no known rate.

        ``hour_cache=False`` leaves the one-hour cache out, for a request that does not ask for it.
        """
        line = Prices.line(price, prompt_tokens, hour_cache=hour_cache)
        return None if line is None else line[0] + max_output * line[1]

    @staticmethod
    def line(price: Price, prompt_tokens: int, *, hour_cache: bool = True) -> tuple[float, float] | None:
        """The same as dollars before any output, and dollars for each token of it.

        The whole prompt counts at the dearest way to send it: plain, or written to the provider's cache.
        """
        rates = _at(price, prompt_tokens)
        sent, made = rates.input, rates.output
        if sent is None or made is None:
            return None
        sent = max(sent, rates.cache_write or 0.0, (rates.cache_write_1h or 0.0) if hour_cache else 0.0)
        made = max(made, rates.reasoning or 0.0)
        return prompt_tokens * sent / MILLION + (price.per_query or 0.0), made / MILLION

    def table(self) -> dict[str, dict[str, Priced]]:
        """The price of every model that some layer knows, by provider id; loads the genai-prices data, so call it in a thread."""
        found: dict[str, dict[str, Priced]] = {}
        for provider, names in self._named().items():
            for name in names:
                priced = self._own(provider, name) or self._from_data(provider, name)[0]
                if priced is not None:
                    found.setdefault(provider, {})[name] = priced
        return found

    def shipped(self) -> dict[str, dict[str, Price]]:
        """What the genai-prices data says of every model that the catalogue lists, by provider id; call it in a thread.

        Prices that vary with the time of day are left out: only a look-up can say them.
        """
        found: dict[str, dict[str, Price]] = {}
        for row in self._catalog.providers.values():
            for model in row.models if row.prices_as else ():
                priced, changing = self._from_data(row.id, model.id)
                if priced is not None and not changing:
                    found.setdefault(row.id, {})[model.id] = priced.price
        return found

    def _named(self) -> dict[str, dict[str, None]]:
        """The models that the catalogue lists or a layer prices, by provider id, each once."""
        named = {row.id: dict.fromkeys(model.id for model in row.models) for row in self._catalog.providers.values()}
        for _, layer in self._layers:
            for provider, prices in layer().items():
                named.setdefault(provider, {}).update(dict.fromkeys(prices))
        return named

    def _own(self, provider: str, model: str) -> Priced | None:
        row = self._catalog.find(provider)
        listed = row.model(model) if row else None
        names = (model, listed.id if listed else model, ANY_MODEL)
        for source, layer in self._layers:
            prices = layer().get(row.id if row else provider) or {}
            if found := next((prices[name] for name in names if name in prices), None):
                return Priced(found, source)
        return Priced(listed.price, "catalogue") if listed and listed.price else None

    def _listed_as(self, provider: str) -> str:
        row = self._catalog.find(provider)
        return row.prices_as if row else ""

    def _from_data(self, provider: str, model: str) -> tuple[Priced | None, bool]:
        """The price in the genai-prices data at this moment, and whether it varies with time."""
        listed_as = self._listed_as(provider)
        if not listed_as:
            return None, False
        if self._data is None:
            self._data = _load()
        data = self._data
        try:
            # The data's own model cache grows with every name asked for, hence not find_provider_model.
            known = data.find_provider(None, listed_as, None).find_model(model, all_providers=data.providers)
        except LookupError:
            return None, False
        if known is None:
            return None, False
        now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        price = _price(known.get_prices(now))
        return (Priced(price, "genai-prices") if price else None), isinstance(known.prices, list)


def rough(price: Price, usage: Usage) -> bool:
    """Whether a cost is not exact: the counts are estimated, or cached tokens had to be charged at another rate than their own."""
    rates = _at(price, usage.prompt)
    hour = usage.cache_write_1h
    return (
        usage.estimated
        or (usage.cache_read > 0 and rates.cache_read is None)
        or (usage.cache_write > hour and rates.cache_write is None)
        or (hour > 0 and rates.cache_write_1h is None)
    )


def _charges(rates: Price, usage: Usage) -> Iterable[tuple[int, float | None]]:
    """Token counts that do not overlap, each with its rate."""
    write = _first(rates.cache_write, rates.input)
    hour = min(usage.cache_write_1h, usage.cache_write)
    thinking = min(usage.reasoning, usage.output)
    return (
        (usage.input, rates.input),
        (usage.cache_read, _first(rates.cache_read, rates.input)),
        (usage.cache_write - hour, write),
        (hour, _first(rates.cache_write_1h, write)),
        (usage.output - thinking, rates.output),
        (thinking, _first(rates.reasoning, rates.output)),
    )


def _first(rate: float | None, fallback: float | None) -> float | None:
    return fallback if rate is None else rate


def _at(price: Price, prompt_tokens: int) -> Price:
    """The rates for a prompt of this length."""
    if not price.tiers:
        return price
    tier = next((tier for tier in reversed(price.tiers) if prompt_tokens > tier.above), None)
    if tier is None:
        return price
    return msgspec.structs.replace(price, **{name: rate for name in _RATES if (rate := getattr(tier, name)) is not None})


def _load() -> DataSnapshot:
    """The bundled genai-prices data. No update is ever fetched: the hub makes no call that nobody asked for."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - deferred: 0.3 s to import, and rarely needed

    return get_snapshot()


def _price(found: ModelPrice) -> Price | None:
    """A price of the genai-prices data in our terms; None when it has no token rates (audio hours, requests ...)."""
    base: dict[str, float] = {}
    steps: dict[int, dict[str, float]] = {}
    for name, theirs in _RATES.items():
        value: Any = getattr(found, theirs, None)
        if value is None:
            continue
        base[name] = float(getattr(value, "base", value))
        for tier in getattr(value, "tiers", ()):
            steps.setdefault(tier.start, {})[name] = float(tier.price)
    if "input" not in base and "output" not in base:
        return None
    for name, theirs in _AUDIO_RATES.items():
        value = getattr(found, theirs, None)
        if value is not None:
            base[name] = float(getattr(value, "base", value))
    merged: dict[str, float] = {}
    tiers: list[Tier] = []
    for start in sorted(steps):
        merged |= steps[start]
        tiers.append(Tier(start, **merged))
    return Price(**base, tiers=tuple(tiers))
