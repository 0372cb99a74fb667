"""Films and music over a real socket: jobs that are followed, what they come to, what they cost, and how they fail."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import pytest

from hub.money.budgets import Budget
from tests.fakes import painters, pictures
from tests.fakes import upstream as faults

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Behaviour, FaultUpstream
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

FILMS, MUSIC = "/v1/videos/generations", "/v1/music/generations"
DATA = f"data:image/png;base64,{pictures.B64}"
WEBP = b"RIFF\0\0\0\0WEBPVP8 " + bytes(40)
HOME = {"secret": ""}
#: Address, provider, model, vendor, path of its base URL, further fields of a request, what it makes, of which kind.
EVERYBODY: list[tuple[str, str, str, Callable[[], painters.Handler], str, dict[str, Any], bytes, str]] = [
    (FILMS, "runwayml", "gen4.5", painters.runway, "/v1", {}, painters.MP4, "mp4"),
    (FILMS, "runwayml", "gen4_turbo", painters.runway, "/v1", {"image": DATA, "size": "1280x720"}, painters.MP4, "mp4"),
    (FILMS, "sdwebui", "animatediff-webui", lambda: painters.web_ui(painters.MP4), "", {"seconds": 2}, painters.MP4, "mp4"),
    (FILMS, "comfyui", "animatediff", lambda: painters.comfy(WEBP), "", {"checkpoint": "sdxl"}, WEBP, "webp"),
    (FILMS, "comfyui", "svd-xt", lambda: painters.comfy(WEBP), "", {"image": DATA}, WEBP, "webp"),
    (MUSIC, "comfyui", "stable-audio-open", lambda: painters.comfy(painters.MP3, "audio"), "", {"seconds": 10}, painters.MP3, "mp3"),
    (MUSIC, "gemini", "lyria-3-clip-preview", lambda: painters.gemini, "/v1beta", {}, painters.MP3, "mp3"),
]
NAMES = [f"{one[1]} {one[2]}" for one in EVERYBODY]


async def _joined(joined: Join, provider: str, vendor: painters.Handler, path: str) -> FaultUpstream:
    return await joined(provider, vendor, path, **(HOME if provider in ("comfyui", "sdwebui") else {}))


@pytest.mark.parametrize(("url", "provider", "model", "vendor", "path", "more", "content", "kind"), EVERYBODY, ids=NAMES)
async def test_everybody_makes_one(
    client: httpx.AsyncClient,
    joined: Join,
    url: str,
    provider: str,
    model: str,
    vendor: Any,
    path: str,
    more: dict[str, Any],
    content: bytes,
    kind: str,
) -> None:
    """As base64, whatever the vendor gives, with the kind of file."""
    await _joined(joined, provider, vendor(), path)
    ask = {"model": f"{provider}/{model}", "prompt": "waves", "response_format": "b64_json", **more}
    answer = await client.post(url, json=ask)
    assert answer.status_code == 200, answer.text
    assert [(base64.b64decode(one["b64_json"]), one["format"]) for one in answer.json()["data"]] == [(content, kind)]
    assert answer.headers["x-omniroute-provider"] == provider


async def test_an_address_is_passed_on_and_seconds_are_paid(client: httpx.AsyncClient, joined: Join) -> None:
    """Ten seconds at twelve cents; the hub fetches nothing."""
    upstream = await joined("runwayml", painters.runway())
    answer = await client.post(FILMS, json={"model": "runway/gen4.5", "prompt": "waves", "seconds": 10, "style": "x"})
    assert [one["url"].endswith("/made/one.mp4") for one in answer.json()["data"]] == [True], answer.text
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx(1.2)
    assert answer.headers["x-hubroute-dropped"] == "style"
    assert [request.method for request in upstream.requests] == ["POST", "GET", "GET"]
    told = (await client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")).json()["decision"]
    assert told["units"] == {"seconds_out": 10.0}


async def test_a_budget_holds_for_films_at_once(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """D22: sixty cents each, three quarters held once that is known, and money for two."""
    await joined("runwayml", painters.runway())
    key, secret = await running.hub.store.keys.create("poor", grants=("chat",))
    await running.hub.budgets.put(key.id, Budget(daily_limit_usd=1.4))
    ask, heads = {"model": "runway/gen4.5", "prompt": "waves", "seconds": 5}, {"authorization": f"Bearer {secret}"}
    answers = await asyncio.gather(*(client.post(FILMS, json=ask, headers=heads) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 4
    assert (await running.hub.budgets.state(key.id)).windows["daily"].spent == 1_200_000_000


async def test_a_client_who_leaves_ends_the_task_and_pays_for_what_ran(running: Running, client: httpx.AsyncClient, joined: Join) -> None:
    """REL-06, D22."""
    upstream = await joined("runwayml", painters.runway())
    task = asyncio.create_task(client.post(FILMS, json={"model": "runway/gen4.5", "prompt": "never", "seconds": 5}))
    async with asyncio.timeout(10):
        while len(upstream.requests) < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        while upstream.requests[-1].method != "DELETE":
            await asyncio.sleep(0.01)
        while True:
            await running.hub.store.flush()
            rows, _ = await running.hub.store.usage.page(skill="videos")
            if rows:
                break
            await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(row.outcome, row.status, row.cost) for row in rows] == [("cancelled", 499, pytest.approx(0.6))]


@pytest.mark.parametrize(("prompt", "status", "code"), [("blood", 400, "content_policy_violation"), ("broken", 502, "job_failed")])
async def test_a_task_that_fails_says_why(client: httpx.AsyncClient, joined: Join, prompt: str, status: int, code: str) -> None:
    await joined("runwayml", painters.runway())
    answer = await client.post(FILMS, json={"model": "runway/gen4.5", "prompt": prompt})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert "it did not work" in answer.json()["error"]["message"]


async def test_a_workflow_of_ones_own(client: httpx.AsyncClient, joined: Join) -> None:
    """It is sent as it is, with the words filled in."""
    upstream = await joined("comfyui", painters.comfy(), "", **HOME)
    workflow = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "oil, %prompt%"}}}
    answer = await client.post("/v1/images/generations", json={"model": "comfyui/flux-dev", "prompt": "a cat", "workflow": workflow})
    assert answer.status_code == 200, answer.text
    assert upstream.requests[0].json()["prompt"] == {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "oil, a cat"}}}


async def test_a_model_that_is_not_installed_is_named(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("comfyui", painters.comfy(), "", **HOME)
    answer = await client.post("/v1/images/generations", json={"model": "comfyui/flux-dev", "prompt": "a cat"})
    assert answer.status_code == 404
    assert "sdxl.safetensors" in answer.json()["error"]["message"]


@pytest.mark.parametrize("fault", [faults.html(), faults.json_answer({}), faults.json_answer({}, status=429), faults.malformed_json()])
async def test_what_fails_goes_to_the_next(client: httpx.AsyncClient, joined: Join, fault: Behaviour) -> None:
    """REL-01, REL-03."""
    await joined("runwayml", lambda _: fault)
    await joined("runwayml", painters.runway())
    answer = await client.post(FILMS, json={"model": "runway/gen4.5", "prompt": "waves"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("url", "change", "param"),
    [
        (FILMS, {"prompt": ""}, "prompt"),
        (FILMS, {"seconds": 0}, "seconds"),
        (FILMS, {"size": "wide"}, "size"),
        (FILMS, {"image": "no picture"}, "image"),
        (FILMS, {"image": [DATA] * 3}, "image"),
        (FILMS, {"model": "openai/gpt-4o"}, "model"),
        (MUSIC, {"prompt": ""}, "prompt"),
        (MUSIC, {"duration": 601}, "duration"),
    ],
)
async def test_bad_input_is_refused_by_name(client: httpx.AsyncClient, joined: Join, url: str, change: dict[str, Any], param: str) -> None:
    upstream = await joined("runwayml", painters.runway())
    answer = await client.post(url, json={"model": "runway/gen4.5", "prompt": "waves", **change})
    assert (answer.status_code, answer.json()["error"]["param"].partition(".")[0]) == (400, param), answer.text
    assert upstream.requests == []


async def test_lists(client: httpx.AsyncClient, joined: Join) -> None:
    await joined("comfyui", painters.comfy(), "", **HOME)
    films, music = [(await client.get(url)).json()["data"] for url in (FILMS, MUSIC)]
    assert {one["id"] for one in films} == {"comfyui/animatediff", "comfyui/svd-xt"}
    assert {one["id"] for one in music} == {"comfyui/stable-audio-open", "comfyui/musicgen-medium"}
    assert music[0]["output_modalities"] == ["audio"]
