"""Embeddings over a real socket: every wire format, the OpenAI SDK, money, fallback and what is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest

from hub.money.budgets import Budget
from tests.fakes import embedders
from tests.fakes import media as vendors
from tests.fakes import upstream as faults
from tests.fakes.hub import Running, impatient

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.fakes.upstream import Behaviour, Received
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL = "/v1/embeddings"
SMALL = "openai/text-embedding-3-small"
#: Provider, model, what it speaks, the path of its base URL, and the tokens that it counts.
EVERYBODY: list[tuple[str, str, Any, str, int]] = [
    ("openai", "text-embedding-3-small", vendors.openai_embeddings, "/v1", 10),
    ("jina-ai", "jina-embeddings-v4", vendors.jina_embeddings, "/v1", 10),
    ("voyage-ai", "voyage-4", vendors.voyage_embeddings, "/v1", 10),
    ("gemini", "gemini-embedding-001", vendors.gemini_embeddings, "/v1beta", 0),
    ("vertex", "gemini-embedding-001", embedders.vertex, "/v1/publishers/google", 10),
    ("vertex", "text-embedding-005", embedders.predict, "/v1/publishers/google", 10),
    ("ollama", "nomic-embed-text", vendors.ollama_embeddings, "", 10),
    ("cohere", "embed-v4.0", vendors.cohere_embeddings, "/compatibility/v1", 10),
    ("mistral", "mistral-embed", embedders.mistral, "/v1", 10),
    ("nvidia", "nvidia/nv-embedqa-e5-v5", embedders.nvidia, "/v1", 10),
    ("snowflake", "snowflake-arctic-embed-l-v2.0", embedders.snowflake, "/api/v2", 10),
    ("bedrock", "amazon.titan-embed-text-v2:0", embedders.titan, "", 10),
]


@pytest.mark.parametrize(("provider", "model", "vendor", "path", "tokens"), EVERYBODY, ids=[f"{one[0]} {one[1]}" for one in EVERYBODY])
async def test_every_format_gives_the_sdk_vectors_in_order(
    running: Running, sdk: openai.AsyncOpenAI, joined: Join, provider: str, model: str, vendor: Any, path: str, tokens: int
) -> None:
    """The SDK asks for base64 by itself, and for numbers where told to; both come from every provider."""
    await joined(provider, vendor, path)
    for options in ({}, {"encoding_format": "float"}):
        found = await sdk.embeddings.create(model=f"{provider}/{model}", input=["one", "three"], **options)  # type: ignore[call-overload]
        assert [(one.index, one.embedding) for one in sorted(found.data, key=lambda one: one.index)] == [
            (0, vendors.vector("one")),
            (1, vendors.vector("three")),
        ]
        assert found.usage.prompt_tokens == (tokens or 3)  # estimated where the provider is silent
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="embeddings")
    assert [(row.provider, row.model, row.outcome, row.usage.estimated) for row in rows] == [(provider, model, "ok", not tokens)] * 2


async def test_the_provider_s_own_bytes_pass_and_the_headers_tell(client: httpx.AsyncClient, joined: Join) -> None:
    """D20."""
    data, usage = b'[{"object":"embedding","index":0,"embedding":[1e-3, 2]}]', b'{"prompt_tokens":1000000}'
    body = b'{"object":"list", "data":%b,"model":"m","usage":%b, "new":[]}' % (data, usage)
    upstream = await joined("openai", lambda _: faults.answer_bytes(body, headers=[("content-type", "application/json")]))
    answer = await client.post(URL, json={"model": SMALL, "input": "x", "user": "me", "vendor_field": {"a": 1}})
    assert answer.content == body
    sent = upstream.requests[0].json()
    assert sent == {"model": "text-embedding-3-small", "input": ["x"], "encoding_format": "float", "user": "me", "vendor_field": {"a": 1}}
    heads = answer.headers
    assert (heads["x-omniroute-provider"], heads["x-omniroute-model"], heads["x-omniroute-tokens-in"]) == (
        "openai",
        "text-embedding-3-small",
        "1000000",
    )
    assert float(heads["x-omniroute-response-cost"]) == pytest.approx(0.02)


async def test_tokens_and_dimensions(sdk: openai.AsyncOpenAI, joined: Join) -> None:
    await joined("openai", vendors.openai_embeddings)
    found = await sdk.embeddings.create(model=SMALL, input=[1, 2, 3], dimensions=6)
    assert [one.embedding for one in found.data] == [vendors.vector([1, 2, 3], 6)]
    found = await sdk.embeddings.create(model=SMALL, input=[[1, 2, 3], [4]])
    assert sorted(one.embedding[0] for one in found.data) == [1.0, 3.0]


async def test_what_a_format_cannot_carry_is_named(client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("cohere", vendors.cohere_embeddings, "/compatibility/v1")
    answer = await client.post(URL, json={"model": "cohere/embed-v4.0", "input": "x", "user": "me", "input_type": "search_query"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-hubroute-dropped"] == "user"
    assert upstream.requests[0].json()["input_type"] == "search_query"
    refused = await client.post(URL, json={"model": "cohere/embed-v4.0", "input": [1, 2]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("change", "param"),
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [[1], "a"]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a" * 2_000_001}, "input"),
        ({"model": ""}, "model"),
        ({"model": "m" * 201}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"model": "openai/gpt-4o"}, "model"),
        ({"provider": "nobody"}, "provider"),
    ],
)
async def test_bad_input_is_refused_by_name_and_nothing_is_sent(
    client: httpx.AsyncClient, joined: Join, change: dict[str, Any], param: str
) -> None:
    upstream = await joined("openai", vendors.openai_embeddings)
    answer = await client.post(URL, json={"model": SMALL, "input": "x", **change})
    assert answer.status_code in (400, 404), answer.text
    error = answer.json()["error"]
    assert error["param"].partition(".")[0] == param
    assert error["type"] == "invalid_request_error"
    assert upstream.requests == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"input": "x"}', b'{"model": "m"}', b"null"])
async def test_a_body_that_is_none(client: httpx.AsyncClient, joined: Join, body: bytes) -> None:
    await joined("openai", vendors.openai_embeddings)
    answer = await client.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


async def _combo(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/combos", json={"name": "vectors", "models": [SMALL, "jina-ai/jina-embeddings-v4"]})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    "fault", [faults.json_answer({}, status=429), faults.json_answer({}, status=500), faults.close_before_head(), faults.html()]
)
async def test_the_next_target_answers_for_one_that_fails(
    running: Running, client: httpx.AsyncClient, joined: Join, fault: Behaviour
) -> None:
    await joined("openai", lambda _: fault)
    await joined("jina-ai", vendors.jina_embeddings)
    await _combo(client)
    answer = await client.post(URL, json={"model": "vectors", "input": "x"})
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "jina-ai"), answer.text
    told = (await client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")).json()["decision"]
    assert [failed["provider"] for failed in told["fallbacksTriggered"]] == ["openai"]
    assert (told["comboUsed"], told["providerSelected"], told["outcome"], told["units"]) == ("vectors", "jina-ai", "ok", {})


async def test_a_request_that_is_wrong_goes_nowhere_else(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", lambda _: faults.json_answer({"error": {"message": "dimensions is too large"}}, status=400))
    other = await joined("jina-ai", vendors.jina_embeddings)
    await _combo(client)
    answer = await client.post(URL, json={"model": "vectors", "input": "x", "dimensions": 9999})
    assert answer.status_code == 400
    assert "dimensions is too large" in answer.json()["error"]["message"]
    assert other.requests == []


async def test_a_target_that_cannot_express_it_is_passed_over(client: httpx.AsyncClient, joined: Join) -> None:
    """Tokens are for the model they were made for; the combo's other target takes them."""
    await joined("jina-ai", vendors.jina_embeddings)
    await joined("openai", vendors.openai_embeddings)
    await client.post("/api/combos", json={"name": "vectors", "models": ["jina-ai/jina-embeddings-v4", SMALL]})
    answer = await client.post(URL, json={"model": "vectors", "input": [1, 2]})
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "openai")


async def test_a_limit_cools_the_connection_and_tells_when_to_come_back(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    await impatient(running)
    upstream = await joined(
        "openai", lambda _: faults.json_answer({"error": {"message": "slow"}}, status=429, headers=[("retry-after", "30")])
    )
    ask = {"model": SMALL, "input": "x"}
    assert (await client.post(URL, json=ask)).status_code == 429
    again = await client.post(URL, json=ask)
    assert again.status_code == 429
    assert int(again.headers["retry-after"]) > 20
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "short", [{"data": []}, {"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1]}]}, {"error": "x"}]
)
async def test_an_answer_that_does_not_fit_is_none(client: httpx.AsyncClient, joined: Join, short: dict[str, Any]) -> None:
    """REL-03."""
    await joined("openai", lambda _: faults.json_answer(short))
    answer = await client.post(URL, json={"model": SMALL, "input": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "malformed_answer")


async def test_our_key_is_never_shown(client: httpx.AsyncClient, joined: Join) -> None:
    """SEC-25."""
    await joined(
        "openai", lambda request: faults.json_answer({"error": {"message": f"bad {request.headers['authorization']}"}}, status=400)
    )
    answer = await client.post(URL, json={"model": SMALL, "input": "x"})
    assert answer.status_code == 400
    assert vendors.KEY not in answer.text


async def test_a_budget_is_never_exceeded_by_calls_at_once(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: twenty calls of a cent against a budget of five."""

    def vendor(request: Received) -> Behaviour:
        data = [{"index": 0, "embedding": [1.0]}]
        return faults.json_answer({"data": data, "usage": {"prompt_tokens": 500_000}})

    await joined("openai", vendor)
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.05))
    heads = {"authorization": f"Bearer {secret}"}
    ask = {"model": SMALL, "input": list(range(1, 500_001))}
    for document in running.hub.store.connections.all():
        assert document.active
    answers = await asyncio.gather(*(client.post(URL, json={**ask, "input": "word " * 400_000}, headers=heads) for _ in range(12)))
    counts = [answer.status_code for answer in answers]
    spent = (await running.hub.budgets.state(key.id)).windows["daily"].spent / 1e9
    assert set(counts) == {200, 429}
    assert counts.count(200) * 0.01 == pytest.approx(spent)
    assert spent <= 0.05


async def test_a_model_without_a_price_is_refused_under_a_budget(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("jina-ai", vendors.jina_embeddings)
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.05))
    ask = {"model": "jina-ai/jina-embeddings-v4", "input": "x"}
    answer = await client.post(URL, json=ask, headers={"authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "price_unknown")
    assert upstream.requests == []


async def test_a_client_that_leaves_ends_the_upstream_call(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06."""
    upstream = await joined("openai", lambda _: faults.silent())
    call = asyncio.ensure_future(client.post(URL, json={"model": SMALL, "input": "x"}))
    await upstream.received()
    call.cancel()
    assert await upstream.closed_by_client(5)
    async with asyncio.timeout(5):
        while not (rows := (await running.hub.store.usage.page(skill="embeddings"))[0]):
            await asyncio.sleep(0.01)
    assert [(row.outcome, row.cost) for row in rows] == [("cancelled", 0.0)]


async def test_a_key_s_list_and_a_policy_hold(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("openai", vendors.openai_embeddings)
    narrow = {"authorization": f"Bearer {await running.key('chat', allowed_models=['openai/gpt-*'])}"}
    ask = {"model": SMALL, "input": "x"}
    assert (await client.post(URL, json=ask, headers=narrow)).status_code == 403
    rule = {"name": "no vectors", "priority": 1, "when": {"models": ["*embedding*"]}, "then": {"action": "deny", "message": "not here"}}
    made = await client.post("/api/policies", json=rule)
    assert made.status_code == 201, made.text
    denied = await client.post(URL, json=ask)
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "policy_denied")
    assert (await client.post(URL, json=ask, headers=await running.headers("read:*"))).status_code == 403
    assert upstream.requests == []


async def test_one_provider_and_one_connection_can_be_asked_for(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    first = await joined("openai", vendors.openai_embeddings)
    second = await joined("openai", vendors.openai_embeddings)
    wanted = running.hub.store.connections.of("openai")[1]
    answer = await client.post(
        "/v1/providers/openai/embeddings",
        json={"model": "text-embedding-3-small", "input": "x", "provider": "cohere"},
        headers={"x-omniroute-connection": wanted.id},
    )
    assert answer.status_code == 200, answer.text
    assert (len(first.requests), len(second.requests)) == (0, 1)


async def test_the_lists_show_what_can_be_called(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai_embeddings)
    listed = (await client.get(URL)).json()
    assert listed["object"] == "list"
    small = next(model for model in listed["data"] if model["id"] == SMALL)
    assert small == {"id": SMALL, "object": "model", "created": 0, "owned_by": "openai", "type": "embedding", "dimensions": 1536}
    assert {model["type"] for model in listed["data"]} == {"embedding"}
    kinds = {model["id"]: model["type"] for model in (await client.get("/v1/models")).json()["data"]}
    assert kinds[SMALL] == "embedding"


async def test_without_an_account_the_demo_embeds_by_spelling_and_says_so(client: httpx.AsyncClient) -> None:
    """D3."""
    answer = await client.post(URL, json={"model": "text-embedding-3-small", "input": ["a cat", "a cat"]})
    body = answer.json()
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "demo")
    assert body["data"][0]["embedding"] == body["data"][1]["embedding"]
    assert "spelling" in body["note"]
    refused = await client.post(URL, json={"model": "demo", "input": "a", "dimensions": 7})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "dimensions")


async def test_a_provider_without_embeddings_says_so(tmp_path: Path, client: httpx.AsyncClient, joined: Join) -> None:
    await joined("groq", lambda _: faults.html())
    answer = await client.post(URL, json={"model": "groq/some-new-model", "input": "x"})
    assert answer.status_code == 503
    assert "does not offer embeddings" in answer.json()["error"]["message"]
