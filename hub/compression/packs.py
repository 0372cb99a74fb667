"""The rules by which prose is shortened, a pack for each language, and which language a text is in (``data/packs``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FOLDER = Path(__file__).parent / "data" / "packs"
#: So much of a text is looked at to tell its language.
_SAMPLE = 1500
_WORD = re.compile(r"[^\W\d_]+")
INTENSITIES = ("lite", "full", "ultra")
#: Begins what was the start of a sentence, until its next letter is made a capital.
START = "\ue001"
_CAPITAL = re.compile(rf"{START}+[ \t]*(\w?)")
_GAP, _BEFORE, _FIRST = (
    re.compile(r"(?<=\S)[ \t]{2,}(?=\S)"),
    re.compile(r"[ \t]+(?=[,.](?:\s|$))"),
    re.compile(r"^[ \t]*[,;]+[ \t]*", re.M),
)
_DOUBLED = re.compile(r",(?:[ \t]*,)+")


class RuleRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A rule as it is written down: ``phrases`` that go, phrases with what takes their place, or one expression with its replacement.

    ``context`` is whose words it is for: all, user, system or assistant.
    """

    name: str
    category: str
    description: str
    context: str = "all"
    min_intensity: str = "lite"
    phrases: tuple[str, ...] = ()
    instead: dict[str, str] = {}
    pattern: str = ""
    replacement: str = ""
    #: Only at the start of a sentence.
    first: bool = False
    #: For an expression: words of which a text that it could be found in has one, in lower case.
    hints: tuple[str, ...] = ()


class PackRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A pack as it is written down. ``words`` are the commonest of the language, or ``letters`` its own, by which it is told."""

    language: str
    rules: tuple[RuleRow, ...]
    words: tuple[str, ...] = ()
    letters: str = ""
    #: Words that may be dropped as such (ultra): they carry no meaning of their own.
    light: tuple[str, ...] = ()
    #: Words that turn or limit what is said, and are never dropped.
    binding: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule ready for use: ``apply`` changes a text; ``hints`` are words of which a text must have one, in lower case."""

    row: RuleRow
    hints: tuple[str, ...]
    apply: Callable[[str], str]

    def fits(self, lowered: str) -> bool:
        """Whether the rule could find something."""
        return not self.hints or any(hint in lowered for hint in self.hints)


@dataclass(frozen=True, slots=True)
class Pack:
    """The rules of a language, in their order."""

    row: PackRow
    rules: tuple[Rule, ...]
    light: frozenset[str]
    binding: frozenset[str]


@cache
def rows() -> Mapping[str, PackRow]:
    """Every pack as it is written down, by language; English first."""
    found = [msgspec.json.decode(path.read_bytes(), type=PackRow) for path in sorted(_FOLDER.glob("*.json"))]
    return {row.language: row for row in sorted(found, key=lambda row: (row.language != "en", row.language))}


@cache
def pack(language: str) -> Pack:
    """A pack, made ready at its first use."""
    row = rows()[language]
    spaced = not row.letters
    rules = tuple(_ready(rule, spaced=spaced) for rule in row.rules)
    return Pack(row, rules, frozenset(row.light), frozenset(row.binding))


def names() -> frozenset[str]:
    """The names of all rules."""
    return frozenset(rule.name for row in rows().values() for rule in row.rules)


def intensities(rule: RuleRow) -> list[str]:
    """The intensities at which a rule is used."""
    return list(INTENSITIES[INTENSITIES.index(rule.min_intensity) :])


@lru_cache(maxsize=256)
def chosen(language: str, intensity: str, role: str, skipped: tuple[str, ...]) -> tuple[Rule, ...]:
    """The rules of a pack for somebody's words."""
    level = INTENSITIES.index(intensity)
    return tuple(
        rule
        for rule in pack(language).rules
        if INTENSITIES.index(rule.row.min_intensity) <= level and rule.row.context in ("all", role) and rule.row.name not in skipped
    )


def applied(text: str, rules: Sequence[Rule]) -> tuple[str, list[str]]:
    """Prose after the rules, tidy again, and the rules that changed it."""
    used: list[str] = []
    lowered = text.lower()
    for rule in rules:
        if rule.fits(lowered) and (made := rule.apply(text)) != text:
            text, lowered = made, made.lower()
            used.append(rule.row.name)
    return (_tidy(text) if used else text), used


def language_of(text: str, allowed: Sequence[str]) -> str:
    """The language of a text among all packs, where that is an allowed one; empty for another, and where it cannot be told."""
    sample = text[:_SAMPLE].lower()
    found = _by_letters(sample) or _by_words(_WORD.findall(sample))
    return found if found in allowed else ""


def _by_letters(sample: str) -> str:
    if sample.isascii():
        return ""
    own = ((name, len(re.findall(f"[{row.letters}]", sample))) for name, row in rows().items() if row.letters)
    return next((name for name, count in own if count * 5 > len(sample.strip())), "")


def _by_words(words: list[str]) -> str:
    """The language that most of the words belong to, unless these are few, or as many belong to another."""
    scores = sorted(((len([word for word in words if word in common]), name) for name, common in _common()), reverse=True)
    (most, name), (second, _) = scores[:2]
    return name if most >= 2 and most * 8 >= len(words) and most > second else ""


@cache
def _common() -> tuple[tuple[str, frozenset[str]], ...]:
    return tuple((name, frozenset(row.words)) for name, row in rows().items() if row.words)


def _ready(row: RuleRow, *, spaced: bool) -> Rule:
    def changed(match: re.Match[str], new: str) -> str:
        return START + new if match[0].lstrip()[:1].isupper() else new

    if row.instead:
        table = {phrase.lower(): new for phrase, new in row.instead.items()}
        expression = _phrases(table, spaced=spaced, tail=False, first=row.first)
        return Rule(row, _hints(table), lambda text: expression.sub(lambda match: changed(match, table[_plain(match[1])]), text))
    if row.phrases:
        expression = _phrases(row.phrases, spaced=spaced, tail=True, first=row.first)
        return Rule(row, _hints(row.phrases), lambda text: expression.sub(lambda match: changed(match, ""), text))
    expression = re.compile(row.pattern, re.MULTILINE)
    return Rule(row, row.hints, lambda text: expression.sub(lambda match: changed(match, match.expand(row.replacement)), text))


def _phrases(phrases: Any, *, spaced: bool, tail: bool, first: bool) -> re.Pattern[str]:
    """An expression for any of the phrases, the longest first; in most languages they are whole words, and take what follows with them."""
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    words = "|".join(re.escape(phrase).replace(r"\ ", r"[ \t]+") for phrase in ordered)
    start = r"(?:(?<=[.!?]\s)|^[ \t]*)" if first else ""
    if not spaced:
        return re.compile(f"{start}({words})[、,]?" if tail else f"{start}({words})", re.MULTILINE)
    end = r"(?:[ \t]*,)?[ \t]*" if tail else ""
    # What stands after a negation belongs to it: "not just" without its second word says something else.
    guard = "(?<!not )(?<!n't )(?<!never )" if tail else ""
    return re.compile(rf"{start}{guard}(?<![\w'’-])({words})(?![\w'’-]){end}", re.IGNORECASE | re.MULTILINE)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _hints(phrases: Any) -> tuple[str, ...]:
    return tuple(phrase.lower() for phrase in phrases)


def _tidy(text: str) -> str:
    """Spaces and stops as they should be, capitals at the start of sentences that lost theirs."""
    text = _CAPITAL.sub(lambda match: match[1].upper(), text)
    return _FIRST.sub("", _DOUBLED.sub(",", _BEFORE.sub("", _GAP.sub(" ", text))))
