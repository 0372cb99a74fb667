"""The words of a text, as they are looked for; and how well texts fit a question by their words.

Every way of searching sees texts through this, so that an index of either database and a look at one text after the other find the same.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD = re.compile(r"[^\W_]+")
#: Marks above and below Latin, Greek and Cyrillic letters. Those of other scripts tell words apart.
_MARKS = re.compile("[\u0300-\u036f]")
#: Writing without blanks between words: a word is each two neighbours of it.
_DENSE = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+")
_LONGEST = 64
#: Words and characters of a question that are looked for; the end of it says what is asked.
_MOST_ASKED, _MOST_TEXT = 32, 4000
#: What share of the best a text must fit by, to be told of.
WORST = 0.3
_COMMON = frozenset(
    _WORD.findall(
        "a about all also am an and any are as at be been but by can could did do does for from get had has have he her here him his how i "
        "if in into is it its just like make me more my need no not now of on or our out please she should so some than that the their "
        "them then there these they this those to too up us use want was we were what when where which who why will with would you your"
    )
)


def terms(text: str) -> list[str]:
    """The words of a text in their order: folded to lower case, without accents, without punctuation."""
    folded = unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFKD", text))).casefold()
    found: list[str] = []
    for word in _WORD.findall(folded):
        found += _split(word) if _DENSE.search(word) else [word[:_LONGEST]]
    return found


def asked(text: str) -> list[str]:
    """The words of a question that say what it is about, each once; the longest of them where there are many."""
    every = dict.fromkeys(terms(text[-_MOST_TEXT:]))
    kept = [word for word in every if word not in _COMMON and (len(word) > 1 or not word.isascii() or word.isdigit())]
    if len(kept) > _MOST_ASKED:
        longest = frozenset(sorted(kept, key=len, reverse=True)[:_MOST_ASKED])
        kept = [word for word in kept if word in longest]
    return kept


def ranked(question: list[str], texts: Mapping[str, str], *, worst: float = WORST) -> list[tuple[str, float]]:
    """Those of these texts that hold words of a question, with how well they fit, the best first; none below ``worst`` of the best.

    A word counts the more the fewer of the texts hold it, and the less the longer the text is (Okapi BM25).
    """
    wanted = frozenset(question)
    counted = {name: Counter(word for word in terms(text) if word in wanted) for name, text in texts.items()}
    holding = Counter(word for found in counted.values() for word in found)
    worth = {word: math.log(1 + (len(texts) - count + 0.5) / (count + 0.5)) for word, count in holding.items()}
    usual = sum(map(len, texts.values())) / max(1, len(texts)) or 1.0
    scored = [(name, _fit(found, worth, len(texts[name]) / usual)) for name, found in counted.items() if found]
    best = max((score for _, score in scored), default=0.0)
    return sorted((one for one in scored if one[1] >= worst * best), key=lambda one: -one[1])


def _fit(found: Mapping[str, int], worth: Mapping[str, float], length: float) -> float:
    """The score of a text that holds words so often and is so long, compared with others."""
    return sum(worth[word] * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length)) for word, count in found.items())


def _split(word: str) -> list[str]:
    """A word with dense writing in it, as its plain parts and the pairs of the rest."""
    found: list[str] = []
    at = 0
    for run in _DENSE.finditer(word):
        if run.start() > at:
            found.append(word[at : run.start()][:_LONGEST])
        dense = run.group()
        found += [dense] if len(dense) == 1 else ["".join(pair) for pair in pairwise(dense)]
        at = run.end()
    if at < len(word):
        found.append(word[at:][:_LONGEST])
    return found
