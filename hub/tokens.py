"""Rough token counts for when a provider gives none: budget bounds, aborted streams, context checks.

An estimate, never a bill: usage made from it carries ``estimated=True``. It needs no tokenizer tables, which
differ by vendor and weigh megabytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from hub.chat import Document, Image, Part, Reasoning, Refusal, Text, ToolCall, ToolResult

if TYPE_CHECKING:
    from hub.chat import ChatRequest

#: Characters that are about one token each: CJK, kana, hangul, full-width forms, and everything beyond the BMP.
_WIDE = re.compile("[\u2e80-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00010000-\U0010ffff]+")
_PER_MESSAGE = 4  # role and separators
_PICTURE = 1500  # vendors bill a large picture between 260 and 1,600 tokens
_DOCUMENT_BYTES = 50  # base64 characters of a file per token: a page of a PDF is some 75 kB and 1,500 tokens


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: 4 ASCII characters each, 2 of other alphabets, 1 of CJK. 0 for an empty text."""
    if text.isascii():
        return -(-len(text) // 4)
    wide = sum(map(len, _WIDE.findall(text)))
    plain = len(text.encode("ascii", "ignore"))
    other = len(text) - plain - wide
    return -(-(plain + 2 * other + 4 * wide) // 4)


def estimate_prompt(request: ChatRequest) -> int:
    """About how many prompt tokens a request is: every part of every turn, and the tools' definitions."""
    total = sum(_PER_MESSAGE + sum(map(_part, message.parts)) for message in request.messages)
    if request.tools:
        total += -(-len(msgspec.json.encode(request.tools)) // 4)
    return total


def _part(part: Part) -> int:
    if isinstance(part, Text | Reasoning | Refusal):
        return estimate_tokens(part.text)
    if isinstance(part, ToolCall):
        return estimate_tokens(part.name) + estimate_tokens(part.arguments)
    if isinstance(part, ToolResult):
        return sum(map(_part, part.parts))
    if isinstance(part, Image):
        return _PICTURE
    if isinstance(part, Document):
        return _PICTURE + len(part.data) // _DOCUMENT_BYTES
    return -(-len(msgspec.json.encode(part.value)) // 4)
