"""rtk: output of commands and tools without noise, by filters that know the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.compression import output
from hub.compression.protected import fenced
from hub.compression.technique import Shortened, Technique

if TYPE_CHECKING:
    from hub.compression.technique import Options, Piece


def _piece(text: str, piece: Piece, options: Options) -> Shortened:
    rtk = options.settings.rtk_config
    if not rtk.enabled:
        return Shortened(text)
    if piece.result:
        if not rtk.apply_to_tool_results or output.verbatim(piece):
            return Shortened(text)
        return output.shortened(text, piece, options)[0]
    wanted = (piece.role == "user" and rtk.apply_to_code_blocks) or (piece.role == "assistant" and rtk.apply_to_assistant_messages)
    return _blocks(text, piece, options) if wanted and "```" in text else Shortened(text)


def _blocks(text: str, piece: Piece, options: Options) -> Shortened:
    """The fenced blocks of a message that a filter knows."""
    made = Shortened(text)

    def work(block: str) -> str:
        ending = "\n" if block.endswith("\n") else ""
        found, _ = output.shortened(block.removesuffix("\n"), piece, options, known_only=True)
        made.rules += [rule for rule in found.rules if rule not in made.rules]
        made.gone = made.gone or found.gone
        return found.text + ending

    made.text = fenced(text, work)
    return made


RTK = Technique("rtk", "Output of commands and tools without noise", ("minimal", "standard", "aggressive"), piece=_piece)
