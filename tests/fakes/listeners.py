"""Vendors that write down sound: each refuses what its real API would, so that a wrong request fails the test."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass, field
from email import message_from_bytes
from typing import TYPE_CHECKING, Any, cast

import orjson

from tests.fakes.media import KEY, bearer, expect, only, path_of, query_of, strict
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


# -- the others


@strict
def groq(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) in ("/v1/audio/transcriptions", "/v1/audio/translations"), "no such path", 404)
    form = form_of(request)
    form.only("model", "language", "prompt", "response_format", "temperature", "timestamp_granularities[]")
    expect(form.one("response_format") in ("json", "text", "verbose_json"), "response_format must be json, text or verbose_json")
    return json_answer(_verbose(form) if form.one("response_format") == "verbose_json" else {"text": TEXT})


def _spoken(by: str | None) -> list[dict[str, Any]]:
    return [{"start": start, "end": end, "transcript": text, "speaker": at if by == "true" else None}
            for at, (start, end, text) in enumerate(SENTENCES)]  # fmt: skip


@strict
def deepgram(request: Received) -> Behaviour:
    expect(request.headers.get("authorization") == f"Token {KEY}", "invalid credentials", 401)
    expect(path_of(request) == "/v1/listen", "no such path", 404)
    expect(request.headers["content-type"] == "audio/wav", "the type of the sound is needed")
    expect(request.body == SOUND, "the file cannot be decoded")
    query = query_of(request)
    only(query, "model", "smart_format", "utterances", "diarize", "language", "detect_language", "keyterm")
    expect(not ("language" in query and "detect_language" in query), "language and detect_language exclude each other")
    words = [
        {"word": text.lower().strip(".?"), "punctuated_word": text, "start": start, "end": end, "confidence": 0.9}
        for start, end, text in WORDS
    ]
    channel: dict[str, Any] = {"alternatives": [{"transcript": TEXT, "confidence": 0.9, "words": words}]}
    channel |= {"detected_language": "en", "language_confidence": 0.9} if "detect_language" in query else {}
    results: dict[str, Any] = {"channels": [channel]}
    results |= {"utterances": _spoken(query.get("diarize"))} if query.get("utterances") == "true" else {}
    return json_answer({"metadata": {"request_id": "r", "duration": SECONDS, "channels": 1}, "results": results})


class AssemblyAi:
    """A job that is done at the third look; ``fate`` is how it ends, ``looks`` counts."""

    def __init__(self, fate: str = "completed") -> None:
        self.fate = fate
        self.looks = 0
        self.asked: dict[str, Any] = {}

    def __call__(self, request: Received) -> Behaviour:
        return strict(self._answer)(request)

    def _answer(self, request: Received) -> Behaviour:
        expect(request.headers.get("authorization") == KEY, "Authentication error, API token missing/invalid", 401)
        if path_of(request) == "/v2/upload":
            expect(request.headers["content-type"] == "application/octet-stream", "wrong type")
            expect(request.body == SOUND, "the file cannot be decoded")
            return json_answer({"upload_url": "https://cdn.vendor.example/upload/one"})
        if request.method == "POST":
            expect(path_of(request) == "/v2/transcript", "no such path", 404)
            self.asked = request.json()
            only(self.asked, "audio_url", "speech_models", "language_code", "language_detection", "speaker_labels", "keyterms_prompt")
            expect(self.asked["audio_url"] == "https://cdn.vendor.example/upload/one", "audio_url cannot be reached")
            return json_answer({"id": "job/1", "status": "queued"})
        expect(path_of(request) == "/v2/transcript/job%2F1", "no such job", 404)
        self.looks += 1
        if self.fate == "never" or self.looks < 3:
            return json_answer({"id": "job/1", "status": "processing"})
        if self.fate != "completed":
            return json_answer({"id": "job/1", "status": self.fate, "error": "Transcoding failed. File does not appear to contain audio."})
        words = [{"text": text, "start": round(start * 1000), "end": round(end * 1000), "confidence": 0.9} for start, end, text in WORDS]
        spoken = [
            {"speaker": "AB"[at], "start": round(start * 1000), "end": round(end * 1000), "text": text}
            for at, (start, end, text) in enumerate(SENTENCES)
        ]
        done = {"id": "job/1", "status": "completed", "text": TEXT, "words": words, "audio_duration": 4, "language_code": "en"}
        return json_answer({**done, "utterances": spoken if self.asked.get("speaker_labels") else None})


@strict
def elevenlabs(request: Received) -> Behaviour:
    expect(request.headers.get("xi-api-key") == KEY, "invalid api key", 401)
    expect(path_of(request) == "/v1/speech-to-text", "no such path", 404)
    form = form_of(request)
    form.only("model_id", "tag_audio_events", "timestamps_granularity", "language_code", "temperature", "diarize", "num_speakers")
    expect(form.one("model_id") in ("scribe_v1", "scribe_v2"), "no such model")
    words: list[dict[str, Any]] = []
    for at, (start, end, text) in enumerate(WORDS if form.one("timestamps_granularity") == "word" else ()):
        speaker = {"speaker_id": f"speaker_{at // 2}"} if form.one("diarize") == "true" else {}
        words += [
            {"text": text, "start": start, "end": end, "type": "word", **speaker},
            {"text": " ", "start": end, "end": end, "type": "spacing"},
        ]
    return json_answer({"language_code": "eng", "language_probability": 1.0, "text": TEXT, "words": words, "audio_duration_secs": SECONDS})


@strict
def xai(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/stt", "no such path", 404)
    form = form_of(request)
    form.only("language", "format", "diarize", "keyterm")
    expect(form.one("format") is None or form.one("language"), "format needs a language")
    expect(request.body.rindex(b"form-data; name=") == request.body.index(b'form-data; name="file"'), "file must be the last field")
    speaker = {"speaker": 0} if form.one("diarize") else {}
    words = [{"text": text, "start": start, "end": end, **speaker} for start, end, text in WORDS]
    return json_answer({"text": TEXT, "language": "en", "duration": SECONDS, "words": words})


@strict
def mistral(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/audio/transcriptions", "no such path", 404)
    form = form_of(request)
    form.only("model", "language", "temperature", "timestamp_granularities", "diarize", "context_bias", "stream")
    expect(not (form.one("language") and form.all("timestamp_granularities")), "language and timestamp_granularities exclude each other")
    usage = {"prompt_audio_seconds": 4, "prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    if form.one("stream") == "true":
        pieces = [{"type": "transcription.text.delta", "text": word} for word in TEXT.split()]
        done: dict[str, Any] = {"type": "transcription.done", "model": "m", "text": TEXT, "language": "en", "segments": [], "usage": usage}
        return sse(
            [orjson.dumps(one).decode() for one in ({"type": "transcription.language", "audio_language": "en"}, *pieces, done)], end=b""
        )
    marks = form.all("timestamp_granularities")
    speaker = {"speaker_id": "speaker_1"} if form.one("diarize") else {}
    stretches = WORDS if marks == ["word"] else SENTENCES if marks else []
    segments = [{"type": "transcription_segment", "text": text, "start": start, "end": end, **speaker} for start, end, text in stretches]
    return json_answer({"model": "m", "text": TEXT, "language": "en", "segments": segments, "usage": usage})


@strict
def huggingface(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/hf-inference/models/openai/whisper-large-v3", "no such model", 404)
    if request.headers["content-type"].startswith("audio/"):
        expect(request.body == SOUND, "the file cannot be decoded")
        return json_answer({"text": f" {TEXT}"})
    body = request.json()
    expect(base64.b64decode(body["inputs"], validate=True) == SOUND, "the file cannot be decoded")
    stretches = WORDS if body["parameters"] == {"return_timestamps": "word"} else SENTENCES
    chunks = [{"text": f" {text}", "timestamp": [start, end]} for start, end, text in stretches]
    return json_answer({"text": f" {TEXT}", "chunks": chunks})


@strict
def nvidia(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) in ("/v1/audio/transcriptions", "/v1/audio/translations"), "no such path", 404)
    form = form_of(request)
    form.only("language")
    expect(form.one("language"), "language is required")
    expect(form.files["file"][2][:4] == b"RIFF", "the file cannot be decoded")
    return json_answer({"text": f"{TEXT} "})


@strict
def gemini(request: Received) -> Behaviour:
    expect(request.headers.get("x-goog-api-key") == KEY, "API key not valid")
    expect(path_of(request) == "/v1beta/models/gemini-3.5-transcribe:generateContent", "no such path", 404)
    body = request.json()
    only(body, "contents", "generationConfig")
    _, sound = body["contents"][0]["parts"]
    expect(sound["inlineData"]["mimeType"] == "audio/wav", "unsupported type")
    expect(base64.b64decode(sound["inlineData"]["data"], validate=True) == SOUND, "the file cannot be decoded")
    parts = [{"text": "hm", "thought": True}, {"text": f"{TEXT}\n"}]
    usage = {"promptTokenCount": 128, "candidatesTokenCount": 6, "thoughtsTokenCount": 2, "totalTokenCount": 136}
    return json_answer({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}], "usageMetadata": usage})


@strict
def vertex(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v2/projects/mine/locations/us/recognizers/_:recognize", "no such path", 404)
    body = request.json()
    only(body, "config", "content")
    only(body["config"], "autoDecodingConfig", "languageCodes", "model", "features")
    expect(base64.b64decode(body["content"], validate=True) == SOUND, "the file cannot be decoded")
    features = body["config"]["features"]
    timed, speaker = features.get("enableWordTimeOffsets"), {"speakerLabel": "1"} if "diarizationConfig" in features else {}
    words = [{"word": text, "startOffset": f"{start}s", "endOffset": f"{end}s", **speaker} for start, end, text in WORDS] if timed else []
    result = {"alternatives": [{"transcript": TEXT, "confidence": 0.9, "words": words}], "languageCode": "en-US", "resultEndOffset": "4s"}
    return json_answer({"results": [result, {}], "metadata": {"totalBilledDuration": "4s"}})
