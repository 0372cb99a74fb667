"""Model prices from outside: the genai-prices data that ships with the hub, or a JSON document in one of two forms.

Ours is what ``GET /api/pricing`` answers: provider -> model -> fields in US dollars per million tokens. The other is a flat list,
model -> facts with prices per token and the name of the provider, as LiteLLM publishes it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.errors import BadRequest
from hub.money.pricebook import FIELDS
from hub.providers.catalog import Price

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hub.providers.catalog import Catalog

Prices = dict[str, dict[str, Price]]

#: The flat list's fields, per token -> ours, per million.
_PER_TOKEN = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "output_cost_per_reasoning_token": "reasoning",
}
_PROVIDER = "litellm_provider"
#: More than any list of prices holds today; a document beyond it is no list of prices.
_MOST = 20_000
#: No model costs more per million tokens; a list that says so mixes up its units.
_DEAREST = 1_000_000.0


def read(document: object, catalog: Catalog) -> tuple[Prices, list[str]]:
    """The prices of a document, by provider id, for the providers of the catalogue; and what was left out, in words.

    Raises BadRequest for what is no price document in either form.
    """
    found: Prices = {}
    strangers: dict[str, int] = {}
    faulty: list[str] = []
    for count, (provider, model, fields) in enumerate(_entries(document)):
        if count >= _MOST:
            raise BadRequest(f"the price document has more than {_MOST} models", field="document")
        row = catalog.find(provider)
        if row is None:
            strangers[provider] = strangers.get(provider, 0) + 1
        elif (price := _price(fields)) is None:
            faulty.append(f"{provider}/{model}")
        elif price != Price():
            found.setdefault(row.id, {})[model] = price
    return found, _words(strangers, faulty)


def _entries(document: object) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Provider, model and rates in our fields, of a document in either form."""
    if not isinstance(document, dict) or not document:
        raise BadRequest("the price document must be a JSON object: provider -> model -> prices", field="document")
    entries = cast("dict[str, Any]", document)
    flat = any(isinstance(value, dict) and _PROVIDER in value for value in entries.values())
    return _flat(entries) if flat else _nested(entries)


def _flat(entries: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, facts in entries.items():
        if isinstance(facts, dict) and isinstance(facts.get(_PROVIDER), str):  # pyright: ignore[reportUnknownMemberType] - JSON edge
            given = cast("dict[str, Any]", facts)
            provider = str(given[_PROVIDER])
            rates = {ours: _million(given[theirs]) for theirs, ours in _PER_TOKEN.items() if given.get(theirs) is not None}
            yield provider, name.removeprefix(f"{provider}/"), rates


def _nested(entries: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for provider, models in entries.items():
        if not isinstance(models, dict):
            raise BadRequest(f"the prices of {provider!r} must be an object: model -> prices", field=f"document.{provider}")
        for model, fields in cast("dict[str, Any]", models).items():
            if not isinstance(fields, dict):
                raise BadRequest(f"the price of {provider}/{model} must be an object", field=f"document.{provider}.{model}")
            given = cast("dict[str, Any]", fields)
            yield provider, model, {ours: given[theirs] for theirs, ours in FIELDS.items() if given.get(theirs) is not None}


def _million(per_token: Any) -> Any:
    return round(per_token * 1_000_000, 9) if isinstance(per_token, (int, float)) else per_token


def _price(fields: dict[str, Any]) -> Price | None:
    """None where a rate is no sensible number."""
    for value in fields.values():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or not 0 <= value <= _DEAREST:
            return None
    return msgspec.convert(fields, Price, strict=False)


def _words(strangers: dict[str, int], faulty: list[str]) -> list[str]:
    words: list[str] = []
    if strangers:
        named = ", ".join(sorted(strangers)[:20]) + (" …" if len(strangers) > 20 else "")
        words.append(f"{sum(strangers.values())} models of {len(strangers)} providers that this hub does not know are left out: {named}")
    if faulty:
        words.append(f"{len(faulty)} prices are no numbers from 0 to {_DEAREST:.0f} and are left out: {', '.join(faulty[:10])}")
    return words
