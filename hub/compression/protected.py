"""What shortening prose never touches: code, data, quotations, names, numbers, addresses (routing.md 5.2).

A text is cut into lines that are kept whole and runs of prose; within prose, spans stand behind a mark while rules work on the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hub.compression.expressions import MOST_LINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Stands for a protected span. A text that has it already is left alone.
MARK = "\ue000"
#: The signs that work on prose uses itself.
_SIGNS = re.compile("[\ue000\ue001]")
#: Prose longer than this is worked on in pieces, cut at the end of a line, so that no single search takes long.
_RUN = 4000

#: Ends of sentences, and signs that stand in pairs around what must not be cut.
_END, _PAIRS = re.compile(r"(?<=\w)[.!?][ \t]+|[\u3002\uff01\uff1f]"), ('"', "`", "$")
_FENCE = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})")
#: Lines that are no prose: headings, tables, quotations, indented code, tags, data, frames, errors and what begins like a command.
_WHOLE = re.compile(
    r"^(?:#{1,6} |[ ]{0,3}>|[ ]{4}|\t|\s*\||\s*[<{}\[\]]|\s*[\"'][^\"']*[\"']\s*:|\s*(?:at|File) .*[:(]|\$ |> |---\s*$|\+\+\+ |@@ |[+-][^ ]"
    r"|\s*[\w.-]+ ?[:=] ?[\"'{\[]"
    r"|.*(?:Error|Exception|Traceback|\berror|\bfatal|\bpanic|\bwarning|FAILED)\b ?[:(\[])"
)
#: Plain words, as many as follow one another: in them nothing is looked for, which is most of the work in most texts.
_PLAIN = r"(?P<plain>(?<![\w.@/\\+-])(?:[A-Z]?[a-z]+(?:[,;!?]|\.(?=\s|$))?(?:[ \t\n]+|$))+)"
_INLINE = re.compile(
    "|".join(
        (
            _PLAIN,
            r"`[^`\n]+`",
            r"\$\$?[^$\n]{1,300}\$\$?",
            r"\\[A-Za-z]+(?:\{[^{}\n]*\})?",
            r"!?\[[^\]\n]*\]\([^)\n]*\)",
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s<>\"')\]]+",
            r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+",
            r"\"[^\"\n]{1,500}\"",
            r"(?<!\w)'[^'\n]{1,300}'(?!\w)",
            r"[\u201c\u201e\u00ab][^\u201d\u201c\u00bb\n]{1,500}[\u201d\u201c\u00bb]",
            r"\u300c[^\u300d\n]{1,500}\u300d",
            r"<[^<>\n]{1,300}>",
            r"\{[^{}\n]*\}",
            r"(?<![\w-])--?[A-Za-z][\w-]*(?:=\S+)?",
            r"\$\{?[A-Za-z_]\w*\}?",
            r"[@#][\w./-]+",
            r"(?:~|\.{1,2})?/[\w.@~+-]+(?:/[\w.@~+-]*)*",
            r"[A-Za-z]:\\[^\s]+",
            r"\b\w+(?:/[\w.-]+)+",
            r"\b[A-Za-z_]\w*\([^()\n]{0,200}\)",
            r"\b\w+(?:(?:\.|::|->)\w+)+",
            r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b",
            r"\b[a-z0-9]+(?:_\w+)+\b",
            r"\b[a-z]+[A-Z]\w*",
            r"[\w.,:%+*/^=<>\u20ac$\u00a3-]*\d[\w.,:%+*/^=<>\u20ac$\u00a3-]*",
            r"[=<>]{1,3}",
        )
    )
)


def shortened(text: str, patterns: Sequence[re.Pattern[str]], work: Callable[[str], str]) -> tuple[str, int, bool]:
    """The text with its prose worked on, how many spans were kept, and whether every run of prose came out sound.

    ``work`` gets prose in which each protected span is one :data:`MARK`; a run that comes back with more or fewer marks stays as it was.
    """
    if _SIGNS.search(text):
        return text, 0, True
    made: list[str] = []
    kept, sound = 0, True
    for prose, run in runs(text, patterns):
        if not prose:
            made.append(run)
            kept += 1
            continue
        spans: list[str] = []

        def hide(match: re.Match[str], spans: list[str] = spans) -> str:
            if match.lastgroup:
                return match[0]
            spans.append(match[0])
            return MARK

        worked = work(_INLINE.sub(hide, run))
        kept += len(spans)
        pieces = worked.split(MARK)
        if len(pieces) != len(spans) + 1:
            sound = False
            made.append(run)
        else:
            made.append(pieces[0] + "".join(span + piece for span, piece in zip(spans, pieces[1:], strict=True)))
    return "".join(made), kept, sound


def runs(text: str, patterns: Sequence[re.Pattern[str]] = ()) -> Iterator[tuple[bool, str]]:
    """The text as runs of whole lines, each with whether it is prose. Joined they are the text."""
    waiting: list[str] = []
    size, prose = 0, False
    for is_prose, line in _lines(text, patterns):
        if waiting and (is_prose is not prose or size >= _RUN):
            yield prose, "".join(waiting)
            waiting, size = [], 0
        prose = is_prose
        waiting.append(line)
        size += len(line)
    if waiting:
        yield prose, "".join(waiting)


def _lines(text: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[bool, str]]:
    front = "---" if text.startswith("---\n") and "\n---" in text[4:] else ""
    fence = front
    for at, line in enumerate(text.splitlines(keepends=True)):
        if fence:
            yield False, line
            if at and _closes(line, fence):
                fence = ""
        elif opened := _FENCE.match(line):
            fence = opened[1]
            yield False, line
        else:
            yield from _open_line(line, patterns)


def _closes(line: str, fence: str) -> bool:
    said = line.strip()
    return said.startswith(fence) and not said.strip(fence[0])


def _open_line(line: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[bool, str]]:
    """A line outside of fences: kept whole where it is no prose, else its sentences."""
    if _WHOLE.match(line[:MOST_LINE]):
        yield False, line
        return
    for prose, part in _sentences(line):
        yield prose and not any(pattern.search(part) for pattern in patterns), part


def _sentences(line: str) -> Iterator[tuple[bool, str]]:
    """A line, cut between sentences where it is long: no search in a part of it takes long, and no cut goes through a quotation."""
    at = 0
    while len(line) - at > MOST_LINE:
        window = line[at : at + MOST_LINE]
        ends = (match.end() for match in reversed(list(_END.finditer(window))))
        end = next((end for end in ends if not any(window.count(sign, 0, end) % 2 for sign in _PAIRS)), 0)
        if not end:
            yield False, line[at:]
            return
        yield True, window[:end]
        at += end
    yield True, line[at:]


def kept(text: str, patterns: Sequence[re.Pattern[str]]) -> Iterator[tuple[str, str]]:
    """What of a text is never touched: lines that are no prose as ``block``, and ``span`` within prose."""
    for prose, run in runs(text, patterns):
        if not prose:
            yield "block", run
        else:
            yield from (("span", match[0]) for match in _INLINE.finditer(run) if not match.lastgroup)


def fenced(text: str, work: Callable[[str], str]) -> str:
    """The text with the inside of each fenced block worked on. A block that is not closed stays as it is."""
    made: list[str] = []
    block: list[str] | None = None
    fence = ""
    for line in text.splitlines(keepends=True):
        if block is None:
            made.append(line)
            opened = _FENCE.match(line)
            if opened:
                fence, block = opened[1], []
        elif _closes(line, fence):
            made += [work("".join(block)), line]
            block = None
        else:
            block.append(line)
    return "".join([*made, *(block or ())])


def tidied(text: str) -> str:
    """Prose and fences apart, without blank lines in a row and blanks at the end of lines; code stays as it is."""
    made = [_tidy(run) if prose else run for prose, run in runs(text)]
    return "".join(made)


_BLANKS, _TAIL = re.compile(r"\n{3,}"), re.compile(r"(?<=[^ \t\n])[ \t]+$|^[ \t]+$", re.MULTILINE)


def _tidy(run: str) -> str:
    return _BLANKS.sub("\n\n", _TAIL.sub("", run))
