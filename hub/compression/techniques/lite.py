"""lite: white space, repetitions and pictures that the model cannot see; very long results are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.chat import Image, Role, Text
from hub.compression import jsontext, output
from hub.compression.protected import tidied
from hub.compression.technique import NOTE, Shortened, Technique

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.chat import Message, Part
    from hub.compression.technique import Options, Piece

_MOST = 2000
#: Of a result that is cut so many characters of its end stay.
_END = 400
_SAME = 200


def _piece(text: str, piece: Piece, options: Options) -> Shortened:
    if not piece.result:
        made = tidied(text)
        return Shortened(made, ["lite:whitespace"]) if made != text else Shortened(text)
    if len(text) <= _MOST or output.verbatim(piece) or output.was_shortened(text):
        return Shortened(text)
    if jsontext.is_json(text):
        return Shortened(jsontext.shortened(text, _MOST), ["lite:truncate"], gone=True)
    head = text[: _MOST - _END].rpartition("\n")[0] or text[: _MOST - _END]
    tail = text[-_END:].partition("\n")[2] or text[-_END:]
    left = len(text) - len(head) - len(tail)
    return Shortened(f"{head}\n{NOTE}truncated, {left} characters left out]\n{tail}", ["lite:truncate"], gone=True)


def _turns(messages: Sequence[Message], locked: int, options: Options) -> Sequence[Message]:
    made: list[Message] = []
    said: set[str] = set()
    for at, message in enumerate(messages):
        start = "" if options.settings.preserve_system_prompt else _opening(message)
        if at < locked:
            made.append(message)
        elif start not in said and not (made and _again(made[-1], message)):
            made.append(_unseen(message) if options.sees is False else message)
        if start:
            said.add(start)
    return messages if _same(made, messages) else made


def _is(one: object, other: object) -> bool:
    return one is other


def _same(made: Sequence[object], given: Sequence[object]) -> bool:
    return len(made) == len(given) and all(map(_is, made, given))


def _opening(message: Message) -> str:
    """How instructions begin; empty for other messages and short ones."""
    if message.role not in (Role.SYSTEM, Role.DEVELOPER) or not message.parts:
        return ""
    first = message.parts[0]
    return first.text[:_SAME] if isinstance(first, Text) and len(first.text) >= _SAME else ""


def _again(before: Message, message: Message) -> bool:
    """Whether a message says once more what the one before it said."""
    plain = message.role in (Role.USER, Role.ASSISTANT) and bool(message.parts) and all(isinstance(part, Text) for part in message.parts)
    return plain and before == message


def _unseen(message: Message) -> Message:
    """A message in which pictures are words: its model is known not to see any."""
    parts: list[Part] = [
        Text(f"[image: {part.media_type or 'unknown'}]") if isinstance(part, Image) and part.data and part.cache is None else part
        for part in message.parts
    ]
    return message if _same(parts, message.parts) else replace(message, parts=parts)


LITE = Technique("lite", "White space, repetitions, very long results", piece=_piece, turns=_turns)
