"""Texts as vectors of the words and letter groups in them. It compares spelling, not meaning, and is labelled so wherever it is used."""

from __future__ import annotations

import math
import re
import zlib

DIMENSIONS = 256
_WORD = re.compile(r"\w+")


def vector(text: str) -> list[float]:
    """A vector of length 1; the same text gives the same vector in every process. A text without words gives zeros."""
    counts = [0.0] * DIMENSIONS
    previous = ""
    for word in _WORD.findall(text.lower()):
        for feature in (word, f"{previous} {word}", *(f"#{word[at : at + 3]}" for at in range(len(word) - 2))):
            digest = zlib.crc32(feature.encode("utf-8", "replace"))
            # The sign keeps features that share a place from adding up.
            counts[digest % DIMENSIONS] += 1.0 if digest & 0x80000000 else -1.0
        previous = word
    length = math.sqrt(sum(value * value for value in counts))
    return [value / length for value in counts] if length else counts
