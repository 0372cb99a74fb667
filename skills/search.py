"""Web search: one way to ask ten search providers, with results made alike, kept for a while and shared by those who ask the same."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hub.context import Context
from hub.errors import BadRequest, NotFound
from hub.media.jobs import Hit, SearchJob
from hub.media.searches import Answered
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.wire import Wire, header, iso

_DOMAIN = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.)*[A-Za-z0-9-]{0,62}[A-Za-z0-9](?:/[\w./~%-]*)?\Z")


class _Part(BaseModel):
    """A part of the input, in the seed's spelling."""

    model_config = ConfigDict(extra="ignore")


class Content(_Part):
    """How much of each result is wanted."""

    snippet: bool = Field(default=True, description="A few words of the page.")
    full_page: bool = Field(default=False, description="The text of the page, from providers that have it.")
    format: Literal["text", "markdown"] = Field(default="text", description="The form of that text.")
    max_characters: int | None = Field(default=None, ge=100, le=100_000, description="Its length at most.")


class Filters(_Part):
    """What results must and must not be."""

    include_domains: list[str] = Field(default=[], max_length=20, description="Only these domains.")
    exclude_domains: list[str] = Field(default=[], max_length=20, description="None of these domains.")
    safe_search: Literal["off", "moderate", "strict"] | None = Field(default=None, description="What is kept from children.")

    @field_validator("include_domains", "exclude_domains")
    @classmethod
    def _domains(cls, value: list[str]) -> list[str]:
        if wrong := next((name for name in value if not _DOMAIN.match(name)), None):
            raise ValueError(f"{wrong[:80]!r} is no domain; write example.com")
        return value


class Synthesis(_Part):
    """Whether an answer in words is wanted besides results."""

    strategy: Literal["none", "auto", "provider", "internal"] = Field(
        default="none", description="provider or auto: the search provider's own answer, where it gives one."
    )
    model: str = Field(default="", max_length=200, description="For internal, which is not offered.")
    max_tokens: int | None = Field(default=None, ge=1, le=4000, description="For internal, which is not offered.")


class ToolAsk(BaseModel):
    """A search in a few words."""

    query: str = Field(min_length=1, max_length=500, description="What to look for.")
    provider: str = Field(default="", max_length=100, description="Id of a search provider; without it the cheapest connected one.")
    max_results: int = Field(default=5, ge=1, le=20, description="How many results at most.")
    search_type: Literal["web", "news"] = Field(default="web", description="Pages or news.")

    def job(self) -> SearchJob:
        """The search in no dialect."""
        return SearchJob(self.query, self.search_type, self.max_results)


class SearchAsk(ToolAsk):
    """A search in every detail. Fields that are not named here are ignored."""

    max_results: int = Field(default=5, ge=1, le=100, description="How many results at most; a provider may have a lower limit.")
    offset: int = Field(default=0, ge=0, le=10_000, description="How many results to pass over.")
    country: str = Field(default="", pattern=r"^([A-Za-z]{2})?$", description="Two letters, ISO 3166.")
    language: str = Field(default="", pattern=r"^([A-Za-z]{2}(-[A-Za-z]{2})?)?$", description="Such as en or pt-BR.")
    time_range: Literal["any", "day", "week", "month", "year"] = Field(default="any", description="How old a result may be.")
    content: Content = Field(default=Content(), description="How much of each result is wanted.")
    filters: Filters = Field(default=Filters(), description="What results must and must not be.")
    synthesis: Synthesis = Field(default=Synthesis(), description="Whether an answer in words is wanted.")
    provider_options: dict[str, Any] = Field(default={}, max_length=50, description="Fields that go to the provider as they are.")
    strict_filters: bool = Field(default=False, description="Refuse rather than search where a provider cannot filter like this.")

    def job(self) -> SearchJob:
        """The search in no dialect. Raises BadRequest for what is not offered."""
        if self.synthesis.strategy == "internal":
            raise BadRequest("synthesis.strategy: internal is not offered; ask a model with the results", field="synthesis.strategy")
        return SearchJob(
            self.query,
            self.search_type,
            self.max_results,
            offset=self.offset,
            country=self.country,
            language=self.language,
            period="" if self.time_range == "any" else self.time_range,
            include=tuple(self.filters.include_domains),
            exclude=tuple(self.filters.exclude_domains),
            safe=self.filters.safe_search or "",
            pages=self.content.format if self.content.full_page else "",
            length=self.content.max_characters or 0,
            answer=self.synthesis.strategy != "none",
            strict=self.strict_filters,
            options=self.provider_options,
        )


class Used(Wire):
    """What a search has used: nothing where the answer was there already. ``search_cost_usd`` null is unknown."""

    queries_used: int = Field(serialization_alias="queries_used")
    search_cost_usd: float | None = Field(serialization_alias="search_cost_usd")


class SearchAnswer(BaseModel):
    """Results as every provider's are given, best first."""

    id: str
    provider: str
    query: str
    results: list[dict[str, Any]]
    answer: str | None
    usage: Used
    metrics: dict[str, Any]
    errors: list[dict[str, Any]]
    cached: bool
    unsupported: list[str]


def _result(hit: Hit, place: int, found: Answered, *, kind: str, snippet: bool) -> dict[str, Any]:
    parts = urlsplit(hit.url)
    return {
        "title": hit.title,
        "url": hit.url,
        "display_url": f"{parts.netloc}{parts.path}".rstrip("/")[:300],
        "snippet": hit.snippet if snippet else "",
        "position": place,
        "score": hit.score,
        "published_at": hit.published_at,
        "favicon_url": hit.favicon_url,
        "content": hit.content,
        "metadata": {"author": hit.author, "language": hit.language, "source_type": kind, "image_url": hit.image_url},
        "citation": {"provider": found.provider, "retrieved_at": iso(found.at), "rank": place},
        "provider_raw": None,
    }


async def _search(ctx: Context, ask: ToolAsk) -> SearchAnswer:
    provider = ctx.hub.catalog.find(ask.provider)
    if ask.provider and (provider is None or "search" not in provider.services):
        raise NotFound(f"no search provider {ask.provider!r}; GET /v1/search lists those that are connected", field="provider")
    job = ask.job()
    began = ctx.hub.clock.monotonic()
    found = await ctx.hub.searches.run(job, provider.id if provider else "", ctx)
    fresh = found.source == "upstream"
    snippet = ask.content.snippet if isinstance(ask, SearchAsk) else True
    results = [_result(hit, place, found, kind=job.kind, snippet=snippet) for place, hit in enumerate(found.hits.hits, job.offset + 1)]
    return SearchAnswer(
        id=ctx.request_id,
        provider=found.provider,
        query=ask.query,
        results=results,
        answer=found.hits.answer if job.answer else None,
        usage=Used(queries_used=int(fresh), search_cost_usd=found.cost),
        metrics={
            "response_time_ms": round((ctx.hub.clock.monotonic() - began) * 1000),
            "upstream_latency_ms": found.row.latency_ms if fresh else 0,
            "total_results_available": found.hits.total,
        },
        errors=[{"provider": one.provider, "code": one.kind, "message": one.message} for one in found.failed],
        cached=not fresh,
        unsupported=found.dropped,
    )


def _headers(answer: SearchAnswer) -> dict[str, str]:
    headers = {"x-omniroute-provider": answer.provider, "x-omniroute-cache": "HIT" if answer.cached else "MISS"}
    if answer.usage.search_cost_usd is not None:
        headers["x-omniroute-response-cost"] = f"{answer.usage.search_cost_usd:.10f}"
    if answer.unsupported:
        headers["x-hubroute-dropped"] = header(", ".join(answer.unsupported))
    return headers


@skill("search", scopes=["chat"], cost=CostClass.METERED, rest=[Rest("POST", "/v1/search", headers=_headers)], audit=Audit.NONE)
async def search(ctx: Context, ask: SearchAsk) -> SearchAnswer:
    """Search the web or the news at any connected search provider."""
    return await _search(ctx, ask)


@skill("web-search", scopes=["execute:search"], cost=CostClass.METERED, mcp=Mcp("omniroute_web_search"))
async def web_search(ctx: Context, ask: ToolAsk) -> SearchAnswer:
    """Search the web or the news; another provider takes over when one fails."""
    return await _search(ctx, ask)
