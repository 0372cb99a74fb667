"""caveman: prose without courtesies, filler and long-winded turns, by the rules of its language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.compression import prose
from hub.compression.packs import INTENSITIES
from hub.compression.technique import Shortened, Technique

if TYPE_CHECKING:
    from hub.compression.technique import Options, Piece


def _piece(text: str, piece: Piece, options: Options) -> Shortened:
    config = options.settings.caveman_config
    if not config.enabled or not prose.concerned(text, piece, options):
        return Shortened(text)
    return prose.shortened(text, piece, options, config.intensity)


CAVEMAN = Technique("caveman", "Prose without filler", INTENSITIES, piece=_piece)
