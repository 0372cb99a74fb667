"""Speech at MiniMax, which answers in hexadecimal. Source: MiniMax API reference, "T2A v2"."""

from __future__ import annotations

import binascii
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, UpstreamFailed
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers.base import Failure, FailureKind
from hub.providers.media._address import request
from hub.providers.media._sound import named, whole

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"mp3": "mp3", "wav": "wav", "flac": "flac", "pcm": "pcm"}
_KNOWN = ("language_boost", "pronunciation_dict", "timber_weights", "voice_modify", "voice_setting", "audio_setting")
#: What the numbers inside an answer of status 200 mean; others are faults of the service.
_KINDS = {
    1002: (FailureKind.RATE, 429), 1004: (FailureKind.AUTH, 401), 1008: (FailureKind.CREDIT, 402), 1039: (FailureKind.RATE, 429),
    1026: (FailureKind.CALLER, 400), 1042: (FailureKind.CALLER, 400), 2013: (FailureKind.CALLER, 400), 2049: (FailureKind.AUTH, 401),
}  # fmt: skip


class _State(msgspec.Struct):
    status_code: int = 0
    status_msg: str = ""


class _Data(msgspec.Struct):
    audio: str = ""


class _Answer(msgspec.Struct):
    base_resp: _State
    data: _Data | None = None


class MinimaxSpeech:
    """``POST /v1/t2a_v2``."""

    service = "tts"
    name = "minimax"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request."""
        if not job.voice:
            raise BadRequest(f"voice: {target.provider.name} needs the id of a voice of its own", field="voice")
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body["voice_setting"] = {**(body.get("voice_setting") or {}), "voice_id": job.voice, "speed": job.speed or 1.0}
        body["audio_setting"] = {**(body.get("audio_setting") or {}), "format": named(job, _FORMS, target.provider.name)}
        body |= {"model": target.model, "text": job.text, "stream": False, "output_format": "hex"}
        found = decoded(await line.call(request(target, self.service, "/t2a_v2", body)), _Answer, "speech")
        if found.base_resp.status_code:
            kind, status = _KINDS.get(found.base_resp.status_code, (FailureKind.SERVER, 502))
            raise line.refuse(Failure(kind, status, found.base_resp.status_msg[:300], code=str(found.base_resp.status_code)))
        try:
            sound = bytes.fromhex(found.data.audio if found.data else "")
        except (binascii.Error, ValueError) as error:
            raise UpstreamFailed("the provider's sound cannot be read", code="malformed_answer") from error
        return whole(job, sound, _FORMS, dropped=unsent(job.extra, _KNOWN))


MINIMAX = MinimaxSpeech()
