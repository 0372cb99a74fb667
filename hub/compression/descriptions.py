"""Descriptions of MCP tools made shorter (``mcpDescriptionCompressionEnabled``): every listing of tools puts them into a model's prompt."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from hub.compression import packs, protected

if TYPE_CHECKING:
    from collections.abc import Iterable


@lru_cache(maxsize=4096)
def shortened(text: str) -> str:
    """A description without filler; names, code and numbers stay. In another language than English it stays as it is."""
    if packs.language_of(text, ("en",)) != "en":
        return text
    rules = packs.chosen("en", "full", "system", ())
    made, _, sound = protected.shortened(text, (), lambda prose: packs.applied(prose, rules)[0])
    return made if sound and made.strip() and len(made) < len(text) else text


def tool(shown: dict[str, Any]) -> dict[str, Any]:
    """A tool as it is listed, with its description and those of its arguments shortened."""
    made = _described(shown)
    schema: object = shown.get("inputSchema")
    if isinstance(schema, dict):
        given = cast("dict[str, Any]", schema)
        fields: object = given.get("properties")
        if isinstance(fields, dict):
            named = cast("dict[str, Any]", fields)
            shorter = {name: _described(cast("dict[str, Any]", one)) if isinstance(one, dict) else one for name, one in named.items()}
            made["inputSchema"] = {**given, "properties": shorter}
    return made


def _described(given: dict[str, Any]) -> dict[str, Any]:
    words: object = given.get("description")
    return {**given, "description": shortened(words)} if isinstance(words, str) else dict(given)


def figures(texts: Iterable[str]) -> dict[str, int]:
    """How many of some descriptions become shorter, and their characters before and after."""
    pairs = [(text, shortened(text)) for text in texts]
    return {
        "descriptionsCompressed": sum(len(new) < len(old) for old, new in pairs),
        "charsBefore": sum(len(old) for old, _ in pairs),
        "charsAfter": sum(len(new) for _, new in pairs),
    }
