"""Vendors that write down sound: each refuses what its real API would, so that a wrong request fails the test."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import TYPE_CHECKING, Any, cast

import orjson

from tests.fakes.media import bearer, expect, path_of, strict
from tests.fakes.upstream import Behaviour, json_answer, sse

if TYPE_CHECKING:
    from email.message import Message

    from tests.fakes.upstream import Received

SENTENCES = [(0.0, 1.5, "Hello there."), (2.75, 3.9, "How are you?")]
TEXT = " ".join(text for _, _, text in SENTENCES)
WORDS = [(0.0, 0.6, "Hello"), (0.7, 1.5, "there."), (2.75, 3.0, "How"), (3.05, 3.4, "are"), (3.45, 3.9, "you?")]
SECONDS = 4.0


def wav(seconds: float = SECONDS, rate: int = 8000) -> bytes:
    """Silence, 16 bit, one channel."""
    data = b"\0\0" * round(seconds * rate)
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 4 + len(head) + 8 + len(data)) + b"WAVE" + head + b"data" + struct.pack("<I", len(data)) + data


SOUND = wav()


@dataclass(slots=True)
class Form:
    """A multipart body as an independent parser reads it; ``fields`` in their order."""

    fields: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    files: dict[str, tuple[str, str, bytes]] = field(default_factory=dict[str, tuple[str, str, bytes]])

    def one(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key == name]
        expect(len(found) < 2, f"{name} came twice")
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def only(self, *names: str) -> None:
        unknown = sorted({key for key, _ in self.fields} - set(names))
        expect(not unknown, f"unknown fields: {', '.join(unknown)}", 422)


def form_of(request: Received) -> Form:
    kind = request.headers.get("content-type", "")
    expect(kind.startswith("multipart/form-data"), "a multipart form is needed", 415)
    found = Form()
    message = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + request.body)
    for part in cast("list[Message]", message.get_payload()):
        name, body = str(part.get_param("name", header="content-disposition")), cast("bytes", part.get_payload(decode=True))
        filename = part.get_filename()
        if filename is None:
            found.fields.append((name, body.decode()))
        else:
            found.files[name] = (filename, part.get_content_type(), body)
    return found


def _verbose(form: Form) -> dict[str, Any]:
    marks = form.all("timestamp_granularities[]") or ["segment"]
    answer: dict[str, Any] = {"task": "transcribe", "language": "english", "duration": SECONDS, "text": TEXT}
    if "segment" in marks:
        answer["segments"] = [
            {"id": number, "seek": 0, "start": start, "end": end, "text": f" {text}", "tokens": [1], "temperature": 0.0,
             "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.01}
            for number, (start, end, text) in enumerate(SENTENCES)
        ]  # fmt: skip
    if "word" in marks:
        answer["words"] = [{"word": text, "start": start, "end": end} for start, end, text in WORDS]
    return {**answer, "usage": {"type": "duration", "seconds": 4}}


_TOKENS = {
    "type": "tokens",
    "input_tokens": 40,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 40},
    "output_tokens": 12,
    "total_tokens": 52,
}
_EXTRA = ("include[]", "chunking_strategy", "chunking_strategy[type]", "keywords[]", "known_speaker_names[]", "timestamp_granularities[]")


@strict
def openai(request: Received) -> Behaviour:
    bearer(request)
    form = form_of(request)
    name, kind, body = form.files["file"]
    expect(name.rpartition(".")[2] in ("wav", "mp3", "ogg", "m4a", "webm", "flac"), "unrecognized file format")
    expect(kind.startswith("audio/"), "unrecognized file format")
    expect(body[:4] == b"RIFF", "the file cannot be decoded")
    model, shape = form.one("model") or "", form.one("response_format") or "json"
    if path_of(request) == "/v1/audio/translations":
        form.only("model", "prompt", "response_format", "temperature")
        expect(model == "whisper-1", "this model does not translate")
        return json_answer({**_verbose(Form()), "task": "translate"} if shape == "verbose_json" else {"text": TEXT})
    expect(path_of(request) == "/v1/audio/transcriptions", "no such path", 404)
    form.only("model", "language", "prompt", "response_format", "temperature", "stream", *_EXTRA)
    expect(not form.all("timestamp_granularities[]") or shape == "verbose_json", "timestamp_granularities needs verbose_json")
    if model == "whisper-1":
        expect(shape in ("json", "verbose_json", "text", "srt", "vtt"), "unsupported response_format")
        return json_answer(_verbose(form) if shape == "verbose_json" else {"text": TEXT, "usage": {"type": "duration", "seconds": 4}})
    expect(shape in (("json", "text", "diarized_json") if "diarize" in model else ("json", "text")), "unsupported response_format")
    if form.one("stream") == "true":
        pieces = [{"type": "transcript.text.delta", "delta": word} for word in TEXT.split()]
        done = {"type": "transcript.text.done", "text": TEXT, "usage": _TOKENS}
        return sse([orjson.dumps(one).decode() for one in (*pieces, done)], end=b"")
    if shape == "diarized_json":
        segments = [
            {"type": "transcript.text.segment", "id": f"seg_{at}", "start": start, "end": end, "text": text, "speaker": "AB"[at]}
            for at, (start, end, text) in enumerate(SENTENCES)
        ]
        return json_answer({"task": "transcribe", "duration": SECONDS, "text": TEXT, "segments": segments, "usage": _TOKENS})
    return json_answer({"text": TEXT, "usage": _TOKENS})
