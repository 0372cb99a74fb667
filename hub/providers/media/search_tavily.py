"""Web search at Tavily. Source: Tavily API reference, "Search"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, number, results, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    body = given(
        query=job.query,
        max_results=job.count,
        topic="news" if job.kind == "news" else "general",
        time_range=job.period,
        include_domains=list(job.include),
        exclude_domains=list(job.exclude),
        include_raw_content=job.pages,
    )
    if job.answer:
        body["include_answer"] = True
    return Ask(body=body)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "url"),
            snippet=word(one, "content"),
            score=number(one, "score"),
            published_at=word(one, "published_date"),
            favicon_url=word(one, "favicon"),
            content=word(one, "raw_content"),
        )
        for one in results(tree, "results")
    ]
    return Hits(hits, answer=word(tree, "answer") or None)


TAVILY = Search("tavily", _ask, ("results",), _read, carried(("period", "include", "exclude", "pages", "answer")))
