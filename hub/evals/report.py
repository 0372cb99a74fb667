"""What a run found: the result of each piece, each case over its trials, the sums of a run, and two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from hub.evals import statistics
from hub.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.evals.suites import Case

#: What of an answer is shown beside its verdict, in characters.
_SNIPPET = 240
#: A difference with a smaller p value is called significant.
_SIGNIFICANT = 0.05


class Target(msgspec.Struct, frozen=True):
    """What a run asks: the models that the suite names, one model, or a combo. ``name`` is the model string that is asked for."""

    type: Literal["suite-default", "model", "combo"]
    id: str = ""
    name: str = ""

    @property
    def key(self) -> str:
        """The target as one word."""
        return f"{self.type}:{self.id}" if self.id else self.type

    @property
    def label(self) -> str:
        """The target for people."""
        return self.name or "the models that the suite names"


class Facts(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a run is to do, beside its cases. ``max_cost`` in dollars; ``judge`` and ``embeddings`` score where a case names no model."""

    suite_name: str
    target: Target
    cases: int
    trials: int = 1
    concurrency: int = 4
    seconds: float = 60.0
    max_cost: float | None = None
    judge: str = ""
    embeddings: str = ""


class Piece(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of a case in one trial.

    ``outcome``: passed, failed, error (the model did not answer) or ungraded (it did, and the scorer failed).
    """

    case_id: str
    outcome: Literal["passed", "failed", "error", "ungraded"]
    text: str = ""
    score: float | None = None
    reason: str = ""
    error: str = ""
    error_code: str = ""
    status: int = 200
    latency_ms: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    scorer_cost: float | None = 0.0
    scorer: str = ""
    provider: str = ""
    model: str = ""


class Tokens(Wire):
    """Tokens of questions and answers, those of scorers apart."""

    input: int = 0
    output: int = 0


class Summary(Wire):
    """The sums of a run.

    ``total`` counts cases times trials. ``errors`` are answers that never came and ``ungraded`` those that no scorer could score: neither
    is a wrong answer, and ``pass_rate`` (0 to 100) is of the others. ``not_run`` were left when the run ended early. ``interval`` is the
    95 % confidence interval of the rate, null without an answer. ``cost`` in dollars covers what has a price; ``unpriced`` has none.
    """

    total: int
    passed: int
    failed: int
    pass_rate: float
    errors: int = 0
    ungraded: int = 0
    not_run: int = 0
    interval: tuple[float, float] | None = None
    cost: float = 0.0
    scorer_cost: float = 0.0
    unpriced: int = 0
    tokens: Tokens = Tokens()
    avg_latency_ms: int = 0
    p50_latency_ms: int | None = None
    p95_latency_ms: int | None = None
    error: str = ""


class Details(Wire):
    """How an answer came to its verdict; of several trials those of the first that decided. Cost in dollars, null where unknown."""

    actual_snippet: str
    expected: str
    strategy: str
    score: float | None = None
    reason: str = ""
    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    scorer: str = ""
    scorer_cost: float | None = None


class CaseResult(Wire):
    """What came of a case. ``passed`` when most of its scored trials did; ``outcome`` tells errors from wrong answers."""

    case_id: str
    case_name: str
    passed: bool
    outcome: str
    duration_ms: int
    trials: int
    scored: int
    passes: int
    errors: int
    error: str | None = None
    details: Details


class Duel(Wire):
    """A case of two runs: the share of its trials that passed in each, null where none was scored."""

    case_id: str
    case_name: str
    first: float | None
    second: float | None
    outcome: Literal["win", "loss", "tie", "open"]


class Comparison(Wire):
    """The first run of a group against its second, case by case.

    ``wins`` are cases that the first does better. ``p_value`` is of an exact sign test over them: the chance of such a difference between
    two that are alike. ``open`` cases have no score on one side.
    """

    first: str
    second: str
    wins: int
    losses: int
    ties: int
    open: int
    pass_rate_difference: float
    p_value: float
    significant: bool
    verdict: str
    cases: list[Duel] = Field(default=[])


def summarise(pieces: Sequence[Piece], total: int, *, error: str = "") -> Summary:
    """The sums of a run over what came of its pieces so far."""
    by_case: dict[str, list[bool]] = {}
    for one in _scored(pieces):
        by_case.setdefault(one.case_id, []).append(one.outcome == "passed")
    passed = sum(map(sum, by_case.values()))
    scored = sum(map(len, by_case.values()))
    answered = [one for one in pieces if one.outcome != "error"]
    took = [one.latency_ms for one in answered]
    return Summary(
        total=total,
        passed=passed,
        failed=scored - passed,
        pass_rate=round(100 * passed / scored, 2) if scored else 0.0,
        errors=_count(pieces, "error"),
        ungraded=_count(pieces, "ungraded"),
        not_run=total - len(pieces),
        interval=_percent(statistics.interval(by_case)),
        **_money(answered),
        tokens=Tokens(input=sum(one.input_tokens for one in pieces), output=sum(one.output_tokens for one in pieces)),
        avg_latency_ms=round(sum(took) / len(took)) if took else 0,
        p50_latency_ms=_whole(statistics.quantile(took, 0.5)),
        p95_latency_ms=_whole(statistics.quantile(took, 0.95)),
        error=error,
    )


def _percent(found: tuple[float, float] | None) -> tuple[float, float] | None:
    return (round(100 * found[0], 2), round(100 * found[1], 2)) if found is not None else None


def _money(answered: Sequence[Piece]) -> dict[str, Any]:
    """What answers and scorers cost together, as far as prices are known."""
    costs, scorers = [one.cost for one in answered], [one.scorer_cost for one in answered]
    return {
        "cost": round(sum(cost or 0.0 for cost in costs), 9),
        "scorer_cost": round(sum(cost or 0.0 for cost in scorers), 9),
        "unpriced": costs.count(None) + scorers.count(None),
    }


def per_case(cases: Sequence[Case], pieces: Sequence[Piece]) -> list[CaseResult]:
    """What came of each case that was asked at least once, in the order of the suite."""
    found: dict[str, list[Piece]] = {}
    for one in pieces:
        found.setdefault(one.case_id, []).append(one)
    return [_case(case, found[case.id]) for case in cases if case.id in found]


def _case(case: Case, pieces: Sequence[Piece]) -> CaseResult:
    scored = _scored(pieces)
    passes = _count(scored, "passed")
    passed = bool(scored) and passes * 2 > len(scored)
    outcome = ("passed" if passed else "failed") if scored else pieces[0].outcome
    shown = next((one for one in pieces if one.outcome == outcome), pieces[0])
    expected = case.expected
    return CaseResult(
        case_id=case.id,
        case_name=case.name,
        passed=passed,
        outcome=outcome,
        duration_ms=round(sum(one.latency_ms for one in pieces) / len(pieces)),
        trials=len(pieces),
        scored=len(scored),
        passes=passes,
        errors=_count(pieces, "error"),
        error=next((one.error for one in pieces if one.error), None),
        details=Details(
            actual_snippet=shown.text[:_SNIPPET],
            expected=(expected.value or "a JSON schema")[:_SNIPPET],
            strategy=expected.strategy,
            score=shown.score,
            reason=shown.reason,
            provider=shown.provider,
            model=shown.model,
            input_tokens=shown.input_tokens,
            output_tokens=shown.output_tokens,
            cost=shown.cost,
            scorer=shown.scorer,
            scorer_cost=shown.scorer_cost,
        ),
    )


def compare(first: tuple[str, Sequence[CaseResult]], second: tuple[str, Sequence[CaseResult]]) -> Comparison:
    """Two runs of the same suite, each with the label of its target."""
    others = {one.case_id: one for one in second[1]}
    duels = [_duel(one, others[one.case_id]) for one in first[1] if one.case_id in others]
    counts = {name: sum(one.outcome == name for one in duels) for name in ("win", "loss", "tie", "open")}
    chance = statistics.sign_test(counts["win"], counts["loss"])
    significant = chance < _SIGNIFICANT
    better = first[0] if counts["win"] > counts["loss"] else second[0]
    return Comparison(
        first=first[0],
        second=second[0],
        wins=counts["win"],
        losses=counts["loss"],
        ties=counts["tie"],
        open=counts["open"],
        pass_rate_difference=_difference(duels),
        p_value=round(chance, 6),
        significant=significant,
        verdict=f"{better} is better" if significant else "no difference that these cases could show",
        cases=duels,
    )


def _difference(duels: Sequence[Duel]) -> float:
    """How much more of a case the first passes on average, in percent."""
    closed = [one.first - one.second for one in duels if one.first is not None and one.second is not None]
    return round(100 * sum(closed) / len(closed), 2) if closed else 0.0


def _duel(one: CaseResult, other: CaseResult) -> Duel:
    first, second = _share(one), _share(other)
    outcome: Literal["win", "loss", "tie", "open"] = "open"
    if first is not None and second is not None:
        outcome = "tie" if first == second else "win" if first > second else "loss"
    return Duel(case_id=one.case_id, case_name=one.case_name, first=first, second=second, outcome=outcome)


def _share(one: CaseResult) -> float | None:
    return one.passes / one.scored if one.scored else None


def scorecard(rows: Iterable[tuple[str, str, Summary]]) -> dict[str, Any] | None:
    """Suites side by side, from (suite id, its name, sums of a run); None without any."""
    found = list(rows)
    if not found:
        return None
    scored = sum(one.passed + one.failed for _, _, one in found)
    passed = sum(one.passed for _, _, one in found)
    return {
        "suites": len(found),
        "totalCases": sum(one.total for _, _, one in found),
        "totalPassed": passed,
        "overallPassRate": round(100 * passed / scored, 2) if scored else 0.0,
        "perSuite": [{"id": suite_id, "name": name, "passRate": one.pass_rate} for suite_id, name, one in found],
    }


def _scored(pieces: Sequence[Piece]) -> list[Piece]:
    return [one for one in pieces if one.outcome in ("passed", "failed")]


def _count(pieces: Sequence[Piece], outcome: str) -> int:
    return sum(one.outcome == outcome for one in pieces)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
