"""Filters for output of commands: data (``data/filters``, and the owner's own), found by command or by what the output looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hub.compression.expressions import found, safe
from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hub.compression.settings import Rtk

_FOLDER = Path(__file__).parent / "data" / "filters"
#: Lines at the head and at the end of an output by which it is told.
_LOOK_HEAD, _LOOK_TAIL = 40, 10
_MOST_FILE = 1_048_576
_MOST_FILTERS = 500


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a filter is for: commands by their first words, kinds of output, expressions of which a line must have one."""

    commands: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a filter does: lines that go, or all that stays; lines of which a run becomes one; words replaced; a whole output replaced.

    ``match_output`` pairs an expression with what is left of an output that has it and no error. 0 lines is no limit of its own.
    """

    include_patterns: tuple[str, ...] = ()
    drop_patterns: tuple[str, ...] = ()
    collapse_patterns: tuple[str, ...] = ()
    deduplicate: bool = True
    max_lines: int = 0
    head_lines: int = 0
    tail_lines: int = 0
    strip_ansi: bool = True
    replace: tuple[tuple[str, str], ...] = ()
    match_output: tuple[tuple[str, str], ...] = ()


class Preserve(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Lines that stay whatever the rules say: errors, beside those known everywhere, and sums."""

    error_patterns: tuple[str, ...] = ()
    summary_patterns: tuple[str, ...] = ()


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A test that a filter carries. ``has`` and ``lacks`` are parts that the outcome must and must not have."""

    name: str
    input: str
    command: str = ""
    expected: str | None = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class FilterRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A filter as it is written down. Of several that fit the one with the highest ``priority`` is used."""

    id: str
    label: str
    description: str
    category: str
    priority: int = 50
    match: Match = Match()
    rules: Rules = Rules()
    preserve: Preserve = Preserve()
    tests: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter ready for use."""

    row: FilterRow
    looks: tuple[re.Pattern[str], ...]
    include: tuple[re.Pattern[str], ...]
    drop: tuple[re.Pattern[str], ...]
    collapse: tuple[re.Pattern[str], ...]
    errors: tuple[re.Pattern[str], ...]
    sums: tuple[re.Pattern[str], ...]
    replace: tuple[tuple[re.Pattern[str], str], ...]
    instead: tuple[tuple[re.Pattern[str], str], ...]

    @property
    def id(self) -> str:
        """Its name."""
        return self.row.id

    def called(self, spoken: str, kind: str) -> str:
        """The command or the kind of output by which it is asked for; empty where it is not."""
        match = self.row.match
        return next((name for name in match.commands if _begins(spoken, name)), "") or (kind if kind in match.output_types else "")

    def seen(self, sample: list[str]) -> tuple[str, ...]:
        """The expressions by which it knows an output."""
        return tuple(look.pattern for look in self.looks if any(found((look,), line) for line in sample))


@dataclass(frozen=True, slots=True)
class Detected:
    """What an output was taken for: by which filter, how sure (0 to 1), and by which command or expressions."""

    filter: Filter | None
    confidence: float
    matched: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters in force, the highest priority first, and what is wrong with those that could not be read."""

    all: tuple[Filter, ...]
    faults: tuple[dict[str, str], ...] = ()

    def allowed(self, settings: Rtk) -> Iterator[Filter]:
        """Those that the settings let through."""
        for one in self.all:
            if one.id not in settings.disabled_filters and (not settings.enabled_filters or one.id in settings.enabled_filters):
                yield one

    def detect(self, text: str, command: str, settings: Rtk, *, kind: str = "") -> Detected:
        """The filter for an output. Without a command that one knows, what it looks like decides; else there is none."""
        spoken = spoken_of(command)
        sample = _sample(text)
        best = Detected(None, 0.0)
        for one in self.allowed(settings):
            if hit := one.called(spoken, kind):
                return Detected(one, 1.0, (hit,))
            if best.filter is None and (looks := one.seen(sample)):
                best = Detected(one, min(0.9, 0.5 + 0.2 * len(looks)), looks)
        return best


def spoken_of(command: str) -> str:
    """The command that counts of a line for a shell: the last one joined by && or ;, without what sets variables or runs it for others."""
    last = re.split(r"&&|;|\|\|", command.strip())[-1].split("|")[0].strip()
    words = last.split()
    while words and (re.fullmatch(r"\w+=\S*", words[0]) or words[0] in ("sudo", "time", "env", "npx", "bunx", "exec", "command")):
        words.pop(0)
    if words[:2] in (["uv", "run"], ["poetry", "run"], ["python", "-m"], ["python3", "-m"], ["yarn", "run"], ["pnpm", "exec"]):
        words = words[2:]
    return " ".join([words[0].rsplit("/", 1)[-1], *words[1:]]) if words else ""


def _begins(spoken: str, name: str) -> bool:
    """Whether a command begins with the words of a name; options between them do not count."""
    words = spoken.split()
    wanted = name.split()
    if not words or words[0] != wanted[0]:
        return False
    rest = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return rest[: len(wanted) - 1] == wanted[1:]


def _sample(text: str) -> list[str]:
    lines = text[:8000].splitlines()[:_LOOK_HEAD]
    return lines + text[-4000:].splitlines()[-_LOOK_TAIL:]


@cache
def shipped() -> Filters:
    """The filters that the hub brings."""
    rows = [row for path in sorted(_FOLDER.glob("*.json")) for row in msgspec.json.decode(path.read_bytes(), type=list[FilterRow])]
    # Ours may be more than an owner's may: a test times them all on lines made to be slow.
    return Filters(_ordered(ready(row, lambda pattern, _: re.compile(pattern)) for row in rows))


def with_own(folders: Iterable[Path]) -> Filters:
    """The shipped filters and those of the folders, whose own take the place of shipped ones of the same id. What is wrong is told."""
    made = {one.id: one for one in shipped().all}
    faults: list[dict[str, str]] = []
    for path in [path for folder in folders for path in sorted(folder.glob("*.json"))]:
        try:
            for row in _rows(path):
                made[row.id] = ready(row)
        except (OSError, ValueError, BadRequest) as error:
            faults.append({"file": path.name, "level": "error", "message": str(error)[:500]})
        if len(made) > _MOST_FILTERS:
            faults.append({"file": path.name, "level": "error", "message": f"there are more than {_MOST_FILTERS} filters"})
            break
    return Filters(_ordered(made.values()), tuple(faults))


def _rows(path: Path) -> list[FilterRow]:
    if path.stat().st_size > _MOST_FILE:
        raise ValueError(f"the file is larger than {_MOST_FILE} bytes")
    return msgspec.json.decode(path.read_bytes(), type=list[FilterRow])


def _ordered(filters: Iterable[Filter]) -> tuple[Filter, ...]:
    return tuple(sorted(filters, key=lambda one: (-one.row.priority, one.id)))


def ready(row: FilterRow, compiled: Callable[[str, str], re.Pattern[str]] = safe) -> Filter:
    """A filter with its expressions compiled. Raises BadRequest for one that is malformed or could take long."""

    def all_of(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
        return tuple(compiled(pattern, row.id) for pattern in patterns)

    rules = row.rules
    return Filter(
        row,
        looks=all_of(row.match.patterns),
        include=all_of(rules.include_patterns),
        drop=all_of(rules.drop_patterns),
        collapse=all_of(rules.collapse_patterns),
        errors=all_of(row.preserve.error_patterns),
        sums=all_of(row.preserve.summary_patterns),
        replace=tuple((compiled(pattern, row.id), new) for pattern, new in rules.replace),
        instead=tuple((compiled(pattern, row.id), new) for pattern, new in rules.match_output),
    )
