"""What the formats of speech share: sound passes on as it comes, and is charged by what was said."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import TYPE_CHECKING

from hub.errors import BadRequest, UpstreamFailed
from hub.media.order import Made
from hub.media.reading import content_type
from hub.money.units import Units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from hub.chat import Usage
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line
    from hub.outbound.base import Incoming, Outgoing

#: The content type of sound that comes as events (OpenAI's ``stream_format: sse``).
EVENTS = "text/event-stream"
#: The most sound that one answer may be, in bytes.
_MOST = 1024 * 1024 * 1024
#: Characters that are said in a second, as a rule.
_PACE = 15
_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


async def spoken(job: SpeechJob, outgoing: Outgoing, line: Line, *, dropped: list[str], kind: str = "") -> Made[str]:
    """The provider's sound on its way; the value is its content type. Raises UpstreamFailed for an answer that is no sound (REL-03).

    ``kind`` is what it is where the provider does not say and the client left it open.
    """
    incoming = await line.open(outgoing, most=_MOST)
    said = content_type(incoming).partition(";")[0].strip().lower()
    if not said.startswith("audio/") and said not in ("application/octet-stream", "binary/octet-stream", ""):
        await incoming.close()
        raise UpstreamFailed(f"the provider answered with {said[:80]} instead of sound", code="malformed_answer")
    shown = content_type(incoming) if said.startswith("audio/") else kind or _TYPES[job.form or "mp3"]
    return Made(shown, units=units_of(job), dropped=dropped, body=_pieces(incoming))


def whole(job: SpeechJob, sound: bytes, forms: Mapping[str, str], *, usage: Usage | None = None, dropped: Sequence[str] = ()) -> Made[str]:
    """Sound that came as a whole inside another answer. Raises UpstreamFailed when there is none."""
    if not sound:
        raise UpstreamFailed("the provider answered without sound", code="empty_content")
    return Made(_TYPES[job.form or next(iter(forms))], usage=usage, units=units_of(job), dropped=list(dropped), body=_once(sound))


def named(job: SpeechJob, forms: Mapping[str, str], who: str) -> str:
    """What a format calls the form that is wanted, or the first where the client leaves it open. Raises BadRequest for one it lacks."""
    form = job.form or next(iter(forms))
    if form not in forms:
        raise BadRequest(f"{who} does not speak {job.form}; it has {', '.join(forms)}", field="response_format")
    return forms[form]


def unpacked(text: str) -> bytes:
    """Sound that came as base64. Raises UpstreamFailed for anything else (REL-03)."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UpstreamFailed("the provider's sound cannot be read", code="malformed_answer") from error


def wav(samples: bytes, rate: int) -> bytes:
    """Samples of 16 bits and one channel as a WAV file."""
    shape = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    inner = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(inner)) + inner


def units_of(job: SpeechJob) -> Units:
    """What is charged for saying a text."""
    return Units(characters=len(job.text), seconds_out=len(job.text) / _PACE)


async def _once(sound: bytes) -> AsyncIterator[bytes]:
    yield sound


async def _pieces(incoming: Incoming) -> AsyncIterator[bytes]:
    try:
        async for piece in incoming:
            yield piece
    finally:
        await incoming.close()
