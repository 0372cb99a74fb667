"""Transcription over a real socket, with OpenAI's own client: every form, streams, what it costs, and what is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes import listeners as vendors

if TYPE_CHECKING:
    import httpx
    import openai

    from tests.fakes.hub import Running
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL = "/v1/audio/transcriptions"
FILE = ("talk.wav", vendors.SOUND, "audio/wav")


async def test_the_sdk_gets_a_text(running: Running, sdk: openai.AsyncOpenAI, joined: Join) -> None:
    """The file arrives whole; the row says what was heard and what it cost."""
    upstream = await joined("openai", vendors.openai)
    heard = await sdk.audio.transcriptions.create(model="openai/whisper-1", file=FILE, language="en", prompt="Names", temperature=0.5)
    assert heard.text == vendors.TEXT
    form = vendors.form_of(upstream.requests[0])
    assert form.files["file"] == (FILE[0], FILE[2], FILE[1])
    assert dict(form.fields) == {
        "model": "whisper-1", "response_format": "json", "language": "en", "prompt": "Names", "temperature": "0.5",
    }  # fmt: skip
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="transcription")
    assert [(row.provider, row.model, row.outcome, row.cost) for row in rows] == [("openai", "whisper-1", "ok", pytest.approx(4e-4))]


async def test_the_sdk_gets_times(sdk: openai.AsyncOpenAI, joined: Join) -> None:
    await joined("openai", vendors.openai)
    heard = await sdk.audio.transcriptions.create(
        model="openai/whisper-1", file=FILE, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert heard.duration == 4.0
    assert heard.segments is not None
    assert heard.words is not None
    assert [(one.start, one.end, one.text.strip(), one.avg_logprob) for one in heard.segments] == [
        (start, end, text, -0.1) for start, end, text in vendors.SENTENCES
    ]
    assert [(one.start, one.end, one.word) for one in heard.words] == vendors.WORDS


async def test_the_sdk_gets_a_stream(running: Running, sdk: openai.AsyncOpenAI, joined: Join) -> None:
    """As the provider tells it where it does, else as one piece; tokens are counted either way."""
    await joined("openai", vendors.openai)
    for model, pieces in (("gpt-4o-transcribe", vendors.TEXT.split()), ("whisper-1", [vendors.TEXT])):
        stream = await sdk.audio.transcriptions.create(model=f"openai/{model}", file=FILE, stream=True)
        events = [event async for event in stream]
        assert [event.delta for event in events if event.type == "transcript.text.delta"] == pieces
        last = events[-1]
        assert last.type == "transcript.text.done"
        assert last.text == vendors.TEXT
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="transcription")
    found = {row.model: (row.usage.prompt, row.usage.output, row.cost) for row in rows}
    assert found["gpt-4o-transcribe"] == (40, 12, pytest.approx((40 * 6 + 12 * 10) / 1e6))
    assert found["whisper-1"] == (0, 0, pytest.approx(4e-4))


@pytest.mark.parametrize(
    ("form", "kind", "want"),
    [
        ("text", "text/plain; charset=utf-8", f"{vendors.TEXT}\n"),
        (
            "srt",
            "text/plain; charset=utf-8",
            "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n2\n00:00:02,750 --> 00:00:03,900\nHow are you?\n\n",
        ),
        (
            "vtt",
            "text/vtt; charset=utf-8",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n00:00:02.750 --> 00:00:03.900\nHow are you?\n\n",
        ),
    ],
)
async def test_forms_that_are_text(client: httpx.AsyncClient, joined: Join, form: str, kind: str, want: str) -> None:
    await joined("openai", vendors.openai)
    answer = await client.post(URL, data={"model": "openai/whisper-1", "response_format": form}, files={"file": FILE})
    assert (answer.status_code, answer.headers["content-type"], answer.text) == (200, kind, want)


async def test_the_list_of_models(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai)
    listed = (await client.get(URL)).json()["data"]
    shown: dict[str, Any] = next(model for model in listed if model["id"] == "openai/whisper-1")
    assert (shown["input_modalities"], shown["output_modalities"]) == (["audio"], ["text"])
