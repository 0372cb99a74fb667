"""What a package offers is found by folder, by name and by every address, and nothing is claimed twice."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from hub.context import Context
from hub.registry import Skills, load, modules
from hub.skill import A2a, A2aAnswer, CostClass, Mcp, Rest, Skill, skill
from hub.wire import Done, Nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


async def run(ctx: Context, ask: Nothing) -> Done:
    """Do it."""
    return Done(message="done")


def made(name: str, **options: Any) -> Skill:
    return skill(name, scopes=["read:health"], cost=CostClass.FREE, **options)(run)


def agent(name: str, **options: Any) -> A2a:
    return A2a(name, tags=(), examples=(), ask=lambda ask: {}, view=lambda out: A2aAnswer("", {}), **options)


def skills(*all_of_them: Skill) -> Skills:
    return Skills({one.name: one for one in all_of_them})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Makes an importable package of the given modules."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def make(**sources: str) -> str:
        name = f"offered_{len(names)}_{tmp_path.name.replace('-', '_')}"
        names.append(name)
        (tmp_path / name).mkdir()
        for module, source in {"__init__": "", **sources}.items():
            (tmp_path / name / f"{module}.py").write_text(source)
        return name

    yield make
    for loaded in [module for module in sys.modules if module.startswith(tuple(names))]:
        del sys.modules[loaded]


def test_addresses_lead_to_their_skill() -> None:
    one = made("one", mcp=Mcp("one_tool"), a2a=agent("one-agent"), rest=[Rest("GET", "/one"), Rest("POST", "/one")])
    two = made("two")
    found = skills(one, two)
    assert (len(found), list(found)) == (2, [one, two])
    assert dict(found.by_name) == {"one": one, "two": two}
    assert dict(found.by_tool) == {"one_tool": one}
    assert dict(found.by_a2a) == {"one-agent": one}
    assert dict(found.by_rest) == {("GET", "/one"): one, ("POST", "/one"): one}


def test_tables_are_frozen() -> None:
    found = skills(made("one", mcp=Mcp("tool"), a2a=agent("agent"), rest=[Rest("GET", "/one")]))
    for table in (found.by_name, found.by_tool, found.by_a2a, found.by_rest):
        with pytest.raises(TypeError):
            table["new"] = made("two")  # type: ignore[index]


@pytest.mark.parametrize(
    "options",
    [{"mcp": Mcp("same")}, {"a2a": agent("same")}, {"rest": [Rest("GET", "/same")]}],
    ids=["tool", "agent", "address"],
)
def test_no_address_is_claimed_twice(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="skills one and two claim the same address"):
        skills(made("one", **options), made("two", **options))


@pytest.mark.parametrize("options", [{"a2a": agent("one", stream="gone")}, {"twin": "gone"}], ids=["stream", "twin"])
def test_a_twin_must_exist(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="its twin 'gone' does not exist"):
        skills(made("one", **options))
    assert len(skills(made("one", **options), made("gone"))) == 2


def test_public_modules_of_a_folder_are_found_in_order(package: Callable[..., str]) -> None:
    name = package(b="", a="", _hidden="raise RuntimeError('never imported')")
    assert [module.__name__ for module in modules(name)] == [f"{name}.a", f"{name}.b"]


def test_instances_are_items_and_what_a_module_imports_is_the_same_item(package: Callable[..., str]) -> None:
    first = "from fractions import Fraction\nHALF = Fraction(1, 2)\nTHIRD = Fraction(1, 3)\n"
    name = package(a=first)
    (package_b,) = modules(name)
    other = package(a=first.replace("HALF = ", "QUARTER = Fraction(1, 4)\nHALF = "), b="")
    from fractions import Fraction

    assert dict(load(name, Fraction, str)) == {"1/2": Fraction(1, 2), "1/3": Fraction(1, 3)}
    assert list(load(other, Fraction, str)) == ["1/2", "1/3", "1/4"]
    shared = package(a=first, b="from fractions import Fraction\n")
    (folder,) = [module for module in modules(shared) if module.__name__.endswith(".a")]
    sys.modules[f"{shared}.b"].AGAIN = folder.HALF  # type: ignore[attr-defined]
    assert list(load(shared, Fraction, str)) == ["1/2", "1/3"]
    assert Fraction(1, 2) == package_b.HALF


def test_the_same_name_in_two_modules_stops_the_start(package: Callable[..., str]) -> None:
    source = "from fractions import Fraction\nHALF = Fraction(1, 2)\n"
    name = package(a=source, b=source)
    from fractions import Fraction

    with pytest.raises(ValueError, match=rf"'1/2' is declared in {name}.a and again in {name}.b"):
        load(name, Fraction, str)


def test_a_module_that_fails_stops_the_start(package: Callable[..., str]) -> None:
    name = package(a="raise ValueError('skill x: has no docstring')")
    with pytest.raises(ValueError, match="has no docstring"):
        Skills.load(name)


def test_the_own_skills_load() -> None:
    """D7: the five agent skills of the seed are there, and every skill has a summary of one sentence."""
    found = Skills.load()
    assert {"smart-routing", "quota-management", "provider-discovery", "cost-analysis", "health-report"} <= set(found.by_a2a)
    assert [one.name for one in found if not one.summary.endswith(".")] == []
