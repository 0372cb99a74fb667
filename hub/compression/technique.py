"""What a technique of compression is: a name and two pure functions, one for single texts and one for whole turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from hub.registry import load

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hub.chat import Message
    from hub.compression.filters import Filters
    from hub.compression.settings import CompressionSettings

#: How a text begins that was cut down to its gist, and a line that says what was left out. Neither is shortened again.
TAG, NOTE = "[COMPRESSED:", "[hub: "


@dataclass(frozen=True, slots=True)
class Piece:
    """Where a text stands: whose it is, whether it is a tool's result, of which tool and command, and whether the tool failed."""

    role: str
    result: bool = False
    tool: str = ""
    command: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """What techniques go by: the settings in force for this step, the filters for output, and whether the model sees pictures.

    ``sees`` is None where nobody knows. ``pointer`` names the place where the whole of a text is kept, empty for none; it is told
    whether the text speaks of a failure.
    """

    settings: CompressionSettings
    filters: Filters
    packs: tuple[str, ...] = ("en",)
    sees: bool | None = None
    pointer: Callable[[str, bool], str] | None = None


@dataclass(slots=True)
class Shortened:
    """A text made shorter, by which ``rules``; ``kept`` spans stayed untouched, ``gone`` says that something of it was left out.

    ``fallback`` says that the outcome was not sound, and the text therefore stayed as it was.
    """

    text: str
    rules: list[str] = field(default_factory=list[str])
    kept: int = 0
    gone: bool = False
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Technique:
    """One engine. ``piece`` shortens a text, ``turns`` looks at whole messages, of which the first ``locked`` must stay.

    Both give back what they got where there is nothing to do, and what they make is never longer.
    """

    name: str
    summary: str
    intensities: tuple[str, ...] = ()
    piece: Callable[[str, Piece, Options], Shortened] | None = None
    turns: Callable[[Sequence[Message], int, Options], Sequence[Message]] | None = None


@cache
def techniques() -> Mapping[str, Technique]:
    """Every technique by name; loaded when the first request is compressed."""
    return load("hub.compression.techniques", Technique, lambda made: made.name)
