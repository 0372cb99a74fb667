"""Prices: which layer wins, what is refused by name, and imports that never touch what was set by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.call import Hub
from hub.errors import BadRequest, InvalidInput, NotConfigured, NotFound, UpstreamFailed
from hub.records import Caller
from hub.settings import Settings
from tests.fakes.database import make_settings, postgres_database
from tests.fakes.hub import running_hub
from tests.fakes.upstream import answer_bytes, json_answer, malformed_json

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.upstream import FaultUpstream
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def priced(desk: Desk, provider: str, model: str) -> tuple[float | None, float | None, str]:
    found = await desk.hub.prices.lookup(provider, model)
    return (found.price.input, found.price.output, found.source) if found else (None, None, "")


async def test_a_price_set_by_hand_is_in_force_at_once_until_it_is_dropped(desk: Desk) -> None:
    assert await priced(desk, "openai", "gpt-4o") == (2.5, 10, "catalogue")
    changed = await desk.ask("pricing-set", prices={"openai": {"gpt-4o": {"input": 1, "cached": 0}}})
    assert changed.pricing == {"openai": {"gpt-4o": {"input": 1, "cached": 0}}}
    assert await priced(desk, "openai", "gpt-4o") == (1, 10, "override")
    await desk.ask("pricing-set", prices={"openai": {"gpt-4o": {"input": None}, "gpt-4o-mini": {"output": 3}}})
    assert await priced(desk, "openai", "gpt-4o") == (2.5, 10, "override")
    left = await desk.ask("pricing-reset", provider="openai", model="gpt-4o")
    assert left.pricing == {"openai": {"gpt-4o-mini": {"output": 3}}}
    assert await priced(desk, "openai", "gpt-4o") == (2.5, 10, "catalogue")
    assert (await desk.ask("pricing-reset")).pricing == {}


async def test_a_restart_keeps_prices_set_by_hand(tmp_path: Path) -> None:
    for set_them in (True, False):
        hub = Hub(Settings(data_dir=tmp_path))
        await hub.open()
        if set_them:
            ask = {"prices": {"openai": {"gpt-4o": {"input": 1}}}}
            await hub.call(hub.find("pricing-set"), ask, hub.context(Caller.owner(), "test"))
        found = await hub.prices.lookup("openai", "gpt-4o")
        assert found is not None
        assert (found.source, found.price.input) == ("override", 1)
        await hub.close()


async def test_a_change_in_another_process_is_seen(tmp_path: Path) -> None:
    with postgres_database() as url:
        one, two = (Hub(make_settings(tmp_path, url)) for _ in range(2))
        await asyncio.gather(one.open(), two.open())
        before = await two.prices.lookup("openai", "gpt-4o")
        assert before is not None
        ask = {"prices": {"openai": {"gpt-4o": {"input": 1}}}}
        await one.call(one.find("pricing-set"), ask, one.context(Caller.owner(), "test"))
        async with asyncio.timeout(2):
            while await two.prices.lookup("openai", "gpt-4o") is before:
                await asyncio.sleep(0.01)
        await asyncio.gather(one.close(), two.close())


async def test_changes_at_once_are_all_kept(desk: Desk) -> None:
    models = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini")
    await asyncio.gather(*(desk.ask("pricing-set", prices={"openai": {model: {"input": 1}}}) for model in models))
    assert set(desk.hub.pricebook.set_by_hand()["openai"]) == set(models)


@pytest.mark.parametrize(
    ("prices", "field", "words"),
    [
        ({"nobody": {"x": {"input": 1}}}, "nobody", "no provider 'nobody'"),
        ({"openai": {"gpt-99": {"input": 1}}}, "openai.gpt-99", "has no model"),
        ({"openai": {"gpt-4o": {"inputs": 1}}}, "openai.gpt-4o.inputs", "no such field"),
        ({"openai": {"gpt-4o": {"input": -1}}}, "openai.gpt-4o.input", "from 0"),
        ({"openai": {"gpt-4o": {"input": "1"}}}, "openai.gpt-4o.input", "from 0"),
        ({"openai": {"gpt-4o": {"input": True}}}, "openai.gpt-4o.input", "from 0"),
        ({"openai": {"gpt-4o": {"input": float("nan")}}}, "openai.gpt-4o.input", "from 0"),
    ],
)
async def test_what_is_unknown_is_named_and_nothing_is_stored(desk: Desk, prices: Any, field: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        await desk.ask("pricing-set", prices={"openai": {"gpt-4o-mini": {"input": 1}}, **prices})
    assert [detail["field"] for detail in caught.value.details] == [field]
    assert desk.hub.pricebook.set_by_hand() == {}


async def test_models_of_connections_and_of_providers_that_pass_names_through(desk: Desk) -> None:
    await desk.connect("local", "ollama", models=("own:7b",), base_url="http://127.0.0.1:1")
    await desk.ask("pricing-set", prices={"ollama": {"own:7b": {"input": 0, "output": 0}}, "openrouter": {"any/thing": {"input": 1}}})
    assert await priced(desk, "ollama", "own:7b") == (0, 0, "override")
    await desk.ask("pricing-set", prices={"ollama": {"*": {"input": 0, "output": 0}}})
    assert await priced(desk, "ollama", "another") == (0, 0, "override")


async def test_long_context_rates_end_where_the_base_is_set(desk: Desk) -> None:
    before = await desk.hub.prices.lookup("anthropic", "claude-sonnet-4-5")
    assert before is not None
    assert before.price.tiers
    await desk.ask("pricing-set", prices={"anthropic": {"claude-sonnet-4-5": {"input": 1}}})
    after = await desk.hub.prices.lookup("anthropic", "claude-sonnet-4-5")
    assert after is not None
    assert (after.price.tiers, after.price.output) == ((), before.price.output)


async def test_the_table_names_layers_and_says_null_for_unknown(desk: Desk) -> None:
    await desk.ask("pricing-set", prices={"openai": {"gpt-4o": {"input": 1}}})
    table = await desk.ask("pricing-list", includeSources="1")
    alias = desk.hub.catalog.get("openai").alias
    assert table.pricing[alias]["gpt-4o"] == {"input": 1, "output": 10, "cached": 1.25, "reasoning": None, "cache_creation": None}
    assert table.source_map[alias]["gpt-4o"] == "override"
    assert table.source_map[alias]["gpt-4.1"] == "catalogue"
    sources = {source for models in table.source_map.values() for source in models.values()}
    assert sources == {"override", "catalogue", "genai-prices"}
    assert "ollama" not in table.pricing  # nobody knows these prices: not free, unknown


async def test_an_import_lies_between_the_catalogue_and_the_hand(desk: Desk) -> None:
    await desk.ask("pricing-set", prices={"openai": {"gpt-4o": {"output": 99}}})
    document = {
        "openai": {"gpt-4o": {"input": 7, "output": 8, "cached": None}, "gpt-4.1": {"input": 7, "output": 8}},
        "nobody": {"x": {"input": 1}},
    }
    dry = await desk.ask("pricing-sync", document=document, dryRun=True)
    assert (dry.model_count, dry.provider_count, dry.dry_run, dry.source) == (2, 1, True, "document")
    assert dry.data[desk.hub.catalog.get("openai").alias]["gpt-4.1"]["input"] == 7
    assert "1 models of 1 providers that this hub does not know are left out: nobody" in dry.warnings
    assert await priced(desk, "openai", "gpt-4.1") == (2, 8, "catalogue")
    done = await desk.ask("pricing-sync", document=document)
    assert (done.success, done.dry_run, done.data) == (True, False, None)
    assert await priced(desk, "openai", "gpt-4.1") == (7, 8, "synced")
    assert await priced(desk, "openai", "gpt-4o") == (7, 99, "override")
    await desk.ask("pricing-sync", document={"openai": {"gpt-4o": {"input": 5, "output": 5}}})
    assert await priced(desk, "openai", "gpt-4.1") == (2, 8, "catalogue")  # what was imported before is replaced
    assert desk.hub.pricebook.set_by_hand() == {"openai": {"gpt-4o": {"output": 99}}}


async def test_the_data_that_ships_with_the_hub_is_imported_without_a_call(desk: Desk) -> None:
    done = await desk.ask("pricing-sync")
    assert done.source == "genai-prices"
    assert done.model_count > 50
    assert (await priced(desk, "openai", "gpt-4o")) == (2.5, 10, "synced")


async def test_a_flat_list_per_token(desk: Desk) -> None:
    flat = {
        "sample_spec": {"note": "x"},
        "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 3e-06, "output_cost_per_token": 6e-06},
        "openai/gpt-4.1": {"litellm_provider": "openai", "input_cost_per_token": 1e-06, "cache_read_input_token_cost": 5e-07},
        "bad": {"litellm_provider": "openai", "input_cost_per_token": "dear"},
        "pictures": {"litellm_provider": "openai", "output_cost_per_image": 1},
    }
    done = await desk.ask("pricing-sync", document=flat)
    assert done.model_count == 2
    assert "openai/bad" in done.warnings[0]
    assert await priced(desk, "openai", "gpt-4o") == (3, 6, "synced")
    assert await priced(desk, "openai", "gpt-4.1") == (1, None, "synced")


@pytest.mark.parametrize(
    "document", [{"openai": 1}, {"openai": {"gpt-4o": 1}}, {"nobody": {"x": {"input": 1}}}, {"openai": {"x": {"input": -1}}}]
)
async def test_a_document_without_a_price_changes_nothing(desk: Desk, document: Any) -> None:
    with pytest.raises(BadRequest):
        await desk.ask("pricing-sync", document=document)
    assert desk.hub.pricebook.synced == {}


async def test_bad_asks(desk: Desk) -> None:
    with pytest.raises(BadRequest, match="no price source 'web'"):
        await desk.ask("pricing-sync", sources=["web"])
    with pytest.raises(NotConfigured, match="HUBROUTE_PRICING_URL"):
        await desk.ask("pricing-sync", sources=["litellm"])
    with pytest.raises(BadRequest, match="name the provider"):
        await desk.ask("pricing-reset", model="gpt-4o")
    with pytest.raises(NotFound):
        await desk.ask("pricing-reset", provider="nobody")
    with pytest.raises(InvalidInput, match="surprise"):
        await desk.ask("pricing-sync", surprise=1)


async def test_the_configured_document_is_fetched_and_faults_change_nothing(tmp_path: Path, upstream: FaultUpstream) -> None:
    table = {"openai": {"gpt-4o": {"input": 7, "output": 8}}}
    upstream.answer(json_answer(table), json_answer({}, status=500), malformed_json(), answer_bytes(b"[]"))
    hub = Hub(Settings(data_dir=tmp_path, pricing_url=f"http://127.0.0.1:{upstream.port}/prices.json", allow_private=True))
    await hub.open()

    async def sync() -> Any:
        return await hub.call(hub.find("pricing-sync"), {"sources": ["litellm"]}, hub.context(Caller.owner(), "test"))

    assert (await sync()).model_count == 1
    for _ in range(2):
        with pytest.raises(UpstreamFailed, match="nothing is changed"):
            await sync()
    with pytest.raises(BadRequest, match="must be a JSON object"):
        await sync()
    assert hub.pricebook.synced["openai"]["gpt-4o"].input == 7
    assert upstream.requests[0].target == "/prices.json"
    await hub.close()


async def test_the_contract_on_the_wire(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as running, httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        alias = running.hub.catalog.get("openai").alias
        changed = await client.patch("/api/pricing", json={"openai": {"gpt-4o": {"input": 1, "output": 2}}})
        assert changed.json() == {alias: {"gpt-4o": {"input": 1, "output": 2}}}
        table = (await client.get("/api/pricing")).json()
        assert table[alias]["gpt-4o"]["output"] == 2
        assert set((await client.get("/api/pricing", params={"includeSources": "1"})).json()) == {"pricing", "sourceMap"}
        wrong = await client.patch("/api/pricing", json={"nobody": {"x": {"input": 1}}})
        assert (wrong.status_code, wrong.json()["error"]["details"][0]["field"]) == (400, "nobody")
        assert (await client.delete("/api/pricing", params={"provider": "openai"})).json() == {}
        limited = await running.headers("pricing:write")
        assert (await client.post("/api/pricing/sync", json={"dryRun": True}, headers=limited)).json()["dryRun"] is True
        assert (await client.get("/api/pricing", headers=limited)).status_code == 403
