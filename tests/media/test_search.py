"""Web search over a real socket: ten vendors, results made alike, cache, coalescing, failover, money, analytics, the MCP tool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.money.budgets import Budget
from hub.providers.catalog import Catalog
from tests.fakes import searchers
from tests.fakes import upstream as faults
from tests.fakes.hub import Running, impatient

if TYPE_CHECKING:
    from tests.fakes.upstream import Behaviour, FaultUpstream, Received
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL = "/v1/search"
ALL = Catalog.load()


async def _join(joined: Join, provider: str, handler: Any = None) -> FaultUpstream:
    vendor, path = searchers.ALL[provider]
    row = ALL.get(provider)
    more: dict[str, Any] = {"data": {"cx": "engine-1"}} if row.auth.also else {}
    if row.auth.type == "none":
        more |= {"secret": "", "auth_type": "none"}
    return await joined(provider, handler or vendor, path, **more)


def test_the_ten_of_the_catalogue_are_all_here() -> None:
    assert {row.id for row in ALL.providers.values() if "search" in row.services} == set(searchers.ALL)


@pytest.mark.parametrize("provider", searchers.ALL)
async def test_every_vendor_gives_results_of_one_form(running: Running, client: httpx.AsyncClient, joined: Join, provider: str) -> None:
    await _join(joined, provider)
    answer = await client.post(URL, json={"query": "why", "provider": provider, "max_results": 2})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["provider"], body["query"], body["cached"], body["errors"]) == (provider, "why", False, [])
    assert [(one["title"], one["url"], one["position"]) for one in body["results"]] == [
        (searchers.TITLES[0], searchers.URLS[0], 1),
        (searchers.TITLES[1], searchers.URLS[1], 2),
    ]
    first = body["results"][0]
    assert first["snippet"] == "Words of one"
    assert (first["display_url"], first["provider_raw"], first["content"]) == ("one.example/a", None, None)
    assert first["published_at"] == (None if provider == "linkup-search" else searchers.DATE)
    assert first["metadata"]["source_type"] == "web"
    assert first["citation"]["rank"] == 1
    price = ALL.get(provider).search["cost_per_query_usd"]
    assert body["usage"] == {"queries_used": 1, "search_cost_usd": pytest.approx(price)}
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="web-search")
    assert [(row.provider, row.outcome, row.cost) for row in rows] == [(provider, "ok", pytest.approx(price))]


@pytest.mark.parametrize("provider", searchers.ALL)
async def test_every_vendor_is_told_all_that_it_can_carry_and_the_rest_is_named(
    client: httpx.AsyncClient, joined: Join, provider: str
) -> None:
    """The vendors here refuse a field that they do not know, so that none is sent under a wrong name."""
    upstream = await _join(joined, provider)
    ask = {
        "query": "why",
        "provider": provider,
        "max_results": 100,
        "offset": 10,
        "country": "de",
        "language": "en",
        "time_range": "week",
        "content": {"full_page": True, "format": "markdown", "max_characters": 500},
        "filters": {"include_domains": ["a.example", "b.example"], "exclude_domains": ["c.example"], "safe_search": "strict"},
        "synthesis": {"strategy": "provider"},
    }
    answer = await client.post(URL, json=ask)
    assert answer.status_code == 200, answer.text
    sent = upstream.requests[0].target + upstream.requests[0].body.decode()
    assert all(domain in sent for domain in ("a.example", "c.example"))
    carried = {"offset", "country", "language", "time_range", "filters.safe_search", "content.full_page", "synthesis"}
    assert set(answer.json()["unsupported"]) <= carried
    for one in answer.json()["results"]:
        assert one["content"] is None or len(one["content"]) <= 500


async def test_news(client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "serper-search")
    await _join(joined, "brave-search")
    for provider in ("serper-search", "brave-search"):
        body = (await client.post(URL, json={"query": "why", "provider": provider, "search_type": "news"})).json()
        assert [one["metadata"]["source_type"] for one in body["results"]] == ["news"] * 2
    await _join(joined, "linkup-search")
    refused = await client.post(URL, json={"query": "why", "provider": "linkup-search", "search_type": "news"})
    assert refused.status_code in (400, 503)


async def test_a_provider_s_own_answer(client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "tavily-search")
    for strategy, want in (("none", None), ("auto", "Because.")):
        body = (await client.post(URL, json={"query": "why", "synthesis": {"strategy": strategy}})).json()
        assert body["answer"] == want
    refused = await client.post(URL, json={"query": "why", "synthesis": {"strategy": "internal"}})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "synthesis.strategy")


async def test_the_same_search_is_answered_from_the_cache_and_costs_nothing(
    running: Running, client: httpx.AsyncClient, joined: Join
) -> None:
    upstream = await _join(joined, "serper-search")
    ask = {"query": "why"}
    fresh, again = [(await client.post(URL, json=ask)) for _ in range(2)]
    assert (fresh.headers["x-omniroute-cache"], again.headers["x-omniroute-cache"]) == ("MISS", "HIT")
    assert (again.json()["cached"], again.json()["usage"]) == (True, {"queries_used": 0, "search_cost_usd": 0.0})
    assert again.json()["results"] == fresh.json()["results"]
    await client.post(URL, json={**ask, "max_results": 6})
    await client.post(URL, json=ask, headers=await running.headers())  # REL-25: another key's searches are its own
    assert len(upstream.requests) == 3
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="web-search")
    assert sorted(row.source for row in rows) == ["cache", "upstream", "upstream", "upstream"]


async def test_a_policy_holds_before_the_cache(client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "serper-search")
    assert (await client.post(URL, json={"query": "why"})).status_code == 200
    rule = {"name": "no search", "priority": 1, "when": {"skills": ["web-search"]}, "then": {"action": "deny"}}
    assert (await client.post("/api/policies", json=rule)).status_code == 201
    assert (await client.post(URL, json={"query": "why"})).status_code == 403


async def test_searches_at_the_same_time_are_one(running: Running, joined: Join) -> None:
    gate = asyncio.Event()

    def slow(request: Received) -> Behaviour:
        async def run(exchange: faults.Exchange) -> None:
            await gate.wait()
            await searchers.serper(request).run(exchange)

        return faults.Behaviour(run)

    upstream = await _join(joined, "serper-search", slow)
    hub = running.hub
    key = hub.authenticate(await running.key())
    calls = [asyncio.ensure_future(hub.call(hub.find("search"), {"query": "why"}, hub.context(key, "test"))) for _ in range(5)]
    await upstream.received()  # the others have long come to wait for the first
    gate.set()
    answers = [await call for call in calls]
    assert len(upstream.requests) == 1
    assert sorted(answer.usage.queries_used for answer in answers) == [0, 0, 0, 0, 1]
    await hub.store.flush()
    rows, _ = await hub.store.usage.page(skill="web-search")
    assert sorted(row.source for row in rows) == ["coalesced"] * 4 + ["upstream"]


@pytest.mark.parametrize(
    "fault", [faults.json_answer({}, status=429), faults.json_answer({}, status=503), faults.html(), faults.json_answer([])]
)
async def test_another_provider_takes_over_the_cheapest_first(client: httpx.AsyncClient, joined: Join, fault: Behaviour) -> None:
    await _join(joined, "exa-search")
    await _join(joined, "serper-search", lambda _: fault)
    await _join(joined, "brave-search")
    body = (await client.post(URL, json={"query": "why"})).json()
    assert body["provider"] == "brave-search"
    assert [one["provider"] for one in body["errors"]] == ["serper-search"]


async def test_a_wrong_request_goes_nowhere_else(client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "serper-search", lambda _: faults.json_answer({"message": "bad query"}, status=400))
    other = await _join(joined, "brave-search")
    assert (await client.post(URL, json={"query": "why"})).status_code == 400
    assert other.requests == []


async def test_a_filter_that_must_hold(client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "serper-search")
    ask = {"query": "why", "filters": {"safe_search": "strict"}}
    lax = await client.post(URL, json=ask)
    assert (lax.status_code, lax.json()["unsupported"]) == (200, ["filters.safe_search"])
    refused = await client.post(URL, json={**ask, "strict_filters": True})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "filters.safe_search")
    await _join(joined, "brave-search")
    assert (await client.post(URL, json={**ask, "strict_filters": True})).json()["provider"] == "brave-search"


@pytest.mark.parametrize(
    ("change", "param"),
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        ({"query": ""}, "query"),
        ({"query": "x" * 501}, "query"),
        ({"max_results": 0}, "max_results"),
        ({"max_results": 101}, "max_results"),
        ({"search_type": "images"}, "search_type"),
        ({"offset": -1}, "offset"),
        ({"country": "Germany"}, "country"),
        ({"language": "english"}, "language"),
        ({"time_range": "hour"}, "time_range"),
        ({"filters": {"include_domains": ["a.example"] * 21}}, "filters.include_domains"),
        ({"filters": {"include_domains": ["a.example OR site:b"]}}, "filters.include_domains"),
        ({"filters": {"safe_search": "no"}}, "filters.safe_search"),
        ({"content": {"max_characters": 5}}, "content.max_characters"),
        ({"provider": "bing-search"}, "provider"),
        ({"provider": "openai"}, "provider"),
    ],
)
async def test_bad_input_is_refused_by_name(client: httpx.AsyncClient, joined: Join, change: dict[str, Any], param: str) -> None:
    upstream = await _join(joined, "serper-search")
    answer = await client.post(URL, json={"query": "why", **change})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param
    assert upstream.requests == []


async def test_options_of_a_provider_pass_but_no_credential(client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await _join(joined, "searchapi-search")
    ask = {"query": "why", "provider": "searchapi-search", "provider_options": {"api_key": "mine", "hl": "fr", "deep": {"a": 1}}}
    assert (await client.post(URL, json=ask)).status_code == 200
    assert "hl=fr" in upstream.requests[0].target
    assert "mine" not in upstream.requests[0].target


async def test_a_budget_holds_for_searches_at_once(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: a tenth of a cent each, and money for four."""
    await _join(joined, "serper-search")
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.0045))
    heads = {"authorization": f"Bearer {secret}"}
    answers = await asyncio.gather(*(client.post(URL, json={"query": f"why {turn}"}, headers=heads) for turn in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 8
    assert (await running.hub.budgets.state(key.id)).windows["daily"].spent == 4_000_000


async def test_a_key_s_list_narrows_who_is_asked(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "serper-search")
    await _join(joined, "brave-search")
    brave = {"authorization": f"Bearer {await running.key('chat', allowed_models=['brave-search/*'])}"}
    assert (await client.post(URL, json={"query": "why"}, headers=brave)).json()["provider"] == "brave-search"
    assert (await client.post(URL, json={"query": "why", "provider": "serper-search"}, headers=brave)).status_code == 403
    chats = {"authorization": f"Bearer {await running.key('chat', allowed_models=['openai/*'])}"}
    assert (await client.post(URL, json={"query": "why"}, headers=chats)).status_code == 403


async def test_a_client_that_leaves_ends_the_search(client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06."""
    upstream = await _join(joined, "serper-search", lambda _: faults.silent())
    call = asyncio.ensure_future(client.post(URL, json={"query": "why"}))
    await upstream.received()
    call.cancel()
    assert await upstream.closed_by_client(5)


async def test_what_was_searched_is_summed_up(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    await impatient(running)
    await _join(joined, "serper-search")
    await _join(joined, "brave-search", lambda _: faults.json_answer({}, status=500))
    for ask in ({"query": "a"}, {"query": "a"}, {"query": "b"}, {"query": "c", "provider": "brave-search"}):
        await client.post(URL, json=ask)
    found = (await client.get("/v1/search/analytics")).json()
    assert (found["total"], found["today"], found["cached"], found["errors"], found["cacheHitRate"]) == (4, 4, 1, 1, 25)
    assert found["totalCostUsd"] == pytest.approx(0.002)
    assert found["byProvider"]["serper-search"] | {"avgDurationMs": 0} == {
        "count": 3,
        "costUsd": pytest.approx(0.002),
        "cached": 1,
        "errors": 0,
        "avgDurationMs": 0,
    }
    assert [hour["count"] for hour in found["last24h"]] == [4] or len(found["last24h"]) == 2
    mine = (await client.get("/v1/search/analytics", headers=await running.headers("chat"))).json()
    assert mine["total"] == 0


async def test_the_list_of_providers(client: httpx.AsyncClient, joined: Join) -> None:
    await _join(joined, "exa-search")
    await _join(joined, "serper-search")
    listed = (await client.get(URL)).json()
    assert [(one["id"], one["object"], one["search_types"]) for one in listed["data"]] == [
        ("serper-search", "search_provider", ["web", "news"]),
        ("exa-search", "search_provider", ["web", "news"]),
    ]
    kinds = {model["id"]: model["type"] for model in (await client.get("/v1/models")).json()["data"]}
    assert kinds["serper-search/web"] == "search"


async def test_with_no_provider_it_says_what_to_do(client: httpx.AsyncClient) -> None:
    answer = await client.post(URL, json={"query": "why"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_configured")


async def test_the_tool_searches_too(running: Running, joined: Join) -> None:
    upstream = await _join(joined, "serper-search")
    hub = running.hub
    skill = hub.skills.by_tool["omniroute_web_search"]
    key = hub.authenticate(await running.key("execute:search"))
    found = await hub.call(skill, {"query": "why", "max_results": 1}, hub.context(key, "mcp"))
    assert [one["url"] for one in found.results] == searchers.URLS[:1]
    assert len(upstream.requests) == 1
