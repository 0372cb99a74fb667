"""The tries of one request: its options in order, with a place in their queues and every key of theirs, until one answers.

What is called is the caller's: a chat, or a call of another modality. What a failure means is one table (:mod:`hub.engine.fallback`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from hub.engine.fallback import Next
from hub.engine.flow import Passed, Refused
from hub.engine.tries import Tries, failure_of
from hub.errors import BadRequest, HubError, NotConfigured, RateLimited, Unavailable, UpstreamFailed
from hub.outbound.base import OutboundError
from hub.providers.base import Failure, FailureKind
from hub.resilience.throttle import Limits, limits_for
from hub.routing.breaker import BreakerState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from hub.engine.attempts import Ledger, Run
    from hub.planning.query import Plan
    from hub.planning.senses import Senses
    from hub.planning.targets import Targets
    from hub.preferences import Preferences, Profile
    from hub.providers.base import Target
    from hub.resilience.throttle import Throttle
    from hub.routing.strategy import Option
    from hub.settings import Settings

Answer = TypeVar("Answer")


class Rounds:
    """Tries options. One per process; holds no state of a request."""

    def __init__(
        self,
        *,
        targets: Targets,
        ledger: Ledger,
        senses: Senses,
        throttle: Throttle,
        preferences: Callable[[], Preferences],
        profile: Callable[[str], Profile],
        settings: Settings,
    ) -> None:
        self._targets = targets
        self._ledger = ledger
        self._senses = senses
        self._throttle = throttle
        self._preferences = preferences
        self._profile = profile
        self._attempts = settings.attempt_limit
        self._seconds = settings.request_seconds
        self._turn = 0

    async def first_success(self, plan: Plan, run: Run, call: Callable[[Option], Awaitable[Answer]]) -> Answer:
        """Try the plan's options until one answers; raise the last real upstream error when none does.

        Raises Passed when nobody could be tried: the error then says when to come back.
        """
        tries = Tries(plan)
        going = True
        while going:
            for option in self._turns(plan, tries, run.service):
                if tries.count and (run.elapsed() > self._seconds or tries.count >= self._attempts):
                    break
                tries.count += 1
                attempt = run.attempt(option)
                try:
                    await self._place(option, plan, run)
                    return await call(option)
                except (RateLimited, Refused, OutboundError, UpstreamFailed) as error:
                    tries.last, failure, fault = failure_of(error)
                    rule = run.refused(attempt, failure, fault=fault)
                if rule.next is Next.STOP:
                    raise tries.last
                tries.note(option, rule, self._senses)
            going = await self._another_round(plan, tries, run)
        raise tries.last or Passed(self._probed(plan))

    async def by_keys(self, option: Option, run: Run, call: Callable[[Target], Awaitable[Answer]]) -> Answer:
        """Call an option; where its connection has several keys, one that is refused makes way for the next."""
        connection = option.connection
        for _ in connection.extra_secrets:
            target = self.target(option, run)
            try:
                return await call(target)
            except Refused as refused:
                if refused.failure.kind is not FailureKind.AUTH or self._targets.refused(connection, target.secret):
                    raise
        return await call(self.target(option, run))

    def target(self, option: Option, run: Run | None = None) -> Target:
        """The target of an option, for a try of ``run``; a connection that lacks something is passed over like one that failed."""
        combo = run.combo if run is not None else ""
        try:
            if option.connection.extra_secrets:
                self._turn += 1
            target = self._targets.get(option.connection, option.model, self._turn, combo=combo)
            if target.way and run is not None:
                run.attempts[-1].way = target.way
            return target
        except BadRequest as error:
            failure = Failure(FailureKind.CONFIG, error.status, error.message, code=error.code)
            raise Refused(failure, NotConfigured(error.message, field=error.field)) from error

    def _probed(self, plan: Plan) -> HubError:
        """The answer to a request that finds nobody but those whom another request is trying."""
        down = any(self._ledger.resilience.breaker(option.provider) is BreakerState.HALF_OPEN for option in plan.options)
        words = "the connection had failed and another request is trying it now; try again in a moment"
        return Unavailable(words, retry_after=1) if down else RateLimited(words, retry_after=1)

    async def _another_round(self, plan: Plan, tries: Tries, run: Run) -> bool:
        """Whether a combo's targets that failed in passing get another try, once all have been tried and its pause is over.

        Going on to the next target at once, and back to the first only then, answers sooner than trying one target again and again.
        """
        config = plan.config
        if config is None or not tries.again or tries.round >= (config.max_retries or 0) or tries.count >= self._attempts:
            return False
        pause = (config.retry_delay_ms or 0) / 1000
        if run.elapsed() + pause > self._seconds:
            return False
        await asyncio.sleep(pause)
        tries.turn()
        return True

    def _turns(self, plan: Plan, tries: Tries, service: str) -> Iterator[Option]:
        """The plan's options that may be called when their turn comes; if none may, one whose failure a retry may survive."""
        resilience = self._ledger.resilience
        passed_over: Option | None = None
        for option in tries.left(self._senses):
            last_resort = plan.last_resort or tries.round > 0
            if resilience.admit(option.connection, option.provider, option.model, service, last_resort=last_resort):
                yield option
            elif passed_over is None:
                block = resilience.blocked(option.connection, option.provider, option.model, service)
                passed_over = option if block is not None and block.soft else None
        if passed_over is not None and not tries.count:
            yield passed_over

    async def _place(self, option: Option, plan: Plan, run: Run) -> None:
        """A place in the connection's queue, and at the gate of a combo that bounds the calls to one target."""
        rules, queue = option.connection.rules, self._preferences().resilience_settings.request_queue
        if rules.max_concurrent or rules.rate_limit or queue.auto_enable_api_key_providers:
            limits = limits_for(rules, queue, self._profile(option.provider))
            if limits is not None:
                run.holding(await self._throttle.slot(option.connection.id, limits))
        if plan.config is not None and plan.strategy == "round-robin":
            places, wait = plan.config.concurrency_per_model or 1, (plan.config.queue_timeout_ms or 0) / 1000
            limits = Limits(concurrent=places, max_wait=wait)
            run.holding(await self._throttle.slot(f"{plan.name} {option.key}", limits))
