"""Speech in the formats of the other vendors, the sound as events, and a sweep over every row that promises speech or transcription."""

from __future__ import annotations

import base64
import io
import json
import wave
from typing import TYPE_CHECKING, Any

import pytest

from hub.media.engine import Formats
from hub.providers.catalog import Catalog
from tests.fakes import speakers as vendors
from tests.fakes import upstream as faults

if TYPE_CHECKING:
    import httpx

    from tests.fakes.hub import Running
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL = "/v1/audio/speech"
#: Provider, model, vendor, path of its base URL, further fields of its connection, the type of the sound that comes unasked.
EVERYBODY: list[tuple[str, str, Any, str, dict[str, Any], str]] = [
    ("minimax", "speech-2.6-hd", vendors.minimax, "/v1", {}, "audio/mpeg"),
    ("azure-openai", "tts-1", vendors.azure, "", {"data": {"resource": "r"}}, "audio/mpeg"),
    ("gemini", "gemini-3.8-flash-tts", vendors.gemini, "/v1beta", {}, "audio/wav"),
    ("groq", "canopylabs/orpheus-v1-english", vendors.groq, "/v1", {}, "audio/wav"),
    ("mistral", "voxtral-mini-tts-3", vendors.mistral, "/v1", {}, "audio/mpeg"),
    ("nvidia", "nvidia/fastpitch", vendors.nvidia, "/v1", {}, "audio/wav"),
    ("hyperbolic", "melo-tts", vendors.hyperbolic, "/v1", {}, "audio/mpeg"),
    ("huggingface", "facebook/mms-tts-eng", vendors.huggingface, "/v1", {}, "audio/flac"),
    ("vertex", "chirp", vendors.vertex, "", {"data": {"project": "p", "region": "global"}}, "audio/mpeg"),
    ("alibaba", "qwen3-tts-flash", vendors.alibaba, "/compatible-mode/v1", {}, "audio/wav"),
    ("xiaomi-mimo", "mimo-v2.5-tts", vendors.mimo, "/v1", {}, "audio/mpeg"),
    ("playht", "PlayDialog", vendors.playht, "/api/v2", {"data": {"user_id": "me"}}, "audio/mpeg"),
    ("inworld", "inworld-tts-1.5-max", vendors.inworld, "/tts/v1", {}, "audio/mpeg"),
    ("aws-polly", "neural", vendors.polly, "", {"data": {"access_key_id": "AKIDEXAMPLE", "region": "eu-west-1"}}, "audio/mpeg"),
    ("coqui", "tts_models/en/ljspeech/tacotron2-DDC", vendors.coqui, "", {}, "audio/wav"),
    ("tortoise", "tortoise-v2", vendors.tortoise, "", {}, "audio/wav"),
]


@pytest.mark.parametrize(("provider", "model", "vendor", "path", "fields", "kind"), EVERYBODY, ids=[one[0] for one in EVERYBODY])
async def test_every_format_speaks(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, fields: dict[str, Any], kind: str
) -> None:
    """The vendor's sound, whole, in the vendor's first form; a form it lacks is refused by name before anything is sent."""
    upstream = await joined(provider, vendor, path, **fields)
    ask = {"model": f"{provider}/{model}", "input": vendors.TEXT, "voice": "alloy"}
    answer = await client.post(URL, json=ask)
    assert (answer.status_code, answer.headers.get("content-type")) == (200, kind), answer.text
    assert answer.headers["x-omniroute-provider"] == provider
    if provider in ("gemini", "alibaba"):
        with wave.open(io.BytesIO(answer.content)) as found:
            assert (found.getframerate(), found.getsampwidth(), found.getnchannels()) == (24000, 2, 1)
        assert answer.content[44:] == vendors.WHOLE
    else:
        assert answer.content == vendors.WHOLE
    sent = len(upstream.requests)
    refused = await client.post(URL, json={**ask, "response_format": "aac"})
    if provider != "azure-openai":
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format"), refused.text
        assert len(upstream.requests) == sent


@pytest.mark.parametrize(("provider", "model", "vendor", "path", "fields", "kind"), EVERYBODY, ids=[one[0] for one in EVERYBODY])
async def test_what_is_no_sound_is_refused(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, fields: dict[str, Any], kind: str
) -> None:
    """REL-03: a login page, half an answer, nothing at all, each with status 200."""
    upstream = await joined(provider, vendor, path, **fields)
    ask = {"model": f"{provider}/{model}", "input": vendors.TEXT, "voice": "alloy"}
    for fault in (faults.html(), faults.malformed_json(), faults.json_answer({}), faults.answer_bytes(b"")):
        upstream.answer(fault)
        answer = await client.post(URL, json=ask)
        assert answer.status_code in (502, 503), (answer.status_code, answer.text)
        assert answer.json()["error"]["message"]


async def test_an_error_inside_an_answer_is_the_callers(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("minimax", vendors.minimax)
    answer = await client.post(URL, json={"model": "minimax/speech-2.6-hd", "input": "x", "voice": "nobody"})
    assert answer.status_code == 400
    assert "voice_id" in answer.json()["error"]["message"]


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


async def test_sound_as_events(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """``stream_format: sse``: the provider's own events with their tokens, or made of any provider's sound."""
    await joined("openai", vendors.openai)
    await joined("mistral", vendors.mistral)
    for model in ("openai/gpt-4o-mini-tts", "openai/tts-1", "mistral/voxtral-mini-tts-3"):
        ask = {"model": model, "input": vendors.TEXT, "voice": "alloy", "stream_format": "sse", "instructions": "Whisper."}
        answer = await client.post(URL, json=ask)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream"), answer.text
        *told, last = _events(answer.text)
        assert b"".join(base64.b64decode(one["audio"]) for one in told) == vendors.WHOLE
        assert last["type"] == "speech.audio.done"
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="speech")
    found = {row.model: (row.usage.prompt, row.usage.output, row.cost) for row in rows}
    assert found["gpt-4o-mini-tts"] == (5, 30, pytest.approx((5 * 0.6 + 30 * 10) / 1e6))


@pytest.mark.parametrize("service", ["tts", "stt"])
def test_every_row_that_promises_it_has_a_format(service: str) -> None:
    """And every model of the kind is at a provider that offers the service."""
    formats = Formats().names()
    for row in Catalog.load().providers.values():
        models = [model for model in row.models if model.kind == service]
        assert not models or service in row.services, row.id
        if service in row.services:
            assert (service, row.speaks(service, "")) in formats, row.id
            assert models or row.passthrough_models or row.needs_base_url, row.id
