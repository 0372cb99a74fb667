"""What a user's own words say that is worth remembering: what they ask to be remembered, who they are, what they like, use and decided.

Few patterns, of plain statements in the first person at the beginning of a sentence, in English; other languages and everything else are
for the tool that adds a memory. What was pasted (code, quotations, marked-up blocks, long texts) is nobody's own words, and what looks like
a secret is not kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from hub.log import masked
from hub.memory.words import terms

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Longer turns are pasted material; the end of one is not looked at either.
_LONGEST_TURN = 6000
_SHORTEST, _LONGEST = 3, 300
#: Memories of one turn at most.
_MOST = 8
_CODE = re.compile(r"```.*?(```|\Z)|`[^`\n]*`", re.DOTALL)
_MARKED = re.compile(r"<([a-z][\w-]{0,40})\b[^>]{0,200}>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_QUOTED = re.compile(r"^\s*(>|\||[#$%] ).*$", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_ENDS = " \t.,;:!?\"'…"
_OPENING = re.compile(
    r"^(?:(?:[-*•]|\d+[.)])\s+)?"
    r"(?:(?:hi|hello|hey|ok|okay|so|well|also|and|but|btw|by the way|fyi|please|just|note|actually)[,:]?\s+)*",
    re.IGNORECASE,
)
#: The rest of a sentence, and of a part of one; a dot within a word ends neither.
_UP_TO = r"(?P<what>(?:[^.!?;\n]|[.!?](?=\w)){3,300})"
_PART = r"(?P<what>(?:[^.!?;,\n]|[.!?,](?=\w)){2,160})"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Something to remember. ``key`` is its subject: the same subject said anew takes its place. ``confidence`` is from 0 to 1."""

    key: str
    content: str
    kind: str
    category: str
    confidence: float


class _Pattern(msgspec.Struct, frozen=True):
    """``subject`` names what the memory is about: a fixed word, or empty where it is the words that were said."""

    regex: re.Pattern[str]
    category: str
    kind: str
    confidence: float
    content: str
    subject: str = ""


def _pattern(regex: str, category: str, kind: str, confidence: float, content: str, subject: str = "") -> _Pattern:
    return _Pattern(re.compile(regex, re.IGNORECASE), category, kind, confidence, content, subject)


_LIKES = r"prefer|like|love|enjoy|don't like|do not like|dislike|hate|can't stand|avoid"
_DECIDED = r"(?:have |'ve )?(?:decided|chose|picked|selected|agreed|went)(?: to use| to go with| on| to| with)?"
_WILL = r"(?:i|we)(?: will|'ll| are going to|'re going to|'m going to| am going to)"
#: In the order in which they are tried: the first that fits a sentence is what it says.
_PATTERNS = (
    _pattern(rf"(?:always )?remember(?: that| this)?[:,]? {_UP_TO}", "remember", "factual", 0.95, "{what}"),
    _pattern(rf"(?:don't|do not|never) forget(?: that)?[:,]? {_UP_TO}", "remember", "factual", 0.95, "{what}"),
    _pattern(rf"my (?:full |first )?name is {_PART}", "identity", "factual", 0.9, "My name is {what}", "name"),
    _pattern(rf"call me {_PART}", "identity", "factual", 0.85, "Call me {what}", "name"),
    _pattern(rf"i(?: currently)? live in {_PART}", "identity", "factual", 0.85, "I live in {what}", "home"),
    _pattern(rf"i(?: currently)? work (?P<how>at|for|as) {_PART}", "identity", "factual", 0.85, "I work {how} {what}", "work {how}"),
    _pattern(
        rf"my favou?rite (?P<of>[\w -]{{2,40}}?) (?:is|are) {_PART}", "favourite", "factual", 0.9, "My favourite {of} is {what}", "{of}"
    ),
    _pattern(rf"i (?:really |strongly |much )?(?P<how>{_LIKES}) {_PART}", "preference", "factual", 0.75, "I {how} {what}"),
    _pattern(rf"(?:i|we) {_DECIDED} {_UP_TO}", "decision", "episodic", 0.65, "{said}"),
    _pattern(rf"{_WILL} use {_UP_TO}", "decision", "episodic", 0.6, "{said}"),
    _pattern(rf"(?:i|we) (?:usually|always|never|typically|tend to|mostly) {_UP_TO}", "habit", "procedural", 0.65, "{said}"),
)
#: What is said of a moment or of an answer is no statement about anybody.
_PASSING = re.compile(
    r"\b(?:to know|to see|to ask|to have you|if you|it if|the way you|your (?:answer|idea|suggestion|version)"
    r"|(?:that|this) (?:answer|idea|one|version)\b)",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"^(?:not|no longer|n't)\b", re.IGNORECASE)


def extracted(text: str) -> list[Found]:
    """What a turn of a user says that is worth remembering, each subject once, the last word on it."""
    if len(text) > _LONGEST_TURN:
        return []
    own = _QUOTED.sub("\n", _MARKED.sub("\n", _CODE.sub(" ", text)))
    found: dict[str, Found] = {}
    for sentence in _SENTENCE.split(own):
        one = _of(sentence.strip())
        if one is not None:
            found.pop(one.key, None)
            found[one.key] = one
    return list(found.values())[-_MOST:]


def _of(sentence: str) -> Found | None:
    """What one sentence says; a question says nothing."""
    if sentence.endswith("?"):
        return None
    sentence = _OPENING.sub("", sentence).replace("\u2019", "'")
    for pattern in _PATTERNS:
        match = pattern.regex.match(sentence)
        if match is not None:
            return _made(pattern, match)
    return None


def _made(pattern: _Pattern, match: re.Match[str]) -> Found | None:
    groups = {name: value.strip(_ENDS) for name, value in match.groupdict().items()}
    groups["said"] = match.group(0).strip(_ENDS)
    content = pattern.content.format(**groups)
    if not _SHORTEST <= len(groups["what"]) <= _LONGEST or masked(content) != content:
        return None
    if pattern.category != "remember" and (_PASSING.search(content) or _NEGATED.match(groups["what"])):
        return None
    subject = pattern.subject.format(**groups) if pattern.subject else groups["what"]
    key = slug(subject)
    if not key:
        return None
    return Found(
        key=f"{pattern.category}:{key}", content=content, kind=pattern.kind, category=pattern.category, confidence=pattern.confidence
    )


def slug(text: str) -> str:
    """A subject as a short name: its first words, at most 40 characters."""
    return "-".join(_short(text))


def _short(text: str) -> Iterator[str]:
    room = 40
    for word in terms(text):
        room -= len(word) + 1
        if room < -1:
            return
        yield word
