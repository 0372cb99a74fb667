"""One search over everything that has a name: pages, accounts, keys, models, combos, servers, skills."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from transports._dash.page import Page

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transports._dash.view import View

_MOST = 12


class Hit:
    """Something that was found. ``words`` are all that it is found by; ``more`` is shown beside its name."""

    __slots__ = ("more", "name", "url", "words")

    def __init__(self, name: str, url: str, more: str = "", words: str = "") -> None:
        self.name = name
        self.url = url
        self.more = more
        self.words = f"{name} {more} {words}".lower()


async def _load(view: View) -> dict[str, Any]:
    wanted = view.query.get("q", "").strip().lower()[:200]
    groups = [(title, found) for title, hits in (await _everything(view)).items() if (found := _matching(hits, wanted))] if wanted else []
    return {"wanted": wanted, "groups": groups}


def _matching(hits: Iterable[Hit], wanted: str) -> list[Hit]:
    """The hits that hold every word, those whose name begins with it first."""
    parts = wanted.split()
    found = [hit for hit in hits if all(part in hit.words for part in parts)]
    return sorted(found, key=lambda hit: (not hit.name.lower().startswith(wanted), hit.name.lower()))[:_MOST]


async def _everything(view: View) -> dict[str, list[Hit]]:
    # The site imports the pages, of which this is one.
    from transports._dash.site import site_of  # noqa: PLC0415 - see above

    pages = [page for page in site_of(view.hub).pages if "{" not in page.path and page.path not in ("look", "search")]
    connections = (await view.ask("connections-list")).connections
    keys = (await view.ask("keys-list", limit=200)).keys
    combos = (await view.ask("combos-list")).combos
    models = (await view.ask("models-list")).models
    providers = (await view.ask("providers-list")).providers
    return {
        "Pages": [Hit(page.title, page.url, page.group, page.words) for page in pages],
        "Accounts": [Hit(one.name, f"/dashboard/providers/{one.id}", one.provider, one.id) for one in connections],
        "Keys": [Hit(one.name, f"/dashboard/keys/{one.id}", one.key_prefix, one.id) for one in keys],
        "Combos": [Hit(one.name, f"/dashboard/combos/{one.id}", one.strategy) for one in combos],
        "Models": [Hit(one.id, f"/dashboard/models?q={quote(one.id)}", one.provider) for one in models],
        "Providers": [Hit(one.name, f"/dashboard/providers/new?provider={one.id}", one.category, one.id) for one in providers],
        "Skills": [Hit(one.name, f"/dashboard/skills/{one.name}", one.summary[:120]) for one in view.hub.skills],
    }


PAGES = (Page("search", "Search", "search.html", _load),)
