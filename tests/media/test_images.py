"""Pictures over a real socket: made, changed, streamed, in the form that was asked for, and what they cost."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from hub.money.budgets import Budget
from tests.fakes import pictures as vendors
from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from pathlib import Path

    from hub.records import UsageRow
    from tests.fakes.upstream import Behaviour, Received
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL, EDITS = "/v1/images/generations", "/v1/images/edits"
MODEL = "openai/gpt-image-1.5"
ASK = {"model": MODEL, "prompt": "a cat"}


async def _rows(running: Running, skill: str, count: int = 1) -> list[UsageRow]:
    """The rows of a skill, once there are so many: the last is written as its events end."""
    async with asyncio.timeout(10):
        while True:
            await running.hub.store.flush()
            rows, _ = await running.hub.store.usage.page(skill=skill)
            if len(rows) >= count:
                return rows
            await asyncio.sleep(0.01)


async def test_the_sdk_makes_pictures(running: Running, sdk: openai.AsyncOpenAI, joined: Join) -> None:
    """D20: the provider's answer passes as it came, fields that nobody knows included."""
    upstream = await joined("openai", vendors.openai_images)
    made = await sdk.images.generate(model=MODEL, prompt="a cat", n=2, size="1024x1024", quality="high", background="opaque")
    assert [base64.b64decode(one.b64_json or "") for one in made.data or []] == [vendors.PNG] * 2
    assert made.model_extra == {"x_new": 1}
    assert upstream.requests[0].json() == {
        "model": "gpt-image-1.5", "prompt": "a cat", "n": 2, "size": "1024x1024", "quality": "high", "background": "opaque",
    }  # fmt: skip
    rows = await _rows(running, "images")
    assert [(row.provider, row.model, row.outcome, row.usage.output) for row in rows] == [("openai", "gpt-image-1.5", "ok", 4160)]


async def test_the_sdk_changes_pictures(sdk: openai.AsyncOpenAI, joined: Join) -> None:
    """Files and mask arrive as they were sent."""
    upstream = await joined("openai", vendors.openai_images)
    mask = vendors.png(alpha=0)
    made = await sdk.images.edit(model=MODEL, prompt="a hat", image=[("a.png", vendors.PNG), ("b.jpg", vendors.JPEG)], mask=("m.png", mask))
    assert made.data is not None
    assert made.data[0].b64_json == vendors.B64
    texts, files = vendors.form_of(upstream.requests[0])
    assert texts == {"model": "gpt-image-1.5", "prompt": "a hat", "n": "1"}
    assert files == {
        "image[]": [("a.png", "image/png", vendors.PNG), ("b.jpg", "image/jpeg", vendors.JPEG)],
        "mask": [("m.png", "image/png", mask)],
    }


@pytest.mark.parametrize("editing", [False, True])
async def test_the_sdk_sees_them_while_they_are_made(running: Running, sdk: openai.AsyncOpenAI, joined: Join, *, editing: bool) -> None:
    """Events pass as they come; what they cost is read from the last."""
    await joined("openai", vendors.openai_images)
    if editing:
        stream: Any = await sdk.images.edit(model=MODEL, prompt="a", image=("a.png", vendors.PNG), stream=True, partial_images=1)
    else:
        stream = await sdk.images.generate(model=MODEL, prompt="a", stream=True, partial_images=1)
    kind = "image_edit" if editing else "image_generation"
    assert [event.type async for event in stream] == [f"{kind}.partial_image", f"{kind}.completed"]
    rows = await _rows(running, "image-edits" if editing else "images")
    assert [(row.stream, row.usage.output, row.usage.estimated) for row in rows] == [(True, 4160, False)]


async def test_json_changes_pictures_too(client: httpx.AsyncClient, joined: Join) -> None:
    """A data URL in OpenAI's own words; the list of models has what can be called."""
    upstream = await joined("openai", vendors.openai_images)
    sent = f"data:image/png;base64,{vendors.B64}"
    answer = await client.post(EDITS, json={**ASK, "images": [{"image_url": sent}]})
    assert answer.status_code == 200, answer.text
    assert vendors.form_of(upstream.requests[0])[1]["image"][0][2] == vendors.PNG
    listed = (await client.get(URL)).json()["data"]
    shown = next(one for one in listed if one["id"] == MODEL)
    assert shown["output_modalities"] == ["image"]
    assert "1536x1024" in shown["supported_sizes"]
    assert all(isinstance(one["supported_sizes"], list) for one in listed)


async def test_tokens_are_what_it_costs(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai_images)
    answer = await client.post(URL, json=ASK)
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx((50 * 5 + 4160 * 32) / 1e6)


async def test_base64_becomes_an_address(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai_images)
    answer = await client.post(URL, json={**ASK, "response_format": "url"})
    assert answer.json()["data"] == [{"url": f"data:image/png;base64,{vendors.B64}"}]


async def test_a_budget_holds_for_pictures_at_once(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: each may cost 21 cents and costs 13; money for two at a time."""
    await joined("openai", vendors.openai_images)
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=0.5))
    heads = {"authorization": f"Bearer {secret}"}
    ask = {**ASK, "size": "1024x1024"}
    answers = await asyncio.gather(*(client.post(URL, json=ask, headers=heads) for _ in range(8)))
    codes = {answer.status_code for answer in answers}
    assert codes == {200, 429}
    spent = (await running.hub.budgets.state(key.id)).windows["daily"].spent
    assert spent == sum(answer.status_code == 200 for answer in answers) * 133_370_000
    assert spent <= 500_000_000


@pytest.mark.parametrize(
    ("change", "param"),
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        ({"prompt": ""}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"size": "large"}, "size"),
        ({"size": "1024x"}, "size"),
        ({"response_format": "png"}, "response_format"),
        ({"model": "openai/gpt-4o"}, "model"),
        ({"model": "openai/tts-1"}, "model"),
        ({"image": "no file"}, "image"),
        ({"images": [{"file_id": "file-1"}]}, "images"),
        ({"mask": f"data:image/png;base64,{vendors.B64}"}, "mask"),
    ],
)
async def test_bad_input_is_refused_by_name(client: httpx.AsyncClient, joined: Join, change: dict[str, Any], param: str) -> None:
    upstream = await joined("openai", vendors.openai_images)
    answer = await client.post(URL, json={**ASK, **change})
    assert (answer.status_code, answer.json()["error"]["param"].partition(".")[0]) == (400, param), answer.text
    assert upstream.requests == []


_FILE = {"image": ("a.png", vendors.PNG, "image/png")}


@pytest.mark.parametrize(
    ("files", "param"),
    [
        ({"other": ("a.png", vendors.PNG, "image/png")}, "image"),
        ({**_FILE, "other": ("a.png", vendors.PNG, "image/png")}, "other"),
        ({"image": ("a.txt", b"plain words", "image/png")}, "image"),
        ({**_FILE, "mask": ("m.png", b"plain words", "image/png")}, "mask"),
        ({**_FILE, "mask": ("m.jpg", vendors.JPEG, "image/jpeg")}, "mask"),
    ],
)
async def test_a_wrong_form_is_refused_by_name(client: httpx.AsyncClient, joined: Join, files: dict[str, Any], param: str) -> None:
    upstream = await joined("openai", vendors.openai_images)
    answer = await client.post(EDITS, data={"model": MODEL, "prompt": "a hat"}, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert upstream.requests == []


async def test_a_form_that_is_too_large_names_the_setting(tmp_path: Path) -> None:
    """SEC-42: before a provider is asked anything."""
    files = {"image": ("a.png", vendors.PNG + bytes(2_000_000), "image/png")}
    async with running_hub(tmp_path, max_upload_mb=1) as small, httpx.AsyncClient(base_url=small.url, timeout=30) as client:
        answer = await client.post(EDITS, data={"model": MODEL, "prompt": "a"}, files=files, headers=await small.headers())
    assert answer.status_code == 413
    assert "HUBROUTE_MAX_UPLOAD_MB" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "fault",
    [
        faults.json_answer({}, status=429),
        faults.json_answer({}, status=500),
        faults.json_answer({"error": "in a good status"}),
        faults.json_answer({"created": 1, "data": []}),
        faults.json_answer({"created": 1, "data": [{"b64_json": "no base64"}]}),
        faults.json_answer({"created": 1, "data": [{"b64_json": base64.b64encode(b"words").decode()}]}),
        faults.html(),
        faults.malformed_json(),
        faults.reset_after_head(),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_fails_goes_to_the_next(client: httpx.AsyncClient, joined: Join, fault: Behaviour, *, stream: bool) -> None:
    """REL-01, REL-03."""
    await joined("openai", lambda _: fault)
    await joined("openai", vendors.openai_images)
    answer = await client.post(URL, json={**ASK, "stream": stream})
    assert answer.status_code == 200, answer.text
    assert vendors.B64 in answer.text


async def test_events_that_fail_at_once_go_to_the_next(client: httpx.AsyncClient, joined: Join) -> None:
    """REL-03."""
    wrong = {"type": "error", "error": {"message": "The server had an error", "type": "server_error"}}
    await joined("openai", lambda _: vendors.events(wrong))
    await joined("openai", vendors.openai_images)
    answer = await client.post(URL, json={**ASK, "stream": True})
    assert "image_generation.completed" in answer.text


async def test_events_that_break_off_are_no_whole_answer(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-01."""
    await joined("openai", lambda _: vendors.events({"type": "image_generation.partial_image", "b64_json": vendors.B64}))
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(URL, json={**ASK, "stream": True})
    assert [(row.outcome, row.error_code) for row in await _rows(running, "images")] == [("error", "truncated")]


async def test_a_refusal_of_the_prompt_is_the_callers(client: httpx.AsyncClient, joined: Join) -> None:
    """No other provider is asked to make it."""
    await joined("openai", vendors.openai_images)
    second = await joined("openai", vendors.openai_images)
    answer = await client.post(URL, json={**ASK, "prompt": "blood"})
    assert answer.status_code == 400
    assert "safety system" in answer.text
    assert second.requests == []


async def test_an_address_of_a_provider(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("openai", vendors.openai_images)
    answer = await client.post("/v1/providers/openai/images/generations", json={"model": "gpt-image-1.5", "prompt": "a"})
    assert answer.status_code == 200, answer.text
    wrong = await client.post("/v1/providers/nobody/images/generations", json=ASK)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (404, "provider")


async def test_a_node_of_ones_own_gives_addresses(client: httpx.AsyncClient, joined: Join) -> None:
    """What a server at home points to is fetched from there alone; other private addresses are not (SEC-10)."""

    def home(request: Received) -> Behaviour:
        if request.method == "GET":
            assert "authorization" not in request.headers
            return faults.answer_bytes(vendors.PNG)
        where = f"http://{request.headers['host']}/made.png" if "cat" in request.json()["prompt"] else "http://127.0.0.1:9/made.png"
        return faults.json_answer({"created": 1, "data": [{"url": where}]})

    await joined("openai-compatible", home)
    ask = {"model": "openai-compatible/sd", "prompt": "a cat", "response_format": "b64_json"}
    answer = await client.post(URL, json=ask)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"] == [{"b64_json": vendors.B64}]
    plain = await client.post(URL, json={**ask, "prompt": "a dog"})
    assert plain.status_code == 502
    assert "private" in plain.json()["error"]["message"]
