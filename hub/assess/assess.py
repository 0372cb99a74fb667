"""Assessments as their owners see them: begun over all models, a provider or one model, watched, cancelled; what they found is kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from hub.assess import fitness
from hub.assess.assessments import Assessment, Assessments
from hub.assess.probes import Depth, Prober, Status
from hub.errors import Forbidden, RateLimited
from hub.evals import statistics
from hub.evals.asking import Spent
from hub.evals.worker import Stop
from hub.store.runs import Assessed, Run
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from hub.assess.probes import Found
    from hub.call import Hub
    from hub.evals.asking import Asking
    from hub.evals.worker import Worker
    from hub.records import Caller

KIND = "assess"
#: Assessments that may wait and run at once.
MOST_OPEN = 10
_MINUTE = 60.0


class Plan(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an assessment may do. ``max_cost`` in dollars, ``skipped`` models were left out by a limit."""

    scope: str
    trigger: str = "on_demand"
    depth: Depth = "standard"
    max_cost: float = 1.0
    per_minute: int = 120
    concurrency: int = 4
    skipped: int = 0


class Model(msgspec.Struct, frozen=True):
    """A model to assess, with what the catalogue says of it."""

    provider: str
    model: str
    context: int | None = None
    max_output: int | None = None

    @property
    def id(self) -> str:
        """Its name for a call."""
        return f"{self.provider}/{self.model}"


class Probed(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of one model."""

    model_id: str
    status: Status
    calls: int
    cost: float
    latency_ms: int = 0
    error: str = ""


class Sums(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What came of an assessment so far."""

    tested: int = 0
    passed: int = 0
    failed: int = 0
    rate_limited: int = 0
    calls: int = 0
    cost: float = 0.0
    error: str = ""


class Pace:
    """At most so many calls a minute, some of them at once. ``sleep`` is what waits."""

    def __init__(self, per_minute: int, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._sleep = sleep
        self._each = _MINUTE / per_minute
        self._burst = max(1, per_minute // 4)
        self._next = 0.0

    async def __call__(self) -> None:
        """Wait for the next call's turn."""
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now) + self._each
        wait = self._next - self._burst * self._each - now
        if wait > 0:
            await self._sleep(wait)


class Assess:
    """The assessments of a hub; the worker's kind of run, too."""

    def __init__(self, hub: Hub, asking: Asking, known: Assessments) -> None:
        self._hub = hub
        self._rows = hub.store.runs
        self._asking = asking
        self.known = known

    async def start(self, models: Sequence[Model], plan: Plan, caller: Caller, worker: Worker) -> Run:
        """Begin to assess models for a caller. On the disk when this returns. Raises Forbidden, RateLimited."""
        if caller.issuer or not caller.key_id:
            raise Forbidden("an assessment outlasts an access token; begin it with an API key of this hub")
        if sum(run.kind == KIND for run in await self._rows.open()) >= MOST_OPEN:
            raise RateLimited(f"{MOST_OPEN} assessments wait and run already; wait for one to end", retry_after=30)
        run = Run(
            id=self._hub.clock.new_id("asr_"),
            kind=KIND,
            subject=plan.scope,
            group_id="",
            key_id=caller.key_id,
            status="queued",
            facts=msgspec.json.encode(plan).decode(),
            total=len(models),
            created_at=self._hub.clock.now_ms(),
        )
        await self._rows.create([(run, msgspec.json.encode(list(models)).decode())])
        worker.poke()
        return run

    async def begin(self, run: Run, work: str, results: list[tuple[int, str]]) -> Probing:
        """Make ready to probe the models that have no result."""
        return Probing(self, run, msgspec.json.decode(work, type=list[Model]), counted(results).cost)

    def sums(self, run: Run, results: list[tuple[int, str]], error: str) -> str:
        """The sums of a run."""
        return msgspec.json.encode(counted(results, error)).decode()

    async def now(self, run: Run) -> Sums:
        """The sums of a run so far."""
        if run.summary:
            return msgspec.json.decode(run.summary, type=Sums)
        return counted(await self._rows.results(run.id))

    def prober(self, key_id: str, pace: Pace) -> Prober:
        """What probes for a key. Raises Stop when that is not valid any more."""
        caller = self._asking.caller(key_id)
        if caller is None:
            raise Stop("the API key of this assessment is not valid any more")
        return Prober(self._asking, caller, pace)

    async def assessed(self, model: Model, found: Found, at: int) -> Assessment:
        """A model as it is now known, what was known before considered."""
        known = self.known.of(model.provider, model.model)
        price = await self._price(model)
        works = found.status == "working"
        seen = fitness.Seen(
            model=model.model,
            works=works,
            p50=statistics.quantile(found.latencies, 0.5),
            success=found.answered / found.calls if found.calls else 0.0,
            vision=found.vision,
            tools=found.tools,
            structured=found.structured,
            price=price,
        )
        moment = iso(at)
        past = known or Assessment(id=self._hub.clock.new_id("asm_"), model_id=model.id, provider_id=model.provider, status=found.status)
        return Assessment(
            id=past.id,
            model_id=model.id,
            provider_id=model.provider,
            status=found.status,
            latency_p50=_whole(seen.p50),
            latency_p95=_whole(statistics.quantile(found.latencies, 0.95)),
            success_rate=round(seen.success, 4),
            supports_vision=found.vision,
            supports_tool_call=found.tools,
            supports_streaming=found.streaming,
            supports_structured_output=found.structured,
            max_context_window=model.context,
            max_output_tokens=model.max_output,
            categories=fitness.categories_of(seen),
            fitness_scores=fitness.fitness_of(seen),
            tier=fitness.tier_of(model.model, price),
            last_tested=moment,
            last_error=found.error or None,
            consecutive_fails=0 if works else past.consecutive_fails + 1,
            probe_count=past.probe_count + found.calls,
            created_at=past.created_at or moment,
            updated_at=moment,
        )

    async def _price(self, model: Model) -> float | None:
        """Dollars a million tokens, input and output one to one; None where unknown."""
        priced = await self._hub.prices.lookup(model.provider, model.model)
        if priced is None or priced.price.input is None or priced.price.output is None:
            return None
        return (priced.price.input + priced.price.output) / 2

    def moment(self) -> int:
        """Now, in epoch milliseconds."""
        return self._hub.clock.now_ms()


class Probing:
    """An assessment that this process works on."""

    def __init__(self, assess: Assess, run: Run, models: list[Model], spent: float) -> None:
        self._plan = plan_of(run)
        self.at_once = self._plan.concurrency
        self._assess = assess
        self._key_id = run.key_id
        self._models = models
        self._spent = spent
        self._pace = Pace(self._plan.per_minute)

    async def piece(self, seq: int) -> tuple[str, Assessed | None]:
        """Probe a model. Raises Stop where nobody pays for it, or may be asked for it any more."""
        model = self._models[seq]
        if self._spent >= self._plan.max_cost:
            raise Stop(f"the assessment has cost its {self._plan.max_cost:g} dollars")
        try:
            found = await self._assess.prober(self._key_id, self._pace).probe(model.id, self._plan.depth)
        except Spent as spent:
            raise Stop(f"the budget is spent: {spent.error.message}") from spent
        self._spent += found.cost
        at = self._assess.moment()
        one = await self._assess.assessed(model, found, at)
        result = msgspec.json.encode(probed(one, found)).decode()
        if found.ours:
            return result, None
        self._assess.known.learn(one, at)
        row = Assessed(one.model_id, one.provider_id, one.status, at, one.model_dump_json())
        return result, row


def probed(one: Assessment, found: Found) -> Probed:
    """What came of a model, for its run."""
    return Probed(
        model_id=one.model_id,
        status=found.status,
        calls=found.calls,
        cost=found.cost,
        latency_ms=one.latency_p50 or 0,
        error=found.error,
    )


def plan_of(run: Run) -> Plan:
    """What an assessment may do."""
    return msgspec.json.decode(run.facts, type=Plan)


def probed_of(results: Iterable[tuple[int, str]]) -> list[Probed]:
    """Stored results of an assessment."""
    return [msgspec.json.decode(text, type=Probed) for _, text in results]


def counted(results: Iterable[tuple[int, str]], error: str = "") -> Sums:
    """The sums of results."""
    found = probed_of(results)
    passed, limited = (sum(one.status == status for one in found) for status in ("working", "rate_limited"))
    return Sums(
        tested=len(found),
        passed=passed,
        failed=len(found) - passed - limited,
        rate_limited=limited,
        calls=sum(one.calls for one in found),
        cost=round(sum(one.cost for one in found), 9),
        error=error,
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
