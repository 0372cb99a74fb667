"""The catalogue with an owner's rows over it: names, identity, and what resolves to what."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from hub.custom_models import CustomModel, ModelPricing, ModelRules, ProviderModels, header_fault, laid_over
from hub.errors import UnknownModel
from hub.nodes import Node, row_of
from hub.providers.catalog import Catalog, ModelRow, Price, ProviderRow
from hub.routing.resolve import Resolver


def provider(name: str, *models: str, **more: object) -> ProviderRow:
    fields = {"id": name, "alias": name[:2], "name": name, "category": "api_key", "format": "openai", "auth": {"type": "bearer"}}
    return msgspec.convert({**fields, "services": ["chat"], "models": [{"id": one} for one in models], **more}, ProviderRow)


def catalog() -> Catalog:
    return Catalog([provider("vendor", "fox-1", "fox-2"), provider("shop", "owl-1")], version="v")


def test_own_rows_lie_over_the_shipped_ones() -> None:
    found = catalog()
    vendor = found.get("vendor")
    own = replace(provider("node-1", "elk-1"), alias="lab")
    found.overlay([own, replace(vendor, hidden=("fox-2",))])
    assert (found.get("lab"), found.get("node-1"), found.get("ve").hidden) == (own, own, ("fox-2",))
    assert [row.id for row in found.get("vendor").shown] == ["fox-1"]
    assert (found.serving["elk-1"], found.version != "v") == (("node-1",), True)
    kept, version = found.get("lab"), found.version
    found.overlay([msgspec.convert(msgspec.to_builtins(own), ProviderRow)])
    assert found.get("lab") is kept, "what others keep for this very row stays good"
    assert found.get("vendor") is vendor
    assert found.version != version
    found.overlay([])
    assert (found.find("lab"), found.version) == (None, "v")


def test_a_later_version_s_names_do_not_take_a_node_s_away() -> None:
    """An alias stays the owner's; an id stays the shipped provider's, or its connections would go elsewhere."""
    found = catalog()
    found.overlay([replace(provider("node-1"), alias="sh"), replace(provider("node-2"), alias="vendor")])
    assert (found.get("sh").id, found.get("shop").id, found.get("vendor").id) == ("node-1", "shop", "vendor")
    assert found.get("node-2").alias == "vendor"


def test_the_resolver_follows() -> None:
    found = catalog()
    resolver = Resolver(found, lambda: frozenset({"vendor", "node-1"}), dict, dict)
    assert resolver.resolve("fox-1").provider == "vendor"
    found.overlay([replace(provider("node-1", "elk_1.5"), alias="lab")])
    assert (resolver.resolve("lab/x").provider, resolver.resolve("elk-1-5").model) == ("node-1", "elk_1.5")
    found.overlay([])
    with pytest.raises(UnknownModel):
        resolver.resolve("lab/x")


def test_a_model_over_the_catalogue_s_keeps_what_it_does_not_say() -> None:
    below = ModelRow(id="m", name="M", context=10, caps=("tools",), price=Price(input=1), drop_params=("top_k",))
    made = CustomModel(id="m", max_output_tokens=5, pricing=ModelPricing(cached=0.5, input=2)).row(below)
    assert (made.name, made.context, made.caps, made.drop_params, made.max_output) == ("M", 10, ("tools",), ("top_k",), 5)
    assert (made.price, made.custom) == (Price(input=2, cache_read=0.5), True)
    other = CustomModel(id="m", api_format="embeddings", supported_endpoints=("embeddings",)).row(below)
    assert (other.kind, other.context, other.caps) == ("embedding", None, ())
    assert CustomModel(id="m", supported_endpoints=("audio",)).services == ("tts", "stt")
    row = laid_over(provider("vendor", "a", "m"), ProviderModels(models=(CustomModel(id="m", context_length=7), CustomModel(id="z"))))
    assert [(one.id, one.context, one.custom) for one in row.models] == [("a", None, False), ("m", 7, True), ("z", None, True)]


def test_rules_that_say_nothing_are_not_kept() -> None:
    said = ProviderModels().with_rules(
        ModelRules(id="a", is_hidden=True), ModelRules(id="b"), ModelRules(id="c", normalize_tool_call_id=False)
    )
    assert [one.id for one in said.rules] == ["a", "c"]
    assert said.without("a").with_rules(ModelRules(id="c")).rules == ()


def test_a_node_of_every_type_of_the_catalogue() -> None:
    shipped = Catalog.load()
    for template in (row for row in shipped.providers.values() if row.node is not None):
        assert template.node is not None
        for kind in template.node.api_types or {"": None}:
            row = row_of("n", "p", Node(type=template.id, name="N", api_type=kind, base_url="https://own.example/v1"), template)
            assert (row.base_url, row.alias, row.template, row.needs_base_url) == ("https://own.example/v1", "p", template.id, False)
            assert all(row.speaks(service, "m") for service in row.services)
            assert ("chat" in row.services) == bool(row.speaks("chat", "m"))


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "TE", "Proxy-Authorization", "cookie", "X-Auth-Token", "api-key", "", "a b", "a:b"]
)
def test_headers_that_an_owner_cannot_set(name: str) -> None:
    """SEC-14: framing, hop-by-hop, credentials."""
    assert header_fault(name, "x")
    assert not header_fault("X-Team", "birds, 2")
