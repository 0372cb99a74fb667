"""What a tool's result is: whether it must stay word for word, and its short form by the filters for output of commands."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hub.compression import jsontext, lines
from hub.compression.filters import spoken_of
from hub.compression.technique import NOTE, TAG, Shortened

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from hub.compression.filters import Detected
    from hub.compression.technique import Options, Piece

_VERBATIM = Path(__file__).parent / "data" / "verbatim.json"
#: Most lines at the head and the end by intensity; ``minimal`` has no limits.
_ENDS = {"standard": 24, "aggressive": 16}
_NO_LIMIT = 10**9


class _Verbatim(msgspec.Struct, frozen=True):
    tools: frozenset[str]
    commands: frozenset[str]


@cache
def _verbatim() -> _Verbatim:
    return msgspec.json.decode(_VERBATIM.read_bytes(), type=_Verbatim)


def verbatim(piece: Piece) -> bool:
    """Whether a result is what a file holds: a model that is to change the file needs it as it is."""
    known = _verbatim()
    name = piece.tool.lower().rsplit("__", 1)[-1].replace("-", "_")
    return name in known.tools or spoken_of(piece.command).partition(" ")[0] in known.commands


def was_shortened(text: str) -> bool:
    """Whether a text was shortened before."""
    return text.startswith(TAG) or lines.has_note(text) or f'"{NOTE}' in text


def shortened(text: str, piece: Piece, options: Options, *, known_only: bool = False) -> tuple[Shortened, Detected | None]:
    """The short form of an output, and what it was taken for. With ``known_only`` an output that no filter knows stays as it is."""
    rtk = options.settings.rtk_config
    if was_shortened(text):
        return Shortened(text), None
    if jsontext.is_json(text):
        return (Shortened(text), None) if known_only else (_json(text, options), None)
    cleaned = lines.plain(text)
    detected = options.filters.detect(cleaned, piece.command, rtk)
    if known_only and detected.filter is None:
        return Shortened(text), detected
    return _by_lines(text, cleaned, piece, options, detected), detected


def _by_lines(text: str, cleaned: str, piece: Piece, options: Options, detected: Detected) -> Shortened:
    """An output line by line, by the filter that it was detected for."""
    chosen = detected.filter
    name, errors = (chosen.id, chosen.errors) if chosen is not None else ("generic", ())
    limits, before = _limits(detected, options), cleaned.split("\n")
    rules: list[str] = [] if cleaned == text else ["stripAnsi"]
    after = lines.shortened(lines.filtered(before, chosen, limits, rules), limits, rules, errors)
    tagged = [f"{name}:{rule}" for rule in dict.fromkeys(rules)]
    if after != before:
        made = lines.noted(after, len(before), name, kept(text, before, piece, options, errors))
        if len(made) < len(text):
            return Shortened(made, tagged, gone=True)
    return Shortened(cleaned, tagged[:1] if cleaned != text else [])


def kept(text: str, found: list[str], piece: Piece, options: Options, errors: Sequence[re.Pattern[str]] = ()) -> str:
    """The name under which the whole of an output is kept; empty where it is not."""
    if options.pointer is None:
        return ""
    return options.pointer(text, piece.failed or any(lines.is_error(line, errors) for line in found))


def _json(text: str, options: Options) -> Shortened:
    rtk = options.settings.rtk_config
    made = jsontext.compact(text)
    if rtk.intensity == "minimal" or len(made) <= rtk.max_chars_per_result:
        return Shortened(made, ["json:compact"] if made != text else [])
    return Shortened(jsontext.shortened(made, rtk.max_chars_per_result), ["json:compact", "json:items"], gone=True)


def _limits(detected: Detected, options: Options) -> lines.Limits:
    rtk = options.settings.rtk_config
    if rtk.intensity == "minimal":
        return lines.Limits(_NO_LIMIT, _NO_LIMIT, _NO_LIMIT, _NO_LIMIT, rtk.deduplicate_threshold)
    own = detected.filter.row.rules if detected.filter is not None else None
    ends = _ENDS[rtk.intensity]
    scale = 2 if rtk.intensity == "aggressive" else 1
    most = (own.max_lines if own else 0) or rtk.max_lines_per_result
    head, tail = (own.head_lines if own else 0) or ends, (own.tail_lines if own else 0) or ends
    return lines.Limits(
        max(8, most // scale), rtk.max_chars_per_result // scale, max(2, head // scale), max(2, tail // scale), rtk.deduplicate_threshold
    )
