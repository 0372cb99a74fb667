"""The cache of answers: what it holds, what it saved, and emptying it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_SIMILAR = ("enabled", "embeddingModel", "threshold", "lexical", "maxEntries")


async def _load(view: View) -> dict[str, Any]:
    similar = await view.ask("cache-similarity")
    return {
        "stats": await view.ask("cache-stats"),
        "fields": view.fields("cache-similarity-set", *_SIMILAR),
        "stored": similar.model_dump(mode="json", by_alias=True),
    }


async def _flush(view: View, form: Form) -> Outcome:
    model = form.text("model")
    done = await view.ask("cache-flush", **({"model": model} if model else {}))
    return Done(f"{done.invalidated} answers are forgotten.")


async def _similar(view: View, form: Form) -> Outcome:
    stored = (await view.ask("cache-similarity")).model_dump(mode="json", by_alias=True)
    await view.sent("cache-similarity-set", form, *_SIMILAR, stored=stored)
    return Done("The cache follows from now on.")


PAGES = (
    Page(
        "cache",
        "Cache",
        "cache.html",
        _load,
        actions={"flush": _flush, "similar": _similar},
        group="Route",
        order=3,
        words="semantic answers hits idempotency",
    ),
)
