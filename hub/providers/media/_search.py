"""What the formats of web search share: one request, an answer that is somebody's free JSON, results made alike."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest, UpstreamFailed
from hub.media.jobs import Hit, Hits
from hub.media.order import Made
from hub.money.units import Units
from hub.providers.media._address import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hub.media.jobs import SearchJob
    from hub.media.order import Line
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

_TAG = re.compile(r"<[^<>]{0,300}>")
_BLANKS = re.compile(r"[\x00-\x20\x7f\u2028\u2029]+")
_TITLE, _SNIPPET, _ADDRESS, _PAGE = 500, 4000, 4000, 100_000
#: What the fields of a job are called where clients read about them.
_CALLED = {
    "period": "time_range",
    "include": "filters.include_domains",
    "exclude": "filters.exclude_domains",
    "safe": "filters.safe_search",
    "pages": "content.full_page",
    "answer": "synthesis",
}


@dataclass(slots=True)
class Ask:
    """A request of one format: below the base URL, as fields of a query, or of a body where there is one."""

    path: str = ""
    query: dict[str, Any] | None = None
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """One format: how it asks, the members of an answer of which it must have one, how it reads it, and which wishes it can carry."""

    name: str
    ask: Callable[[SearchJob], Ask]
    known: tuple[str, ...]
    read: Callable[[Mapping[str, Any], SearchJob], Hits]
    carries: frozenset[str] = frozenset()
    service: str = "search"

    async def make(self, job: SearchJob, target: Target, line: Line) -> Made[Hits]:
        """Search. Raises BadRequest for a kind of search that the provider does not have, or a filter that must hold and cannot."""
        facts = target.provider.search
        if job.kind not in facts.get("types", ()):
            raise BadRequest(f"{target.provider.name} does not search {job.kind}", field="search_type")
        dropped = [_CALLED.get(name, name) for name in job.wishes() if name not in self.carries]
        lost = [name for name in dropped if name.startswith("filters.")]
        if lost and job.strict:
            raise BadRequest(f"{target.provider.name} cannot filter by {', '.join(lost)}", field=lost[0])
        job = replace(job, count=min(job.count, facts.get("max_results", job.count)))
        found = self.read(self._tree(await line.call(self._outgoing(job, target))), job)
        found.hits = [_tidied(hit, job) for hit in found.hits if hit.url.startswith(("https://", "http://"))][: job.count]
        return Made(found, units=Units(queries=1), dropped=dropped)

    def _outgoing(self, job: SearchJob, target: Target) -> Outgoing:
        """The request, with the client's own options for this provider in it; none of them can be a credential."""
        asked = self.ask(job)
        options = {
            name: value for name, value in job.options.items() if name not in (target.provider.auth.param, target.provider.auth.also)
        }
        if asked.body is not None:
            return request(target, self.service, asked.path, {**asked.body, **options})
        plain = {name: value for name, value in options.items() if isinstance(value, (str, int, float, bool))}
        return request(target, self.service, asked.path, query={**(asked.query or {}), **plain}, method="GET")

    def _tree(self, body: bytes) -> Mapping[str, Any]:
        try:
            tree: Any = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise UpstreamFailed("the provider's results cannot be read", code="malformed_answer") from error
        if not isinstance(tree, dict) or not any(name in tree for name in self.known):
            raise UpstreamFailed("the provider's answer has no results in it", code="malformed_answer")
        return cast("Mapping[str, Any]", tree)


def results(tree: Any, *path: str) -> list[dict[str, Any]]:
    """The objects of a list somewhere in an answer; none where it is something else."""
    for name in path:
        tree = cast("dict[str, Any]", tree).get(name) if isinstance(tree, dict) else None
    return [cast("dict[str, Any]", one) for one in cast("list[Any]", tree) if isinstance(one, dict)] if isinstance(tree, list) else []


def word(node: Any, *names: str) -> str:
    """The first of these members that is a text with something in it; a dot leads into an object."""
    for name in names:
        found: Any = node
        for part in name.split("."):
            found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
        if isinstance(found, str) and found.strip():
            return found
    return ""


def number(node: Any, *path: str) -> float | None:
    """A number somewhere in an answer."""
    found: Any = node
    for part in path:
        found = cast("dict[str, Any]", found).get(part) if isinstance(found, dict) else None
    return float(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else None


def first(values: Any) -> str:
    """The first text of a list."""
    return next((one for one in cast("list[Any]", values) if isinstance(one, str)), "") if isinstance(values, list) else ""


def sites(job: SearchJob) -> str:
    """The query with its domains as the operators that engines understand."""
    wanted = " OR ".join(f"site:{name}" for name in job.include)
    parts = [job.query, f"({wanted})" if len(job.include) > 1 else wanted, *(f"-site:{name}" for name in job.exclude)]
    return " ".join(part for part in parts if part)


def page(job: SearchJob) -> int:
    """The page on which an offset falls, counted from 1."""
    return job.offset // job.count + 1


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are not empty."""
    return {name: value for name, value in fields.items() if value not in ("", None, (), [])}


def of(period: str, day: str, week: str, month: str, year: str) -> str:
    """What a format calls a period."""
    return {"day": day, "week": week, "month": month, "year": year}.get(period, "")


def _tidied(hit: Hit, job: SearchJob) -> Hit:
    """A result without markup, and no longer than anybody wants."""
    hit.title, hit.snippet, hit.url = _plain(hit.title)[:_TITLE] or hit.url[:_TITLE], _plain(hit.snippet)[:_SNIPPET], hit.url[:_ADDRESS]
    hit.content = hit.content[: job.length or _PAGE] if hit.content and job.pages else None
    for name in ("published_at", "favicon_url", "author", "language", "image_url"):
        value = getattr(hit, name)
        setattr(hit, name, value[:_ADDRESS] if value else None)
    return hit


def _plain(text: str) -> str:
    """Text without tags and entities, on one line."""
    return _BLANKS.sub(" ", html.unescape(_TAG.sub("", text[: 4 * _SNIPPET]))).strip()


def carried(names: Iterable[str]) -> frozenset[str]:
    """The wishes that a format carries."""
    return frozenset(names)
