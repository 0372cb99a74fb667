"""Model prices: what is in force and why, the owner's own, and the import of others'."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import orjson
from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, InvalidInput, NotConfigured, UpstreamFailed
from hub.fetch import fetch
from hub.money.pricebook import FIELDS, Table, wire
from hub.money.prices import ANY_MODEL
from hub.providers.catalog import Price
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.wire import Body, Wire
from skills._price_import import read

_DEAREST = 1_000_000.0
_DOCUMENT = 16 * 1024 * 1024
SHIPPED, CONFIGURED, GIVEN = "genai-prices", "litellm", "document"


class PricingAsk(Body):
    """Which form of the table."""

    include_sources: Literal["0", "1"] = Field(default="0", description="1 also names the layer that each price is from.")


class PriceTable(Wire):
    """US dollars per million tokens, by provider alias and model; null is unknown, never free. ``sourceMap`` names the layers."""

    pricing: dict[str, dict[str, dict[str, float | None]]]
    source_map: dict[str, dict[str, str]] | None = None


class PricingPatch(Body):
    """Prices to set."""

    prices: dict[str, dict[str, dict[str, Any]]] = Field(
        description="provider -> model (or *) -> input, output, cached, reasoning, cache_creation in US dollars per million tokens; "
        "null takes a field away."
    )


class PricingDrop(Body):
    """Which of the prices that were set by hand to take away; all when nothing is named."""

    provider: str | None = Field(default=None, max_length=100, description="Provider id or alias.")
    model: str | None = Field(default=None, max_length=300, description="Model of that provider.")


class SyncAsk(Body):
    """Where prices come from, and whether they are kept."""

    sources: list[str] = Field(
        default=[SHIPPED],
        min_length=1,
        max_length=3,
        description="genai-prices (ships with the hub), litellm (the document at HUBROUTE_PRICING_URL), document; later ones win.",
    )
    dry_run: bool = Field(default=False, description="Show what would be imported and keep nothing.")
    document: dict[str, Any] | None = Field(default=None, description="Prices in the form of GET /api/pricing, or LiteLLM's list.")


class SyncReport(Wire):
    """What was imported. Prices set by hand are never touched and stay in force."""

    success: bool = True
    model_count: int
    provider_count: int
    source: str
    dry_run: bool
    warnings: list[str]
    data: dict[str, dict[str, dict[str, float | None]]] | None = None


_BASE = ("input", "output")


def _wrapped(data: dict[str, Any]) -> dict[str, Any]:
    return {"prices": data}


def _shown(table: PriceTable) -> dict[str, Any]:
    """The seed's shape: rates beside input and output are there where they are known."""
    pricing = {
        provider: {
            name: {rate: value for rate, value in price.items() if value is not None or rate in _BASE} for name, price in models.items()
        }
        for provider, models in table.pricing.items()
    }
    return {"pricing": pricing, "sourceMap": table.source_map} if table.source_map is not None else pricing


def _alias(ctx: Context, provider: str) -> str:
    row = ctx.hub.catalog.find(provider)
    return row.alias if row else provider


def _aliased(ctx: Context, table: Table) -> PriceTable:
    return PriceTable(pricing={_alias(ctx, provider): models for provider, models in table.items()})


@skill("pricing-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/pricing", view=_shown)], read_only=True)
async def list_prices(ctx: Context, ask: PricingAsk) -> PriceTable:
    """Show the price of every model that some layer knows: set by hand, imported, catalogue, genai-prices."""
    table = await asyncio.to_thread(ctx.hub.prices.table)
    return PriceTable(
        pricing={
            _alias(ctx, provider): {name: wire(priced.price) for name, priced in models.items()} for provider, models in table.items()
        },
        source_map={_alias(ctx, provider): {name: priced.source for name, priced in models.items()} for provider, models in table.items()}
        if ask.include_sources == "1"
        else None,
    )


@skill(
    "pricing-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PATCH", "/api/pricing", ask=_wrapped, view=_shown)],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_prices(ctx: Context, ask: PricingPatch) -> PriceTable:
    """Set prices by hand, in force at once and before every other; answers all that are set by hand.

    A field that is not set keeps what is known of the model. Unknown providers, models and fields are refused, and nothing is stored then.
    """
    if not ask.prices:
        raise BadRequest("send provider -> model -> prices", field="prices")
    table, faults = _checked(ctx, ask.prices)
    if faults:
        raise InvalidInput(faults)
    return _aliased(ctx, await ctx.hub.pricebook.change(table))


@skill(
    "pricing-reset",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/pricing", view=_shown)],
    destructive=True,
    audit=Audit.FULL,
)
async def reset(ctx: Context, ask: PricingDrop) -> PriceTable:
    """Take away prices that were set by hand: of a model, a provider, or all. Answers those that are still set."""
    if ask.model and not ask.provider:
        raise BadRequest("name the provider of the model", field="provider")
    provider = ctx.hub.catalog.get(ask.provider).id if ask.provider else ""
    return _aliased(ctx, await ctx.hub.pricebook.drop(provider, ask.model or ""))


@skill(
    "pricing-sync",
    scopes=["pricing:write"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/pricing/sync")],
    mcp=Mcp("omniroute_sync_pricing"),
    idempotent=True,
    audit=Audit.FULL,
)
async def sync(ctx: Context, ask: SyncAsk) -> SyncReport:
    """Import model prices; those set by hand stay as they are and stay in force.

    What is imported goes before the catalogue's prices and replaces what was imported before. Nobody is called unless litellm is
    asked for, which fetches the document at HUBROUTE_PRICING_URL.
    """
    sources = _sources(ask)
    merged: dict[str, dict[str, Price]] = {}
    warnings: list[str] = []
    for source in sources:
        found, words = await _from(ctx, source, ask)
        warnings += words
        for provider, models in found.items():
            merged.setdefault(provider, {}).update(models)
    if not merged:
        raise BadRequest(f"no price of a known provider was found; nothing is changed. {' '.join(warnings)}".strip(), field="sources")
    if not ask.dry_run:
        await ctx.hub.pricebook.replace_synced(merged)
    shown = {_alias(ctx, provider): {name: wire(price) for name, price in models.items()} for provider, models in merged.items()}
    return SyncReport(
        model_count=sum(map(len, merged.values())),
        provider_count=len(merged),
        source=", ".join(sources),
        dry_run=ask.dry_run,
        warnings=warnings,
        data=shown if ask.dry_run else None,
    )


def _sources(ask: SyncAsk) -> list[str]:
    """The sources that are asked for, each once; a document alone is one."""
    if unknown := [name for name in ask.sources if name not in (SHIPPED, CONFIGURED, GIVEN)]:
        raise BadRequest(f"no price source {unknown[0]!r}; there are {SHIPPED}, {CONFIGURED}, {GIVEN}", field="sources")
    sources = list(dict.fromkeys(ask.sources))
    if ask.document is not None and GIVEN not in sources:
        return [*sources, GIVEN] if "sources" in ask.model_fields_set else [GIVEN]
    return sources


async def _from(ctx: Context, source: str, ask: SyncAsk) -> tuple[dict[str, dict[str, Price]], list[str]]:
    if source == SHIPPED:
        return await asyncio.to_thread(ctx.hub.prices.shipped), []
    if source == GIVEN:
        if ask.document is None:
            raise BadRequest("send the prices as document", field="document")
        return read(ask.document, ctx.hub.catalog)
    url = ctx.hub.settings.pricing_url
    if not url:
        raise NotConfigured("set HUBROUTE_PRICING_URL to the price document first, or use genai-prices or document", field="sources")
    status, body = await fetch(ctx.hub.outbound, "GET", url, most=_DOCUMENT)
    if status != 200:
        raise UpstreamFailed(f"the address in HUBROUTE_PRICING_URL answered {status}; nothing is changed", upstream_status=status)
    try:
        document = await asyncio.to_thread(orjson.loads, body)
    except orjson.JSONDecodeError:
        raise UpstreamFailed("the address in HUBROUTE_PRICING_URL answered no JSON; nothing is changed", upstream_status=status) from None
    return await asyncio.to_thread(read, document, ctx.hub.catalog)


def _checked(ctx: Context, patch: dict[str, dict[str, dict[str, Any]]]) -> tuple[Table, list[dict[str, str]]]:
    """A patch by provider id, and every fault in it."""
    table: Table = {}
    faults: list[dict[str, str]] = []
    for provider, models in patch.items():
        row = ctx.hub.catalog.find(provider)
        if row is None:
            faults.append({"field": provider, "message": f"no provider {provider!r}; providers-list shows them"})
            continue
        for model, fields in models.items():
            listed = row.model(model)
            # What routing takes, can have a price: passed-through names and those that connections list.
            if not (listed or row.passthrough_models or model == ANY_MODEL or model in ctx.hub.directory.discovered().get(row.id, ())):
                faults.append({"field": f"{provider}.{model}", "message": f"{row.name} has no model {model!r}; * stands for every one"})
            faults += [{"field": f"{provider}.{model}.{name}", "message": words} for name, words in _faults(fields)]
            table.setdefault(row.id, {})[listed.id if listed else model] = fields
    return table, faults


def _faults(fields: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(name, f"no such field; there are {', '.join(FIELDS)}") for name in fields if name not in FIELDS]
    for name, value in fields.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in FIELDS and value is not None and not (number and 0 <= value <= _DEAREST):
            found.append((name, f"must be a number of US dollars per million tokens from 0 to {_DEAREST:.0f}, or null"))
    return found
