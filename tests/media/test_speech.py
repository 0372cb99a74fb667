"""Speech over a real socket: four wire formats, sound that passes as it comes, what breaks off, who leaves, and what it costs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from hub.chat import Usage
from hub.money.budgets import Budget
from hub.money.units import Units, cost, most
from hub.providers.catalog import Price
from tests.fakes import media as vendors
from tests.fakes import upstream as faults
from tests.fakes.hub import Running

if TYPE_CHECKING:
    from hub.records import UsageRow
    from tests.fakes.upstream import Behaviour, Exchange
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL = "/v1/audio/speech"
WHOLE = b"".join(vendors.SOUND)
ASK = {"model": "openai/tts-1", "input": "Hello there", "voice": "alloy"}
EVERYBODY: list[tuple[str, str, Any, str]] = [
    ("openai", "tts-1", vendors.openai_speech, "/v1"),
    ("deepgram", "aura-luna-en", vendors.deepgram_speech, "/v1"),
    ("elevenlabs", "eleven_turbo_v2_5", vendors.elevenlabs_speech, "/v1"),
    ("cartesia", "sonic-3", vendors.cartesia_speech, ""),
]


async def _rows(running: Running, count: int = 1) -> list[UsageRow]:
    """The rows of speech, once there are so many: the last is written as its sound ends."""
    async with asyncio.timeout(10):
        while True:
            await running.hub.store.flush()
            rows, _ = await running.hub.store.usage.page(skill="speech")
            if len(rows) >= count:
                return rows
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=[one[0] for one in EVERYBODY])
async def test_every_format_speaks_to_the_sdk(
    running: Running, sdk: openai.AsyncOpenAI, joined: Join, provider: str, model: str, vendor: Any, path: str
) -> None:
    await joined(provider, vendor, path)
    heard = await sdk.audio.speech.create(model=f"{provider}/{model}", input="Hello there", voice="alloy")
    assert heard.content == WHOLE
    assert heard.response.headers["content-type"] == "audio/mpeg"
    assert heard.response.headers["x-omniroute-provider"] == provider
    rows = await _rows(running)
    assert [(row.provider, row.model, row.outcome) for row in rows] == [(provider, model, "ok")]


async def test_it_is_charged_by_the_character(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai_speech)
    answer = await client.post(URL, json={**ASK, "input": "x" * 2000})
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx(2000 * 1.5e-5)
    told = (await client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")).json()["decision"]
    assert told["units"]["characters"] == 2000
    assert told["costActual"] == pytest.approx(0.03)


async def test_the_first_piece_comes_before_the_last_is_made(client: httpx.AsyncClient, joined: Join) -> None:
    gate = asyncio.Event()

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "audio/mpeg")])
        await exchange.chunk(vendors.SOUND[0])
        await gate.wait()
        await exchange.chunk(vendors.SOUND[1])
        await exchange.chunk(b"")

    await joined("openai", lambda _: faults.Behaviour(run))
    async with client.stream("POST", URL, json=ASK) as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == vendors.SOUND[0]
        gate.set()
        assert b"".join([piece async for piece in pieces]) == vendors.SOUND[1]


@pytest.mark.parametrize(
    "fault",
    [
        faults.json_answer({}, status=429),
        faults.json_answer({}, status=500),
        faults.json_answer({"error": "in a good status"}),
        faults.html(),
        faults.answer_bytes(b"", headers=[("content-type", "audio/mpeg")]),
        faults.reset_after_head(),
    ],
)
async def test_before_the_first_sound_another_target_takes_over(client: httpx.AsyncClient, joined: Join, fault: Behaviour) -> None:
    """REL-01, REL-03."""
    await joined("openai", lambda _: fault)
    await joined("elevenlabs", vendors.elevenlabs_speech)
    names = ["openai/tts-1", "elevenlabs/eleven_turbo_v2_5"]
    assert (await client.post("/api/combos", json={"name": "voice", "models": names})).status_code == 201
    answer = await client.post(URL, json={**ASK, "model": "voice"})
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "elevenlabs"), answer.text
    assert answer.content == WHOLE


async def test_sound_that_breaks_off_is_no_whole_answer(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-01: the connection is cut; what the provider charges for is recorded."""
    await joined("openai", lambda _: faults.cut(WHOLE, at=3000))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(URL, json=ASK)
    rows = await _rows(running)
    assert [(row.outcome, row.cost) for row in rows] == [("error", pytest.approx(11 * 1.5e-5))]


async def test_a_listener_who_leaves_ends_it_and_pays(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06, D22: the provider was given the whole text."""

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "audio/mpeg")])
        await exchange.chunk(vendors.SOUND[0])
        await exchange.hold()

    upstream = await joined("openai", lambda _: faults.Behaviour(run))
    async with client.stream("POST", URL, json=ASK) as answer:
        await anext(answer.aiter_raw())
    assert await upstream.closed_by_client(5)
    rows = await _rows(running)
    assert [(row.outcome, row.status, row.cost) for row in rows] == [("cancelled", 499, pytest.approx(11 * 1.5e-5))]
    assert running.hub.ledger.running == {}


async def test_a_budget_holds_for_speech_at_once(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: three cents each, and money for two."""
    await joined("openai", vendors.openai_speech)
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.07))
    heads = {"authorization": f"Bearer {secret}"}
    ask = {**ASK, "input": "x" * 2000}
    answers = await asyncio.gather(*(client.post(URL, json=ask, headers=heads) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 6
    assert (await running.hub.budgets.state(key.id)).windows["daily"].spent == 60_000_000


@pytest.mark.parametrize(
    ("change", "param"),
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        ({"input": ""}, "input"),
        ({"input": "x" * 100_001}, "input"),
        ({"input": ["x"]}, "input"),
        ({"response_format": "midi"}, "response_format"),
        ({"speed": 5}, "speed"),
        ({"model": "openai/gpt-4o"}, "model"),
        ({"voice": 5}, "voice"),
    ],
)
async def test_bad_input_is_refused_by_name(client: httpx.AsyncClient, joined: Join, change: dict[str, Any], param: str) -> None:
    upstream = await joined("openai", vendors.openai_speech)
    answer = await client.post(URL, json={**ASK, **change})
    assert (answer.status_code, answer.json()["error"]["param"].partition(".")[0]) == (400, param)
    assert upstream.requests == []


@pytest.mark.parametrize(("change", "param"), [({"voice": ""}, "voice"), ({"response_format": "flac"}, "response_format")])
async def test_what_a_format_lacks_is_named(client: httpx.AsyncClient, joined: Join, change: dict[str, Any], param: str) -> None:
    upstream = await joined("elevenlabs", vendors.elevenlabs_speech)
    answer = await client.post(URL, json={**ASK, "model": "elevenlabs/eleven_turbo_v2_5", **change})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert upstream.requests == []


async def test_a_voice_cannot_lead_to_another_address(client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("elevenlabs", vendors.elevenlabs_speech)
    for voice in ("../history", "a/b?c", ".."):
        assert (await client.post(URL, json={**ASK, "model": "elevenlabs/eleven_turbo_v2_5", "voice": voice})).status_code in (400, 404)
    assert all(request.target.count("/") == 3 for request in upstream.requests)


async def test_a_voice_may_be_a_model(client: httpx.AsyncClient, joined: Join) -> None:
    upstream = await joined("deepgram", vendors.deepgram_speech)
    ask = {**ASK, "model": "deepgram/aura-luna-en", "speed": 1.5, "response_format": "wav"}
    answer = await client.post(URL, json={**ask, "voice": "aura-stella-en"})
    assert answer.headers["x-hubroute-dropped"] == "speed"
    assert "model=aura-stella-en&encoding=linear16&container=wav" in upstream.requests[0].target


async def test_the_list_of_voices(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("deepgram", vendors.deepgram_speech)
    listed = (await client.get(URL)).json()["data"]
    assert {model["id"] for model in listed} == {"dg/aura-asteria-en", "dg/aura-luna-en", "dg/aura-stella-en"}
    assert listed[0]["output_modalities"] == ["audio"]


@pytest.mark.parametrize(
    ("price", "usage", "units", "want"),
    [
        (Price(per_char_in=1e-5), Usage(input=9, estimated=True), Units(characters=100, seconds_out=9), 1e-3),
        (Price(input=1.0, per_second_out=0.01), Usage(input=1_000_000, estimated=True), Units(characters=5, seconds_out=2), 1.02),
        (Price(per_second_in=0.01, per_second_out=0.01), Usage(), Units(seconds_in=3), 0.03),
        (Price(input=1.0, output=2.0, per_second_in=0.01), Usage(input=1_000_000, output=1_000_000), Units(seconds_in=3), 3.0),
        (Price(per_image=0.04), Usage(), Units(images=2), 0.08),
        (Price(input=0, output=0, per_query=0.002), Usage(), Units(queries=3), 0.006),
        (Price(per_image=0.04), Usage(), Units(characters=3), None),
        (Price(input=5.0), Usage(input=10, output=10), Units(images=1), None),
    ],
)
def test_units_are_charged_once(price: Price, usage: Usage, units: Units, want: float | None) -> None:
    assert cost(price, usage, units) == (None if want is None else pytest.approx(want))
    bound = most(price, usage, units)
    assert (bound is None) == (want is None)
    assert bound is None or want is None or bound >= want - 1e-12
