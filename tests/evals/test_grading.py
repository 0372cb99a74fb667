"""Rules that score answers, statistics of rates, and what hostile patterns and schemas cost (SEC-34)."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hub.evals import schemas, statistics
from hub.evals.grading import by_rule, cosine
from hub.evals.report import CaseResult, Details, Piece, compare, summarise
from hub.evals.suites import Expected
from hub.routing.pattern import compiled

PERSON = {"type": "object", "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("expected", "text", "passed"),
    [
        ({"strategy": "exact", "value": "yes"}, " yes\n", True),
        ({"strategy": "exact", "value": "yes"}, "Yes", False),
        ({"strategy": "contains", "value": "PARIS"}, "it is paris.", True),
        ({"strategy": "contains", "value": "straße"}, "STRASSE", True),
        ({"strategy": "contains", "value": "Rome"}, "Paris", False),
        ({"strategy": "regex", "value": "^a+$"}, "aaa", True),
        ({"strategy": "regex", "value": r"\bcat\b"}, "x" * 5000 + " cat", True),
        ({"strategy": "regex", "value": "(?i)B"}, "abc", True),
        ({"strategy": "regex", "value": "^b"}, "abc", False),
        ({"strategy": "numeric", "value": "42"}, "First 7, so the answer is 42.", True),
        ({"strategy": "numeric", "value": "1234.5"}, "1,234.5 dollars", True),
        ({"strategy": "numeric", "value": "-3"}, "it is -3", True),
        ({"strategy": "numeric", "value": "100", "tolerance": 2}, "98", True),
        ({"strategy": "numeric", "value": "100", "relative": 0.05}, "94.9", False),
        ({"strategy": "numeric", "value": "5"}, "no number", False),
        ({"strategy": "json_schema", "schema": PERSON}, 'Here:\n```json\n{"name": "Ada"}\n```', True),
        ({"strategy": "json_schema", "schema": PERSON}, '{"name": "ada"}', False),
        ({"strategy": "json_schema", "schema": PERSON}, "[]", False),
        ({"strategy": "json_schema", "schema": PERSON}, "```json" + "\n" * 40_000, False),
        ({"strategy": "numeric", "value": "5"}, "9" * 40_000, False),
        ({"strategy": "numeric", "value": "5"}, "1,111" * 8_000 + ",", False),
        ({"strategy": "json_schema", "schema": PERSON}, "not JSON", False),
        ({"strategy": "json_schema", "schema": False}, "1", False),
    ],
)
def test_rules(expected: dict[str, Any], text: str, passed: bool) -> None:
    found = by_rule(Expected.model_validate(expected), text)
    assert (found.passed, found.score) == (passed, 1.0 if passed else 0.0)
    assert bool(found.reason) != passed or expected["strategy"] == "numeric"


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"strategy": "regex", "value": "("}, "not a regular expression"),
        ({"strategy": "regex", "value": r"(a)\1"}, "not supported"),
        ({"strategy": "regex", "value": "x" * 1001}, "longer than"),
        ({"strategy": "numeric", "value": "many"}, "needs a number"),
        ({"strategy": "numeric", "value": "inf"}, "needs a number"),
        ({"strategy": "exact"}, "needs a value"),
        ({"strategy": "json_schema"}, "needs a schema"),
        ({"strategy": "json_schema", "schema": {"type": "nothing"}}, "malformed"),
        ({"strategy": "json_schema", "schema": {"$ref": "https://example.com/x.json"}}, "refers to another"),
        ({"strategy": "json_schema", "schema": {"pattern": "(?=a)"}}, "not supported"),
        ({"strategy": "json_schema", "schema": {"patternProperties": {"(a+)+$": {}}}}, "not supported"),
        ({"strategy": "similarity", "value": "x", "threshold": 2}, "at most 1"),
        ({"strategy": "custom", "value": "x"}, "strategy"),
        ({"strategy": "exact", "value": "x", "odd": 1}, "odd"),
    ],
)
def test_what_cannot_score_is_refused_when_it_is_written(expected: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Expected.model_validate(expected)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$", "(x+x+)+y", r"([\s\S]*){1,20}b"]
)
def test_hostile_patterns_end_in_time_and_make_no_wrong_answer(pattern: str) -> None:
    """SEC-34: some steps for each answer, whatever pattern meets it; what is not decided is an error of the scorer."""
    expected = Expected(strategy="regex", value=pattern)
    took: list[float] = []
    for text in ("a" * 50_000 + "!", "x" * 50_000):
        began = time.thread_time()
        found = by_rule(expected, text)
        took.append(time.thread_time() - began)
        assert found.passed is not None or "too long" in found.error
    assert max(took) < 1  # hundredths as a rule, where a matcher that tries every way needs longer than anybody waits
    held: list[bool | None] = [compiled(pattern).within("a" * 50_000, 1000)]
    assert held[0] in (None, True)


def test_hostile_schemas_end() -> None:
    """One that refers to itself, and one whose branches double with every step."""
    loop = Expected.model_validate({"strategy": "json_schema", "schema": {"$ref": "#"}})
    doubling = {f"d{at}": {"anyOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(30)} | {"d30": {"type": "string"}}
    tree = Expected.model_validate({"strategy": "json_schema", "schema": {"$defs": doubling, "$ref": "#/$defs/d0"}})
    gone = Expected.model_validate({"strategy": "json_schema", "schema": {"$ref": "#/$defs/none"}})
    for expected in (loop, tree, gone):
        found = by_rule(expected, "1")
        assert found.passed is None
        assert found.error
    with pytest.raises(ValueError, match="too large or nested"):
        schemas.check({"not": _nested(60)})


def _nested(depth: int) -> dict[str, Any]:
    return {"not": _nested(depth - 1)} if depth else {}


@given(st.dictionaries(st.text(max_size=3), st.lists(st.booleans(), max_size=6), max_size=12))
def test_an_interval_holds_its_rate(trials: dict[str, list[bool]]) -> None:
    found = statistics.interval(trials)
    count = sum(map(len, trials.values()))
    if not count:
        assert found is None
        return
    assert found is not None
    rate = sum(map(sum, trials.values())) / count
    assert 0 <= found[0] <= rate + 1e-9
    assert rate - 1e-9 <= found[1] <= 1


def test_intervals_and_the_sign_test_against_known_values() -> None:
    """Wilson for 8 of 10 is 0.490 to 0.943; ten cases asked five times each, always alike, tell no more than ten."""
    low, high = statistics.wilson(0.8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    once = statistics.interval({f"c{at}": [at < 8] for at in range(10)})
    often = statistics.interval({f"c{at}": [at < 8] * 5 for at in range(10)})
    assert once is not None
    assert often is not None
    assert [round(one, 6) for one in once] == [round(one, 6) for one in often] == [round(low, 6), round(high, 6)]
    assert statistics.sign_test(0, 0) == 1.0
    assert statistics.sign_test(6, 0) == pytest.approx(0.03125)
    assert statistics.sign_test(8, 2) == pytest.approx(0.109375)
    assert [statistics.quantile([5, 1, 3], share) for share in (0.5, 0.95)] == [3, 5]
    assert statistics.quantile([], 0.5) is None
    assert cosine([1.0, 0.0], [0.0, 1.0]) == 0.0
    assert cosine([1.0], [1.0, 2.0]) is None
    assert cosine([0.0], [1.0]) is None


def _result(name: str, passes: int, trials: int) -> CaseResult:
    details = Details(actual_snippet="", expected="", strategy="exact")
    outcome = "error" if not trials else "passed" if passes * 2 > trials else "failed"
    return CaseResult(
        case_id=name, case_name=name, passed=outcome == "passed", outcome=outcome, duration_ms=1, trials=max(1, trials), scored=trials,
        passes=passes, errors=0, details=details,
    )  # fmt: skip


def test_a_case_without_a_score_on_one_side_is_open() -> None:
    found = compare(("a", [_result("x", 2, 3), _result("y", 0, 0)]), ("b", [_result("x", 1, 3), _result("y", 3, 3)]))
    assert (found.wins, found.losses, found.open, found.significant) == (1, 0, 1, False)
    assert found.pass_rate_difference == 33.33
    assert found.verdict.startswith("no difference")


def test_sums_of_nothing_and_of_unknown_prices() -> None:
    assert (summarise([], 5).not_run, summarise([], 5).interval, summarise([], 5).pass_rate) == (5, None, 0.0)
    found = summarise([Piece(case_id="a", outcome="passed", cost=None), Piece(case_id="b", outcome="failed", cost=0.5)], 2)
    assert (found.cost, found.unpriced, found.pass_rate) == (0.5, 1, 50.0)
