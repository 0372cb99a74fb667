"""Web search at Brave. Source: Brave Search API, "Web search" and "News search"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, of, page, results, sites, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    query = given(
        q=sites(job),
        count=job.count,
        country=job.country.upper(),
        search_lang=job.language,
        safesearch=job.safe,
        freshness=of(job.period, "pd", "pw", "pm", "py"),
    )
    if job.offset:
        query["offset"] = page(job) - 1  # in pages, of which there are ten
    return Ask("/news/search" if job.kind == "news" else "/web/search", query=query)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    found = results(tree, "results") if job.kind == "news" else results(tree, "web", "results")
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "url"),
            snippet=word(one, "description"),
            published_at=word(one, "page_age", "age"),
            favicon_url=word(one, "meta_url.favicon"),
            author=word(one, "profile.name"),
            language=word(one, "language"),
            image_url=word(one, "thumbnail.src"),
        )
        for one in found
    ]
    return Hits(hits)


BRAVE = Search(
    "brave", _ask, ("web", "results", "query"), _read, carried(("offset", "country", "language", "period", "include", "exclude", "safe"))
)
