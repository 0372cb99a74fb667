"""What a call to somebody else's server costs, as its owner set it: held against budgets first, settled and written down after."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.chat import Usage
from hub.errors import HubError
from hub.records import UsageRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from hub.context import Context


@dataclass(slots=True)
class Due:
    """What a call under way will owe. ``ended`` False says that the server only asked something: that round is free and unwritten."""

    ended: bool = True


@asynccontextmanager
async def toll(ctx: Context, cost: float | None, *, provider: str, server: str, item: str) -> AsyncGenerator[Due]:
    """Around a call that costs ``cost`` US dollars, None for one that is not counted. Raises BudgetSpent before the call.

    A call that fails costs nothing. ``provider`` is how the usage log groups such calls, ``server`` and ``item`` name what was called.
    """
    budgets = ctx.hub.budgets
    hold = await budgets.hold(ctx.caller.key_id, cost, group=f"{provider}/{server}", least=cost) if cost else None
    began = ctx.hub.clock.monotonic()
    error: BaseException | None = None
    due = Due()
    try:
        yield due
    except BaseException as caught:
        error = caught
        raise
    finally:
        if hold is not None:
            budgets.settle(hold, cost) if error is None and due.ended else budgets.release(hold)
        if cost is not None and due.ended:
            ctx.hub.store.usage.add(_row(provider, f"{server}/{item}", ctx, began, cost, error))


def _row(provider: str, model: str, ctx: Context, began: float, cost: float, error: BaseException | None) -> UsageRow:
    failed = error is not None
    status = 200 if error is None else error.status if isinstance(error, HubError) else 499
    return UsageRow(
        request_id=ctx.request_id,
        at=ctx.hub.clock.now_ms(),
        door=ctx.door,
        skill=ctx.skill,
        key_id=ctx.caller.key_id,
        key_name=ctx.caller.name,
        provider=provider,
        model=model,
        requested_model=model,
        connection_id="",
        usage=Usage(),
        cost=0.0 if failed else cost,
        price_source="server",
        status=status,
        outcome="ok" if not failed else "error" if isinstance(error, HubError) else "cancelled",
        latency_ms=round((ctx.hub.clock.monotonic() - began) * 1000),
        error_code=error.code if isinstance(error, HubError) else "",
    )
