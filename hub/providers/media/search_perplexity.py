"""Web search at Perplexity. Source: Perplexity API, "Search"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, results, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    domains = [*job.include, *(f"-{name}" for name in job.exclude)]
    return Ask(
        body=given(
            query=job.query,
            max_results=job.count,
            country=job.country.upper(),
            search_domain_filter=domains,
            search_recency_filter=job.period,
            search_language_filter=[job.language] if job.language else [],
        )
    )


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "url"),
            snippet=word(one, "snippet"),
            published_at=word(one, "date", "last_updated"),
            content=word(one, "snippet"),
        )
        for one in results(tree, "results")
    ]
    return Hits(hits)


PERPLEXITY = Search("perplexity", _ask, ("results",), _read, carried(("country", "language", "period", "include", "exclude", "pages")))
