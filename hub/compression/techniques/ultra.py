"""ultra: words of little weight dropped from prose, after the rules of caveman; negations and conditions stay. No model takes part."""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING

from hub.compression import packs, prose
from hub.compression.technique import TAG, Shortened, Technique
from hub.tokens import estimate_tokens

if TYPE_CHECKING:
    from hub.compression.technique import Options, Piece

_WORD = re.compile(r"(?<![\w'’-])[^\W\d_]+(?:['’-][^\W\d_]+)*(?![\w'’-])[ \t]*")


def _piece(text: str, piece: Piece, options: Options) -> Shortened:
    config = options.settings.ultra
    if not config.enabled or not prose.concerned(text, piece, options):
        return Shortened(text)
    if config.max_tokens_per_message and estimate_tokens(text) > config.max_tokens_per_message:
        return Shortened(text)
    made = prose.shortened(text, piece, options, "ultra", lambda run: _dropped(run, options))
    if made.text == text:
        return made
    made.text = f"{TAG}ultra] {made.text}"
    made.rules.append("ultra:words")
    made.gone = True
    return made


def _dropped(run: str, options: Options) -> str:
    """A run of prose without its lightest words."""
    config = options.settings.ultra
    words = list(_WORD.finditer(run))
    weighed = [(_weight(word[0].strip(), options.packs), at) for at, word in enumerate(words)]
    most = len(words) - ceil(config.compression_rate * len(words))
    going = {at for weight, at in sorted(weighed)[:most] if weight < config.min_score_threshold}
    made: list[str] = []
    end = 0
    for at in sorted(going):
        made.append(run[end : words[at].start()])
        end = words[at].end()
    return "".join([*made, run[end:]])


def _weight(word: str, languages: tuple[str, ...]) -> float:
    lowered = word.lower()
    known = [packs.pack(language) for language in languages]
    if not word.isascii() or any(lowered in one.binding for one in known):
        return 1.0
    if any(lowered in one.light for one in known):
        return 0.1
    if word[:1].isupper():
        return 0.8
    return 0.2 if len(word) <= 2 else 0.7 if len(word) >= 6 else 0.5


ULTRA = Technique("ultra", "Words of little weight dropped", piece=_piece)
