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


#: Provider, model, vendor, path of its base URL, further fields of its connection, the forms beside json and text that it has.
ALL = ["srt", "vtt", "verbose_json", "diarized_json"]
EVERYBODY: list[tuple[str, str, Any, str, dict[str, Any], list[str]]] = [
    ("openai", "whisper-1", vendors.openai, "/v1", {}, ["srt", "vtt", "verbose_json"]),
    ("openai", "gpt-4o-transcribe-diarize", vendors.openai, "/v1", {}, ["diarized_json"]),
    ("groq", "whisper-large-v3", vendors.groq, "/v1", {}, ["srt", "vtt", "verbose_json"]),
    ("fireworks", "whisper-v3", vendors.groq, "/v1", {}, ["srt", "vtt", "verbose_json"]),
    ("scaleway", "openai/whisper-large-v3", vendors.groq, "/v1", {}, []),
    ("deepgram", "nova-3", vendors.deepgram, "/v1", {}, ALL),
    ("assemblyai", "universal-3-pro", vendors.AssemblyAi(), "/v2", {}, ALL),
    ("elevenlabs", "scribe_v2", vendors.elevenlabs, "/v1", {}, ALL),
    ("xai", "grok-voice-transcribe-2.0", vendors.xai, "/v1", {}, ALL),
    ("mistral", "voxtral-mini-transcribe-3", vendors.mistral, "/v1", {}, ALL),
    ("huggingface", "openai/whisper-large-v3", vendors.huggingface, "/v1", {}, ["srt", "vtt", "verbose_json"]),
    ("nvidia", "nvidia/parakeet-ctc-1.1b-asr", vendors.nvidia, "/v1", {}, []),
    ("gemini", "gemini-3.5-transcribe", vendors.gemini, "/v1beta", {}, []),
    ("vertex", "chirp_3", vendors.vertex, "", {"data": {"project": "mine", "region": "global"}}, ALL),
]


@pytest.mark.parametrize(
    ("provider", "model", "vendor", "path", "fields", "forms"), EVERYBODY, ids=[f"{one[0]}-{one[1]}" for one in EVERYBODY]
)
async def test_every_format_listens(
    running: Running,
    client: httpx.AsyncClient,
    joined: Join,
    provider: str,
    model: str,
    vendor: Any,
    path: str,
    fields: dict[str, Any],
    forms: list[str],
) -> None:
    """Each vendor in each form: the right text and times, or a refusal that names the form before anything is sent."""
    upstream = await joined(provider, vendor, path, **fields)
    for form in ("json", "text", *ALL):
        sent = len(upstream.requests)
        data = {"model": f"{provider}/{model}", "response_format": form}
        answer = await client.post(URL, data=data, files={"file": FILE})
        if form not in ("json", "text", *forms):
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format"), answer.text
            assert len(upstream.requests) == sent
            continue
        assert answer.status_code == 200, answer.text
        assert _text_of(form, answer) == vendors.TEXT
        assert answer.headers["x-omniroute-provider"] == provider
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(skill="transcription")
    assert {row.model for row in rows if row.outcome == "ok"} == {model}


async def test_a_model_that_no_list_knows_is_asked_as_it_is(client: httpx.AsyncClient, joined: Join) -> None:
    """Its provider says what it can do."""
    upstream = await joined("openai-compatible", vendors.groq)
    for form, status in (("srt", 200), ("diarized_json", 400)):
        data = {"model": "openai-compatible/some-whisper", "response_format": form, "stream": "false"}
        assert (await client.post(URL, data=data, files={"file": FILE})).status_code == status
    assert len(upstream.requests) == 2


def _text_of(form: str, answer: httpx.Response) -> str:
    """The words of an answer; where it has times, they are those of the vendor."""
    if form == "text":
        return answer.text.strip()
    if form in ("srt", "vtt"):
        lines = answer.text.splitlines()
        assert any("00:00:02,750 --> 00:00:03,900".replace(",", "." if form == "vtt" else ",") in line for line in lines), answer.text
        said = [line.partition(">")[2] if line.startswith("<v ") else line for line in lines if line.startswith(("H", "<"))]
        return " ".join(said)
    told = answer.json()
    if form == "verbose_json":
        assert (told["segments"][-1]["start"], told["segments"][-1]["end"]) == (2.75, 3.9)
    if form == "diarized_json":
        assert all(one["speaker"] and one["type"] == "transcript.text.segment" for one in told["segments"])
    return str(told["text"])


async def test_the_list_of_models(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai)
    listed = (await client.get(URL)).json()["data"]
    shown: dict[str, Any] = next(model for model in listed if model["id"] == "openai/whisper-1")
    assert (shown["input_modalities"], shown["output_modalities"]) == (["audio"], ["text"])
