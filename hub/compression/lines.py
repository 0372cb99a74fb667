"""Output of commands, line by line: noise out, runs of equal lines into one, the middle of what is long left out, errors kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.compression.expressions import MOST_LINE, found
from hub.compression.technique import NOTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.compression.filters import Filter

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
#: Lines that speak of trouble, in any output. Counts of none do not.
_ERROR = re.compile(
    r"(?i)\b(?:error|errors|failed|failure|fatal|panic|exception|traceback|undefined reference|segmentation fault|denied|cannot)\b"
)
_NO_ERROR = re.compile(r"(?i)\b(?:0|no) (?:errors?|failed|failures?)\b")
#: Of the lines that speak of trouble in the middle of a long output so many stay.
_MOST_ERRORS = 40


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of an output may stay: lines in all, characters, lines at its head and end; runs of so many equal lines become one."""

    lines: int
    characters: int
    head: int
    tail: int
    repeats: int


def plain(text: str) -> str:
    """Without colours and other codes for terminals, and of lines that were written over only their last state."""
    while "\x1b" in text and (made := _ANSI.sub("", text)) != text:
        text = made
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))


def is_error(line: str, patterns: Sequence[re.Pattern[str]] = ()) -> bool:
    """Whether a line speaks of trouble."""
    line = line[:MOST_LINE]
    return any(pattern.search(line) for pattern in patterns) or bool(_ERROR.search(line) and not _NO_ERROR.search(line))


def filtered(lines: list[str], chosen: Filter | None, limits: Limits, rules: list[str]) -> list[str]:
    """The lines that are worth reading; ``rules`` gets the names of what was done."""
    if chosen is not None:
        lines = _by_filter(lines, chosen, rules)
    if chosen is None or chosen.row.rules.deduplicate:
        lines = _step(lines, _runs(lines, limits.repeats), "deduplicate", rules)
    return lines


def _by_filter(lines: list[str], chosen: Filter, rules: list[str]) -> list[str]:
    for pattern, new in chosen.replace:
        lines = _step(lines, [pattern.sub(new, line) if len(line) <= MOST_LINE else line for line in lines], "replace", rules)
    instead = _instead(lines, chosen)
    if instead is not None:
        return _step(lines, [instead], "matchOutput", rules)
    lines = _step(lines, _wanted(lines, chosen), "dropPatterns", rules)
    lines = _step(lines, _included(lines, chosen), "includePatterns", rules)
    return _step(lines, _collapsed(lines, chosen), "collapsePatterns", rules) if chosen.collapse else lines


def _instead(lines: list[str], chosen: Filter) -> str | None:
    """What stands for the whole of an output without an error in it."""
    hits = (new for pattern, new in chosen.instead if any(found((pattern,), line) for line in lines))
    new = next(hits, None)
    return None if new is None or any(is_error(line, chosen.errors) for line in lines) else new


def _wanted(lines: list[str], chosen: Filter) -> list[str]:
    if not chosen.drop:
        return lines
    return [line for line in lines if not found(chosen.drop, line) or _stays(line, chosen)]


def _included(lines: list[str], chosen: Filter) -> list[str]:
    if not chosen.include:
        return lines
    return [line for line in lines if found(chosen.include, line) or _stays(line, chosen)] or lines


def _step(before: list[str], after: list[str], name: str, rules: list[str]) -> list[str]:
    if after != before:
        rules.append(name)
    return after


def _stays(line: str, chosen: Filter) -> bool:
    return found(chosen.sums, line) or is_error(line, chosen.errors)


def _collapsed(lines: list[str], chosen: Filter) -> list[str]:
    """Runs of lines of one kind: the first two, and how many there were."""
    made: list[str] = []
    run: list[str] = []
    kind = -1
    for line in lines:
        now = next((at for at, pattern in enumerate(chosen.collapse) if found((pattern,), line)), -1)
        now = -1 if now >= 0 and _stays(line, chosen) else now
        if now != kind or now < 0:
            made += _folded(run)
            run, kind = [], now
        run.append(line)
    return made + _folded(run)


def _folded(run: list[str]) -> list[str]:
    return run if len(run) <= 3 else [*run[:2], f"... {len(run) - 2} more like these"]


def _runs(lines: list[str], threshold: int) -> list[str]:
    """Runs of equal lines: one, and how often it was there."""
    made: list[str] = []
    at = 0
    while at < len(lines):
        end = at + 1
        while end < len(lines) and lines[end] == lines[at]:
            end += 1
        count = end - at
        made += [f"{lines[at]}  (x{count})"] if count >= threshold and lines[at].strip() else lines[at:end]
        at = end
    return made


def shortened(lines: list[str], limits: Limits, rules: list[str], errors: Sequence[re.Pattern[str]] = ()) -> list[str]:
    """At most so many lines and characters: head, end, and between them the lines that speak of trouble."""
    if len(lines) <= limits.lines and sum(map(len, lines)) + len(lines) <= limits.characters:
        return lines
    lines = [_cut(line, limits.characters // 4) for line in lines]
    head, tail = min(limits.head, limits.lines // 3), min(limits.tail, limits.lines // 3)
    if len(lines) > limits.lines:
        lines = _middle(lines, head, tail, min(_MOST_ERRORS, limits.lines - head - tail), errors)
        rules.append("maxLines")
    while len(lines) > 3 and sum(map(len, lines)) + len(lines) > limits.characters:
        # Half of what stands in the middle goes each time; the end of an output says most.
        keep = max(1, len(lines) // 4)
        lines = [*lines[:keep], *_left_out(len(lines) - 2 * keep), *lines[-keep:]]
        rules.append("maxChars")
    return lines


def _middle(lines: list[str], head: int, tail: int, most: int, errors: Sequence[re.Pattern[str]]) -> list[str]:
    end = len(lines) - tail
    made, gap, kept = lines[:head], 0, 0
    for line in lines[head:end]:
        if kept < most and is_error(line, errors):
            made += [*_left_out(gap), line]
            gap, kept = 0, kept + 1
        else:
            gap += 1
    return [*made, *_left_out(gap), *lines[end:]]


def _left_out(count: int) -> list[str]:
    return [f"... {count} lines left out"] if count > 0 else []


def _cut(line: str, most: int) -> str:
    """A line that is far too long: its two ends."""
    if len(line) <= max(most, 400):
        return line
    half = max(most, 400) // 2 - 20
    return f"{line[:half]} ... {len(line) - 2 * half} characters left out ... {line[-half:]}"


def noted(lines: list[str], before: int, by: str, pointer: str) -> str:
    """The lines as a text with a last one that says what was done to it, by which the text is known as shortened."""
    kept = f"; the whole: {pointer}" if pointer else ""
    return "\n".join([*lines, f"{NOTE}{before} lines shortened to {len(lines)} by {by}{kept}]"])


def has_note(text: str) -> bool:
    """Whether a text was shortened before."""
    return text.startswith(NOTE) or f"\n{NOTE}" in text
