"""Evals as their owners see them: suites, runs that are begun, watched, cancelled and forgotten, and answers scored at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from hub.errors import BadRequest, Conflict, Forbidden, HubError, NotFound, RateLimited
from hub.evals import report
from hub.evals.grading import Grader, Scorers
from hub.evals.report import Facts, Summary, Target
from hub.evals.suites import Suite, Suites
from hub.evals.trials import KIND, facts_of, pieces_of, scored
from hub.evals.worker import together
from hub.store.runs import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hub.call import Hub
    from hub.evals.asking import Asking
    from hub.evals.report import CaseResult, Comparison, Piece
    from hub.evals.suites import Case, Known
    from hub.evals.worker import Worker
    from hub.records import Caller

#: Runs, of all suites, that may wait and run at once.
MOST_OPEN = 50
#: Cases times trials of one run.
MOST_PIECES = 2000
_KEPT_MS = 180 * 86_400_000
#: Runs that are looked through for the last of each suite.
_HISTORY = 500


class Plan(msgspec.Struct, kw_only=True):
    """How a suite is to be run. ``max_cost`` in dollars; ``judge`` and ``embeddings`` score where a case names no model."""

    trials: int
    concurrency: int
    seconds: float
    max_cost: float | None
    judge: str
    embeddings: str


class Evals:
    """The evals of a hub."""

    def __init__(self, hub: Hub, asking: Asking, worker: Worker) -> None:
        self.suites = Suites(hub.eval_suites)
        self._hub = hub
        self._rows = hub.store.runs
        self._asking = asking
        self.worker = worker

    async def begin(self, suite_id: str, targets: Sequence[Target], caller: Caller, *, key_id: str, plan: Plan) -> list[Run]:
        """Begin a run of a suite at each target, under a key where one is named, else as the caller.

        On the disk when this returns. Raises NotFound, BadRequest naming the field, Forbidden for a caller whose token will end,
        RateLimited beyond :data:`MOST_OPEN` runs.
        """
        known = self.suites.get(suite_id)
        payer = self._payer(caller, key_id)
        found = [self._target(target, field) for target, field in zip(targets, ("target", "compareTarget"), strict=False)]
        if len({one.key for one in found}) < len(found):
            raise BadRequest("compareTarget must be another than target", field="compareTarget")
        plan = self._completed(known.suite, plan)
        if len(known.suite.cases) * plan.trials > MOST_PIECES:
            raise BadRequest(f"{len(known.suite.cases)} cases may be tried {MOST_PIECES // len(known.suite.cases)} times", field="trials")
        if len(await self._rows.open()) + len(found) > MOST_OPEN:
            raise RateLimited(f"{MOST_OPEN} runs wait and run already; wait for one to end", retry_after=30)
        group = self._hub.clock.new_id("evg_") if len(found) > 1 else ""
        runs = [self._run(known, one, payer, group, plan) for one in found]
        work = known.suite.model_dump_json(by_alias=True, exclude_defaults=True)
        await self._rows.create([(run, work) for run in runs])
        self.worker.poke()
        return runs

    async def get(self, run_id: str, *, kind: str = KIND) -> Run:
        """A run. Raises NotFound."""
        run = await self._rows.find(run_id)
        if run is None or run.kind != kind:
            raise NotFound(f"there is no run {run_id[:100]!r}", field="id")
        return run

    async def recent(self, *, suite_id: str = "", group_id: str = "", limit: int = 20) -> list[Run]:
        """Runs, the newest first."""
        return await self._rows.list(KIND, subject=suite_id, group_id=group_id, limit=limit)

    async def found(self, run: Run) -> tuple[list[CaseResult], list[Piece]]:
        """What a run found so far: each case, and every piece."""
        cases = Suite.model_validate_json(await self._rows.work(run.id)).cases
        pieces = pieces_of(await self._rows.results(run.id))
        return report.per_case(cases, pieces), pieces

    def sums(self, run: Run, pieces: Sequence[Piece] = ()) -> Summary:
        """The sums of a run: as they were at its end, or those of its pieces so far."""
        return Summary.model_validate_json(run.summary) if run.summary else report.summarise(pieces, run.total)

    async def compared(self, runs: Sequence[Run]) -> Comparison | None:
        """The first run against the second; None unless there are two."""
        if len(runs) != 2:
            return None
        sides = [(facts_of(run).target.label, (await self.found(run))[0]) for run in runs]
        return report.compare(sides[0], sides[1])

    async def history(self) -> list[tuple[str, str, Summary]]:
        """The last run of each suite that completed."""
        last: dict[str, Run] = {}
        for run in await self._rows.list(KIND, completed=True, limit=_HISTORY):
            last.setdefault(run.subject, run)
        return [(run.subject, facts_of(run).suite_name, self.sums(run)) for run in last.values()]

    async def cancel(self, run_id: str, *, kind: str = KIND) -> Run:
        """Have a run end early; what it has found stays. Raises NotFound, Conflict for one that is over."""
        run = await self.get(run_id, kind=kind)
        if not await self._rows.cancel(run_id) and run.status != "cancelling":
            raise Conflict(f"the run is {run.status} already", field="id")
        self.worker.poke()
        return await self.get(run_id, kind=kind)

    async def delete(self, run_id: str, *, kind: str = KIND) -> None:
        """Forget a run. Raises NotFound, Conflict for one that goes on."""
        await self.get(run_id, kind=kind)
        if not await self._rows.delete(run_id):
            raise Conflict("the run goes on; cancel it first", field="id")

    async def score(
        self, suite_id: str, outputs: Mapping[str, str], caller: Caller, *, key_id: str, plan: Plan
    ) -> tuple[Known, list[Piece]]:
        """Score answers from elsewhere, by the ids of their cases. Raises what :meth:`begin` raises, and Spent."""
        known = self.suites.get(suite_id)
        strange = sorted(set(outputs) - {case.id for case in known.suite.cases})
        if strange:
            raise BadRequest(f"the suite has no case {strange[0][:100]!r}", field=f"outputs.{strange[0][:100]}")
        payer = self._asking.caller(self._payer(caller, key_id, spends=False)) or caller
        plan = self._completed(known.suite, plan)
        grader = Grader(self._asking, KIND, Scorers(plan.judge, plan.embeddings), seconds=plan.seconds)
        places = asyncio.Semaphore(plan.concurrency)

        async def one(case: Case) -> Piece:
            async with places:
                return scored(case, outputs[case.id], await grader.grade(case, outputs[case.id], payer))

        return known, await together([one(case) for case in known.suite.cases if case.id in outputs])

    async def sweep(self) -> int:
        """Forget the runs that ended half a year ago, and models that nobody has assessed since; how many went."""
        before = self._hub.clock.now_ms() - _KEPT_MS
        return await self._rows.prune(before) + await self._rows.forget_assessments(before)

    def _run(self, known: Known, target: Target, payer: str, group: str, plan: Plan) -> Run:
        facts = Facts(
            suite_name=known.suite.name,
            target=target,
            cases=len(known.suite.cases),
            trials=plan.trials,
            concurrency=plan.concurrency,
            seconds=plan.seconds,
            max_cost=plan.max_cost,
            judge=plan.judge,
            embeddings=plan.embeddings,
        )
        return Run(
            id=self._hub.clock.new_id("evr_"),
            kind=KIND,
            subject=known.id,
            group_id=group,
            key_id=payer,
            status="queued",
            facts=msgspec.json.encode(facts).decode(),
            total=facts.cases * facts.trials,
            created_at=self._hub.clock.now_ms(),
        )

    def _payer(self, caller: Caller, key_id: str, *, spends: bool = True) -> str:
        """The key that a run asks for. Raises NotFound, BadRequest, Forbidden."""
        if not key_id:
            if spends and (caller.issuer or not caller.key_id):
                raise Forbidden("a run outlasts an access token; name an API key of this hub in apiKeyId", field="apiKeyId")
            return caller.key_id
        key = next((one for one in self._hub.store.keys.all() if one.id == key_id), None)
        if key is None:
            raise NotFound(f"there is no API key {key_id[:100]!r}", field="apiKeyId")
        payer = self._asking.caller(key_id)
        if payer is None or "chat" not in payer.scopes:
            why = "is not valid any more" if payer is None else "does not hold the scope chat"
            raise BadRequest(f"the API key {key.name!r} {why}", field="apiKeyId")
        return key_id

    def _target(self, target: Target, field: str) -> Target:
        """A target with the model string that it stands for. Raises BadRequest, NotFound."""
        if target.type == "suite-default":
            return Target("suite-default")
        if not target.id:
            raise BadRequest(f"{field}.id must name the {target.type}", field=f"{field}.id")
        if target.type == "combo":
            combo = self._hub.combos.peek(target.id) or self._hub.combos.find(target.id)
            if combo is None:
                raise NotFound(f"there is no combo {target.id[:100]!r}", field=f"{field}.id")
            return Target("combo", combo.id, combo.name)
        try:
            self._hub.planner.resolve(target.id)
        except HubError as error:
            raise BadRequest(error.message, field=f"{field}.id") from None
        return Target("model", target.id, target.id)

    def _completed(self, suite: Suite, plan: Plan) -> Plan:
        """A plan with what scores. Raises BadRequest where a suite needs a model for that and nobody names one."""
        embeddings = plan.embeddings or self._hub.preferences.current.response_cache.semantic.embedding_model
        for strategy, model, field in (("judge", plan.judge, "judgeModel"), ("similarity", embeddings, "embeddingModel")):
            bare = [case.id for case in suite.cases if case.expected.strategy == strategy and not case.expected.model]
            if bare and not model:
                raise BadRequest(f"{field} must name the model that scores case {bare[0]!r}, or the case must", field=field)
        return msgspec.structs.replace(plan, embeddings=embeddings)
