"""Ten search vendors: each refuses what its real API would not take, and answers in its own form with the same two results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.fakes.media import KEY, bearer, expect, only, path_of, query_of, strict
from tests.fakes.upstream import json_answer

if TYPE_CHECKING:
    from tests.fakes.upstream import Behaviour, Received

TITLES = ["First & best", "Second"]
URLS = ["https://one.example/a", "https://two.example/b"]
DATE = "2026-11-01"


def _header(request: Received, name: str) -> None:
    expect(request.headers.get(name) == KEY, "invalid api key", 401)


def _rows(**names: str) -> list[dict[str, Any]]:
    """Two results, their parts under the vendor's names."""
    parts = [{"title": "<b>First</b> &amp; best", "url": URLS[0], "snippet": "Words  of\n<em>one</em>", "date": DATE}]
    parts += [{"title": TITLES[1], "url": URLS[1], "snippet": "Words of two", "date": DATE}]
    return [{names.get(part, part): value for part, value in one.items()} for one in parts]


@strict
def serper(request: Received) -> Behaviour:
    _header(request, "x-api-key")
    expect(request.method == "POST", "use POST", 405)
    body = request.json()
    only(body, "q", "num", "page", "gl", "hl", "tbs", "autocorrect", "location")
    name = {"/search": "organic", "/news": "news"}[path_of(request)]
    return json_answer({"searchParameters": {"q": body["q"]}, name: _rows(url="link"), "credits": 1})


@strict
def brave(request: Received) -> Behaviour:
    _header(request, "x-subscription-token")
    query = query_of(request)
    only(query, "q", "count", "offset", "country", "search_lang", "safesearch", "freshness", "extra_snippets")
    expect(int(query["count"]) <= 20, "count: at most 20", 422)
    rows = _rows(snippet="description", date="page_age")
    if path_of(request) == "/res/v1/news/search":
        return json_answer({"type": "news", "results": rows})
    expect(path_of(request) == "/res/v1/web/search", "no such path", 404)
    return json_answer({"type": "search", "query": {"original": query["q"]}, "web": {"type": "search", "results": rows}})


@strict
def perplexity(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/search", "no such path", 404)
    body = request.json()
    only(body, "query", "max_results", "country", "search_domain_filter", "search_recency_filter", "search_language_filter")
    return json_answer({"id": "s", "results": _rows()})


@strict
def exa(request: Received) -> Behaviour:
    _header(request, "x-api-key")
    body = request.json()
    only(body, "query", "numResults", "category", "includeDomains", "excludeDomains", "userLocation", "contents", "moderation", "type")
    rows = _rows(date="publishedDate")
    for row in rows:
        row["highlights"] = [row.pop("snippet")]
        row["text"] = "x" * 900
    return json_answer({"requestId": "r", "results": rows, "costDollars": {"total": 0.007}})


@strict
def tavily(request: Received) -> Behaviour:
    bearer(request)
    body = request.json()
    only(body, "query", "max_results", "topic", "time_range", "include_domains", "exclude_domains", "include_raw_content", "include_answer")
    rows = [{**row, "score": 0.9, "raw_content": "# Page"} for row in _rows(snippet="content", date="published_date")]
    return json_answer({"query": body["query"], "answer": "Because." if body.get("include_answer") else None, "results": rows})


@strict
def google(request: Received) -> Behaviour:
    query = query_of(request)
    only(query, "key", "cx", "q", "num", "gl", "lr", "dateRestrict", "safe", "sort", "start")
    expect((query.get("key"), query.get("cx")) == (KEY, "engine-1"), "API key not valid", 400)
    expect(int(query["num"]) <= 10, "num: at most 10")
    rows = _rows(url="link")
    for row in rows:
        row["pagemap"] = {
            "metatags": [{"article:published_time": row.pop("date")}],
            "cse_thumbnail": [{"src": "https://one.example/p.png"}],
        }
    return json_answer({"kind": "customsearch#search", "searchInformation": {"totalResults": "1234"}, "items": rows})


@strict
def linkup(request: Received) -> Behaviour:
    bearer(request)
    body = request.json()
    only(body, "q", "depth", "outputType", "maxResults", "includeDomains", "excludeDomains", "includeImages", "fromDate", "toDate")
    rows = [{"type": "text", **row} for row in _rows(title="name", snippet="content")]
    if body["outputType"] == "sourcedAnswer":
        return json_answer({"answer": "Because.", "sources": rows})
    return json_answer({"results": rows})


@strict
def searchapi(request: Received) -> Behaviour:
    query = query_of(request)
    only(query, "api_key", "engine", "q", "num", "page", "gl", "hl", "time_period", "safe")
    expect(query.get("api_key") == KEY, "invalid api key", 401)
    expect(query["engine"] in ("google", "google_news"), "unsupported engine")
    return json_answer({"search_information": {"total_results": 1234}, "organic_results": _rows(url="link")})


@strict
def youcom(request: Received) -> Behaviour:
    _header(request, "x-api-key")
    query = query_of(request)
    only(query, "query", "count", "offset", "country", "language", "freshness", "safesearch", "livecrawl", "livecrawl_formats")
    rows = _rows(date="page_age")
    for row in rows:
        row["snippets"] = [row.pop("snippet")]
    kind = "news" if "news" in query["query"] else "web"
    return json_answer({"results": {kind: rows}, "metadata": {"latency": 0.1}})


@strict
def searxng(request: Received) -> Behaviour:
    query = query_of(request)
    only(query, "q", "format", "categories", "language", "time_range", "safesearch", "pageno")
    expect(query.get("format") == "json", "only json is read here")
    expect("authorization" not in request.headers, "no key is known here", 401)
    return json_answer(
        {"query": query["q"], "number_of_results": 1234, "results": _rows(snippet="content", date="publishedDate"), "answers": []}
    )


#: Provider, who answers, and the path of the base URL.
ALL: dict[str, tuple[Any, str]] = {
    "serper-search": (serper, ""),
    "brave-search": (brave, "/res/v1"),
    "perplexity-search": (perplexity, "/search"),
    "exa-search": (exa, "/search"),
    "tavily-search": (tavily, "/search"),
    "google-pse-search": (google, "/customsearch/v1"),
    "linkup-search": (linkup, "/v1/search"),
    "searchapi-search": (searchapi, "/api/v1/search"),
    "youcom-search": (youcom, "/v1/search"),
    "searxng-search": (searxng, "/search"),
}
