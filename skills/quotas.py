"""Quota check: may a key be issued for this provider and account, and would a request pass now?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from hub.context import Context
from hub.records import TERMINAL
from hub.skill import CostClass, Rest, skill
from hub.wire import Body, Wire, iso
from skills.registered import issue_refusal, limits_on_issuing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.records import Connection


class QuotasAsk(Body):
    """Which provider and account."""

    provider: str | None = Field(default=None, max_length=80, description="Provider id or alias.")
    account_id: str | None = Field(
        default=None, max_length=120, description="Account: a label of registered keys, or a connection's id or name."
    )


class Prospect(Wire):
    """Whether a request of this caller would be let through now. ``retryAt`` is when that may change, null where no time changes it."""

    allowed: bool
    error_code: str | None = None
    reason: str | None = None
    retry_at: str | None = None


class QuotasAnswer(Wire):
    """``allowed`` says whether a key may be issued, as the seed's clients expect; ``request`` predicts a request of this caller."""

    allowed: bool
    error_code: str | None = None
    reason: str | None = None
    provider: str | None
    account_id: str | None
    checked_at: str | None
    request: Prospect


@skill("quotas-check", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("GET", "/v1/quotas/check")], read_only=True)
async def check(ctx: Context, ask: QuotasAsk) -> QuotasAnswer:
    """Tell whether a registered key may be issued for a provider and account, and whether a request of yours would pass now.

    Nothing is counted and nobody is called: the answer is from the limits of your key, the limits on issuing, and what is known of the
    connections. A request may still fail at its provider.
    """
    hub = ctx.hub
    now_ms = hub.clock.now_ms()
    refused = issue_refusal(limits_on_issuing(ctx), hub.store.keys.all(), ask.provider or "", ask.account_id or "", now_ms)
    return QuotasAnswer(
        allowed=refused is None,
        error_code=refused.code if refused else None,
        reason=refused.message if refused else None,
        provider=ask.provider,
        account_id=ask.account_id,
        checked_at=iso(now_ms),
        request=_prospect(ctx, ask, now_ms),
    )


def _prospect(ctx: Context, ask: QuotasAsk, now_ms: int) -> Prospect:
    error = ctx.hub.limits.refusal(ctx.caller, ctx.session)
    if error is not None:
        until = None if error.retry_after is None else now_ms + round(error.retry_after * 1000)
        return Prospect(allowed=False, error_code=error.code, reason=error.message, retry_at=iso(until))
    if not ask.provider:
        return Prospect(allowed=True)
    row = ctx.hub.catalog.find(ask.provider)
    if row is None:
        return Prospect(allowed=False, error_code="unknown_provider", reason=f"no provider {ask.provider!r} is known")
    if row.id not in ctx.hub.directory.connected():
        return Prospect(allowed=False, error_code="not_configured", reason=f"{row.name} has no active connection")
    if row.builtin:
        return Prospect(allowed=True)
    return _connections(ctx, _usable(ctx, row.id), ask.account_id or "", now_ms)


def _usable(ctx: Context, provider: str) -> list[Connection]:
    """The active connections of a provider that this caller may use."""
    own = ctx.caller.limits.connections
    return [one for one in ctx.hub.store.connections.of(provider) if one.active and (not own or one.id in own)]


def _connections(ctx: Context, connections: Sequence[Connection], account: str, now_ms: int) -> Prospect:
    """Whether one of the connections, or the one that is the account, can take a request now."""
    named = [one for one in connections if account in (one.id, one.name)]
    states = [_blocked(ctx, one, now_ms) for one in named or connections]
    free = [state for state in states if state is None]
    if free:
        return Prospect(allowed=True)
    if not states:
        return Prospect(allowed=False, error_code="not_configured", reason="this key may use none of the provider's connections")
    reason, until = min((state for state in states if state), key=lambda state: (state[1] is None, state[1] or 0))
    return Prospect(allowed=False, error_code="quota_exhausted", reason=reason, retry_at=iso(until))


def _blocked(ctx: Context, connection: Connection, now_ms: int) -> tuple[str, int | None] | None:
    """Why a connection cannot take a request now, and until when (epoch ms; None: until a person acts or nobody knows)."""
    if connection.test_status in TERMINAL:
        return f"the account is {connection.test_status.value.replace('_', ' ')}", None
    now = ctx.hub.clock.monotonic()
    cooling = ctx.hub.resilience.cooldowns.of(connection.id, now)
    if cooling is not None:
        return "the account is cooling down after a failure", now_ms + round((cooling.until - now) * 1000)
    window = ctx.hub.quotas.tightest(connection.id, now_ms)
    if window is not None and window.remaining <= 0:
        return f"the provider states that nothing is left of its limit {window.name!r}", window.reset_at
    return None
