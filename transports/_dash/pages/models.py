"""Models and prices: what can be asked for, what it costs, and the owner's own prices and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_MOST = 300
_RATES = ("input", "output", "cached", "cache_creation", "reasoning")


async def _load(view: View) -> dict[str, Any]:
    everything = view.query.get("all") == "on"
    provider = view.query.get("provider", "")
    found = await view.ask("models-list", allProviders=everything, **({"provider": provider} if provider else {}))
    wanted = view.query.get("q", "").strip().lower()
    models = [one for one in found.models if all(part in f"{one.id} {' '.join(one.abilities)}".lower() for part in wanted.split())]
    return {
        "models": models[:_MOST],
        "total": len(models),
        "wanted": wanted,
        "everything": everything,
        "provider": provider,
        "warning": found.warning,
        "aliases": (await view.ask("aliases-list")).aliases or {},
        "rates": _RATES,
    }


async def _price(view: View, form: Form) -> Outcome:
    provider, _, model = form.text("model").partition("/")
    if not model:
        raise BadRequest("name the model as provider/model", field="model")
    rates = {name: _number(form, name) for name in _RATES if form.text(name)}
    if not rates:
        raise BadRequest("name at least one price, in US dollars for a million tokens", field="input")
    await view.ask("pricing-set", prices={provider: {model: rates}})
    return Done(f"{provider}/{model} costs what you say from now on.")


def _number(form: Form, name: str) -> float:
    try:
        return float(form.text(name))
    except ValueError:
        raise BadRequest("this is no number", field=name) from None


async def _unprice(view: View, form: Form) -> Outcome:
    provider, _, model = form.text("model").partition("/")
    await view.ask("pricing-reset", provider=provider, **({"model": model} if model else {}))
    return Done("The usual prices count again.")


async def _alias(view: View, form: Form) -> Outcome:
    await view.sent("aliases-set", form, "alias", "model")
    return Done(f"{form.text('alias')} can be asked for now.")


async def _unalias(view: View, form: Form) -> Outcome:
    await view.ask("aliases-delete", alias=form.text("alias"))
    return Done("The name is gone.")


PAGES = (
    Page(
        "models",
        "Models & prices",
        "models.html",
        _load,
        actions={"price": _price, "unprice": _unprice, "alias": _alias, "unalias": _unalias},
        group="Route",
        order=1,
        keys="m",
        words="catalogue aliases cost tokens context",
    ),
)
