"""Subtitles from words and stretches, and how long a sound is by its file."""

from __future__ import annotations

import base64
import json
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.media.length import length
from hub.media.transcripts import Said, Transcript, joined, srt, vtt
from hub.providers.media._hearing import Inlined, filename
from hub.uploads import Upload
from tests.fakes.listeners import WORDS, wav

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

_TIMES = st.floats(0, 200_000, allow_nan=False)
_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)
_CUES = st.lists(st.builds(Said, _TIMES, _TIMES, _TEXTS, st.sampled_from(["", "A", "<b>"])), max_size=8)
_CUE = re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3}) --> (\d{2,}):([0-5]\d):([0-5]\d)[,.](\d{3})")


def test_times_are_rounded_to_thousandths() -> None:
    assert srt([Said(0.0005, 59.9996, "a"), Said(3599.9999, 360_000.25, "b\n\nc ")]) == (
        "1\n00:00:00,000 --> 00:01:00,000\na\n\n2\n01:00:00,000 --> 100:00:00,250\nb\nc\n\n"
    )


def test_markup_is_text() -> None:
    """WebVTT would take it for markup, or for the next cue."""
    assert vtt([Said(0, 1, "1 < 2 --> <b>x</b> & y", "A & B")]) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n<v A &amp; B>1 &lt; 2 --&gt; &lt;b&gt;x&lt;/b&gt; &amp; y\n\n"
    )


@given(cues=_CUES)
def test_every_cue_is_read_again(cues: list[Said]) -> None:
    """As many as were written, none that ends before it begins, whatever the texts hold."""
    for text in (srt(cues), vtt(cues)):
        found = _CUE.findall(text) if text.startswith("WEBVTT") else _CUE.findall("\n".join(text.split("\n")))
        times = [(_seconds(one[:4]), _seconds(one[4:])) for one in found]
        assert all(start <= end for start, end in times)
        assert len([line for line in text.splitlines() if _CUE.fullmatch(line)]) >= len(cues)
    assert vtt(cues).count("-->") == len(cues)


def _seconds(parts: Any) -> float:
    hours, minutes, seconds, thousandths = map(int, parts)
    return hours * 3600 + minutes * 60 + seconds + thousandths / 1000


def test_words_become_stretches() -> None:
    """Past a sentence, a pause, a speaker, or what two lines hold, a new one begins; no word is lost."""
    words = [Said(start, end, text) for start, end, text in WORDS]
    assert [(one.start, one.end, one.text) for one in joined(words)] == [(0.0, 1.5, "Hello there."), (2.75, 3.9, "How are you?")]
    assert [one.speaker for one in joined([Said(0, 1, "a", "A"), Said(1, 2, "b", "B")])] == ["A", "B"]
    many = [Said(at / 4, at / 4 + 0.2, f"word{at}") for at in range(200)]
    found = joined(many)
    assert " ".join(one.text for one in found).split() == [one.text for one in many]
    assert max(len(one.text) for one in found) <= 100
    assert max(one.end - one.start for one in found) <= 7.5
    assert joined([Said(0, 1, " ")]) == []


def test_silence_needs_no_times() -> None:
    assert Transcript(" ").timed
    assert not Transcript("words").timed
    assert Transcript("words", words=[Said(0, 1, "words")]).timed


async def _length(data: bytes, name: str = "a.wav") -> tuple[float, float]:
    found = await length(Upload(name, "", len(data), data))
    return found.usual, found.most


async def test_a_wav_file_says_how_long_it_is() -> None:
    """Also with other chunks before the sound, and with a size that its writer did not know."""
    assert await _length(wav(2.5)) == (2.5, 2.5)
    plain = wav(2.5)
    listed = plain[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + plain[12:]
    assert await _length(listed) == (2.5, 2.5)
    piped = plain[:40] + b"\xff\xff\xff\xff" + plain[44:]
    assert await _length(piped) == (2.5, 2.5)
    unknown = plain[:40] + b"\0\0\0\0" + plain[44:]
    assert await _length(unknown) == (2.5, 2.5)


async def test_other_files_are_judged_by_their_size() -> None:
    """A guess, and a bound that no usual encoder passes."""
    usual, most = await _length(b"ID3" + bytes(2_999_997))
    assert (usual, most) == (750.0, 4000.0)
    assert await _length(wav(1.0)[:30]) == (30 / 4000, 30 / 750)


@given(data=st.binary(max_size=200))
async def test_no_file_breaks_it(data: bytes) -> None:
    for head in (b"", wav(0.1)[:36], wav(0.1)[:20]):
        usual, most = await _length(head + data)
        assert 0 <= usual <= most


@given(size=st.integers(0, 2_000), cut=st.integers(1, 700))
async def test_a_file_inside_json(size: int, cut: int) -> None:
    """Base64 that is made a piece at a time is what it would be at once, and as long as it says."""
    data = bytes(number % 256 for number in range(size))

    class Pieces(Upload):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for start in range(0, len(self.data), cut):
                yield self.data[start : start + cut]

    body = Inlined({"a": 'x"y', "data": Inlined.HERE, "z": 1}, Pieces("f", "", size, data))
    for _ in range(2):
        whole = b"".join([piece async for piece in body])
        assert len(whole) == len(body)
        assert json.loads(whole) == {"a": 'x"y', "data": base64.b64encode(data).decode(), "z": 1}


@pytest.mark.parametrize(
    ("name", "kind", "data", "want"),
    [
        ("talk.ogg", "", b"", "talk.ogg"),
        ("file", "audio/mpeg", b"", "file.mp3"),
        ("file", "audio/x-m4a", b"", "file.m4a"),
        ("", "", b"fLaC", "audio.flac"),
        ("blob", "application/octet-stream", b"RIFF", "blob.wav"),
    ],
)
def test_a_file_has_an_ending(name: str, kind: str, data: bytes, want: str) -> None:
    """Vendors go by it."""
    assert filename(Upload(name, kind, len(data), data)) == want
