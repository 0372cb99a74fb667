"""Web search at Linkup. Source: Linkup API reference, "Search"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, results, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    body = given(
        q=job.query,
        depth="standard",
        outputType="sourcedAnswer" if job.answer else "searchResults",
        maxResults=job.count,
        includeDomains=list(job.include),
        excludeDomains=list(job.exclude),
    )
    return Ask(body={**body, "includeImages": False})


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "name"),
            url=word(one, "url"),
            snippet=word(one, "snippet", "content")[:1000],
            favicon_url=word(one, "favicon"),
            content=word(one, "content", "snippet"),
        )
        for one in results(tree, "sources" if job.answer else "results")
    ]
    return Hits(hits, answer=word(tree, "answer") or None)


LINKUP = Search("linkup", _ask, ("results", "answer", "sources"), _read, carried(("include", "exclude", "pages", "answer")))
