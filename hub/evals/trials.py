"""The pieces of an eval run: a case asked once, its answer scored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.chat import ChatRequest, Message, Role, Text
from hub.errors import HubError
from hub.evals.asking import Spent
from hub.evals.grading import Grader, Scorers
from hub.evals.report import Facts, Piece, summarise
from hub.evals.suites import Suite
from hub.evals.worker import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.evals.asking import Asking, Said
    from hub.evals.grading import Verdict
    from hub.evals.suites import Case
    from hub.records import Caller
    from hub.store.runs import Assessed, Run

KIND = "eval"
#: The model of a case that names none, when a run leaves it to the suite.
_ANY = "auto"
#: Of an answer that is kept, in characters.
_KEPT = 20_000
_ROLES = {"system": Role.SYSTEM, "developer": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}


class Trials:
    """Eval runs, for the worker."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def begin(self, run: Run, work: str, results: list[tuple[int, str]]) -> Trial:
        """Make ready to ask the cases that have no result."""
        spent = sum((one.cost or 0.0) + (one.scorer_cost or 0.0) for one in pieces_of(results))
        return Trial(self._asking, run, Suite.model_validate_json(work).cases, spent)

    def sums(self, run: Run, results: list[tuple[int, str]], error: str) -> str:
        """The sums of a run."""
        return summarise(pieces_of(results), run.total, error=error).model_dump_json()


class Trial:
    """One run that this process works on."""

    def __init__(self, asking: Asking, run: Run, cases: tuple[Case, ...], spent: float) -> None:
        facts = facts_of(run)
        self.at_once = facts.concurrency
        self._asking = asking
        self._key_id = run.key_id
        self._facts = facts
        self._cases = cases
        self._spent = spent
        self._grader = Grader(asking, KIND, Scorers(facts.judge, facts.embeddings), seconds=facts.seconds)

    async def piece(self, seq: int) -> tuple[str, Assessed | None]:
        """Ask a case and score its answer. Raises Stop where nobody pays for it, or may be asked for it any more."""
        caller = self._asking.caller(self._key_id)
        if caller is None:
            raise Stop("the API key of this run is not valid any more")
        most = self._facts.max_cost
        if most is not None and self._spent >= most:
            raise Stop(f"the run has cost its {most:g} dollars")
        try:
            made = await self._made(self._cases[seq % len(self._cases)], caller)
        except Spent as spent:
            raise Stop(f"the budget is spent: {spent.error.message}") from spent
        self._spent += (made.cost or 0.0) + (made.scorer_cost or 0.0)
        return msgspec.json.encode(made).decode(), None

    async def _made(self, case: Case, caller: Caller) -> Piece:
        request = request_of(case, self._facts.target.name or case.model or _ANY)
        direct = self._facts.target.type == "model"

        async def ask() -> Said:
            return await self._asking.chat(caller, KIND, request, seconds=self._facts.seconds, direct=direct)

        try:
            said = await self._asking.patiently(ask)
        except HubError as error:
            return Piece(case_id=case.id, outcome="error", error=error.message[:500], error_code=error.code, status=error.status)
        made = scored(case, said.text, await self._grader.grade(case, said.text, caller))
        made.latency_ms, made.cost, made.provider, made.model = said.latency_ms, said.cost, said.provider, said.model
        made.input_tokens, made.output_tokens = said.usage.prompt, said.usage.output
        return made


def request_of(case: Case, model: str) -> ChatRequest:
    """What a case asks a model."""
    return ChatRequest(
        model=model,
        messages=[Message(_ROLES[turn.role], [Text(turn.content)]) for turn in case.input.messages],
        max_tokens=case.input.max_tokens,
        temperature=case.input.temperature,
    )


def scored(case: Case, text: str, verdict: Verdict) -> Piece:
    """An answer with its verdict."""
    outcome = "ungraded" if verdict.passed is None else "passed" if verdict.passed else "failed"
    return Piece(
        case_id=case.id,
        outcome=outcome,
        text=text[:_KEPT],
        score=verdict.score,
        reason=verdict.reason,
        error=verdict.error,
        scorer=verdict.model,
        scorer_cost=verdict.cost,
    )


def facts_of(run: Run) -> Facts:
    """What a run is to do."""
    return msgspec.json.decode(run.facts, type=Facts)


def pieces_of(results: Iterable[tuple[int, str]]) -> list[Piece]:
    """Stored results of an eval run."""
    return [msgspec.json.decode(text, type=Piece) for _, text in results]
