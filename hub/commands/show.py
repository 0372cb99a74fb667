"""How outputs of skills look on a terminal: tables for people, tab-separated lines for pipes, JSON on request."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def show(value: Any, *, as_json: bool, columns: Sequence[str] = (), empty: str = "nothing to show") -> None:
    """Print a skill's output. ``columns`` picks and orders the columns of a list; without it all that hold something."""
    if as_json:
        print_json(value)
        return
    rows = _rows(value)
    if rows is not None:
        _table(rows, columns, empty)
    elif isinstance(value, dict):
        _pairs(cast("dict[str, Any]", value))
    else:
        print(_cell(value))


def print_json(value: Any) -> None:
    """Print JSON: indented on a terminal, one line otherwise."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def _rows(value: Any) -> list[dict[str, Any]] | None:
    """The list of objects that a value is, or that is its only list; None when it is something else."""
    if isinstance(value, dict):
        lists: list[Any] = [item for item in cast("dict[str, Any]", value).values() if isinstance(item, list)]
        value = lists[0] if len(lists) == 1 else None
    if isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[Any]", value)):
        return cast("list[dict[str, Any]]", value)
    return None


def _table(rows: list[dict[str, Any]], columns: Sequence[str], empty: str) -> None:
    if not rows:
        print(empty, file=sys.stderr)
        return
    names = list(columns) or [name for name in rows[0] if any(_cell(row.get(name)) for row in rows)]
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    if not sys.stdout.isatty():
        for line in [names, *cells]:
            print("\t".join(line))
        return
    _rich_table(names, cells)


def _rich_table(names: list[str], cells: Iterable[list[str]]) -> None:
    from rich import box  # noqa: PLC0415 - only a terminal wants it, and it costs as much as the rest of the command
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for line in cells:
        # Text, not str: what a provider sent must not be read as markup.
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


def _pairs(value: dict[str, Any]) -> None:
    width = max((len(name) for name in value), default=0)
    for name, item in value.items():
        print(f"{name:<{width}}  {_cell(item)}")


def _cell(value: Any) -> str:
    """A value as one line of text; control characters of foreign text do not reach the terminal."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "".join(char if char.isprintable() else " " for char in _text(value))


def _text(value: Any) -> str:
    if value is None or value in ({}, []):
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[Any]", value)):
        return ", ".join(cast("list[str]", value))
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
