"""What the formats of speech share: sound passes on as it comes, and is charged by what was said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.errors import BadRequest, UpstreamFailed
from hub.media.order import Made
from hub.media.reading import content_type
from hub.units import Units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from hub.media.jobs import SpeechJob
    from hub.media.order import Line
    from hub.outbound.base import Incoming, Outgoing

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


async def spoken(job: SpeechJob, outgoing: Outgoing, line: Line, *, dropped: list[str]) -> Made[str]:
    """The provider's sound on its way; the value is its content type. Raises UpstreamFailed for an answer that is no sound (REL-03)."""
    incoming = await line.open(outgoing, most=_MOST)
    kind = content_type(incoming).partition(";")[0].strip().lower()
    if not kind.startswith("audio/") and kind not in ("application/octet-stream", "binary/octet-stream", ""):
        await incoming.close()
        raise UpstreamFailed(f"the provider answered with {kind[:80]} instead of sound", code="malformed_answer")
    units = Units(characters=len(job.text), seconds_out=len(job.text) / _PACE)
    said = content_type(incoming) if kind.startswith("audio/") else _TYPES[job.form]
    return Made(said, units=units, dropped=dropped, body=_pieces(incoming))


def named(job: SpeechJob, forms: Mapping[str, str], who: str) -> str:
    """What a format calls the form that is wanted. Raises BadRequest where it has none such."""
    if job.form not in forms:
        raise BadRequest(f"{who} does not speak {job.form}; it has {', '.join(forms)}", field="response_format")
    return forms[job.form]


async def _pieces(incoming: Incoming) -> AsyncIterator[bytes]:
    try:
        async for piece in incoming:
            yield piece
    finally:
        await incoming.close()
