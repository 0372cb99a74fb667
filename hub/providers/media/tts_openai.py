"""Speech as OpenAI has it. Source: OpenAI API reference, "Create speech"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import UpstreamFailed
from hub.media.order import Made
from hub.providers.media._address import request
from hub.providers.media._hearing import Telling
from hub.providers.media._sound import EVENTS, spoken, units_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import SpeechJob
    from hub.media.order import Line
    from hub.providers.base import Target


_DONE = "speech.audio.done"


class OpenAiSpeech:
    """``POST /audio/speech``."""

    service = "tts"
    name = "openai"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        body: dict[str, Any] = {**job.extra, "model": target.model, "input": job.text, "response_format": job.form or "mp3"}
        if job.voice:
            body["voice"] = job.voice
        if job.speed is not None:
            body["speed"] = job.speed
        row = target.model_row
        if job.events and row is not None and "streaming" in row.caps:
            body["stream_format"] = "sse"
            incoming = await line.open(request(target, self.service, "/audio/speech", body))
            told = Telling(incoming, _read, units_of(job), done=_DONE)
            return Made(EVENTS, units=units_of(job), body=told.pieces(), tally=told.tally)
        return await spoken(job, request(target, self.service, "/audio/speech", body), line, dropped=[])


def _read(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The provider's events are OpenAI's already; an error among them ends it."""
    if event.get("type") == "error" or "error" in event:
        raise UpstreamFailed("the provider broke the sound off with an error", code="stream_error")
    return [dict(event)] if event.get("type") in ("speech.audio.delta", _DONE) else []


OPENAI = OpenAiSpeech()
