"""Web search at Serper (Google results as JSON). Source: Serper API, "Search" and "News"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, of, page, results, sites, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    period = of(job.period, "qdr:d", "qdr:w", "qdr:m", "qdr:y")
    body = given(q=sites(job), num=job.count, gl=job.country.lower(), hl=job.language, tbs=period)
    if job.offset:
        body["page"] = page(job)
    return Ask("/news" if job.kind == "news" else "/search", body=body)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "link"),
            snippet=word(one, "snippet"),
            published_at=word(one, "date"),
            author=word(one, "source"),
            image_url=word(one, "imageUrl"),
        )
        for one in results(tree, "news" if job.kind == "news" else "organic")
    ]
    return Hits(hits, answer=word(tree, "answerBox.answer", "answerBox.snippet") or None)


SERPER = Search(
    "serper",
    _ask,
    ("organic", "news", "searchParameters"),
    _read,
    carried(("offset", "country", "language", "period", "include", "exclude")),
)
