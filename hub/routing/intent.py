"""What kind of work a prompt is, and how well a model does that kind, by word lists and tables kept as data (routing.md 2.4, D25)."""

from __future__ import annotations

import importlib.resources
import re
from functools import cache, lru_cache
from typing import Literal

import msgspec

Task = Literal["coding", "analysis", "simple", "default"]

#: Characters looked at, from the start and as many from the end: what is asked for stands there, what is pasted in between.
_LOOKED_AT = 1000
#: Words hold hyphens and apostrophes, and end in ``+`` or ``#`` as languages do. Han and kana, which no space parts, are no part of
#: one, and each of those characters counts for a word.
_WORD = re.compile(r"[^\W぀-ヿ㐀-鿿]+(?:[-'’][^\W぀-ヿ㐀-鿿]+)*[+#]*")
_UNSPACED = re.compile(r"[぀-ヿ㐀-鿿]")
_PART = re.compile(r"[^\W_]+")
#: Model names come from callers: what is remembered of them is bounded.
_KEPT = 4096


class _Lists(msgspec.Struct, frozen=True):
    """``keywords``: task -> language -> words and phrases; ``signs``: pieces of code; ``unspaced``: languages searched as a whole."""

    keywords: dict[str, dict[str, list[str]]]
    signs: list[str]
    unspaced: list[str]


class _Fitness(msgspec.Struct, frozen=True):
    """``models``: task -> fragment of a model's name -> fit; ``boosts`` what a word adds to a name of no row."""

    unknown: float
    models: dict[str, dict[str, float]]
    boosts: dict[str, dict[str, float]]


class _Words:
    """The keywords of one task, sorted by how they are looked for."""

    def __init__(self, lists: _Lists, task: str) -> None:
        self.single: set[str] = set()
        self.phrases: dict[str, list[str]] = {}
        self.pieces: list[str] = []
        for language, words in lists.keywords[task].items():
            if language in lists.unspaced:
                self.pieces += words
                continue
            for word in words:
                found = _WORD.findall(word)
                if found == [word]:
                    self.single.add(word)
                else:
                    self.phrases.setdefault(found[0], []).append(word)

    def within(self, text: str, words: set[str]) -> bool:
        """Whether any of them is in the text, whose words are ``words``."""
        if not self.single.isdisjoint(words):
            return True
        if any(phrase in text for first in self.phrases.keys() & words for phrase in self.phrases[first]):
            return True
        return not text.isascii() and any(piece in text for piece in self.pieces)


def task_of(text: str, *, simple_words: int = 60) -> Task:
    """The kind of work that a prompt asks for: code first, then analysis, then a short and simple question.

    ``simple_words`` is the length from which no question is simple. Looks at a bounded part of the text, in time that grows with it.
    """
    short = len(text) <= 2 * _LOOKED_AT
    looked_at = (f"{text} " if short else f"{text[:_LOOKED_AT]}\n{text[-_LOOKED_AT:]} ").lower()
    listed = _WORD.findall(looked_at)
    words = set(listed)
    coding, analysis, simple, signs = _words()
    if coding.within(looked_at, words) or any(sign in looked_at for sign in signs):
        return "coding"
    if analysis.within(looked_at, words):
        return "analysis"
    if short and len(listed) + len(_UNSPACED.findall(looked_at)) < simple_words and simple.within(looked_at, words):
        return "simple"
    return "default"


@lru_cache(maxsize=_KEPT)
def fit(model: str, task: str) -> float:
    """How well a model does a kind of work, 0 to 1: the row with the longest fragment of its name decides.

    A model of no row gets 0.5 and small boosts for words of its name that tell something; an unknown task is ``default``.
    """
    table = _fitness()
    name = model.lower()
    rows = table.models.get(task) or table.models["default"]
    known = max((fragment for fragment in rows if _begins_a_word(fragment, name)), key=len, default="")
    if known:
        return rows[known]
    boosts = table.boosts.get(task) or table.boosts["default"]
    return min(max(table.unknown + sum(boosts.get(word, 0.0) for word in set(_PART.findall(name))), 0.0), 1.0)


def _begins_a_word(fragment: str, name: str) -> bool:
    """Whether a fragment is in a name, and not only behind another letter or digit."""
    at = name.find(fragment)
    while at > 0 and name[at - 1].isalnum():
        at = name.find(fragment, at + 1)
    return at >= 0


def _read(name: str) -> bytes:
    return importlib.resources.files("hub.routing").joinpath(name).read_bytes()


@cache
def _words() -> tuple[_Words, _Words, _Words, list[str]]:
    lists = msgspec.json.decode(_read("intent.json"), type=_Lists)
    return _Words(lists, "coding"), _Words(lists, "analysis"), _Words(lists, "simple"), lists.signs


@cache
def _fitness() -> _Fitness:
    return msgspec.json.decode(_read("fitness.json"), type=_Fitness)
