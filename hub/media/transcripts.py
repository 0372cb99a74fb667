"""What is asked of a provider that listens, what comes of it, and the texts that are made from that (OpenAI's "Create transcription")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hub.uploads import Upload

#: Forms of an answer that say when something was said.
TIMED = frozenset({"srt", "vtt", "verbose_json"})
#: Two lines of subtitles, and how long they may stand (seconds). A pause of so many seconds begins new ones.
_WIDE, _LONG, _PAUSE = 84, 7.0, 1.0
_ENDS = (".", "!", "?", "。", "！", "？", "…")


@dataclass(slots=True)
class ListenJob:
    """Sound to write down. ``seconds`` is how long it takes, as far as that can be told before.

    ``form`` is json, text, srt, verbose_json, vtt or diarized_json; ``english`` wants it in English, whatever is spoken;
    ``marks`` holds word, segment or both, for times in verbose_json; ``stream`` wants the text while it is heard.
    """

    file: Upload
    seconds: float
    form: str = "json"
    english: bool = False
    language: str = ""
    prompt: str = ""
    temperature: float | None = None
    marks: Sequence[str] = ()
    stream: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def timed(self) -> bool:
        """Whether the answer must say when something was said."""
        return self.form in TIMED or self.speakers

    @property
    def speakers(self) -> bool:
        """Whether the answer must say who spoke."""
        return self.form == "diarized_json"


@dataclass(slots=True)
class Said:
    """A word or a stretch of speech, from ``start`` to ``end`` in seconds. ``speaker`` is empty where nobody told speakers apart."""

    start: float
    end: float
    text: str
    speaker: str = ""


@dataclass(slots=True)
class Transcript:
    """What was said. ``language`` and ``seconds`` are empty and 0 where the provider does not say them.

    ``body`` is the provider's own answer where it is of OpenAI's shape and of the form that was asked for (D20).
    """

    text: str
    language: str = ""
    seconds: float = 0.0
    words: list[Said] = field(default_factory=list[Said])
    segments: list[Said] = field(default_factory=list[Said])
    body: bytes = b""

    @property
    def timed(self) -> bool:
        """Whether it says when something was said. Silence needs no times."""
        return bool(self.segments or self.words) or not self.text.strip()

    def cues(self) -> list[Said]:
        """The stretches of speech; made from the words where the provider gives those alone."""
        return self.segments or joined(self.words)


def joined(words: Iterable[Said]) -> list[Said]:
    """Words as stretches to read at a glance: none is long, none goes past a pause, a sentence or a change of speaker."""
    found: list[Said] = []
    for word in words:
        last = found[-1] if found else None
        if last is None or _parted(last, word):
            found.append(Said(word.start, word.end, word.text.strip(), word.speaker))
        else:
            last.text, last.end = f"{last.text} {word.text.strip()}".strip(), max(last.end, word.end)
    return [one for one in found if one.text]


def _parted(last: Said, word: Said) -> bool:
    """Whether a word begins a stretch of its own."""
    return (
        len(last.text) + len(word.text) >= _WIDE
        or word.end - last.start > _LONG
        or word.start - last.end >= _PAUSE
        or word.speaker != last.speaker
        or last.text.endswith(_ENDS)
    )


def srt(cues: Iterable[Said]) -> str:
    """SubRip: numbered stretches, times with a comma, an empty line between two."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(_end(cue), ',')}\n{_lines(cue.text)}\n\n" for number, cue in enumerate(cues, 1)
    )


def vtt(cues: Iterable[Said]) -> str:
    """WebVTT (W3C, section 4.1): its text may hold neither ``-->`` nor the signs of markup."""
    return "WEBVTT\n\n" + "".join(
        f"{_clock(cue.start, '.')} --> {_clock(_end(cue), '.')}\n{_marked(cue)}{_plain(_lines(cue.text))}\n\n" for cue in cues
    )


def _marked(cue: Said) -> str:
    return f"<v {_plain(' '.join(cue.speaker.split()))}>" if cue.speaker else ""


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _end(cue: Said) -> float:
    """No stretch ends before it begins."""
    return max(cue.start, cue.end)


def _lines(text: str) -> str:
    """A stretch's text without empty lines, which would end it."""
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _clock(seconds: float, point: str) -> str:
    """``00:00:00,000``, rounded to the nearest thousandth."""
    whole, thousandths = divmod(round(max(0.0, seconds) * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}{point}{thousandths:03d}"
