"""Looks through the text of a skill for what a person should see before it is used. It judges nothing by itself, and runs nothing."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from hub.user_skills.model import Finding

_MOST = 50
_LINE = 2000
_EXCERPT = 200


@cache
def _rules() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    table: dict[str, list[dict[str, Any]]] = tomllib.loads(files("hub.user_skills").joinpath("patterns.toml").read_text("utf-8"))
    # TOML's literal strings know no escapes; a pattern reads those of characters itself.
    return tuple((rule["name"], rule["words"], re.compile(rule["pattern"], re.IGNORECASE)) for rule in table["rule"])


def scanned(text: str) -> tuple[Finding, ...]:
    """What was found, in the order of the text, at most 50 and one of each rule a line."""
    found: list[Finding] = []
    for number, line in enumerate(text.splitlines(), 1):
        # Beyond its first part a line is looked at in pieces, so that nothing hides at its end.
        pieces = [line[at : at + _LINE] for at in range(0, len(line), _LINE)]
        for name, words, pattern in _rules():
            if any(pattern.search(piece) for piece in pieces):
                shown = "".join(letter if letter.isprintable() else "�" for letter in line[:_EXCERPT])
                found.append(Finding(rule=name, words=words, line=number, excerpt=shown))
        if len(found) >= _MOST:
            break
    return tuple(found[:_MOST])
