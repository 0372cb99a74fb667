"""The instruction to answer in few words (``cavemanOutputMode``), in the language of the conversation (``data/terse.json``)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hub.chat import Role, Text
from hub.compression.packs import language_of, rows
from hub.engine.reshape import add_to_instructions

if TYPE_CHECKING:
    from hub.chat import ChatRequest

_FILE = Path(__file__).parent / "data" / "terse.json"
#: Begins the instruction, so that it is never given twice.
MARK = "[answer style]"
_LAST = 3


class Terse(msgspec.Struct, frozen=True):
    """``words`` by language and intensity; ``clear`` are expressions of which one in the last messages says that clarity comes first."""

    words: dict[str, dict[str, str]]
    clear: tuple[str, ...]


@cache
def _terse() -> Terse:
    return msgspec.json.decode(_FILE.read_bytes(), type=Terse)


@cache
def _unclear() -> re.Pattern[str]:
    return re.compile("|".join(_terse().clear), re.IGNORECASE)


def instructed(request: ChatRequest, intensity: str, *, auto_clarity: bool) -> tuple[ChatRequest, str]:
    """The request with the instruction, and why it is without; empty where it has it."""
    if any(isinstance(part, Text) and MARK in part.text for message in request.messages for part in message.parts):
        return request, "the instruction is there already"
    if auto_clarity and _unclear().search("\n".join(_said(request)[-_LAST:])[-20_000:]):
        return request, "the talk is of danger, of what cannot be undone, or unclear (autoClarity)"
    said = next((text for text in reversed(_said(request, only=Role.USER))), "")
    language = language_of(said, list(rows())) or "en"
    return add_to_instructions(request, f"{MARK} {_terse().words[language][intensity]}"), ""


def _said(request: ChatRequest, only: Role | None = None) -> list[str]:
    """What users and the model said, message by message."""
    wanted = (Role.USER, Role.ASSISTANT) if only is None else (only,)
    return [
        "\n".join(part.text for part in message.parts if isinstance(part, Text)) for message in request.messages if message.role in wanted
    ]
