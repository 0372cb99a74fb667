"""Speech at Xiaomi's MiMo: a chat whose answer is said aloud. Source: Xiaomi MiMo documentation, "Speech synthesis"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._sound import named, unpacked, whole

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"mp3": "mp3", "wav": "wav", "pcm": "pcm16"}


class _Sound(msgspec.Struct):
    data: str


class _Message(msgspec.Struct):
    audio: _Sound | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Tokens(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    usage: _Tokens | None = None


class MimoSpeech:
    """``POST /chat/completions``: the assistant's message is what is said, the user's how."""

    service = "tts"
    name = "xiaomi-mimo-tts"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request. Raises UpstreamFailed for an answer without sound."""
        sound: dict[str, Any] = {"format": named(job, _FORMS, target.provider.name)}
        sound |= {"voice": job.voice} if job.voice else {}
        told = job.extra.get("instructions")
        messages = [{"role": "user", "content": told}] if isinstance(told, str) and told else []
        messages.append({"role": "assistant", "content": job.text})
        body = {"model": target.model, "messages": messages, "audio": sound}
        found = decoded(await line.call(request(target, self.service, "/chat/completions", body)), _Answer, "speech")
        made = found.choices[0].message.audio if found.choices else None
        if made is None:
            raise UpstreamFailed("the model made no sound", code="empty_content")
        tokens = found.usage or _Tokens()
        usage = Usage(input=tokens.prompt_tokens, output=tokens.completion_tokens)
        dropped = unsent(job.extra, ("instructions",)) + (["speed"] if job.speed is not None else [])
        return whole(job, unpacked(made.data), _FORMS, usage=usage if usage.total else None, dropped=dropped)


MIMO = MimoSpeech()
