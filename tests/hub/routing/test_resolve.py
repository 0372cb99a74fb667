"""Model string -> provider and model: every rule of routing.md 1.3, its table of examples, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import AmbiguousModel, BadRequest, HubError, UnknownModel
from hub.providers.catalog import Catalog, ProviderRow
from hub.routing.resolve import Resolution, Resolver

if TYPE_CHECKING:
    from collections.abc import Mapping

CATALOG = Catalog.load()


def provider(name: str, *models: object, **more: object) -> ProviderRow:
    row = {
        "id": name, "alias": name[:2], "name": name.title(), "category": "api_key", "format": "openai", "auth": {"type": "bearer"},
        "services": ["chat"], "models": [{"id": model} if isinstance(model, str) else model for model in models],
    }  # fmt: skip
    return msgspec.convert({**row, **more}, ProviderRow)


SMALL = Catalog(
    [
        provider("demo", "demo", "demo-slow", category="builtin", format="demo"),
        provider("vendor", "fox-1", "fox-2", family_prefixes=["fox-"]),
        provider("reseller", "fox-1", "owl-1", "org/bear-7b"),
        provider("shop", "owl-1", "vendor/hare-1", {"id": "fox-2-20260101", "aliases": ["fox-2"]}),
        provider("open", "elk-1.5", passthrough_models=True),
        provider("node", passthrough_models=True),
        provider("owls", "owl-9.5", family_prefixes=["owl-"]),
    ]
)


def resolver(
    *connected: str,
    catalog: Catalog = SMALL,
    prefixes: Mapping[str, str] | None = None,
    aliases: Mapping[str, str] | None = None,
    discovered: Mapping[str, list[str]] | None = None,
) -> Resolver:
    nodes, names, found = prefixes or {}, aliases or {}, discovered or {}
    return Resolver(catalog, lambda: frozenset(connected), lambda: nodes, lambda: names, discovered=lambda: found)


def to(found: Resolution) -> tuple[str, str, str]:
    return found.provider, found.model, found.rule


def real(*connected: str) -> Resolver:
    return resolver(*connected, catalog=CATALOG)


@pytest.mark.parametrize(
    ("model", "want"),
    [
        ("openrouter/openai/gpt-4o", ("openrouter", "openai/gpt-4o")),  # routing.md 8.1
        ("openai/gpt-4o", ("openai", "gpt-4o")),
        ("openai/gpt-99-not-listed", ("openai", "gpt-99-not-listed")),
        ("ds/deepseek-v3.2", ("deepseek", "deepseek-v3.2")),
        ("pplx/sonar", ("perplexity", "sonar")),
        ("anthropic/claude-opus-4.7", ("anthropic", "claude-opus-4-7")),
        ("nvidia/gpt-oss-120b", ("nvidia", "openai/gpt-oss-120b")),
        ("azure/my-gpt-4-1", ("azure-openai", "my-gpt-4-1")),
        ("ollama/llama3.2:latest", ("ollama", "llama3.2:latest")),
    ],
)
def test_a_prefix_names_the_provider(model: str, want: tuple[str, str]) -> None:
    found = real("groq").resolve(model)
    assert (found.provider, found.model, found.rule) == (*want, "explicit")
    assert found.why


def test_the_first_slash_splits() -> None:
    """routing.md 8.1"""
    assert to(resolver("open").resolve("open/vendor/fox-1")) == ("open", "vendor/fox-1", "explicit")
    assert to(resolver("open").resolve("op/a/b/c")) == ("open", "a/b/c", "explicit")


def test_a_name_is_left_alone_where_any_name_may_be_a_models() -> None:
    """A deployment called elk-1-5 is the user's own, whatever the catalogue calls something similar."""
    assert to(resolver("open").resolve("open/elk-1-5")) == ("open", "elk-1-5", "explicit")
    assert to(resolver("owls").resolve("owls/owl-9-5")) == ("owls", "owl-9.5", "explicit")


def test_a_listed_id_with_a_slash_is_a_bare_id() -> None:
    assert to(real("groq").resolve("openai/gpt-oss-120b")) == ("groq", "openai/gpt-oss-120b", "index")
    assert to(resolver("shop").resolve("vendor/hare-1")) == ("shop", "vendor/hare-1", "index")
    # The left part serves the right part, so it is meant.
    assert to(resolver("shop", "reseller").resolve("vendor/fox-1")) == ("vendor", "fox-1", "explicit")
    assert to(resolver("reseller").resolve("org/bear-7b")) == ("reseller", "org/bear-7b", "index")


def test_a_nodes_prefix_comes_before_the_catalogue() -> None:
    nodes = {"lab": "node/conn-7", "vendor": "node", "vllm": "node"}
    found = resolver("node", prefixes=nodes).resolve("lab/org/big-1")
    assert (to(found), found.connection) == (("node", "org/big-1", "node"), "conn-7")
    found = resolver("node", prefixes=nodes).resolve("vendor/fox-1")
    assert (to(found), found.connection) == (("node", "fox-1", "node"), "")


def test_an_unknown_prefix_is_never_dropped() -> None:
    """A node that was removed must not turn its requests into somebody else's."""
    for model in ("gone/fox-1", "gone/fox-9", "gone/owl-9-5"):
        with pytest.raises(UnknownModel, match="no provider is called 'gone'"):
            resolver("vendor", "owls").resolve(model)


def test_strip_prefix() -> None:
    asked = resolver("reseller", prefixes={"lab": "node"})
    asked.strip_prefix = True
    assert to(asked.resolve("vendor/owl-1")) == ("reseller", "owl-1", "index")
    assert to(asked.resolve("lab/owl-1")) == ("node", "owl-1", "node")


def test_aliases_exact_before_wildcard_before_index() -> None:
    names = {"fast": "reseller/owl-1", "fox-1": "shop/fox-2", "fo*": "open/any", "fox-?": "open/one", "vendor/fox-2": "open/two"}
    asked = resolver("vendor", "reseller", aliases=names)
    assert to(asked.resolve("fast")) == ("reseller", "owl-1", "alias")
    assert to(asked.resolve("fox-1")) == ("shop", "fox-2-20260101", "alias")
    assert to(asked.resolve("fox-2")) == ("open", "one", "wildcard")
    assert to(asked.resolve("FOX-22")) == ("open", "any", "wildcard")
    assert to(asked.resolve("vendor/fox-2")) == ("open", "two", "alias")
    assert to(asked.resolve("vendor/fox-1")) == ("vendor", "fox-1", "explicit"), "wildcards are for bare ids"
    assert "'fo*' stands for 'open/any'" in asked.resolve("fox-22").why


def test_an_alias_may_name_a_bare_id_and_never_loops() -> None:
    asked = resolver("vendor", aliases={"a": "fox-1", "b": "a", "fox-1": "fox-1", "x[1m]": "never", "big": "vendor/fox-1[1m]"})
    assert to(asked.resolve("a")) == ("vendor", "fox-1", "alias")
    assert to(asked.resolve("fox-1")) == ("vendor", "fox-1", "alias")
    with pytest.raises(UnknownModel):
        asked.resolve("b")
    assert asked.resolve("big").extended_context


def test_a_bare_id_goes_to_the_connected_provider_that_lists_it() -> None:
    assert to(resolver("reseller").resolve("fox-1")) == ("reseller", "fox-1", "index")
    assert to(resolver("shop").resolve("fox-2")) == ("shop", "fox-2-20260101", "index"), "the provider's own name for it"
    found = resolver("vendor", "reseller").resolve("fox-1")
    assert (to(found), found.considered) == (("vendor", "fox-1", "index"), ("vendor", "reseller"))
    assert to(real("openai", "openrouter").resolve("gpt-4o"))[0] == "openai"
    assert to(real("gemini", "vertex").resolve("gemini-2.5-pro"))[0] == "gemini"
    assert to(real("zai", "glm").resolve("glm-4.6"))[0] == "zai"


def test_several_connected_without_a_vendor_are_ambiguous() -> None:
    with pytest.raises(AmbiguousModel) as caught:
        resolver("reseller", "shop").resolve("owl-1")
    assert caught.value.code == "ambiguous_model"
    assert caught.value.status == 400
    assert "'reseller/owl-1' or 'shop/owl-1'" in caught.value.message
    assert caught.value.data["candidates"] == ["reseller/owl-1", "shop/owl-1"]
    # What the message says to write resolves.
    assert to(resolver("reseller", "shop").resolve("shop/owl-1")) == ("shop", "owl-1", "explicit")


def test_every_candidate_of_an_ambiguous_answer_resolves() -> None:
    everyone = frozenset(CATALOG.providers) - {"demo"}
    asked = real(*everyone)
    seen = 0
    for model in CATALOG.serving:
        try:
            asked.resolve(model)
        except AmbiguousModel as error:
            seen += 1
            for candidate in error.data["candidates"]:
                name, _, rest = candidate.partition("/")
                assert to(asked.resolve(candidate))[:2] == (name, rest)
    assert seen > 20


def test_spelling_of_other_gateways() -> None:
    """routing.md 1.3 step 8"""
    assert to(real("groq").resolve("gpt-oss:120b")) == ("groq", "openai/gpt-oss-120b", "spelling")
    assert to(real("deepseek").resolve("deepseek-v3-2")) == ("deepseek", "deepseek-v3.2", "spelling")
    assert to(real("anthropic").resolve("Claude-Opus-4.7"))[:2] == ("anthropic", "claude-opus-4-7")
    assert to(resolver("owls").resolve("OWL-9-5")) == ("owls", "owl-9.5", "spelling")
    asked = resolver("owls")
    asked.spelling = False
    assert to(asked.resolve("owl-9_5")) == ("owls", "owl-9_5", "vendor")


def test_models_that_a_provider_listed_itself() -> None:
    asked = resolver("open", "shop", discovered={"open": ["llama3.2:latest", "Org/Yak-1"]})
    assert to(asked.resolve("llama3.2:latest")) == ("open", "llama3.2:latest", "index")
    assert to(asked.resolve("Org/Yak-1")) == ("open", "Org/Yak-1", "index")


def test_an_unlisted_id_goes_to_its_familys_vendor() -> None:
    assert to(resolver("vendor", "open").resolve("fox-9")) == ("vendor", "fox-9", "vendor")
    assert to(real("anthropic", "openai").resolve("claude-99"))[0] == "anthropic"
    assert to(real("gemini", "openai").resolve("gemma-99"))[0] == "gemini"
    assert to(real("openai", "anthropic").resolve("gpt-99"))[0] == "openai"
    assert to(real("openai").resolve("ft:gpt-4o:acme::x1"))[0] == "openai"
    found = resolver("shop").resolve("fox-9")
    assert (found.provider, "not connected" in found.why) == ("vendor", True)


def test_a_model_that_others_list_does_not_go_to_the_vendor_by_name() -> None:
    with pytest.raises(UnknownModel, match="cerebras"):
        real("openai").resolve("gpt-oss-120b")


def test_the_only_open_provider_takes_what_no_list_has() -> None:
    assert to(resolver("open", "shop").resolve("yak-1")) == ("open", "yak-1", "only")
    assert to(resolver("open", "shop").resolve("org/yak-1")) == ("open", "org/yak-1", "only")
    found = resolver("node", prefixes={"lab": "node/c1"}).resolve("yak-1")
    assert (to(found), found.connection) == (("node", "yak-1", "only"), "c1")
    for asked in (resolver("open", "node"), resolver("node", prefixes={"lab": "node/c1", "den": "node/c2"}), resolver("shop")):
        with pytest.raises(UnknownModel):
            asked.resolve("yak-1")


def test_a_listed_model_without_a_connection_says_what_to_connect() -> None:
    found = resolver("shop").resolve("fox-1")
    assert (to(found), "not connected" in found.why) == (("vendor", "fox-1", "index"), True)
    assert to(resolver("vendor").resolve("org/bear-7b"))[0] == "reseller"
    with pytest.raises(UnknownModel, match="reseller, shop") as caught:
        resolver("vendor").resolve("owl-1")
    assert caught.value.data["providers"] == ["reseller", "shop"]


def test_an_unknown_model_names_near_ones() -> None:
    with pytest.raises(UnknownModel) as caught:
        real("groq").resolve("lama-3.3-70b-versatil")
    assert "llama-3.3-70b-versatile" in caught.value.data["near"]
    assert "llama-3.3-70b-versatile" in caught.value.message
    assert caught.value.field == "model"
    with pytest.raises(UnknownModel, match="hubroute models"):
        resolver("shop").resolve("zzzzzzzz")


def test_the_demo_answers_while_nothing_is_connected() -> None:
    """D3"""
    for model in ("gpt-4o", "openai/gpt-4o", "auto", "nobody/knows", "claude-x[1m]"):
        found = resolver("demo").resolve(model)
        assert to(found) == ("demo", "demo", "demo-fallback")
        assert "no provider is connected" in found.why
    assert to(resolver("demo").resolve("demo-slow")) == ("demo", "demo-slow", "index")
    assert to(resolver("demo").resolve("demo/demo-slow")) == ("demo", "demo-slow", "index")
    assert to(resolver("demo", aliases={"gpt-4o": "vendor/fox-1"}).resolve("gpt-4o"))[2] == "demo-fallback"
    for bad in ("", "a/../b", "x\n"):
        with pytest.raises(BadRequest):
            resolver("demo").resolve(bad)


def test_the_demo_stands_back_once_something_is_connected() -> None:
    assert to(resolver("shop").resolve("demo")) == ("demo", "demo", "index")
    assert to(resolver("shop", "demo").resolve("demo/demo-slow")) == ("demo", "demo-slow", "explicit")
    for asked in (resolver("shop", "demo"), resolver()):
        with pytest.raises(UnknownModel):
            asked.resolve("yak-1")


@pytest.mark.parametrize(
    "model",
    ["", "   ", "[1m]", "/", "/x", "x/", "a/../b", "..\\x", "../x", "a\x00b", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "\ud800", "x" * 257],
)
def test_malformed_names_are_refused(model: str) -> None:
    with pytest.raises(BadRequest) as caught:
        resolver("vendor", "open").resolve(model)
    assert caught.value.field == "model"
    assert not isinstance(caught.value, AmbiguousModel)


def test_extended_context() -> None:
    for model in ("vendor/fox-1[1m]", " fox-1 [1M] "):
        found = resolver("vendor").resolve(model)
        assert (found.provider, found.model, found.extended_context) == ("vendor", "fox-1", True)
    assert not resolver("vendor").resolve("fox-1").extended_context


REAL = real("openai", "groq", "ollama")
listed = st.sampled_from(sorted(CATALOG.serving))


@given(st.text(max_size=40) | listed | listed.map("x/{}".format) | listed.map("{}[1m]".format))
def test_any_string_resolves_or_is_refused_in_our_words(model: str) -> None:
    found = outcome(model)
    if isinstance(found, HubError):
        assert found.status in (400, 404)
        assert found.message
        return
    assert found.provider in CATALOG.providers
    assert found.provider in found.considered
    assert found.model
    assert found.why
    assert "../" not in found.model
    assert outcome(model) == found


def outcome(model: str) -> Resolution | HubError:
    try:
        return REAL.resolve(model)
    except HubError as error:
        return error
