"""Agent skills for tests of the A2A door: an echo, a slow one that can be watched, and faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import BudgetExceeded, UpstreamFailed
from hub.registry import Skills
from hub.skill import A2a, A2aAnswer, A2aAsk, CostClass, skill
from hub.wire import Wire


class Echo(Wire):
    """What to echo."""

    text: str = Field(description="The text.")
    times: int = Field(default=1, ge=1, le=9, description="How often.")
    turns: list[dict[str, Any]] = Field(default=[], description="The conversation.")
    caller: str = Field(default="", description="Who asks.")


class Piece(Wire):
    """A piece of an echo."""

    text: str = ""
    done: bool = False


class Gate:
    """Lets a test hold the slow skill and see how it went."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.calls = 0


#: The gate of the running test; each test sets its own.
gate: list[Gate] = []


def _ask(ask: A2aAsk) -> dict[str, Any]:
    return {"text": ask.text, "turns": ask.messages, **ask.data, **{k: v for k, v in ask.metadata.items() if k == "times"}}


def _view(echo: Echo) -> A2aAnswer:
    return A2aAnswer(echo.text, {"times": echo.times, "turns": echo.turns, "caller": echo.caller}, {"model": "echo-1"})


def _piece(piece: Piece) -> str | A2aAnswer:
    return A2aAnswer("", {"pieces": 3}, {"model": "echo-1"}) if piece.done else piece.text


def _agent(name: str, **more: Any) -> A2a:
    return A2a(name, tags=("test",), examples=("say something",), ask=_ask, view=_view, **more)


@skill(
    "smart-routing",
    scopes=["execute:completions"],
    cost=CostClass.FREE,
    a2a=_agent("smart-routing", stream="echo-stream", chunk=_piece),
)
async def echo(ctx: Context, ask: Echo) -> Echo:
    """Echo the text of a message."""
    return ask.model_copy(update={"text": " ".join([ask.text] * ask.times), "caller": ctx.caller.key_id})


@skill("echo-stream", scopes=["execute:completions"], cost=CostClass.FREE)
async def echo_stream(ctx: Context, ask: Echo) -> AsyncIterator[Piece]:
    """Echo the text of a message in pieces, the last of them when the gate opens."""
    held = gate[-1]
    words = ask.text.split()
    try:
        yield Piece(text=words[0])
        held.entered.set()
        await held.open.wait()
        for word in words[1:]:
            yield Piece(text=" " + word)
        yield Piece(done=True)
    except asyncio.CancelledError:
        held.cancelled.set()
        raise


@skill("slow", scopes=["read:health"], cost=CostClass.FREE, a2a=_agent("slow", keywords=("snail", "turtle")))
async def slow(ctx: Context, ask: Echo) -> Echo:
    """Answer when the gate opens."""
    held = gate[-1]
    held.calls += 1
    held.entered.set()
    try:
        await held.open.wait()
    except asyncio.CancelledError:
        held.cancelled.set()
        raise
    return ask


@skill("broken", scopes=["read:health"], cost=CostClass.FREE, a2a=_agent("broken"))
async def broken(ctx: Context, ask: Echo) -> Echo:
    """Fail as a provider does, or as a bug of ours does."""
    if ask.text == "bug":
        raise RuntimeError("secret detail")
    raise UpstreamFailed("the provider failed")


class Priced(Wire):
    """A call with a price."""

    text: str = Field(description="The text.")
    budget: float = Field(description="Most dollars.")


@skill(
    "priced",
    scopes=["read:health"],
    cost=CostClass.FREE,
    a2a=A2a(
        "priced",
        tags=("test",),
        examples=("buy",),
        ask=lambda ask: {"text": ask.text, **ask.data},
        view=lambda priced: A2aAnswer(f"bought for {priced.budget}", {"budget": priced.budget}),
    ),
)
async def priced(ctx: Context, ask: Priced) -> Priced:
    """Ask for a budget of at least a dollar."""
    if ask.budget < 1:
        raise BudgetExceeded("this costs 1 dollar; send a higher budget")
    return ask


SKILLS = [echo, echo_stream, slow, broken, priced]


def agent_skills(*, brief: bool = False) -> Skills:
    """The skills as a registry. ``brief``: those without a price say that they only read."""
    made = (replace(one, read_only=brief and one.cost is CostClass.FREE) for one in SKILLS)
    return Skills({one.name: one for one in made})


def new_gate() -> Gate:
    """A gate for one test."""
    gate.append(Gate())
    return gate[-1]
