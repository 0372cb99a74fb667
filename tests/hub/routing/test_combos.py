"""Combos as written: the three forms of a step, every fault with its path, nesting, tiers, and what a combo comes down to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.errors import BadRequest, InvalidInput, UnknownModel
from hub.routing.combo import Combo, ComboConfig, Mapping, Step
from hub.routing.combos import (
    Known,
    check,
    check_nesting,
    combo_name,
    expand,
    normalise,
    ordered_by_tiers,
    reaching,
    renamed,
    step_id,
    strategy_name,
    used_by,
)
from hub.routing.strategy import Strategy

PLACES = {"openai": "openai", "oa": "openai", "groq": "groq", "node": "compatible", "compatible": "compatible"}
CONNECTIONS = {"con_a": "openai", "con_g": "groq"}


def strategies(*names: str, **aliases: str) -> dict[str, Strategy]:
    """Strategies by name; ``aliases`` are further names of one, with ``_`` for ``-``."""
    also = {name.replace("_", "-"): (alias,) for name, alias in aliases.items()}
    return {name: Strategy(name, "", lambda options, facts: list(options), aliases=also.get(name, ())) for name in (*names, *also)}


PRIORITY = strategies("priority")


def _model(name: str) -> str:
    if name in ("gpt-4o", "fast"):
        return "openai"
    raise UnknownModel(f"no provider lists {name!r}")


KNOWN = Known(
    provider=lambda name: PLACES.get(name, ""),
    connection=lambda name: CONNECTIONS.get(name, ""),
    model=_model,
    combos={"other", "openai/gpt-4o"},
)


def faults(steps: list[Any]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as told:
        normalise("mine", steps, KNOWN)
    return {one["field"]: one["message"] for one in told.value.details}


def one(given: Any, name: str = "mine") -> Step:
    (step,) = normalise(name, [given], KNOWN)
    return step


def combo(*targets: str, **fields: Any) -> Combo:
    """A combo of model steps ``p/m`` and references ``>name``."""
    steps = [
        Step(id=f"s{at}", kind="combo-ref", combo_name=name[1:]) if name.startswith(">") else Step(id=f"s{at}", model=name)
        for at, name in enumerate(targets)
    ]
    return Combo(models=tuple(steps), **fields)


def test_the_three_forms_of_a_step() -> None:
    text = one("groq/llama")
    assert (text.id, text.kind, text.model, text.provider_id) == ("mine-model-1-groq-llama", "model", "groq/llama", "groq")
    reference = one("other")
    assert (reference.id, reference.kind, reference.combo_name) == ("mine-ref-1-other", "combo-ref", "other")
    assert one({"kind": "combo-ref", "comboName": "other", "weight": 3}).weight == 3
    whole = one(
        {"kind": "model", "provider": "oa", "model": "gpt-4o", "connectionId": "con_a", "weight": 50, "tags": ["eu"], "label": "main"}
    )
    assert (whole.model, whole.provider_id, whole.connection_id, whole.weight, whole.tags, whole.label) == (
        "oa/gpt-4o", "openai", "con_a", 50, ("eu",), "main",
    )  # fmt: skip
    assert one({"providerId": "openai", "model": "oa/gpt-4o"}).model == "oa/gpt-4o"


@pytest.mark.parametrize(
    ("given", "model", "provider"),
    [
        ({"provider": "groq", "model": "openai/gpt-oss-120b"}, "groq/openai/gpt-oss-120b", "groq"),
        ("node/any/thing", "node/any/thing", "compatible"),
        ("gpt-4o", "gpt-4o", ""),
        ("fast", "fast", ""),
        ("auto", "auto", ""),
        ("auto/coding:fast", "auto/coding:fast", ""),
    ],
)
def test_models_and_their_providers(given: Any, model: str, provider: str) -> None:
    """#2686: auto and auto/... are steps."""
    step = one(given)
    assert (step.kind, step.model, step.provider_id) == ("model", model, provider)


def test_a_combo_named_like_a_model_can_hold_that_model() -> None:
    assert one("openai/gpt-4o", name="openai/gpt-4o").kind == "model"
    assert one("openai/gpt-4o").kind == "combo-ref"


def test_what_is_shown_can_be_sent_back() -> None:
    steps = normalise("mine", ["groq/llama", "other", "gpt-4o", {"provider": "oa", "model": "x", "connectionId": "con_a"}, "node/m"], KNOWN)
    again = normalise("mine", [step.model_dump(by_alias=True, exclude_defaults=True) for step in steps], KNOWN)
    assert again == steps
    assert normalise("mine", steps, KNOWN) == steps


def test_every_fault_is_named_with_its_path() -> None:
    found = faults(
        [
            "nowhere/x", "openai/", {"provider": "nobody", "model": "m"}, {"model": "openai/m", "connectionId": "gone"},
            {"model": "openai/m", "connectionId": "con_g"}, {"kind": "combo-ref", "comboName": "missing"}, {"kind": "tree"}, 7, {},
            {"model": "gpt-4o", "colour": "red"}, {"model": "gpt-4o", "connectionId": "con_g"},
            {"kind": "combo-ref", "comboName": "other", "model": "x"},
        ]
    )  # fmt: skip
    assert set(found) == {
        "models[0].model", "models[1].model", "models[2].provider", "models[3].connectionId", "models[4].connectionId",
        "models[5].comboName", "models[6].kind", "models[7]", "models[8].model", "models[9].colour", "models[10].connectionId",
        "models[11].model",
    }  # fmt: skip
    assert "'nobody'" in found["models[2].provider"]
    assert found["models[4].connectionId"] == "connection 'con_g' is of groq, and this step is for openai"
    assert found["models[5].comboName"] == "there is no combo 'missing'"


def test_ranges_and_doubles_are_faults_of_their_field() -> None:
    assert set(faults([{"model": "gpt-4o", "weight": 101}, {"model": "gpt-4o", "tags": ["x"] * 21}])) == {
        "models[0].weight",
        "models[1].tags",
    }
    assert set(faults([{"model": "gpt-4o", "id": "a"}, {"model": "fast", "id": "a"}])) == {"models[1].id"}
    assert set(faults(["gpt-4o"] * 101)) == {"models"}


@given(
    st.lists(st.sampled_from(["groq/a", "groq/A", "other", "gpt-4o", "auto", {"model": "fast", "id": "mine-model-1-groq-a"}]), max_size=12)
)
def test_ids_are_unique_and_short(steps: list[Any]) -> None:
    if sum(isinstance(step, dict) for step in steps) > 1:
        return
    made = normalise("mine", steps, KNOWN)
    assert len({step.id for step in made}) == len(steps)


def test_a_long_id_is_cut() -> None:
    taken: set[str] = set()
    for _ in range(3):
        made = step_id("n" * 100, "model", 1, "t" * 300, taken)
        assert len(made) <= 200
        assert made not in taken
        taken.add(made)


@pytest.mark.parametrize("name", ["fast", "[team] fast", "openai/gpt-4o", "a.b_c-d", "openai", "x" * 100, " trimmed "])
def test_names(name: str) -> None:
    assert combo_name(name) == name.strip()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\nb", "ä", "a*", "/a", "a/", "a/../b", "auto", "auto/x", "combo/x", "big[1m]"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BadRequest) as told:
        combo_name(name)
    assert told.value.field == "name"


def test_strategies_and_their_aliases() -> None:
    known = strategies("priority", least_used="usage", context_optimized="context")
    assert [strategy_name(name, known) for name in ("priority", "usage", "context")] == ["priority", "least-used", "context-optimized"]
    with pytest.raises(BadRequest, match="'chance'; there are context-optimized, least-used, priority") as told:
        strategy_name("chance", known, field="config.strategy")
    assert told.value.field == "config.strategy"


def test_a_combo_as_a_whole() -> None:
    made = check(combo("a/b", strategy="usage", allowed_providers=("oa", "openai")), strategies(least_used="usage"), KNOWN.provider)
    assert (made.strategy, made.allowed_providers) == ("least-used", ("openai",))
    for body, field in (
        (combo(strategy="none"), "strategy"),
        (combo(config=ComboConfig(strategy="none")), "config.strategy"),
        (combo(tool_filter_regex="("), "tool_filter_regex"),
        (combo(allowed_providers=("nobody",)), "allowedProviders[0]"),
    ):
        with pytest.raises(InvalidInput) as told:
            check(body, PRIORITY, KNOWN.provider)
        assert [one["field"] for one in told.value.details] == [field]


def test_a_combo_has_a_mode_of_compression_or_none() -> None:
    assert ComboConfig.model_validate({"compressionMode": "ultra"}).compression_mode == "ultra"
    with pytest.raises(ValidationError, match="compressionMode"):
        ComboConfig.model_validate({"compressionMode": "some"})


def tiers(default: str, **more: tuple[str, str | None]) -> ComboConfig:
    rows = {name: {"stepId": step, **({"fallbackTier": then} if then else {})} for name, (step, then) in more.items()}
    return ComboConfig.model_validate({"compositeTiers": {"defaultTier": default, "tiers": rows}})


def test_tiers_put_steps_in_order() -> None:
    made = combo("p/a", "p/b", "p/c", "p/d", config=tiers("best", best=("s2", "next"), next=("s0", None), spare=("s3", None)))
    check(made, PRIORITY, KNOWN.provider)
    assert [step.id for step in ordered_by_tiers(made)] == ["s2", "s0", "s1", "s3"]
    assert [step.id for step in ordered_by_tiers(combo("p/a", "p/b"))] == ["s0", "s1"]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (tiers("gone", best=("s0", None)), "defaultTier"),
        (tiers("best", best=("s9", None)), "tiers.best.stepId"),
        (tiers("best", best=("s0", "gone")), "tiers.best.fallbackTier"),
        (tiers("one", one=("s0", "two"), two=("s1", "one")), "tiers.one.fallbackTier"),
        (tiers("one", one=("s0", "one")), "tiers.one.fallbackTier"),
    ],
)
def test_tiers_that_do_not_hold_together(config: ComboConfig, field: str) -> None:
    made = combo("p/a", "p/b", config=config)
    with pytest.raises(InvalidInput) as told:
        check(made, PRIORITY, KNOWN.provider)
    assert [one["field"] for one in told.value.details] == [f"config.compositeTiers.{field}"]
    assert len(ordered_by_tiers(made)) == 2  # whatever is stored, the order comes to an end


def test_circles_and_depth() -> None:
    """routing.md 2.6 and 8: a cycle and depth 4 are refused on save."""
    there = {"a": combo(">b"), "b": combo(">a"), "c": combo(">d"), "d": combo(">e"), "e": combo(">f"), "f": combo("p/m")}
    with pytest.raises(BadRequest, match=r"^Circular combo reference detected: a -> b -> a$"):
        check_nesting("a", there["a"], there.get)
    with pytest.raises(BadRequest, match="Circular combo reference detected: x -> x"):
        check_nesting("x", combo(">x"), there.get)
    check_nesting("c", there["c"], there.get)
    with pytest.raises(BadRequest, match=r"^Max combo nesting depth \(3\) exceeded"):
        check_nesting("z", combo(">c"), there.get)
    check_nesting("z", combo(">c"), there.get, depth=4)
    check_nesting("z", combo(">unheard of"), there.get)


def test_a_combo_that_grows_without_end_is_refused_fast() -> None:
    there = {f"l{level}": combo(*([f">l{level + 1}"] * 90)) for level in range(9)} | {"l9": combo("p/m")}
    with pytest.raises(BadRequest, match="comes down to"):
        check_nesting("l0", there["l0"], there.get, depth=10)


def test_targets_of_nested_combos() -> None:
    there = {"inner": combo("p/x", "p/y"), "loop": combo(">loop", "p/z")}
    made = combo("p/a", ">inner", ">gone", ">loop", "p/b")
    leaves = expand("outer", made, there.get)
    assert [(leaf.key, leaf.step.model) for leaf in leaves] == [
        ("s0", "p/a"), ("s1>s0", "p/x"), ("s1>s1", "p/y"), ("s3>s1", "p/z"), ("s4", "p/b"),
    ]  # fmt: skip
    assert leaves[1].path == ("outer", "inner")
    assert [leaf.key for leaf in expand("outer", made, there.get, depth=0)] == ["s0", "s4"]


def test_who_uses_a_combo() -> None:
    there = {"a": combo(">b"), "b": combo(">c"), "c": combo("p/m"), "d": combo("p/m")}
    mappings = [Mapping(pattern="gpt-*", combo_id="id_c"), Mapping(pattern="x", combo_id="id_d")]
    assert used_by("c", "id_c", there, mappings) == ["combo 'b'", "mapping 'gpt-*'"]
    assert used_by("a", "id_a", there, mappings) == []
    assert sorted(reaching("c", there)) == ["a", "b"]
    assert [step.combo_name for step in renamed(there["a"], "b", "new").models] == ["new"]
