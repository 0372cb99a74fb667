"""Words of the program in Markdown, where they mean what they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SIGNS = str.maketrans({"<": "&lt;", "*": "\\*", "_": "\\_", "[": "\\[", "|": "\\|"})


def plain(text: str) -> str:
    """Text as text, on one line; what stands between backticks stays code."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return "`".join(parts).translate(_SIGNS).replace("`", "\\`")
    return "".join(f"`{part.replace('|', chr(92) + '|')}`" if index % 2 else part.translate(_SIGNS) for index, part in enumerate(parts))


def code(text: str) -> str:
    """Text as code, in a table too."""
    return f"`{' '.join(text.split()).replace('|', chr(92) + '|')}`" if text else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its cells are Markdown."""
    lines = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines) + "\n"
