"""Transcription: sound written down, in the form that is wanted whatever the provider gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BeforeValidator, Field, field_validator

from hub.context import Context
from hub.errors import BadRequest
from hub.media.length import length
from hub.media.order import Delivered, Order
from hub.media.transcripts import ListenJob, Said, Transcript, srt, vtt
from hub.money.units import Units
from hub.skill import Answer, Audit, CostClass, Flow, Rest, skill
from hub.uploads import Upload, UploadField
from skills._media import MediaAsk, addressed, told

_FORM = "max_upload_mb"
_JSON, _TEXT, _EVENTS = "application/json", "text/plain; charset=utf-8", "text/event-stream"


def _list(value: Any) -> Any:
    """A list that a form gave as one text."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class ListenAsk(MediaAsk, ABC):
    """The sound, and how it is to be written down."""

    file: UploadField = Field(description="The sound: mp3, wav, m4a, flac, ogg, webm and what else the provider reads.")
    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    prompt: str = Field(default="", max_length=10_000, description="Words that are likely to be said, or what was said before.")
    temperature: float | None = Field(default=None, ge=0, le=1, description="How freely the model guesses.")

    @field_validator("file")
    @classmethod
    def _something(cls, file: Upload) -> Upload:
        if not file.size:
            raise ValueError("the file is empty; send one with sound in it")
        return file

    @abstractmethod
    def job(self, seconds: float) -> ListenJob:
        """What a format is asked for."""


class TranscriptionAsk(ListenAsk):
    """The sound, and how it is to be written down. Fields that are not named here go to providers that know them."""

    language: str = Field(
        default="", max_length=35, description="The language that is spoken (en, de, pt-BR); the model finds out without."
    )
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = Field(
        default="json", description="The form of the answer. srt, vtt and verbose_json say when, diarized_json also who."
    )
    timestamp_granularities: Annotated[list[Literal["word", "segment"]], BeforeValidator(_list)] = Field(
        default=[], max_length=2, description="Times of words, of segments or of both, for verbose_json."
    )
    include: Annotated[list[Literal["logprobs"]], BeforeValidator(_list)] = Field(
        default=[], max_length=1, description="logprobs: how sure the model is, where its provider says it."
    )
    chunking_strategy: str | dict[str, Any] | None = Field(
        default=None, description='How the sound is cut: "auto", or {type: server_vad, ...}; for providers that know it.'
    )
    stream: bool = Field(default=False, description="Answer in events, while it is heard where the model can.")

    def job(self, seconds: float) -> ListenJob:
        """What a format is asked for. Raises BadRequest for a stream of what is no text."""
        if self.stream and self.response_format in ("srt", "vtt", "verbose_json"):
            raise BadRequest(
                f"response_format: {self.response_format} does not come as a stream; use json or text", field="response_format"
            )
        extra = self.others()
        if self.include:
            extra["include"] = self.include
        if self.chunking_strategy:
            extra["chunking_strategy"] = self.chunking_strategy
        return ListenJob(
            self.file,
            seconds,
            self.response_format,
            language=self.language,
            prompt=self.prompt,
            temperature=self.temperature,
            marks=self.timestamp_granularities,
            stream=self.stream,
            extra=extra,
        )


class TranslationAsk(ListenAsk):
    """The sound that is to be written down in English."""

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = Field(default="json", description="The form of the answer.")

    def job(self, seconds: float) -> ListenJob:
        """What a format is asked for."""
        return ListenJob(
            self.file,
            seconds,
            self.response_format,
            english=True,
            prompt=self.prompt,
            temperature=self.temperature,
            extra=self.others(),
        )


@dataclass(slots=True)
class Heard:
    """What was heard, and the job that it was heard for."""

    delivered: Delivered[Transcript]
    job: ListenJob


def _shown(heard: Heard) -> Answer | Flow:
    """The answer in the form that was asked for."""
    found, job = heard.delivered.value, heard.job
    if heard.delivered.body is not None:
        return Flow(heard.delivered.body, _EVENTS)
    if job.stream:
        return Answer(b"".join(_events(heard)), _EVENTS)
    if job.form == "text":
        return Answer(f"{found.text.strip()}\n".encode(), _TEXT)
    if job.form == "srt":
        return Answer(srt(found.cues()).encode(), _TEXT)
    if job.form == "vtt":
        return Answer(vtt(found.cues()).encode(), "text/vtt; charset=utf-8")
    return Answer(found.body or orjson.dumps(_tree(heard)), _JSON)


def _tree(heard: Heard) -> dict[str, Any]:
    """A transcript in OpenAI's shape; what the provider does not say is left out."""
    found, job = heard.delivered.value, heard.job
    tree: dict[str, Any] = {"text": found.text, "task": "translate" if job.english else "transcribe"}
    if found.language:
        tree["language"] = found.language
    if found.seconds:
        tree["duration"] = round(found.seconds, 3)
    if job.speakers:
        tree["segments"] = [_spoken(number, one) for number, one in enumerate(found.cues())]
    elif job.timed:
        tree |= _times(found, job)
    return {**tree, "usage": _usage(heard)}


def _times(found: Transcript, job: ListenJob) -> dict[str, Any]:
    marks = job.marks or ("segment",)
    times: dict[str, Any] = {}
    if "segment" in marks:
        times["segments"] = [
            {"id": number, "start": one.start, "end": one.end, "text": one.text, "tokens": []} for number, one in enumerate(found.cues())
        ]
    if "word" in marks:
        times["words"] = [{"word": one.text, "start": one.start, "end": one.end} for one in found.words]
    return times


def _spoken(number: int, one: Said) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{number}",
        "start": one.start,
        "end": one.end,
        "text": one.text,
        "speaker": one.speaker,
    }


def _usage(heard: Heard) -> dict[str, Any]:
    usage = heard.delivered.usage
    if usage.total and not usage.estimated:
        counts = {"input_tokens": usage.prompt, "output_tokens": usage.output, "total_tokens": usage.total}
        return {"type": "tokens", **counts}
    return {"type": "duration", "seconds": round(heard.delivered.units.seconds_in, 3)}


def _events(heard: Heard) -> list[bytes]:
    """A transcript that came as a whole, as the events of a stream."""
    found = heard.delivered.value
    segments = [_spoken(number, one) for number, one in enumerate(found.cues())] if heard.job.speakers else []
    usage = _usage(heard)
    done = {"type": "transcript.text.done", "text": found.text, **({"usage": usage} if usage["type"] == "tokens" else {})}
    events = [{"type": "transcript.text.delta", "delta": found.text}, *segments, done]
    return [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]


def _headers(heard: Heard) -> dict[str, str]:
    return told(heard.delivered)


def _addresses(name: str) -> list[Rest]:
    return [
        Rest("POST", path, view=_shown, headers=_headers, form=_FORM)
        for path in (f"/v1/audio/{name}", f"/v1/providers/{{provider}}/audio/{name}")
    ]


async def _listened(ctx: Context, ask: ListenAsk, name: str) -> Heard:
    takes = await length(ask.file)
    job = ask.job(takes.usual)
    model = addressed(ctx, ask.provider, ask.model)
    order = Order("stt", model, job, name, units=Units(seconds_in=takes.most), connection=ctx.connection, stream=job.stream)
    return Heard(await ctx.hub.media.run(order, ctx), job)


@skill("transcription", scopes=["chat"], cost=CostClass.METERED, rest=_addresses("transcriptions"), audit=Audit.NONE)
async def transcription(ctx: Context, ask: TranscriptionAsk) -> Heard:
    """Write down what is said in a sound file, with the model that routing chooses."""
    return await _listened(ctx, ask, "transcription")


@skill("translation", scopes=["chat"], cost=CostClass.METERED, rest=_addresses("translations"), audit=Audit.NONE)
async def translation(ctx: Context, ask: TranslationAsk) -> Heard:
    """Write down in English what is said in a sound file, with the model that routing chooses."""
    return await _listened(ctx, ask, "translation")
