"""Web search by a SearXNG server of one's own, which must allow the format ``json``. Source: SearXNG, "Search API"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, first, given, number, page, results, sites, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob

_SAFE = {"off": "0", "moderate": "1", "strict": "2"}


def _ask(job: SearchJob) -> Ask:
    query = given(
        q=sites(job),
        format="json",
        categories="news" if job.kind == "news" else "general",
        language=job.language,
        time_range=job.period,
        safesearch=_SAFE.get(job.safe, ""),
    )
    if job.offset:
        query["pageno"] = page(job)
    return Ask(query=query)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "url"),
            snippet=word(one, "content"),
            score=number(one, "score"),
            published_at=word(one, "publishedDate"),
            author=word(one, "author"),
            image_url=word(one, "thumbnail", "img_src"),
        )
        for one in results(tree, "results")
    ]
    total = number(tree, "number_of_results")
    return Hits(hits, total=round(total) if total else None, answer=_said(tree) or None)


def _said(tree: Mapping[str, Any]) -> str:
    """The first answer: a text, or in newer versions an object that has one."""
    return first(tree.get("answers")) or next((text for one in results(tree, "answers") if (text := word(one, "answer"))), "")


SEARXNG = Search("searxng", _ask, ("results",), _read, carried(("offset", "language", "period", "include", "exclude", "safe")))
