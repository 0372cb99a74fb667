"""What can be wrong with a client's file, in words that say what to do."""

from __future__ import annotations

from hub.errors import Conflict

#: Codes of errors that leave the lines to be pasted by hand.
COMMENTED = "commented_config"
BY_HAND = "edit_by_hand"


class Malformed(Conflict):
    """A file is not what its name says; ``line`` and ``column`` count from one."""

    def __init__(self, line: int, column: int, words: str) -> None:
        super().__init__(f"line {line}, column {column}: {words}; mend it first, nothing was changed", code="malformed_config")
        self.line = line
        self.column = column


def not_an_object(path: str) -> Conflict:
    """The error for a value that must hold others and does not."""
    return Conflict(f"{path or 'the document'} is not an object, so nothing can be put into it; mend it first", code="malformed_config")


def by_hand(words: str) -> Conflict:
    """The error for a file that is fine but that this program does not edit."""
    return Conflict(f"{words}; paste the lines by hand", code=BY_HAND)
