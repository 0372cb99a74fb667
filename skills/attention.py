"""What needs a person: dead credentials, open breakers, budgets that run out, tools that wait to be allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hub.context import Context
from hub.money.budgets import HUB
from hub.money.spending import dollars
from hub.records import TERMINAL
from hub.resilience.health import standings
from hub.skill import CostClass, Mcp, Rest, skill
from hub.upstream.model import Standing
from hub.wire import Nothing, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_WHY = {
    "expired": ("its credential is refused", "enter a new key, or sign in anew"),
    "banned": ("the provider has banned the account", "use another account, or ask the provider"),
    "credits_exhausted": ("its credit is used up", "add credit at the provider, then test it"),
}


class Need(Wire):
    """One thing that needs a person. ``kind`` and ``id`` say what it is about, ``remedy`` what would mend it."""

    kind: Literal["connection", "provider", "budget", "mcp-server", "setup"]
    id: str
    name: str
    severity: Literal["error", "warning"]
    message: str
    remedy: str


class Needs(Wire):
    """Everything that needs a person, the worst first."""

    items: list[Need]


def _setup(ctx: Context) -> Iterator[Need]:
    if not ctx.hub.store.connections.all():
        words = "no provider is connected; the demo answers"
        yield Need(kind="setup", id="", name="providers", severity="warning", message=words, remedy="add one")


def _connections(ctx: Context) -> Iterator[Need]:
    for one in ctx.hub.store.connections.all():
        if one.active and one.test_status in TERMINAL:
            why, remedy = _WHY[one.test_status.value]
            yield Need(kind="connection", id=one.id, name=one.name, severity="error", message=f"{one.provider}: {why}", remedy=remedy)


def _providers(ctx: Context) -> Iterator[Need]:
    dead = {one.provider for one in ctx.hub.store.connections.all() if one.test_status in TERMINAL}
    for state in standings(ctx.hub):
        if state.state == "OPEN" and state.provider not in dead:
            words = "none of its connections can be used now"
            remedy = "look at its last errors; it is tried again by itself"
            yield Need(kind="provider", id=state.provider, name=state.provider, severity="error", message=words, remedy=remedy)


async def _budgets(ctx: Context) -> AsyncIterator[Need]:
    for name in ctx.hub.budgets.names():
        budget = ctx.hub.budgets.find(name)
        if budget is None:
            continue
        account = await ctx.hub.budgets.state(name)
        for kind, limit in account.terms.limits.items():
            window = account.windows[kind]
            share = window.spent / limit if limit else 1.0
            if share >= budget.warning_threshold:
                used_up = share >= 1
                said = f"${dollars(window.spent):.2f} of ${dollars(limit):.2f} ({kind}) are spent"
                yield Need(
                    kind="budget",
                    id=name,
                    name=_holder(ctx, name),
                    severity="error" if used_up else "warning",
                    message=said,
                    remedy="raise the limit, or wait for the next period" if used_up else "raise the limit, or route to cheaper models",
                )


def _holder(ctx: Context, name: str) -> str:
    if name == HUB:
        return "the whole hub"
    return next((key.name for key in ctx.hub.store.keys.all() if key.id == name), name)


def _servers(ctx: Context) -> Iterator[Need]:
    waiting = (Standing.PENDING, Standing.CHANGED)
    for document in ctx.hub.upstreams.documents.all():
        tools = [pin for pin in document.body.tools.values() if pin.standing in waiting]
        if document.body.enabled and tools:
            changed = sum(pin.standing is Standing.CHANGED for pin in tools)
            said = f"{len(tools)} tools wait to be allowed" + (f", {changed} of them have changed" if changed else "")
            yield Need(
                kind="mcp-server",
                id=document.id,
                name=document.name,
                severity="warning",
                message=said,
                remedy="look at what they say and allow them",
            )


@skill(
    "attention",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/attention")],
    mcp=Mcp("hubroute_attention", profiles=("all",)),
    read_only=True,
)
async def attention(ctx: Context, ask: Nothing) -> Needs:
    """Show what needs a person: refused credentials, providers that are down, budgets near their end, tools that wait to be allowed."""
    found = [*_setup(ctx), *_connections(ctx), *_providers(ctx), *_servers(ctx), *[need async for need in _budgets(ctx)]]
    return Needs(items=sorted(found, key=lambda need: need.severity != "error"))
