"""Templates to pages: one Jinja environment, what every template may use, and how numbers, money and times are written."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from hub.version import VERSION
from transports._dash.page import GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from transports._dash.page import Page
    from transports._dash.static import Assets
    from transports._dash.view import View

_TEMPLATES = Path(__file__).with_name("templates")
_STEPS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SPANS = ((86_400, "d"), (3_600, "h"), (60, "min"))


class Renderer:
    """Fills templates. They come from our own folder only, and everything in them is escaped (SEC-27, SEC-33)."""

    def __init__(self, assets: Assets, pages: Sequence[Page]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        names: dict[str, Any] = {
            "asset": assets.url,
            "has_asset": assets.has,
            "version": VERSION,
            "navigation": [(group, [page for page in pages if page.group == group]) for group in GROUPS],
        }
        # Jinja types them as what it puts there itself.
        self._environment.globals.update(cast("Any", names))
        self._environment.filters |= _FILTERS

    def page(self, view: View, page: Page, names: Mapping[str, Any], now_ms: int) -> bytes:
        """One page as HTML. ``names`` are what its ``load`` gave."""
        template = self._environment.get_template(page.template)
        return template.render(view=view, page=page, now_ms=now_ms, **names).encode()


def count(value: float | None) -> str:
    """A whole number with thin gaps; a dash for unknown."""
    return "–" if value is None else f"{round(value):,}".replace(",", "\u202f")


def short(value: float | None) -> str:
    """A number in three digits: 12.3k."""
    if value is None:
        return "–"
    for size, sign in _STEPS:
        if abs(value) >= size:
            return f"{value / size:.3g}{sign}" if abs(value) < 999.5 * size else f"{value / size:.0f}{sign}"
    return f"{value:.3g}"


def money(value: float | None) -> str:
    """US dollars, with as many digits as a small sum needs; a dash for unknown (D17: unknown is never 0)."""
    if value is None:
        return "–"
    if value == 0:
        return "$0"
    digits = 2 if abs(value) >= 1 else min(8, 2 - math.floor(math.log10(abs(value))))
    return f"{'-' if value < 0 else ''}${abs(value):,.{digits}f}"


def percent(part: float | None) -> str:
    """A share between 0 and 1."""
    return "–" if part is None else f"{100 * part:.3g}\u202f%"


def milliseconds(value: float | None) -> str:
    """A duration."""
    if value is None:
        return "–"
    return f"{value:.0f}\u202fms" if value < 1000 else f"{value / 1000:.3g}\u202fs" if value < 60_000 else span(value)


def written(value: float | None, unit: str) -> str:
    """A number of a chart in its unit."""
    return {"money": money, "ms": milliseconds, "share": percent}.get(unit, short)(value)


def columns(lines: Sequence[Any], name: str) -> list[dict[str, Any]]:
    """Lines of a report over time as the series of a chart: one of their columns."""
    return [{"name": line.name, "values": getattr(line, name)} for line in lines]


def shares(parts: Sequence[float], wholes: Sequence[float]) -> list[float | None]:
    """Each number as a share of another; None where that is 0."""
    return [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)]


def span(value: float) -> str:
    """A length of time in its two largest units."""
    seconds = round(value / 1000)
    said: list[str] = []
    for size, sign in _SPANS:
        if seconds >= size:
            said.append(f"{seconds // size}\u202f{sign}")
            seconds %= size
    if not said:
        return f"{seconds}\u202fs"
    return " ".join(said[:2])


def size(value: float | None) -> str:
    """Bytes."""
    if value is None:
        return "–"
    for power, sign in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return f"{value / 1024**power:.3g}\u202f{sign}"
    return f"{value:.0f}\u202fB"


def moment(value: int | str | None) -> str | Markup:
    """A time, as epoch milliseconds or ISO 8601, to be read by people and programs; scripts write it in the reader's zone."""
    at = _at(value)
    if at is None:
        return "–"
    # Digits alone: nothing to escape, which pages with a thousand of these would feel.
    return Markup(f'<time datetime="{at.isoformat(timespec="milliseconds")}">{at:%Y-%m-%d %H:%M:%S} UTC</time>')  # noqa: S704


def ago(value: int | str | None, now_ms: int) -> str | Markup:
    """How long a time is past, or ahead."""
    at = _at(value)
    if at is None:
        return "–"
    away = now_ms - at.timestamp() * 1000
    said = f"{span(away)} ago" if away >= 0 else f"in {span(-away)}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        at.isoformat(timespec="milliseconds"), at.strftime("%Y-%m-%d %H:%M:%S"), said
    )


def marked(text: str) -> Markup:
    """Words of a description: what stands between backticks is code."""
    parts = text.split("`")
    code = range(1, len(parts) - 1, 2)
    return Markup("").join(Markup("<code>{}</code>").format(part) if at in code else part for at, part in enumerate(parts))


def web(value: str) -> str:
    """An address that may be linked: http and https only, a bare ``#`` for anything else (SEC-27)."""
    return value if value.lower().startswith(("http://", "https://")) else "#"


def _at(value: int | str | None) -> datetime | None:
    if not value:
        return None
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value).astimezone(UTC)
        except ValueError:
            return None
    return datetime.fromtimestamp(value / 1000, UTC)


_FILTERS: dict[str, Callable[..., Any]] = {
    "count": count,
    "short": short,
    "money": money,
    "percent": percent,
    "ms": milliseconds,
    "span": span,
    "size": size,
    "moment": moment,
    "ago": ago,
    "web": web,
    "marked": marked,
    "columns": columns,
    "shares": shares,
    "written": written,
}
