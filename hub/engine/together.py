"""Fusions and pipelines as the engine runs them: every call but the last on its own, with its own rows and its own money (routing.md 2.2).

The last call goes the way of any other, so that it streams, falls back and is recorded like one.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from hub.engine.ask import ChatAsk
from hub.engine.ensemble import fusion, pipeline
from hub.engine.flow import Passed
from hub.errors import Internal

if TYPE_CHECKING:
    from hub.chat import ChatRequest, ChatResponse
    from hub.context import Context
    from hub.engine.engine import ChatEngine
    from hub.planning.query import Plan
    from hub.routing.strategy import Option


class Together:
    """Runs the calls before the last with the engine it belongs to."""

    def __init__(self, engine: ChatEngine) -> None:
        self._engine = engine

    async def last(self, plan: Plan, ask: ChatAsk, ctx: Context) -> tuple[Plan, ChatAsk, ChatResponse | None]:
        """The call that is left to make: its plan and its request; a response where nothing is left to do.

        A limit on what the request may cost is shared out among its calls. Raises HubError as :mod:`hub.engine.ensemble` says.
        """
        numbers = count(1)
        clock, config = self._engine.clock, plan.config
        panel = (config.panel_size if config is not None else None) or 3
        calls = min(panel, len(plan.options)) + 1 if plan.mode == "fusion" else len(plan.options)
        share = None if ask.budget is None else ask.budget / calls

        async def answer(option: Option, request: ChatRequest) -> ChatResponse:
            return await self._answer(plan, option, self._part(ask, request, share), replace_id(ctx, next(numbers)))

        if plan.mode == "fusion":
            judge = self._judge(plan, ctx)
            last = await fusion(plan.options, ask.request(), answer, clock=clock, panel_size=panel, judge=judge)
        else:
            last = await pipeline(plan.options, ask.request(), answer, clock=clock)
        made = self._part(ask, last.request, share)
        return replace(plan, options=[last.option, *last.others], mode="fallback"), made, last.response

    def _judge(self, plan: Plan, ctx: Context) -> Option | None:
        """The option of the model that the combo names as the judge, where it is one of the combo's or can be reached now."""
        name = (plan.config.judge_model if plan.config is not None else "") or ""
        if not name:
            return None
        own = next((option for option in plan.options if name in (option.model, f"{option.provider}/{option.model}")), None)
        return own or self._engine.first(name, ctx)

    async def _answer(self, plan: Plan, option: Option, ask: ChatAsk, ctx: Context) -> ChatResponse:
        """One call of a panel or a stage: a run of its own."""
        engine = self._engine
        run = engine.begin(ask, ctx)
        one = replace(plan, options=[option], mode="fallback")
        if plan.mode == "fusion" and plan.config is not None:
            # Nobody waits for one member of a panel to come back.
            one.config = plan.config.model_copy(update={"max_retries": 0})
        try:
            run.planned(one)
            reply = await engine.run(one, ask, run, ctx, engine.whole)
        except Passed as error:
            run.failed(error.shown)
            raise error.shown from None
        except BaseException as error:
            run.failed(error)
            raise
        if reply.response is None:
            raise Internal("a request in the internal model was answered in bytes")
        return reply.response

    @staticmethod
    def _part(ask: ChatAsk, request: ChatRequest, share: float | None) -> ChatAsk:
        made = ask.reshaped(request)
        made.budget = share
        return made


def replace_id(ctx: Context, number: int) -> Context:
    """The context of a call on the way, which has a name of its own in usage and decisions."""
    return replace(ctx, request_id=f"{ctx.request_id}.{number}")
