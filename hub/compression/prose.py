"""Prose made shorter by the rules of its language; code, data, names and quotations in it stay (see :mod:`hub.compression.protected`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.compression import packs, protected
from hub.compression.expressions import safe
from hub.compression.lines import has_note
from hub.compression.technique import TAG, Shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.compression.technique import Options, Piece

#: Roles that count as one whose words the settings name.
_SPEAKERS = {"developer": "system"}


def concerned(text: str, piece: Piece, options: Options) -> bool:
    """Whether a text is prose of somebody whose words are to be shortened, and was not cut down before."""
    config = options.settings.caveman_config
    speaker = _SPEAKERS.get(piece.role, piece.role)
    if piece.result or speaker not in config.compress_roles or len(text) < config.min_message_length:
        return False
    return not text.startswith(TAG) and not has_note(text)


def shortened(text: str, piece: Piece, options: Options, intensity: str, also: Callable[[str], str] | None = None) -> Shortened:
    """The text by the rules of an intensity, then by ``also`` on its prose. In a language without a pack it stays as it is."""
    config = options.settings.caveman_config
    language = packs.language_of(text, options.packs)
    if not language:
        return Shortened(text)
    speaker = _SPEAKERS.get(piece.role, piece.role)
    rules = packs.chosen(language, intensity, speaker, config.skip_rules)
    used: list[str] = []

    def work(prose: str) -> str:
        made, by = packs.applied(prose, rules)
        used.extend(by)
        return also(made) if also is not None else made

    patterns = [safe(pattern, "preservePatterns") for pattern in config.preserve_patterns]
    made, kept, sound = protected.shortened(text, patterns, work)
    if not made.strip():
        return Shortened(text, kept=kept)
    return Shortened(made, list(dict.fromkeys(used)), kept=kept, fallback=not sound)
