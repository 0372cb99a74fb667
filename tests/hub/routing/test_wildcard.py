"""Wildcard names fit as the rule says, in bounded time, and the most particular one wins."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.routing.wildcard import best, matches, specificity

patterns = st.text("ab*?/[.", max_size=8)
names = st.text("abAB/[.", max_size=10)


@given(patterns, names)
def test_matching_is_what_the_regular_expression_says(pattern: str, name: str) -> None:
    written = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    assert matches(pattern, name) == bool(re.fullmatch(written, name, re.IGNORECASE | re.DOTALL))


@given(names)
def test_a_name_fits_itself_and_a_star(name: str) -> None:
    assert matches(name, name)
    assert matches("*", name)
    assert matches(name.upper() + "*", name.lower())


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.process_time()
    assert not matches("*a" * 60 + "*b", "a" * 250)
    assert time.process_time() - began < 0.2


@pytest.mark.parametrize(
    ("pattern", "points"),
    [("gpt-4o", 66), ("gpt-*", 10 * 4 - 50 + 5), ("*", -49), ("gpt-?", 10 * 4 - 5 + 5), ("a/*/b", 20 - 50 + 5), ("", 0)],
)
def test_specificity(pattern: str, points: int) -> None:
    assert specificity(pattern) == points


def test_the_most_specific_wins_whatever_the_order() -> None:
    some = ["*", "gpt-*", "gpt-4*", "gpt-4?", "claude-*"]
    assert best(some, "gpt-4o") == best(reversed(some), "gpt-4o") == "gpt-4?"
    assert best(some, "GPT-4.1") == "gpt-4*"
    assert best(["b*", "B*"], "b") == "B*"
    assert best(["gpt-4o"], "gpt-4o") is None, "an exact name is no wildcard"
    assert best([], "x") is None
