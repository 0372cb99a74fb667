"""aggressive: long tool output cut down by what it is, and old messages to their gist."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.chat import Role, Text
from hub.compression import jsontext, lines, output, prose
from hub.compression.protected import tidied
from hub.compression.technique import TAG, Piece, Shortened, Technique
from hub.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.chat import Message, Part
    from hub.compression.settings import Aggressive
    from hub.compression.technique import Options

_JSON_MOST = 2000
_JSON_SIZES = ((5, 20, 500), (3, 10, 160))
_HIT = re.compile(r"^[\w./@+-]+:\d+[:-]")
_NUMBERED = re.compile(r"^\s*\d+[\t|→:]")
_CODE = re.compile(r"^\s*(?:import |from \w|def |class |func |fn |#include|package |use |const |let |var |export |public |private |//|/\*)")
_FILES = re.compile(r"(?<![\w/])(?:[\w.-]+/)+[\w.-]+\.\w{1,8}\b")
_DECIDED = re.compile(r"(?i)\b(?:decided|decision|must|agreed|instead of|root cause|fixed|todo|important|never)\b")
#: The boundaries between ages move so many messages at a time, so that what goes to the provider stays the same in between.
STRIDE = 8


def _piece(text: str, piece: Piece, options: Options) -> Shortened:
    if not piece.result or output.was_shortened(text):
        return Shortened(text)
    config = options.settings.aggressive
    if jsontext.is_json(text):
        if not config.tool_strategies.json_ or len(text) <= _JSON_MOST:
            return Shortened(text)
        return Shortened(jsontext.shortened(text, _JSON_MOST, _JSON_SIZES), ["aggressive:json"], gone=True)
    cleaned = lines.plain(text).split("\n")
    name, cut = _strategy(cleaned, piece, config)
    after = cut(cleaned) if cut is not None else cleaned
    if after == cleaned:
        return Shortened(text)
    made = lines.noted(after, len(cleaned), name, output.kept(text, cleaned, piece, options))
    return Shortened(made, [f"aggressive:{name}"], gone=True)


def _strategy(found: list[str], piece: Piece, config: Aggressive) -> tuple[str, Callable[[list[str]], list[str]] | None]:
    """How an output is cut down: the first strategy that fits it and is switched on."""
    allowed = config.tool_strategies
    sample = found[:60]
    code = output.verbatim(piece) or _share(sample, _NUMBERED) > 0.6 or _share(sample, _CODE) > 0.2
    hits = _share(sample, _HIT) > 0.5
    trouble = piece.failed or lines.is_error(found[0])
    for name, fits, on, cut in (
        ("grepSearch", hits, allowed.grep_search, _matches),
        ("fileContent", code, allowed.file_content, _file),
        ("errorMessage", trouble, allowed.error_message, _trouble),
        ("shellOutput", True, allowed.shell_output, _shell),
    ):
        if fits:
            return (name, cut) if on else (name, None)
    return "", None


def _share(found: list[str], pattern: re.Pattern[str]) -> float:
    said = [line for line in found if line.strip()]
    return sum(bool(pattern.match(line)) for line in said) / len(said) if said else 0.0


def _file(found: list[str]) -> list[str]:
    return _ends(found, 20, 5)


def _trouble(found: list[str]) -> list[str]:
    return _ends(found, 11, 3)


def _ends(found: list[str], head: int, tail: int) -> list[str]:
    if len(found) <= head + tail + 1:
        return found
    return [*found[:head], f"... {len(found) - head - tail} lines left out", *found[-tail:]]


def _matches(found: list[str]) -> list[str]:
    """The first matches, and in which files the others are."""
    if len(found) <= 32:
        return found
    files = dict.fromkeys(line.split(":", 1)[0] for line in found[30:] if _HIT.match(line))
    return [*found[:30], f"... {len(found) - 30} more in {', '.join(list(files)[:20]) or 'other lines'}"]


def _shell(found: list[str]) -> list[str]:
    limits = lines.Limits(50, 10**9, 0, 50, 3)
    kept = lines.filtered(found, None, limits, [])
    return kept if len(kept) <= 50 else [f"... {len(kept) - 50} lines left out", *kept[-50:]]


def _turns(messages: Sequence[Message], locked: int, options: Options) -> Sequence[Message]:
    ages = options.settings.aggressive.thresholds
    light, moderate, full = (_before(len(messages), age) for age in (ages.verbatim, max(ages.light, ages.verbatim), ages.full_summary))
    first = next((at for at, message in enumerate(messages) if message.role is Role.USER), 0)
    made: list[Message] = []
    for at, message in enumerate(messages):
        # What a conversation began with is its task.
        if at < locked or at >= light or at == first or message.role not in (Role.USER, Role.ASSISTANT):
            made.append(message)
        else:
            made.append(_aged(message, options, full=at < full, moderate=at < moderate))
    return messages if all(new is old for new, old in zip(made, messages, strict=True)) else made


def _before(count: int, age: int) -> int:
    return max(0, count - age) // STRIDE * STRIDE


def _aged(message: Message, options: Options, *, full: bool, moderate: bool) -> Message:
    if not all(isinstance(part, Text) and part.cache is None for part in message.parts):
        return message
    parts: list[Part] = []
    for part in message.parts:
        text = part.text if isinstance(part, Text) else ""
        made = _older(text, message.role, options, full=full, moderate=moderate)
        parts.append(replace(part, text=made) if len(made) < len(text) and isinstance(part, Text) else part)
    return message if all(new is old for new, old in zip(parts, message.parts, strict=True)) else replace(message, parts=parts)


def _older(text: str, role: Role, options: Options, *, full: bool, moderate: bool) -> str:
    """An old text: its gist, or without filler, or without blanks."""
    config = options.settings.aggressive
    if text.startswith(TAG):
        return text
    if config.summarizer_enabled and (full or estimate_tokens(text) > config.max_tokens_per_message):
        return f"{TAG}gist] {gist(text, 200 if role is Role.ASSISTANT else 120)}"
    if moderate:
        return prose.shortened(text, Piece(role.value), options, "full").text
    return tidied(text)


def gist(text: str, most: int) -> str:
    """What a text was about, without a model: its first line, the files it names, and sentences that decide something."""
    said = [line.strip() for line in text.splitlines() if line.strip()]
    head = (said[0] if said else "")[:most]
    decided = [line[:most] for line in said[1:] if _DECIDED.search(line)][:3]
    files = list(dict.fromkeys(_FILES.findall(text[:100_000])))[:8]
    named = [f"Files: {', '.join(files)}"] if files else []
    return "\n".join([head, *decided, *named])


AGGRESSIVE = Technique("aggressive", "Tool output and old messages cut down", piece=_piece, turns=_turns)
