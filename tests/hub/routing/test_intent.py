"""What a prompt asks for, and which models fit that; words and rows are data (routing.md 2.4)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing import intent
from hub.routing.intent import fit, task_of

DATA = Path(intent.__file__).with_name("intent.json")
KEYWORDS: dict[str, dict[str, list[str]]] = json.loads(DATA.read_text("utf-8"))["keywords"]
FITNESS = json.loads(DATA.with_name("fitness.json").read_text("utf-8"))
TASKS = {"coding", "analysis", "simple", "default"}


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Please refactor this function", "coding"),
        ("what does `x = {}` do?\n```\nlet x = {}\n```", "coding"),
        ("look at src/app/main.py please", "coding"),
        ("Is C++ hard?", "coding"),
        ("用python写一个程序", "coding"),
        ("请帮我调试这段代码", "coding"),
        ("この関数を直して", "coding"),
        ("Bitte den Quellcode ansehen", "coding"),
        ("напиши функцию сортировки", "coding"),
        ("코드를 고쳐 줘", "coding"),
        ("Compare these two plans", "analysis"),
        ("what are the pros and cons?", "analysis"),
        ("List the trade-offs.", "analysis"),
        ("Vergleiche die Angebote", "analysis"),
        ("Analiza las ventas", "analysis"),
        ("比较一下两个方案的优缺点", "analysis"),
        ("проанализируй отчёт", "analysis"),
        ("adım adım anlat", "analysis"),
        ("Hello!", "simple"),
        ("What is the capital of France?", "simple"),
        ("Was ist ein Photon?", "simple"),
        ("C'est quoi un photon ?", "simple"),
        ("Obrigado!", "simple"),
        ("co to jest foton", "simple"),
        ("首都是什么", "simple"),
        ("안녕하세요", "simple"),
        ("Write a story about a dragon", "default"),
        ("", "default"),
        ("?!", "default"),
        ("decoder rings and barcodes", "default"),  # no whole word of any list
    ],
)
def test_the_task_of_a_text(text: str, task: str) -> None:
    assert task_of(text) == task


def test_every_keyword_is_found_and_no_task_hides_another_s() -> None:
    """Code goes before analysis, analysis before a simple question; a word of a later list that holds one of an earlier is useless."""
    for task, languages in KEYWORDS.items():
        assert len(languages) >= 10
        for words in languages.values():
            for word in words:
                assert task_of(f"({word.capitalize()})") == task, word


def test_a_long_text_is_not_simple() -> None:
    assert task_of("hello " + "there " * 58) == "simple"
    assert task_of("hello " + "there " * 59) == "default"
    assert task_of("hello there you", simple_words=3) == "default"
    assert task_of("你好" + "天" * 57) == "simple"
    assert task_of("你好" + "天" * 58) == "default"


def test_start_and_end_are_looked_at() -> None:
    filler = "lorem ipsum " * 20_000
    assert task_of(f"refactor this: {filler}") == "coding"
    assert task_of(f"{filler} now refactor it") == "coding"
    assert task_of(f"{filler} refactor {filler}") == "default"
    assert task_of(f"hello {filler}") == "default"


def test_time_does_not_grow_with_what_is_pasted() -> None:
    """Counted in characters looked at, not in seconds: a text beyond the bound gives the pattern no more to read."""
    for hostile in ("a-" * 500_000, "'" * 1_000_000, "+" * 1_000_000, "天" * 1_000_000, "a'" * 500_000 + "+"):
        assert task_of(hostile) == "default"


@given(st.text())
def test_any_text_has_a_task(text: str) -> None:
    assert task_of(text) in TASKS
    assert task_of(text) == task_of(text)


def test_the_longest_fragment_decides() -> None:
    rows = FITNESS["models"]["coding"]
    assert fit("openai/gpt-5-mini", "coding") == rows["gpt-5-mini"] != rows["gpt-5"]
    assert fit("GPT-5", "coding") == rows["gpt-5"]
    assert fit("databricks-claude-opus-5-5", "coding") == rows["claude-opus"]


def test_a_fragment_begins_a_word() -> None:
    """``o3`` is a model, ``turbo3`` is not."""
    assert fit("vendor/o3", "coding") == FITNESS["models"]["coding"]["o3"]
    assert fit("vendor/turbo3", "coding") == 0.5
    assert fit("turbo3-o3", "coding") == FITNESS["models"]["coding"]["o3"]


def test_an_unknown_model_is_in_the_middle_but_for_words_that_tell() -> None:
    assert [fit("newcomer", task) for task in sorted(TASKS)] == [0.5] * 4
    assert 0.5 < fit("newcomer-coder", "coding") <= 0.7
    assert 0.5 < fit("newcomer-thinking", "analysis") <= 0.7
    assert fit("newcomer-thinking", "simple") < 0.5 < fit("newcomer-mini", "simple")
    assert fit("newcomer-non-reasoning", "analysis") == 0.5
    assert fit("decoderring", "coding") == 0.5


def test_a_task_without_rows_is_default() -> None:
    assert fit("claude-opus-5", "no such task") == fit("claude-opus-5", "default")


def test_rows_are_shares() -> None:
    assert set(FITNESS["models"]) == set(FITNESS["boosts"]) == TASKS
    assert all(0 <= value <= 1 for rows in FITNESS["models"].values() for value in rows.values())
    assert all(abs(value) <= 0.15 for rows in FITNESS["boosts"].values() for value in rows.values())
    assert all(fragment == fragment.lower() for rows in FITNESS["models"].values() for fragment in rows)


@given(st.text(max_size=80), st.sampled_from(sorted(TASKS)))
def test_fit_is_a_share(model: str, task: str) -> None:
    assert 0 <= fit(model, task) <= 1
