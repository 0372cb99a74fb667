"""Speech at Alibaba's Model Studio, told in events. Source: Model Studio documentation, "Speech synthesis - Qwen"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers._failure import classify
from hub.providers.media._address import request
from hub.providers.media._sound import named, unpacked, wav, whole
from hub.sse import SseParser

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"wav": "wav", "pcm": "pcm"}
_KNOWN = ("language_type", "instructions")
_RATE = 24_000


class _Sound(msgspec.Struct):
    data: str = ""


class _Output(msgspec.Struct):
    audio: _Sound | None = None


class _Used(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Event(msgspec.Struct):
    output: _Output | None = None
    usage: _Used | None = None
    code: str = ""


class AlibabaSpeech:
    """``POST /services/aigc/multimodal-generation/generation``; as a stream, since a whole answer is a link to another host."""

    service = "tts"
    name = "alibaba"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request. Raises UpstreamFailed for a stream that holds no sound."""
        form = named(job, _FORMS, target.provider.name)
        if not job.voice:
            raise BadRequest(f"voice: {target.provider.name} needs the name of a voice of its own", field="voice")
        asked: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body = {"model": target.model, "input": {**asked, "text": job.text, "voice": job.voice}}
        path = "/services/aigc/multimodal-generation/generation"
        answer = await line.call(request(target, self.service, path, body, headers=[("x-dashscope-sse", "enable")]))
        samples, usage = _read(answer, line)
        dropped = unsent(job.extra, _KNOWN) + (["speed"] if job.speed is not None else [])
        made = wav(samples, _RATE) if form == "wav" and samples else samples
        return whole(job, made, _FORMS, usage=usage if usage.total else None, dropped=dropped)


def _read(answer: bytes, line: Line) -> tuple[bytes, Usage]:
    """The samples of all events, and the tokens that the last states."""
    parser = SseParser()
    samples: list[bytes] = []
    used = _Used()
    for event in [*parser.feed(answer), *parser.end()]:
        found = decoded(event.data, _Event, "speech")
        if found.code or event.event == "error":
            raise line.refuse(classify(500, [], event.data))
        used = found.usage or used
        if found.output is not None and found.output.audio is not None:
            samples.append(unpacked(found.output.audio.data))
    return b"".join(samples), Usage(input=used.input_tokens, output=used.output_tokens)


ALIBABA = AlibabaSpeech()
