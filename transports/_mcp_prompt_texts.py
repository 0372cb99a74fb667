"""The prompts themselves: what each asks of a model, and which facts it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from transports._mcp_prompts import Prompt, fenced, quoted

if TYPE_CHECKING:
    from transports._mcp_prompts import Facts

#: Models shown in a prompt, the cheapest first: a whole catalogue would drown the question.
_MODELS = 40


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PickAsk(_Arguments):
    """What the model is for."""

    task: Literal["coding", "review", "planning", "analysis", "debugging", "documentation"] = Field(description="Kind of work.")
    budget: float | None = Field(default=None, gt=0, description="Most US dollars for 2,000 tokens in and 1,000 out.")
    provider: str | None = Field(default=None, description="Only models of this provider, by id or alias.")


class ComboAsk(_Arguments):
    """What the combo is for."""

    goal: str = Field(description="What the combo is for, in your own words.")
    model: str | None = Field(default=None, description="A model that should come first.")


class FailedAsk(_Arguments):
    """Which request."""

    request: str | None = Field(default=None, description="Value of the X-Request-Id header; left out, your latest request that failed.")


class CostsAsk(_Arguments):
    """Which period."""

    period: Literal["today", "day", "week", "month", "quarter", "year"] = Field(default="month", description="Period to look at.")


class OnboardAsk(_Arguments):
    """What to set up."""

    client: Literal["claude-code", "codex", "cursor", "script", "agent"] | None = Field(
        default=None, description="What you want to connect to the hub."
    )


async def _pick(facts: Facts, ask: PickAsk) -> dict[str, str]:
    best = {"taskType": ask.task, **({} if ask.budget is None else {"budgetConstraint": ask.budget})}
    listed = await facts.ask("models-list", capability="chat", provider=ask.provider)
    data = fenced(models=_cheapest(listed), combos=await facts.ask("best-combo", **best), quota=_quota(await facts.ask("quota-check")))
    limit = f" It may cost at most ${ask.budget:g} for 2,000 tokens in and 1,000 out." if ask.budget else ""
    return {"task": ask.task, "limit": limit, "data": data}


async def _combo(facts: Facts, ask: ComboAsk) -> dict[str, str]:
    listed, combos = await facts.ask("models-list", capability="chat"), await facts.ask("combos-overview")
    first = f"\nPut {quoted(ask.model)} first unless something below speaks against it." if ask.model else ""
    strategies = ", ".join(sorted(facts.hub.strategies))
    return {"goal": quoted(ask.goal), "first": first, "strategies": strategies, "data": fenced(models=_cheapest(listed), combos=combos)}


async def _failed(facts: Facts, ask: FailedAsk) -> dict[str, str]:
    request = ask.request
    if request is None:
        recent: dict[str, Any] = await facts.ask("decisions-list", failed=True, limit=1) or {}
        request = next((one["requestId"] for one in recent.get("decisions", [])), None)
    if request is None:
        return {"request": "none", "data": "No request of this key has failed lately: say so and stop."}
    decision = await facts.ask("explain-route", requestId=request)
    return {"request": quoted(request), "data": fenced(decision=decision, health=_trouble(await facts.ask("health")))}


async def _costs(facts: Facts, ask: CostsAsk) -> dict[str, str]:
    report, cache = await facts.ask("cost-report", period=ask.period), await facts.ask("cache-stats")
    models = _cheapest(await facts.ask("models-list", capability="chat"))
    return {"period": ask.period, "data": fenced(costs=report, cache=cache, cheapest=models)}


async def _onboard(facts: Facts, ask: OnboardAsk) -> dict[str, str]:
    known: dict[str, Any] = await facts.ask("providers-list") or {}
    connected = [{"id": one["id"], "connections": one["connections"]} for one in known.get("providers", []) if one["connections"]]
    models: dict[str, Any] | None = await facts.ask("models-list", capability="chat")
    skills: dict[str, Any] = await facts.ask("capabilities-list") or {}
    may = [{"name": one["name"], "summary": one["summary"], "tool": one["tool"]} for one in skills.get("skills", []) if one["tool"]]
    data = fenced(
        connectedProviders=connected,
        knownProviders=len(known.get("providers", [])),
        models=_cheapest(models),
        warning=(models or {}).get("warning"),
        tools=may,
    )
    return {"client": f" They want to connect {ask.client}." if ask.client else "", "data": data}


def _cheapest(listed: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    """The cheapest models by price of input and output, those without a known price last."""
    if listed is None:
        return None

    def price(model: dict[str, Any]) -> tuple[bool, float, str]:
        found = model["pricing"]
        return found is None, (found["inputPerMillion"] or 0) + (found["outputPerMillion"] or 0) if found else 0.0, model["id"]

    names = ("id", "abilities", "status", "contextWindow", "pricing")
    return [{name: model[name] for name in names} for model in sorted(listed["models"], key=price)[:_MODELS]]


def _quota(report: dict[str, Any] | None) -> Any:
    return None if report is None else report["providers"]


def _trouble(report: dict[str, Any] | None) -> Any:
    """Of a health report, what may explain a failure."""
    return None if report is None else {name: report[name] for name in ("status", "circuitBreakers", "rateLimits", "lockouts")}


PROMPTS = (
    Prompt(
        name="pick-a-model",
        title="Pick a model",
        words="Choose the model for a kind of work by ability, price, health and quota.",
        arguments=PickAsk,
        needs=("models-list",),
        text="""\
Choose the model for {task} work that this hub should use.{limit}
Name one model or combo, one to fall back to, and say why in three sentences: abilities, price, what is left of its quota, its health.
Where a price or limit is null it is unknown, not free. Then show the model string to send, and stop.

{data}""",
        fill=_pick,
        kinds={"provider": "provider"},
    ),
    Prompt(
        name="set-up-a-combo",
        title="Set up a combo",
        words="Design a combo: which models in which order, by which strategy, for what you want of it.",
        arguments=ComboAsk,
        needs=("models-list", "combos-overview"),
        text="""\
Design a combo for this goal: {goal}{first}
Take two to four models of at least two providers where there are two. Choose the strategy (one of {strategies})
and say why. Do not take the name of a combo that is there. Show the body for `POST /api/combos`
({"name", "models", "strategy"}), ask the user before anything is changed, and test it with omniroute_test_combo afterwards.

{data}""",
        fill=_combo,
        kinds={"model": "model"},
    ),
    Prompt(
        name="why-did-it-fail",
        title="Why did it fail?",
        words="Explain a failed or odd request from its recorded decision, and what to do about it.",
        arguments=FailedAsk,
        needs=("explain-route",),
        text="""\
Explain what happened to the request {request}: which targets were considered, which were left out and why, what each attempt failed of.
Tell apart what was wrong with the request, with an account (credential, credit, quota) and with a provider. End with what to do next,
the most likely first, and whether it is worth trying again now.

{data}""",
        fill=_failed,
        kinds={"request": "decision"},
    ),
    Prompt(
        name="cut-my-costs",
        title="Cut my costs",
        words="Find where the money went and what would save most without getting worse answers.",
        arguments=CostsAsk,
        needs=("cost-report",),
        text="""\
Look at what was spent ({period}) and propose at most three changes, the one that saves most first, each with an estimate in US dollars
and what it may cost in quality. Think of cheaper models for simple work, of the cache of answers, of stable prefixes that providers cache,
and of failed requests. Unpriced requests are not in the total: say how many there are. Change nothing yourself.

{data}""",
        fill=_costs,
        kinds={},
    ),
    Prompt(
        name="onboard",
        title="Get started",
        words="Learn what this hub has, and take the first steps with it.",
        arguments=OnboardAsk,
        needs=("providers-list", "models-list"),
        text="""\
Help the user to get started with this hub.{client}
Say in a few lines which providers are connected and what is missing, then the next step: connect a provider when none is, else send a first
request with a model from the list. Name the base URL as `/v1` (OpenAI) and the key as a placeholder, never a real one.
Ask one question at a time.

{data}""",
        fill=_onboard,
    ),
)
