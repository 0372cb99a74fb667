"""Usage: what was called, in sums and call by call, what runs now, and what a connection has left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest
from hub.export import csv_pieces, json_pieces
from hub.records import UsageRow
from hub.skill import CostClass, Download, Rest, skill
from hub.wire import Body, Moment, Wire, iso
from skills._calls import CallFilter, CallRow, accounts, call_row, where_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_DAY_MS = 86_400_000
#: Requests under way that are shown one by one.
_SHOWN = 200


class HistoryAsk(Body):
    """Which time to look at; all of it when nothing is named."""

    since: Moment = Field(default=0, ge=0, alias="from", description="Start: milliseconds since 1970, or ISO 8601.")
    until: Moment | None = Field(default=None, alias="to", description="End, itself left out; none: now.")


class Figures(Wire):
    """Calls in sums. ``cost`` is in US dollars, without the ``unpriced`` calls whose price was unknown."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    errors: int = 0

    def take(self, row: dict[str, Any]) -> None:
        """Add a row of sums."""
        self.requests += row["requests"]
        self.prompt_tokens += row["input"] + row["cache_read"] + row["cache_write"]
        self.completion_tokens += row["output"]
        self.cost += row["cost"] or 0.0
        self.unpriced += row["unpriced"]
        self.errors += row["errors"]


class ModelFigures(Figures):
    """One model of one provider."""

    raw_model: str
    provider: str
    last_used: str | None = None


class AccountFigures(ModelFigures):
    """One model of one connection. ``account_name`` is the id of a connection that is gone."""

    connection_id: str
    account_name: str


class KeyFigures(Figures):
    """One key of this hub."""

    api_key_id: str
    api_key_name: str
    last_used: str | None = None


class Minute(Wire):
    """One minute."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Active(Wire):
    """A request under way. ``provider``, ``model`` and ``account`` are empty until it has a target."""

    request_id: str
    model: str
    requested_model: str
    provider: str
    account: str
    connection_id: str
    api_key_name: str
    door: str
    started_at: str | None
    elapsed_ms: int
    count: int = 1


class Pending(Wire):
    """How many requests are under way, by model and by connection and model."""

    by_model: dict[str, int]
    by_account: dict[str, dict[str, int]]


class History(Wire):
    """Usage of a window. The maps hold the busiest 5,000 combinations; the totals hold all."""

    total_requests: int
    total_prompt_tokens: int
    total_completion_tokens: int
    total_cost: float
    unpriced_requests: int
    by_provider: dict[str, Figures]
    by_model: dict[str, ModelFigures]
    by_account: dict[str, AccountFigures]
    by_api_key: dict[str, KeyFigures]
    last_10_minutes: list[Minute]
    pending: Pending
    active_requests: list[Active]


@skill("usage-history", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/usage/history")], read_only=True)
async def history(ctx: Context, ask: HistoryAsk) -> History:
    """Show usage in sums by provider, model, account and key, the last ten minutes, and the requests under way."""
    usage = ctx.hub.store.usage
    totals = Figures()
    totals.take(await usage.totals(since=ask.since, until=ask.until))
    rows = await usage.breakdown(("provider", "model", "connection_id", "key_id"), since=ask.since, until=ask.until)
    minutes = await usage.minutes()
    names = accounts(ctx)
    found = History(
        total_requests=totals.requests,
        total_prompt_tokens=totals.prompt_tokens,
        total_completion_tokens=totals.completion_tokens,
        total_cost=totals.cost,
        unpriced_requests=totals.unpriced,
        by_provider={},
        by_model={},
        by_account={},
        by_api_key={},
        last_10_minutes=[
            Minute(requests=one["requests"], prompt_tokens=one["prompt"], completion_tokens=one["output"], cost=one["cost"])
            for one in minutes
        ],
        pending=_pending(ctx),
        active_requests=_active(ctx, names),
    )
    for row in sorted(rows, key=lambda row: row["last_at"]):
        _spread(found, row, names)
    return found


def _spread(found: History, row: dict[str, Any], names: dict[str, str]) -> None:
    """Add one combination to each map; rows come by their last use, so that the last one says when that was."""
    provider, model, connection, last = row["provider"], row["model"], row["connection_id"], iso(row["last_at"])
    if provider:  # a request that found no target belongs to no provider
        account = names.get(connection) or connection
        title = f"{model} ({provider})"
        found.by_provider.setdefault(provider, Figures()).take(row)
        by_model = found.by_model.setdefault(title, ModelFigures(raw_model=model, provider=provider))
        by_account = found.by_account.setdefault(
            f"{model} ({provider} - {account})",
            AccountFigures(raw_model=model, provider=provider, connection_id=connection, account_name=account),
        )
        for one in (by_model, by_account):
            one.take(row)
            one.last_used = last
    name = row["key_name"] or row["key_id"]
    key = found.by_api_key.setdefault(row["key_id"] or "anonymous", KeyFigures(api_key_id=row["key_id"], api_key_name=name))
    key.take(row)
    key.last_used = last


def _pending(ctx: Context) -> Pending:
    by_model: dict[str, int] = {}
    by_account: dict[str, dict[str, int]] = {}
    for row in ctx.hub.inflight.all():
        title = f"{row.model or row.requested_model} ({row.provider})" if row.provider else row.requested_model
        by_model[title] = by_model.get(title, 0) + 1
        if row.connection_id:
            counts = by_account.setdefault(row.connection_id, {})
            counts[title] = counts.get(title, 0) + 1
    return Pending(by_model=by_model, by_account=by_account)


def _active(ctx: Context, names: dict[str, str]) -> list[Active]:
    now = ctx.hub.clock.now_ms()
    return [
        Active(
            request_id=row.request_id,
            model=row.model,
            requested_model=row.requested_model,
            provider=row.provider,
            account=names.get(row.connection_id, row.connection_id),
            connection_id=row.connection_id,
            api_key_name=row.key_name,
            door=row.door,
            started_at=iso(row.at),
            elapsed_ms=max(0, now - row.at),
        )
        for row in ctx.hub.inflight.all()[:_SHOWN]
    ]


class LogsAsk(CallFilter):
    """Which calls to list, how many and how."""

    format: Literal["text", "json", "csv"] = Field(
        default="text", description="Lines of text, structured rows, or a CSV file of all calls."
    )
    limit: int = Field(default=200, ge=1, le=1000, description="Most calls to list; a file holds all.")
    cursor: str | None = Field(default=None, max_length=100, description="Where to go on: 'next' of the page before.")
    before: Moment | None = Field(default=None, description="Only calls that began before this moment.")


class LogPage(Wire):
    """Calls, newest first. ``total`` is exact unless ``totalIsCapped``; ``next`` is null on the last page."""

    rows: list[CallRow]
    total: int
    total_is_capped: bool
    next: str | None


@skill(
    "usage-logs",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/usage/logs"), Rest("GET", "/api/usage/request-logs")],
    read_only=True,
)
async def logs(ctx: Context, ask: LogsAsk) -> list[str] | LogPage | Download:
    """List calls, newest first, as lines ``time | model | provider | account | in | out | status``, as rows, or as a CSV file."""
    where = where_of(ctx, ask)
    until = min((at for at in (ask.until, ask.before) if at is not None), default=None)
    names = accounts(ctx)
    if ask.format == "csv":
        batches = ctx.hub.store.usage.batches(since=ask.since, until=until, **where)
        return Download("text/csv; charset=utf-8", "calls.csv", csv_pieces(list(CallRow.model_fields), _cells(batches, names)))
    page = await ctx.hub.store.usage.find(limit=ask.limit, offset=0, since=ask.since, until=until, before=_cursor(ask.cursor), **where)
    if ask.format == "text":
        return [_line(row, names) for row in page.rows]
    return LogPage(
        rows=[call_row(row, names) for row in page.rows],
        total=page.total,
        total_is_capped=page.capped,
        next=f"{page.next[0]}:{page.next[1]}" if page.next else None,
    )


def _cursor(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    at, _, identity = text.partition(":")
    if not at.isdigit() or len(at) > 18 or not identity:
        raise BadRequest("this is no cursor; take 'next' of the page before, or leave it out for the first", field="cursor")
    return int(at), identity


def _line(row: UsageRow, names: dict[str, str]) -> str:
    parts = (
        iso(row.at), row.model or row.requested_model, row.provider or "-", names.get(row.connection_id, row.connection_id) or "-",
        row.usage.prompt, row.usage.output, row.status,
    )  # fmt: skip
    # A model's name is a caller's word: it may neither end the line nor begin another field.
    return " | ".join("".join(letter if letter.isprintable() and letter != "|" else "?" for letter in str(part)) for part in parts)


async def _cells(batches: AsyncIterator[list[UsageRow]], names: dict[str, str]) -> AsyncIterator[list[dict[str, Any]]]:
    async for rows in batches:
        yield [call_row(row, names).model_dump(by_alias=False) for row in rows]


class ExportAsk(CallFilter):
    """What to write into a file."""

    what: Literal["calls", "hours", "days"] = Field(default="days", description="Single calls, or sums by hour or day.")
    format: Literal["csv", "json"] = Field(default="csv", description="CSV, or a JSON array.")


_SUMS = (
    "time", "provider", "model", "connection_id", "key_id", "key_name", "combo", "source", "requests", "errors", "cancelled", "fallbacks",
    "unpriced", "cost", "input", "cache_read", "cache_write", "output", "reasoning",
)  # fmt: skip


@skill("usage-export", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/usage/export")], read_only=True)
async def export(ctx: Context, ask: ExportAsk) -> Download:
    """Write calls, or their sums by hour or day, into a CSV or JSON file; it is sent as it is read, whatever its size."""
    where = where_of(ctx, ask)
    if ask.what == "calls":
        names, fields = accounts(ctx), list(CallRow.model_fields)
        batches = _cells(ctx.hub.store.usage.batches(since=ask.since, until=ask.until, **where), names)
    else:
        given = [name for name in ("status", "outcome", "session", "request_id") if where.pop(name, None) is not None]
        if given:
            raise BadRequest(f"sums are not kept by {', '.join(given)}; export what=calls, or leave it out", field=given[0])
        fields = list(_SUMS)
        batches = ctx.hub.store.usage.sums(ask.what, since=ask.since, until=ask.until, **where)
    if ask.format == "json":
        return Download("application/json", f"{ask.what}.json", json_pieces(batches))
    return Download("text/csv; charset=utf-8", f"{ask.what}.csv", csv_pieces(fields, batches))


class ConnectionAsk(Body):
    """Which connection to look at."""

    connection_id: str = Field(max_length=200, description="Id of the connection, as connections-list shows it.")


class LimitWindow(Wire):
    """One limit as the provider stated it at ``seen_at``; ``reset_at`` is null where it did not say."""

    name: str
    used: float
    total: int
    remaining: float
    percent_remaining: float
    reset_at: str | None
    seen_at: str | None


class ConnectionUsage(Wire):
    """What a provider says of a connection, and this hub's own count over 24 hours."""

    connection_id: str
    name: str
    provider: str
    windows: list[LimitWindow]
    today: Figures


@skill("usage-connection", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/usage/{connectionId}")], read_only=True)
async def connection_usage(ctx: Context, ask: ConnectionAsk) -> ConnectionUsage:
    """Show the limits that a connection's provider stated in its last answers, beside this hub's own count of 24 hours."""
    hub = ctx.hub
    connection = hub.store.connections.get(ask.connection_id)
    now = hub.clock.now_ms()
    windows = hub.quotas.windows(connection.id, now)
    if not windows:
        raise BadRequest(
            f"{connection.provider} has stated no usage for {connection.name!r}; it is read from the headers of its answers, "
            "so ask again after a call, or see GET /api/usage/logs for this hub's own count",
            code="usage_not_stated",
        )
    today = Figures()
    today.take(await hub.store.usage.totals(since=now - _DAY_MS, connection_id=connection.id))
    return ConnectionUsage(
        connection_id=connection.id,
        name=connection.name,
        provider=connection.provider,
        windows=[
            LimitWindow(
                name=one.name,
                used=max(0, one.limit - one.remaining),
                total=one.limit,
                remaining=one.remaining,
                percent_remaining=round(one.percent, 2),
                reset_at=iso(one.reset_at),
                seen_at=iso(one.seen_at),
            )
            for one in sorted(windows, key=lambda one: one.name)
        ],
        today=today,
    )
