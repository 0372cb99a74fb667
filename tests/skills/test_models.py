"""Models: which ones a key can call, what state they are in, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import InvalidInput, NotFound
from hub.records import Caller, TestStatus

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


def key(*models: str) -> Caller:
    return Caller(key_id="k", name="k", scopes=Caller.owner().scopes, allowed_models=models)


async def status(desk: Desk, provider: str) -> str:
    found = {model.status for model in (await desk.ask("models-list", provider=provider)).models}
    assert len(found) == 1
    return found.pop()


async def test_without_connections_the_demo_s_models_are_listed(desk: Desk) -> None:
    """D3."""
    found = await desk.ask("models-list")
    assert {model.provider for model in found.models} == {"demo"}
    assert {model.status for model in found.models} == {"available"}
    assert found.warning == "no provider is connected; the built-in demo answers until one is"


async def test_models_of_what_is_connected(desk: Desk) -> None:
    await desk.connect("a", "groq")
    found = await desk.ask("models-list")
    assert {model.provider for model in found.models} == {"groq"}
    assert (found.warning, found.source) == (None, "local_catalog")
    row = desk.hub.catalog.get("groq")
    assert {model.id for model in found.models} == {f"{row.alias}/{model.id}" for model in row.models}


async def test_status_follows_the_connections(desk: Desk) -> None:
    """available: all well; degraded: some in trouble; unavailable: none can be used."""
    assert await status(desk, "openai") == "unavailable"
    one, two = await desk.connect("a"), await desk.connect("b")
    assert await status(desk, "openai") == "available"
    desk.cool(one, seconds=60)
    assert await status(desk, "openai") == "degraded"
    desk.hub.mark(two.id, test_status=TestStatus.EXPIRED)
    assert await status(desk, "openai") == "unavailable"
    desk.clock.advance(60)
    assert await status(desk, "openai") == "degraded"
    for connection in (one, two):
        await desk.hub.store.connections.update(connection.id, active=False)
    assert await status(desk, "openai") == "unavailable"


async def test_a_provider_by_alias_and_the_whole_catalogue(desk: Desk) -> None:
    row = desk.hub.catalog.get("openai")
    by_alias = (await desk.ask("models-list", provider=row.alias)).models
    assert len(by_alias) == len(row.models)
    everything = (await desk.ask("models-list", allProviders=True)).models
    assert len(everything) == sum(len(one.models) for one in desk.hub.catalog.providers.values())
    with pytest.raises(NotFound):
        await desk.ask("models-list", provider="nobody")


@pytest.mark.parametrize("capability", ["chat", "embedding", "image", "audio", "video", "rerank"])
async def test_by_kind(desk: Desk, capability: str) -> None:
    found = (await desk.ask("models-list", allProviders=True, capability=capability)).models
    assert found
    assert {tuple(model.capabilities) for model in found} == {(capability,)}


async def test_an_unknown_kind_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidInput):
        await desk.ask("models-list", capability="flying")


async def test_models_that_only_a_connection_names(desk: Desk) -> None:
    await desk.connect("a", "groq", models=["mine", "llama-3.3-70b-versatile"], default_model="other")
    ids = [model.id for model in (await desk.ask("models-list")).models]
    alias = desk.hub.catalog.get("groq").alias
    assert len(ids) == len(set(ids))
    assert {f"{alias}/mine", f"{alias}/other"} <= set(ids)


async def test_what_is_told_of_a_model(desk: Desk) -> None:
    await desk.connect("a")
    row = desk.hub.catalog.get("openai").model("gpt-4o")
    assert row is not None
    assert row.price is not None
    model = next(one for one in (await desk.ask("models-list")).models if one.id.endswith("/gpt-4o"))
    assert model.pricing is not None
    assert (model.pricing.input_per_million, model.pricing.output_per_million) == (row.price.input, row.price.output)
    assert (model.context_window, model.max_output_tokens, model.abilities) == (row.context, row.max_output, list(row.caps))


async def test_a_price_from_further_layers_where_it_can_be_called(desk: Desk) -> None:
    await desk.connect("a", models=["gpt-3.5-turbo-0301", "never-heard-of"])
    prices = {one.id.partition("/")[2]: one.pricing for one in (await desk.ask("models-list")).models}
    assert prices["never-heard-of"] is None
    known = prices["gpt-3.5-turbo-0301"]
    assert known is not None
    assert known.input_per_million


async def test_a_key_s_own_list_of_models(desk: Desk) -> None:
    await desk.connect("a")
    alias = desk.hub.catalog.get("openai").alias
    for patterns in (("gpt-4o",), (f"{alias}/gpt-4o",), ("openai/gpt-4o",)):
        listed = await desk.ask("openai-models", key(*patterns))
        assert [model.root for model in listed.data] == ["gpt-4o"]
        assert [model.id for model in (await desk.ask("models-list", key(*patterns))).models] == [f"{alias}/gpt-4o"]
    assert (await desk.ask("openai-models", key("none-*"))).data == []
    assert len((await desk.ask("openai-models", key("gpt-4o*"))).data) > 1


async def test_openai_s_shape(desk: Desk) -> None:
    await desk.connect("a")
    alias = desk.hub.catalog.get("openai").alias
    for name in (f"{alias}/gpt-4o", "openai/gpt-4o", "gpt-4o"):
        shown = (await desk.ask("openai-model", model=name)).model_dump(by_alias=True)
        assert (shown["id"], shown["object"], shown["owned_by"], shown["root"]) == (f"{alias}/gpt-4o", "model", "openai", "gpt-4o")
        assert set(shown["capabilities"]) == {"tool_calling", "reasoning", "vision"}
        assert shown["type"] == "chat"
    for caller, name in ((key("gpt-4o-mini"), "gpt-4o"), (None, "no-model")):
        with pytest.raises(NotFound) as caught:
            await desk.ask("openai-model", caller, model=name)
        assert (caught.value.code, caught.value.field) == ("model_not_found", "model")


async def test_the_catalogue_by_provider(desk: Desk) -> None:
    await desk.connect("a", "groq")
    found = await desk.ask("models-catalog")
    groq = found.catalog[desk.hub.catalog.get("groq").alias]
    assert (groq["provider"], groq["active"], len(groq["models"])) == ("groq", True, len(desk.hub.catalog.get("groq").models))
    assert not found.catalog[desk.hub.catalog.get("openai").alias]["active"]
    assert found.catalog_version == desk.hub.catalog.version


async def test_a_connection_of_a_provider_that_is_no_longer_listed(desk: Desk) -> None:
    await desk.connect("a", "no-longer-listed")
    assert (await desk.ask("openai-models")).data == []
