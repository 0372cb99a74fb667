"""Google's Programmable Search (``key`` and ``cx`` in the query). Source: Custom Search JSON API, "cse.list"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import Hit, Hits
from hub.providers.media._search import Ask, Search, carried, given, of, results, sites, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SearchJob

_LAST = 100  # the API shows no result beyond it


def _ask(job: SearchJob) -> Ask:
    safe = "active" if job.safe in ("moderate", "strict") else job.safe
    query = given(
        q=sites(job),
        num=job.count,
        gl=job.country.lower(),
        lr=f"lang_{job.language}" if job.language else "",
        dateRestrict=of(job.period, "d1", "w1", "m1", "y1"),
        safe=safe,
        sort="date" if job.kind == "news" else "",
    )
    if job.offset:
        query["start"] = min(job.offset + 1, _LAST - job.count + 1)
    return Ask(query=query)


def _read(tree: Mapping[str, Any], job: SearchJob) -> Hits:
    hits: list[Hit] = []
    for one in results(tree, "items"):
        pictures, about = results(one, "pagemap", "cse_thumbnail"), results(one, "pagemap", "metatags")
        hits.append(
            Hit(
                title=word(one, "title"),
                url=word(one, "link"),
                snippet=word(one, "snippet"),
                published_at=word(about[0], "article:published_time") if about else None,
                image_url=word(pictures[0], "src") if pictures else None,
            )
        )
    total = word(tree, "searchInformation.totalResults")
    return Hits(hits, total=int(total) if total.isascii() and total.isdigit() and len(total) < 16 else None)


GOOGLE = Search(
    "google-cse",
    _ask,
    ("items", "searchInformation", "queries"),
    _read,
    carried(("offset", "country", "language", "period", "include", "exclude", "safe")),
)
