"""Web search at Exa. Source: Exa API reference, "Search"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, first, given, number, results, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob


def _ask(job: SearchJob) -> Ask:
    contents: dict[str, Any] = {"highlights": True}
    if job.pages:
        contents["text"] = {"maxCharacters": job.length} if job.length else True
    body = given(
        query=job.query,
        numResults=job.count,
        category="news" if job.kind == "news" else "",
        includeDomains=list(job.include),
        excludeDomains=list(job.exclude),
        userLocation=job.country.upper(),
        contents=contents,
    )
    if job.safe and job.safe != "off":
        body["moderation"] = True
    return Ask(body=body)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits = [
        Hit(
            title=word(one, "title"),
            url=word(one, "url"),
            snippet=first(one.get("highlights")) or word(one, "summary", "text")[:500],
            score=number(one, "score"),
            published_at=word(one, "publishedDate"),
            favicon_url=word(one, "favicon"),
            content=word(one, "text"),
            author=word(one, "author"),
            image_url=word(one, "image"),
        )
        for one in results(tree, "results")
    ]
    return Hits(hits)


EXA = Search("exa", _ask, ("results",), _read, carried(("country", "include", "exclude", "safe", "pages")))
