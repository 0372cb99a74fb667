"""Vendors that say texts aloud: each refuses what its real API would, so that a wrong request fails the test."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from tests.fakes.listeners import form_of
from tests.fakes.media import KEY, SOUND, bearer, expect, only, path_of, sound, strict
from tests.fakes.upstream import Behaviour, json_answer, sse

if TYPE_CHECKING:
    from tests.fakes.upstream import Received

WHOLE = b"".join(SOUND)
PACKED = base64.b64encode(WHOLE).decode()
TEXT = "Hello there"


@strict
def openai(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/audio/speech", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "voice", "response_format", "speed", "instructions", "stream_format")
    expect(body["voice"], "voice is required")
    if body.get("stream_format") == "sse":
        usage = {"input_tokens": 5, "output_tokens": 30, "total_tokens": 35}
        told: list[dict[str, Any]] = [{"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()} for piece in SOUND]
        return sse([orjson.dumps(one).decode() for one in (*told, {"type": "speech.audio.done", "usage": usage})], end=b"")
    return sound("audio/wav" if body["response_format"] == "wav" else "audio/mpeg")


@strict
def groq(request: Received) -> Behaviour:
    expect(request.json()["response_format"] == "wav", "response_format must be wav")
    return openai(request)


@strict
def azure(request: Received) -> Behaviour:
    expect(request.headers.get("api-key") == KEY, "invalid key", 401)
    expect(request.target == "/openai/v1/audio/speech", "no such path", 404)
    expect(request.json()["model"] == "tts-1", "no such deployment", 404)
    return sound()


@strict
def minimax(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/t2a_v2", "no such path", 404)
    body = request.json()
    only(body, "model", "text", "stream", "output_format", "voice_setting", "audio_setting", "language_boost")
    only(body["voice_setting"], "voice_id", "speed", "vol", "pitch", "emotion")
    if body["voice_setting"]["voice_id"] == "nobody":
        return json_answer({"data": None, "base_resp": {"status_code": 2013, "status_msg": "invalid params, voice_id"}})
    data = {"audio": WHOLE.hex(), "status": 2}
    return json_answer({"data": data, "extra_info": {"usage_characters": 11}, "base_resp": {"status_code": 0, "status_msg": "success"}})


@strict
def mistral(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/audio/speech", "no such path", 404)
    body = request.json()
    only(body, "model", "input", "voice_id", "response_format", "stream", "ref_audio")
    return json_answer({"audio_data": PACKED})


def _blob(form: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": f"audio/L16;codec=pcm;rate={form}", "data": PACKED}}


@strict
def gemini(request: Received) -> Behaviour:
    expect(request.headers.get("x-goog-api-key") == KEY, "API key not valid")
    expect(path_of(request) == "/v1beta/models/gemini-3.8-flash-tts:generateContent", "no such path", 404)
    body = request.json()
    only(body, "contents", "generationConfig")
    config = body["generationConfig"]
    expect(config["responseModalities"] == ["AUDIO"], "this model makes sound alone")
    expect(config["speechConfig"]["voiceConfig"]["prebuiltVoiceConfig"]["voiceName"] == "alloy", "no such voice")
    content = {"role": "model", "parts": [_blob("24000")]}
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 50, "totalTokenCount": 53}
    return json_answer({"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage})


@strict
def nvidia(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/audio/synthesize", "no such path", 404)
    form = form_of(request)
    form.only("text", "language", "voice", "sample_rate_hz")
    expect(form.one("text") == TEXT and form.one("language") == "en-US", "text and language are required")
    return sound("audio/wav")


@strict
def hyperbolic(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/audio/generation", "no such path", 404)
    only(request.json(), "text", "speaker", "language", "speed")
    return json_answer({"audio": PACKED})


@strict
def huggingface(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/hf-inference/models/facebook/mms-tts-eng", "no such model", 404)
    only(request.json(), "inputs", "parameters")
    return sound("audio/flac")


@strict
def vertex(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/text:synthesize", "no such path", 404)
    body = request.json()
    only(body, "input", "voice", "audioConfig")
    expect(body["voice"] == {"languageCode": "en-US", "name": "alloy"}, "no such voice")
    return json_answer({"audioContent": PACKED})


@strict
def alibaba(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/api/v1/services/aigc/multimodal-generation/generation", "no such path", 404)
    expect(request.headers.get("x-dashscope-sse") == "enable", "a stream is needed")
    body = request.json()
    only(body, "model", "input")
    only(body["input"], "text", "voice", "language_type", "instructions")
    told: list[dict[str, Any]] = [{"output": {"audio": {"data": base64.b64encode(one).decode()}, "finish_reason": "null"}} for one in SOUND]
    last = {
        "output": {"audio": {"data": "", "url": "http://elsewhere.example/a.wav"}, "finish_reason": "stop"},
        "usage": {"characters": 11},
    }
    return sse([orjson.dumps(one).decode() for one in (*told, last)], end=b"")


@strict
def mimo(request: Received) -> Behaviour:
    bearer(request)
    expect(path_of(request) == "/v1/chat/completions", "no such path", 404)
    body = request.json()
    only(body, "model", "messages", "audio")
    expect(body["messages"][-1] == {"role": "assistant", "content": TEXT}, "the last message must be the assistant's")
    expect(body["audio"]["format"] in ("wav", "mp3", "pcm16"), "no such format")
    message = {"role": "assistant", "content": "", "audio": {"id": "a", "data": PACKED}}
    return json_answer(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 4, "completion_tokens": 20}}
    )


@strict
def playht(request: Received) -> Behaviour:
    expect(request.headers.get("authorization") == f"Bearer {KEY}", "invalid key", 401)
    expect(request.headers.get("x-user-id") == "me", "X-USER-ID is required", 401)
    expect(path_of(request) == "/api/v2/tts/stream", "no such path", 404)
    body = request.json()
    only(body, "text", "voice", "voice_engine", "output_format", "speed", "quality")
    return sound()


@strict
def inworld(request: Received) -> Behaviour:
    expect(request.headers.get("authorization") == f"Basic {KEY}", "invalid key", 401)
    expect(path_of(request) == "/tts/v1/voice", "no such path", 404)
    body = request.json()
    only(body, "text", "voiceId", "modelId", "audioConfig", "temperature")
    return json_answer({"audioContent": PACKED, "usage": {"processedCharactersCount": 11}})


@strict
def polly(request: Received) -> Behaviour:
    signed = request.headers.get("authorization", "")
    expect(signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") and "/eu-west-1/polly/aws4_request" in signed, "not signed", 403)
    expect(KEY not in signed, "the secret key itself was sent", 403)
    expect(path_of(request) == "/v1/speech", "no such path", 404)
    body = request.json()
    only(body, "Engine", "OutputFormat", "Text", "VoiceId", "SampleRate", "LanguageCode")
    expect((body["Engine"], body["OutputFormat"]) == ("neural", "mp3"), "no such engine")
    return sound()


@strict
def coqui(request: Received) -> Behaviour:
    expect(path_of(request) == "/api/tts", "no such path", 404)
    expect(request.headers["content-type"] == "application/x-www-form-urlencoded", "a form is needed")
    expect(dict(parse_qsl(request.body.decode())) == {"text": TEXT, "speaker_id": "alloy"}, "text is required")
    return sound("audio/wav")


@strict
def tortoise(request: Received) -> Behaviour:
    expect(path_of(request) == "/api/tts", "no such path", 404)
    only(request.json(), "text", "voice", "preset", "seed")
    return sound("audio/wav")
