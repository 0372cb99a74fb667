"""Owners' regular expressions: the answers of the standard library, in linear time (SEC-34)."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import BadRequest
from hub.routing.pattern import MOST_TEXT, compiled

ATOMS = st.sampled_from(
    ["a", "b", "_", "1", ".", r"\w", r"\d", r"\W", "[ab]", "[^a]", "[a-c1]", r"[^\d_]", r"\b", r"\B", "^", "$", "A", r"\s", ""]
)


def _grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "*?", "{2}", "{0,2}", "{1,}"])).map(lambda two: f"({two[0]}){two[1]}"),
        inner.map(lambda one: f"(?i:{one})"),
    )


PATTERNS = st.recursive(ATOMS, _grow, max_leaves=8)


@settings(max_examples=400, deadline=None)
@given(PATTERNS, st.lists(st.text("abAB1_ -\n", max_size=8), min_size=1, max_size=5))
def test_it_finds_what_the_standard_library_finds(text: str, names: list[str]) -> None:
    mine, theirs = compiled(text), re.compile(text)
    for name in names:
        assert mine(name) is (theirs.search(name) is not None), (text, name)


@pytest.mark.parametrize(
    ("text", "yes", "no"),
    [
        ("^(read|list)_", "read_file", "write_file"),
        ("(?i)^MCP__.*search$", "mcp__web_SEARCH", "mcp__web_searches"),
        (r"^get_[a-z]{3,5}\d?$", "get_time1", "get_ti"),
        ("", "anything", "x" * (MOST_TEXT + 1)),
        (r"(?a)^\w+$", "abc", "äbc"),
        (r"^\w+$", "äbc", "a b"),
    ],
)
def test_names_of_tools(text: str, yes: str, no: str) -> None:
    pattern = compiled(text)
    assert pattern(yes)
    assert pattern(yes)  # from memory
    assert not pattern(no)


@pytest.mark.parametrize("text", ["(", "[a", "a{2,1}", "*", r"(a)\1", "(?=a)", "(?!a)b", "(?<=a)b", "(?>a)", "a++", "(?m)^a", "x" * 1001])
def test_what_is_refused_names_the_field(text: str) -> None:
    with pytest.raises(BadRequest) as told:
        compiled(text, field="tool_filter_regex")
    assert told.value.field == "tool_filter_regex"


@pytest.mark.parametrize(
    "text", ["a{100000}", "(a{100}){100}", "((((a?){20}){20}){20}){20}", "(((?:){60000}){60000}){60000}", "(a|b){9999,}"]
)
def test_patterns_that_grow_are_refused_quickly(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(BadRequest):
        compiled(text)
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    "text",
    [
        "(a+)+$", "([a-zA-Z]+)*$", "(a|aa)+$", "(a|a?)+$", "(.*a){20}$", "(a*)*b", "(a*)*$", "^(a+)+$", "(x+x+)+y", ".*.*.*.*.*.*=.*",
        "(a?){60}a{60}", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"^(\w+\s?)*$", "(.{0,20}){5}b", "(a|b|ab)*c",
    ],
)  # fmt: skip
def test_sec_34_redos_list(text: str) -> None:
    """SEC-34: each of these takes a backtracking engine seconds to for ever; here under 50 ms of work."""
    pattern = compiled(text)
    for name in ("a" * 60 + "!", "a" * MOST_TEXT, "x" * MOST_TEXT, "ab" * (MOST_TEXT // 2), "a" * 10_000):
        began = time.thread_time()
        pattern(name)
        assert time.thread_time() - began < 0.05, text


def test_what_is_remembered_is_bounded() -> None:
    pattern = compiled("^a")
    for number in range(3000):
        assert pattern(f"a{number}")
    assert len(pattern._kept) <= 1024


def test_deep_nesting_is_an_answer_and_no_crash() -> None:
    try:
        pattern = compiled("(" * 499 + "a" + ")" * 499)
    except BadRequest:
        return
    assert pattern("a")
