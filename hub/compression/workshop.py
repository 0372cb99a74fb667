"""Everything that shortens, in one place to import: loaded by :mod:`hub.compression.deferred` when something is first to be shortened."""

from __future__ import annotations

from hub.compression import choice, conversation, descriptions, expressions, filters, jsontext, output, packs, technique, terse, trial

__all__ = [
    "choice",
    "conversation",
    "descriptions",
    "expressions",
    "filters",
    "jsontext",
    "output",
    "packs",
    "technique",
    "terse",
    "trial",
    "warm",
]


def warm(languages: tuple[str, ...]) -> None:
    """Load the engines and the rules of some languages, which takes a tenth of a second: in a thread, before the first request."""
    technique.techniques()
    for language in languages:
        if language in packs.rows():
            packs.pack(language)
    packs.language_of("the and of", languages)
