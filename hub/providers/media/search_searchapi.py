"""Web search at SearchApi (Google results as JSON). Source: SearchApi, "Google Search API" and "Google News API"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, number, of, page, results, sites, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    safe = "active" if job.safe in ("moderate", "strict") else job.safe
    query = given(
        engine="google_news" if job.kind == "news" else "google",
        q=sites(job),
        num=job.count,
        gl=job.country.lower(),
        hl=job.language,
        time_period=of(job.period, "last_day", "last_week", "last_month", "last_year"),
        safe=safe,
    )
    if job.offset:
        query["page"] = page(job)
    return Ask(query=query)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "link"),
            snippet=word(one, "snippet"),
            published_at=word(one, "iso_date", "date"),
            favicon_url=word(one, "favicon"),
            author=word(one, "source"),
            image_url=word(one, "thumbnail"),
        )
        for one in results(tree, "organic_results")
    ]
    total = number(tree, "search_information", "total_results")
    return Hits(hits, total=round(total) if total is not None else None, answer=word(tree, "answer_box.answer") or None)


SEARCHAPI = Search(
    "searchapi",
    _ask,
    ("organic_results", "search_metadata", "search_information"),
    _read,
    carried(("offset", "country", "language", "period", "include", "exclude", "safe")),
)
