"""Usage over time: what charts are drawn of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest
from hub.resilience.sketch import Sketch, merged
from hub.skill import CostClass, Rest, skill
from hub.wire import Body, Moment, Wire

if TYPE_CHECKING:
    from hub.store.usage import Grouping

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
#: A window up to this long is shown by the hour, a longer one by the day.
_HOURLY_MS = 4 * _DAY_MS
_MOST_STEPS = 1000
#: Names on the wire of what is stored under another.
_COLUMNS: dict[str, Grouping] = {
    "provider": "provider",
    "model": "model",
    "key": "key_id",
    "connection": "connection_id",
    "combo": "combo",
    "source": "source",
}
Unit: TypeAlias = Literal["hour", "day"]
_SIZES: dict[Unit, int] = {"hour": _HOUR_MS, "day": _DAY_MS}
_SUMS = ("requests", "errors", "cancelled", "fallbacks", "input", "cache_read", "cache_write", "output")
_OTHERS = "others"


class SeriesAsk(Body):
    """Which time to look at, in which steps, and what to tell apart."""

    since: Moment | None = Field(
        default=None, ge=0, alias="from", description="Start: milliseconds since 1970, or ISO 8601; none: a day ago."
    )
    until: Moment | None = Field(default=None, ge=0, alias="to", description="End, itself left out; none: now.")
    step: Literal["auto", "hour", "day"] = Field(
        default="auto", description="Length of a step (UTC); auto: hours up to four days, then days."
    )
    by: Literal["none", "provider", "model", "key", "connection", "combo", "source"] = Field(
        default="none", description="What to tell apart."
    )
    top: int = Field(default=8, ge=1, le=20, description="The busiest so many are told apart; what is left is 'others'.")
    lines_only: bool = Field(default=False, description="Leave out latency and failures, which are the same whatever is told apart.")


class Line(Wire):
    """One of what is told apart, a number for each step. ``cost`` is in US dollars, without calls whose price is unknown."""

    key: str
    name: str
    requests: list[int]
    errors: list[int]
    cancelled: list[int]
    fallbacks: list[int]
    input: list[int]
    cache_read: list[int]
    cache_write: list[int]
    output: list[int]
    cost: list[float]


class Latency(Wire):
    """Latency and time to the first token in ms for each step, of calls that were answered; null where there were none."""

    p50: list[float | None]
    p95: list[float | None]
    ttft_p50: list[float | None]
    ttft_p95: list[float | None]


class Failure(Wire):
    """One kind of error and how often it was answered."""

    code: str
    status: int
    requests: int


class Series(Wire):
    """Usage over time. ``times`` are the starts of the steps in epoch ms; ``latency`` and ``failures`` null for lines only."""

    step: str
    times: list[int]
    lines: list[Line]
    latency: Latency | None
    failures: list[Failure] | None


class _Sums:
    """The numbers of one line while they are added up."""

    def __init__(self, steps: int) -> None:
        self.columns: dict[str, list[Any]] = {name: [0] * steps for name in _SUMS}
        self.columns["cost"] = [0.0] * steps
        self.total = 0
        self.name = ""

    def take(self, at: int, row: dict[str, Any]) -> None:
        for name in _SUMS:
            self.columns[name][at] += row[name]
        self.columns["cost"][at] += row["cost"] or 0.0
        self.total += row["requests"]

    def merge(self, other: _Sums) -> None:
        for name, values in other.columns.items():
            self.columns[name] = [one + two for one, two in zip(self.columns[name], values, strict=True)]


@skill("usage-series", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/usage/series")], read_only=True)
async def series(ctx: Context, ask: SeriesAsk) -> Series:
    """Show usage over time: requests, tokens, cost, errors, fallbacks and latency by the hour or day, told apart by what you name."""
    unit, steps = _steps(ask, ctx.hub.clock.now_ms())
    size = _SIZES[unit]
    return Series(
        step=unit,
        times=[step * size for step in steps],
        lines=await _lines(ctx, ask, unit, steps),
        latency=None if ask.lines_only else await _latency(ctx, steps, size // _HOUR_MS),
        failures=None if ask.lines_only else await _failures(ctx, steps, size),
    )


async def _failures(ctx: Context, steps: range, size: int) -> list[Failure]:
    rows = await ctx.hub.store.usage.failures(since=steps.start * size, until=steps.stop * size)
    return [Failure(code=row["error_code"] or "unknown", status=row["status"], requests=row["requests"]) for row in rows]


def _steps(ask: SeriesAsk, now: int) -> tuple[Unit, range]:
    """The whole steps that the window touches: a chart that begins in the middle of an hour would show a dip that was none.

    Raises BadRequest.
    """
    until = now if ask.until is None else ask.until
    since = until - _DAY_MS if ask.since is None else ask.since
    if since >= until:
        raise BadRequest("the window is empty: 'from' must be before 'to'", field="from")
    unit: Unit = ask.step if ask.step != "auto" else "hour" if until - since <= _HOURLY_MS else "day"
    steps = range(since // _SIZES[unit], -(-until // _SIZES[unit]))
    if len(steps) > _MOST_STEPS:
        raise BadRequest(f"the window has {len(steps)} steps, at most {_MOST_STEPS} can be shown; take longer steps", field="step")
    return unit, steps


async def _lines(ctx: Context, ask: SeriesAsk, unit: Unit, steps: range) -> list[Line]:
    column = _COLUMNS.get(ask.by)
    size = _SIZES[unit]
    by: list[Grouping] = [unit, column] if column else [unit]
    rows = await ctx.hub.store.usage.breakdown(by, since=steps.start * size, until=steps.stop * size, limit=10_000)
    found: dict[str, _Sums] = {}
    for row in rows:
        key = row[column] if column else "all"
        sums = found.setdefault(key, _Sums(len(steps)))
        sums.take(row[unit] - steps.start, row)
        sums.name = sums.name or _name(ctx, ask.by, key, row)
    if not column:
        found.setdefault("all", _Sums(len(steps))).name = "all"
    order = sorted(found.items(), key=lambda one: -one[1].total)
    shown, rest = order[: ask.top], order[ask.top :]
    if rest:
        others = _Sums(len(steps))
        others.name = _OTHERS
        for _, sums in rest:
            others.merge(sums)
        shown.append((_OTHERS, others))
    return [Line(key=key, name=sums.name, **sums.columns) for key, sums in shown]


def _name(ctx: Context, by: str, key: str, row: dict[str, Any]) -> str:
    """What people call one of what is told apart."""
    if by == "key":
        return row["key_name"] or key or "no key"
    if by == "connection":
        connection = ctx.hub.store.connections.peek(key)
        return connection.name if connection else key or "none"
    return key or "none"


async def _latency(ctx: Context, steps: range, hours: int) -> Latency:
    """Percentiles of each step, which has so many hours."""
    ctx.hub.telemetry.keep()
    now = ctx.hub.clock.now_ms() // _HOUR_MS
    found = await ctx.hub.store.latency.by_hour(steps.start * hours, min(steps.stop * hours, now + 1), now)
    pairs = [[found[hour] for hour in range(step * hours, (step + 1) * hours) if hour in found] for step in steps]
    p50, p95 = _points([[one for one, _ in step] for step in pairs])
    ttft_p50, ttft_p95 = _points([[one for _, one in step] for step in pairs])
    return Latency(p50=p50, p95=p95, ttft_p50=ttft_p50, ttft_p95=ttft_p95)


def _points(steps: list[list[Sketch]]) -> tuple[list[float | None], list[float | None]]:
    """Median and 95th percentile of each step."""
    points = [merged(sketches).quantiles(0.5, 0.95) for sketches in steps]
    return [median for median, _ in points], [high for _, high in points]
