"""Web search at You.com. Source: You.com API, "Search"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, first, given, page, results, sites, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    query = given(
        query=sites(job),
        count=job.count,
        country=job.country.upper(),
        language=job.language.upper(),
        freshness=job.period,
        safesearch=job.safe,
    )
    if job.offset:
        query["offset"] = min(9, page(job) - 1)  # in pages, of which there are ten
    if job.pages:
        query |= {"livecrawl": job.kind, "livecrawl_formats": "markdown"}
    return Ask(query=query)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "url"),
            snippet=first(one.get("snippets")) or word(one, "description"),
            published_at=word(one, "page_age"),
            favicon_url=word(one, "favicon_url"),
            content=word(one, "contents.markdown"),
            author=first(one.get("authors")),
            image_url=word(one, "thumbnail_url"),
        )
        for one in results(tree, "results", job.kind)
    ]
    return Hits(hits)


YOUCOM = Search(
    "youcom",
    _ask,
    ("results",),
    _read,
    carried(("offset", "country", "language", "period", "include", "exclude", "safe", "pages")),
)
