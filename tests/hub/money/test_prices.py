"""Money: which layer prices a model, and each token counted once (routing.md 6.2, 8.15, 8.20)."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime

import msgspec
import pytest
from genai_prices import Usage as Theirs
from genai_prices import calc_price
from hypothesis import given
from hypothesis import strategies as st

from hub.chat import Usage
from hub.clock import Clock
from hub.money.prices import Priced, Prices, rough
from hub.providers.catalog import Catalog, Price, ProviderRow, Tier

pytestmark = pytest.mark.anyio

CATALOG = Catalog.load()
cost = Prices.cost
estimate = Prices.estimate


class Still(Clock):
    """A clock that stands where it is put."""

    def __init__(self, when: datetime) -> None:
        super().__init__()
        self.when = when
        self.seconds = 0.0

    def now_ms(self) -> int:
        return int(self.when.timestamp() * 1000)

    def monotonic(self) -> float:
        return self.seconds


def prices(overrides: dict[str, dict[str, Price]] | None = None, catalog: Catalog = CATALOG, clock: Clock | None = None) -> Prices:
    return Prices(catalog, lambda: overrides or {}, clock=clock)


def unlisted(provider: str, prices_as: str) -> Catalog:
    """A catalogue with one provider that lists no model."""
    row = {"id": provider, "alias": provider, "name": provider, "category": "api_key", "format": "openai", "auth": {"type": "bearer"}}
    return Catalog([msgspec.convert({**row, "prices_as": prices_as}, ProviderRow)])


def of(provider: str, model: str) -> Price:
    found = prices().price_of(provider, model)
    assert found is not None
    return found.price


def test_openai_cached_and_reasoning_tokens() -> None:
    """usage: prompt_tokens 2000 (1500 cached), completion_tokens 300 (100 of them reasoning)."""
    price = of("openai", "gpt-4o")
    assert (price.input, price.cache_read, price.output) == (2.5, 1.25, 10)
    usage = Usage(input=500, cache_read=1500, output=300, reasoning=100)
    assert cost(price, usage) == pytest.approx((500 * 2.5 + 1500 * 1.25 + 300 * 10) / 1e6)
    assert cost(price, usage) == pytest.approx(0.006125)


def test_anthropic_cache_write_and_read() -> None:
    """routing.md 8.15: input_tokens excludes both caches; 5-minute writes cost 1.25x, 1-hour writes 2x, reads 0.1x."""
    price = of("anthropic", "claude-sonnet-4-5")
    usage = Usage(input=1000, cache_read=20_000, cache_write=6000, cache_write_1h=2000, output=500, reasoning=200)
    assert usage.prompt == 27_000
    want = (1000 * 3 + 20_000 * 0.3 + 4000 * 3.75 + 2000 * 6 + 500 * 15) / 1e6
    assert cost(price, usage) == pytest.approx(want)
    assert cost(price, usage) == pytest.approx(0.0435)
    assert not rough(price, usage)


def test_anthropic_long_context_applies_to_the_whole_call() -> None:
    price = of("anthropic", "claude-sonnet-4-5")
    below = Usage(input=100_000, cache_read=100_000, output=1000)
    above = Usage(input=100_001, cache_read=100_000, output=1000)
    assert cost(price, below) == pytest.approx((100_000 * 3 + 100_000 * 0.3 + 1000 * 15) / 1e6)
    assert cost(price, above) == pytest.approx((100_001 * 6 + 100_000 * 0.6 + 1000 * 22.5) / 1e6)


def test_gemini_thoughts_are_output() -> None:
    """candidatesTokenCount 200 excludes thoughtsTokenCount 800; the adapter adds them up, the formula splits them again."""
    price = of("gemini", "gemini-2.5-flash")
    assert (price.input, price.output, price.cache_read) == (0.3, 2.5, 0.03)
    usage = Usage(input=400, cache_read=600, output=1000, reasoning=800)
    assert cost(price, usage) == pytest.approx((400 * 0.3 + 600 * 0.03 + 1000 * 2.5) / 1e6)
    assert cost(price, usage) == pytest.approx(0.002638)


def test_reasoning_has_a_rate_of_its_own_where_the_row_says_so() -> None:
    price = Price(input=2, output=8, reasoning=3)
    assert cost(price, Usage(input=10, output=1000, reasoning=900)) == pytest.approx((10 * 2 + 100 * 8 + 900 * 3) / 1e6)


def test_missing_cache_rates_fall_back_to_input_and_are_marked() -> None:
    price = Price(input=4, output=8)
    read, write, hour = Usage(cache_read=100), Usage(cache_write=100), Usage(cache_write=100, cache_write_1h=100)
    for usage in (read, write, hour):
        assert cost(price, usage) == pytest.approx(400 / 1e6)
        assert rough(price, usage)
    assert cost(Price(input=4, output=8, cache_write=5), hour) == pytest.approx(500 / 1e6)
    assert rough(Price(input=4, output=8, cache_write=5), hour)
    assert not rough(Price(input=4, output=8, cache_write=5), write)
    assert not rough(price, Usage(input=5, output=5, reasoning=5))
    assert rough(price, Usage(input=5, estimated=True))


def test_unknown_is_none_and_free_is_zero() -> None:
    """routing.md 8.20"""
    assert cost(Price(), Usage(input=5)) is None
    assert cost(Price(), Usage()) is None
    assert cost(Price(per_image=0.04), Usage(input=5)) is None
    assert cost(Price(input=1), Usage(input=5, output=1)) is None
    assert cost(Price(input=1), Usage(input=5)) == pytest.approx(5e-6)
    assert cost(Price(output=1), Usage(cache_read=5)) is None
    assert cost(Price(input=0, output=0), Usage(input=5, output=5)) == 0
    assert cost(Price(input=0, output=0, per_query=0.002), Usage()) == 0.002


def test_impossible_counts_never_make_money() -> None:
    price = Price(input=1, output=1, cache_write=1, cache_write_1h=2, reasoning=1)
    assert cost(price, Usage(output=10, reasoning=50)) == pytest.approx(10e-6)
    assert cost(price, Usage(cache_write=10, cache_write_1h=50)) == pytest.approx(20e-6)


counts = st.integers(0, 10**7)
rates = st.floats(0, 1000)


@given(counts, counts, counts, counts, counts, rates, rates)
def test_one_rate_charges_every_token_once(fresh: int, read: int, write: int, output: int, thinking: int, rate: float, tier: float) -> None:
    thinking = min(thinking, output)
    usage = Usage(input=fresh, cache_read=read, cache_write=write, cache_write_1h=write // 2, output=output, reasoning=thinking)
    price = Price(input=rate, output=rate, tiers=(Tier(10**6, input=tier, output=tier),))
    got = cost(price, usage)
    assert got == pytest.approx(usage.total * (tier if usage.prompt > 10**6 else rate) / 1e6)


@given(counts, counts, counts, counts, st.sampled_from(["claude-sonnet-4-5", "claude-opus-4-7", "claude-haiku-4-5"]))
def test_an_estimate_is_never_below_the_cost(fresh: int, read: int, write: int, output: int, model: str) -> None:
    """D22: what is reserved covers what is settled, if the counts hold."""
    price = of("anthropic", model)
    usage = Usage(input=fresh, cache_read=read, cache_write=write, cache_write_1h=write // 3, output=output, reasoning=output // 2)
    bound, spent = estimate(price, usage.prompt, output), cost(price, usage)
    assert bound is not None
    assert spent is not None
    assert spent <= bound * (1 + 1e-12)


def test_an_estimate_needs_both_rates() -> None:
    assert estimate(Price(input=1), 10, 10) is None
    assert estimate(Price(output=1), 10, 10) is None
    assert estimate(Price(input=1, output=2, reasoning=4, cache_write=3, cache_write_1h=5), 10, 10) == pytest.approx(90e-6)
    assert estimate(Price(input=1, output=2, cache_write=3, cache_write_1h=5), 10, 10, hour_cache=False) == pytest.approx(50e-6)


def test_layers_in_order() -> None:
    own = Price(input=7, output=7)
    asked = prices({"openai": {"gpt-4o": own}, "ollama": {"*": Price(input=0, output=0)}})
    assert asked.price_of("openai", "gpt-4o") == Priced(own, "override")
    found = asked.price_of("openai", "gpt-4.1")
    assert found is not None
    assert found.source == "catalogue"
    assert asked.price_of("ollama", "llama3.2") == Priced(Price(input=0, output=0), "override")
    assert prices().price_of("ollama", "llama3.2") is None
    assert prices().price_of("openai-compatible", "gpt-4o") is None
    assert prices().price_of("nobody", "gpt-4o") is None


def test_an_override_counts_for_every_name_of_the_model() -> None:
    own = Price(input=7, output=7)
    assert prices({"anthropic": {"claude-opus-4-7": own}}).price_of("anthropic", "claude-opus-4.7") == Priced(own, "override")


def test_overrides_take_effect_after_clear() -> None:
    table: dict[str, dict[str, Price]] = {}
    asked = Prices(CATALOG, lambda: table)
    before = asked.price_of("openai", "gpt-4o")
    table["openai"] = {"gpt-4o": Price(input=1, output=1)}
    assert asked.price_of("openai", "gpt-4o") is before
    asked.clear()
    assert asked.price_of("openai", "gpt-4o") == Priced(Price(input=1, output=1), "override")


async def test_genai_prices_know_what_the_catalogue_does_not() -> None:
    asked = prices(catalog=unlisted("claudes", "anthropic"))
    found = await asked.lookup("claudes", "claude-sonnet-4-5")
    assert found is not None
    assert found.source == "genai-prices"
    assert found.price == Price(
        input=3, output=15, cache_read=0.3, cache_write=3.75, cache_write_1h=6,
        tiers=(Tier(200_000, input=6, output=22.5, cache_read=0.6, cache_write=7.5, cache_write_1h=12),),
    )  # fmt: skip
    assert await asked.lookup("claudes", "claude-sonnet-4-5") is found
    assert await asked.lookup("claudes", "no-such-model-anywhere") is None
    assert await prices(catalog=unlisted("x", "no-such-provider")).lookup("x", "gpt-4o") is None


def test_the_formula_agrees_with_genai_prices() -> None:
    """Differential: our buckets do not overlap, theirs nest; the dollars are the same."""
    usage = Usage(input=150_000, cache_read=60_000, cache_write=5000, cache_write_1h=2000, output=900)
    theirs = Theirs(
        input_tokens=usage.prompt, cache_read_tokens=60_000, cache_write_tokens=5000, cache_write_1h_tokens=2000, output_tokens=900
    )
    want = calc_price(theirs, "claude-sonnet-4-5", provider_id="anthropic").total_price
    assert cost(of("anthropic", "claude-sonnet-4-5"), usage) == pytest.approx(float(want))


def test_a_price_that_depends_on_the_hour_is_asked_again() -> None:
    """genai-prices has off-peak rates for deepseek-chat: 0:30 to 16:30 UTC is the dear time."""
    clock = Still(datetime(2026, 11, 23, 12, tzinfo=UTC))
    asked = prices(catalog=unlisted("ds", "deepseek"), clock=clock)
    dear = asked.price_of("ds", "deepseek-chat")
    clock.when = clock.when.replace(hour=20)
    assert asked.price_of("ds", "deepseek-chat") is dear
    clock.seconds += 61
    cheap = asked.price_of("ds", "deepseek-chat")
    assert dear is not None
    assert cheap is not None
    assert cheap.price.input == pytest.approx((dear.price.input or 0) / 2)


def test_what_callers_ask_for_cannot_fill_the_memory() -> None:
    asked = prices()
    for number in range(10_000):
        asked.price_of("ollama", f"model-{number}")
    assert len(asked._kept) <= 4096  # pyright: ignore[reportPrivateUsage]  the bound is not visible from outside


def test_the_price_data_is_loaded_only_when_needed() -> None:
    """The cold start and every listed model go without genai-prices, which takes 0.3 s to import."""
    code = """
import asyncio, sys
from hub.money.prices import Prices
from hub.providers.catalog import Catalog
prices = Prices(Catalog.load(), lambda: {})
assert asyncio.run(prices.lookup("openai", "gpt-4o")) and asyncio.run(prices.lookup("ollama", "llama3")) is None
assert "genai_prices" not in sys.modules
async def unlisted():
    seen = []
    async def beat():
        while True:
            seen.append(1)
            await asyncio.sleep(0)
    beating = asyncio.create_task(beat())
    found = await prices.lookup("openai", "gpt-3.5-turbo-0613")
    beating.cancel()
    return found, len(seen)
found, beats = asyncio.run(unlisted())
assert "genai_prices" in sys.modules and found.source == "genai-prices", found
assert beats > 3, "the event loop stood still"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
