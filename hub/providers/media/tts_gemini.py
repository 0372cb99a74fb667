"""Speech by models of Gemini, which make samples without a file around them. Source: Gemini API documentation, "Speech generation"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._sound import named, unpacked, wav, whole

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"wav": "wav", "pcm": "pcm"}
_VOICE = "Kore"
_RATE = re.compile(r"rate=(\d{4,6})")


class _Blob(msgspec.Struct, rename="camel"):
    data: str
    mime_type: str = ""


class _Part(msgspec.Struct, rename="camel"):
    inline_data: _Blob | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str = ""


class _Tokens(msgspec.Struct, rename="camel"):
    prompt_token_count: int = 0
    candidates_token_count: int = 0


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] = []
    usage_metadata: _Tokens | None = None


class GeminiSpeech:
    """``POST /models/{model}:generateContent`` with sound as what is to come of it."""

    service = "tts"
    name = "gemini"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request. Raises UpstreamFailed for an answer without sound."""
        form = named(job, _FORMS, target.provider.name)
        told = job.extra.get("instructions")
        text = f"{told}: {job.text}" if isinstance(told, str) and told else job.text
        voice = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": job.voice or _VOICE}}}
        body: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [{"text": text}]}],
            "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": voice},
        }
        found = decoded(await line.call(request(target, self.service, "/models/{model}:generateContent", body)), _Answer, "speech")
        samples, rate = _samples(found)
        tokens = found.usage_metadata or _Tokens()
        usage = Usage(input=tokens.prompt_token_count, output=tokens.candidates_token_count)
        dropped = unsent(job.extra, ("instructions",)) + (["speed"] if job.speed is not None else [])
        sound = wav(samples, rate) if form == "wav" else samples
        return whole(job, sound, _FORMS, usage=usage if usage.total else None, dropped=dropped)


def _samples(found: _Answer) -> tuple[bytes, int]:
    """The samples, and how many of them are a second."""
    first = found.candidates[0] if found.candidates else _Candidate()
    parts = first.content.parts if first.content is not None else []
    blobs = [part.inline_data for part in parts if part.inline_data is not None]
    if not blobs:
        raise UpstreamFailed(f"the model made no sound ({first.finish_reason[:40] or 'no answer'})", code="empty_content")
    rate = _RATE.search(blobs[0].mime_type)
    return b"".join(unpacked(blob.data) for blob in blobs), int(rate[1]) if rate else 24_000


GEMINI = GeminiSpeech()
