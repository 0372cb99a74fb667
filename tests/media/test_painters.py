"""Every vendor of pictures in its own format: makes, changes, refuses, fails, and is told when nobody waits any more."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.media.engine import Formats
from hub.providers.catalog import Catalog
from tests.fakes import painters, pictures
from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.fakes.upstream import Behaviour, FaultUpstream
    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio

URL, EDITS = "/v1/images/generations", "/v1/images/edits"
DATA = f"data:image/png;base64,{pictures.B64}"
MASK = f"data:image/png;base64,{base64.b64encode(pictures.png(alpha=0)).decode()}"
_XAI = painters.nearly_openai("user", "resolution", "image", "images", sized="aspect_ratio")
_TOGETHER = painters.nearly_openai("steps", "seed", "image_url", sized="width height", base64_word="base64")
#: Provider, model, vendor, path of its base URL.
EVERYBODY: list[tuple[str, str, Callable[[], painters.Handler], str]] = [
    ("black-forest-labs", "flux-2-pro", painters.black_forest, ""),
    ("black-forest-labs", "flux-kontext-pro", painters.black_forest, ""),
    ("fal-ai", "fal-ai/flux-2-pro", painters.fal, ""),
    ("fal-ai", "fal-ai/nano-banana-2", painters.fal, ""),
    ("stability-ai", "stable-image-core", lambda: painters.stability, ""),
    ("stability-ai", "sd3.5-large", lambda: painters.stability, ""),
    ("recraft", "recraftv3", lambda: painters.recraft, ""),
    ("nanobanana", "nanobanana-flash", painters.nanobanana, "/api/v1"),
    ("nanobanana", "nanobanana-pro", painters.nanobanana, "/api/v1"),
    ("hyperbolic", "SDXL1.0-base", lambda: painters.hyperbolic, "/v1"),
    ("fireworks", "accounts/fireworks/flux-1-schnell-fp8", painters.fireworks, "/v1"),
    ("fireworks", "accounts/fireworks/models/stable-diffusion-xl-1024-v1-0", painters.fireworks, "/v1"),
    ("fireworks", "accounts/fireworks/flux-kontext-pro", painters.fireworks, "/v1"),
    ("openrouter", "google/gemini-3-pro-image-preview", lambda: painters.openrouter, "/api/v1"),
    ("openrouter", "black-forest-labs/flux.2-pro", lambda: painters.openrouter, "/api/v1"),
    ("gemini", "gemini-3-pro-image-preview", lambda: painters.gemini, "/v1beta"),
    ("gemini", "imagen-4.0-generate-001", lambda: painters.gemini, "/v1beta"),
    ("xai", "grok-imagine-image", lambda: _XAI, "/v1"),
    ("together", "black-forest-labs/FLUX.2-pro", lambda: _TOGETHER, "/v1"),
    ("nebius", "black-forest-labs/flux-schnell", lambda: painters.nearly_openai(sized="width height"), "/v1"),
    ("nanogpt", "hidream", lambda: painters.nearly_openai("imageDataUrl"), "/v1"),
    ("pollinations", "flux", painters.nearly_openai, "/v1"),
    ("openai-compatible", "sd", painters.nearly_openai, "/v1"),
    ("sdwebui", "sdxl-base-1.0", painters.web_ui, ""),
    ("comfyui", "sdxl", painters.comfy, ""),
]
NAMES = [f"{one[0]} {one[1].rpartition('/')[2]}" for one in EVERYBODY]


async def _joined(joined: Join, provider: str, vendor: painters.Handler, path: str) -> FaultUpstream:
    """A connection; servers at home have no key."""
    row = Catalog.load().get(provider)
    return await joined(provider, vendor, path, **({"secret": ""} if row.auth.type == "none" else {}))


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=NAMES)
async def test_everybody_makes_a_picture(
    running: Running, client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str
) -> None:
    """As base64, whatever the vendor gives; recorded with one picture."""
    await _joined(joined, provider, vendor(), path)
    ask = {"model": f"{provider}/{model}", "prompt": "a cat", "size": "1024x1024", "response_format": "b64_json", "quality": "high"}
    answer = await client.post(URL, json=ask)
    assert answer.status_code == 200, answer.text
    assert [base64.b64decode(one["b64_json"]) for one in answer.json()["data"]] == [pictures.PNG]
    told = (await client.get(f"/api/routing/decisions/{answer.headers['x-request-id']}")).json()["decision"]
    assert (answer.headers["x-omniroute-provider"], told["outcome"], told["units"]) == (provider, "ok", {"images": 1})


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=NAMES)
async def test_everybody_makes_several_and_gives_addresses(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str
) -> None:
    await _joined(joined, provider, vendor(), path)
    ask = {"model": f"{provider}/{model}", "prompt": "a cat", "n": 2, "response_format": "url"}
    answer = await client.post(URL, json=ask)
    if provider in ("fal-ai", "comfyui"):
        # Their fakes make one, whatever is asked.
        assert answer.status_code == 200
        return
    assert answer.status_code == 200, answer.text
    assert [one["url"][:5] in ("http:", "data:") for one in answer.json()["data"]] == [True, True]


FAULTS = [
    faults.json_answer({"error": {"message": "too many requests"}}, status=429),
    faults.html(),
    faults.malformed_json(),
    faults.json_answer({}),
]


@pytest.mark.parametrize(("provider", "model", "vendor", "path"), EVERYBODY, ids=NAMES)
async def test_what_fails_goes_to_the_next(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str
) -> None:
    """REL-01, REL-03: a limit, a page, half an answer, an empty one; then a connection that works."""
    failing = [await _joined(joined, provider, _always(fault), path) for fault in FAULTS]
    await _joined(joined, provider, vendor(), path)
    answer = await client.post(URL, json={"model": f"{provider}/{model}", "prompt": "a cat"})
    assert answer.status_code == 200, answer.text
    assert all(upstream.requests for upstream in failing)


def _always(fault: Behaviour) -> painters.Handler:
    return lambda _: fault


#: Who changes pictures, and whether with a mask.
EDITORS: list[tuple[str, str, Callable[[], painters.Handler], str, bool]] = [
    ("black-forest-labs", "flux-2-pro", painters.black_forest, "", False),
    ("fal-ai", "fal-ai/flux-2-pro", painters.fal, "", True),
    ("stability-ai", "inpaint", lambda: painters.stability, "", True),
    ("stability-ai", "sd3.5-large", lambda: painters.stability, "", False),
    ("stability-ai", "creative", lambda: painters.stability, "", False),
    ("recraft", "recraftv3", lambda: painters.recraft, "", False),
    ("recraft", "recraftv3", lambda: painters.recraft, "", True),
    ("topaz", "topaz-enhance", painters.topaz, "", False),
    ("fireworks", "accounts/fireworks/flux-kontext-pro", painters.fireworks, "/v1", False),
    ("openrouter", "google/gemini-3-pro-image-preview", lambda: painters.openrouter, "/api/v1", False),
    ("gemini", "gemini-3-pro-image-preview", lambda: painters.gemini, "/v1beta", False),
    ("xai", "grok-imagine-image", lambda: _XAI, "/v1", False),
    ("together", "black-forest-labs/FLUX.2-pro", lambda: _TOGETHER, "/v1", False),
    ("nanogpt", "hidream", lambda: painters.nearly_openai("imageDataUrl"), "/v1", False),
    ("pollinations", "flux", painters.nearly_openai, "/v1", True),
    ("sdwebui", "sdxl-base-1.0", painters.web_ui, "", True),
    ("comfyui", "sdxl", painters.comfy, "", False),
]


@pytest.mark.parametrize(
    ("provider", "model", "vendor", "path", "masked"), EDITORS, ids=[f"{one[0]} {one[1].rpartition('/')[2]} {one[4]}" for one in EDITORS]
)
async def test_editors_change_a_picture(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, *, masked: bool
) -> None:
    await _joined(joined, provider, vendor(), path)
    ask = {"model": f"{provider}/{model}", "prompt": "a hat", "image": DATA, "response_format": "b64_json"}
    answer = await client.post(EDITS, json=ask | ({"mask": MASK} if masked else {}))
    assert answer.status_code == 200, answer.text
    assert base64.b64decode(answer.json()["data"][0]["b64_json"]) == pictures.PNG


async def test_a_mask_is_white_where_it_was_clear(client: httpx.AsyncClient, joined: Join) -> None:
    """The first pixel was opaque: it stays."""
    upstream = await _joined(joined, "sdwebui", painters.web_ui(), "")
    await client.post(EDITS, json={"model": "sdwebui/sdxl-base-1.0", "prompt": "a", "image": DATA, "mask": MASK})
    sent = base64.b64decode(upstream.requests[-1].json()["mask"])
    assert sent.startswith(b"\x89PNG")
    import zlib

    assert zlib.decompress(sent[sent.index(b"IDAT") + 4 : sent.index(b"IEND") - 8]) == b"\0\0\xff\0\xff\xff"


@pytest.mark.parametrize(
    ("provider", "model", "change", "param"),
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        ("black-forest-labs", "flux-2-pro", {"image": DATA, "mask": MASK}, "mask"),
        ("black-forest-labs", "flux-kontext-pro", {"size": "2000x200"}, "size"),
        ("openrouter", "google/gemini-3-pro-image-preview", {"size": "300x1000"}, "size"),
        ("nebius", "black-forest-labs/flux-schnell", {"image": DATA}, "image"),
        ("fireworks", "accounts/fireworks/flux-1-schnell-fp8", {"image": DATA}, "image"),
        ("gemini", "imagen-4.0-generate-001", {"image": DATA}, "image"),
        ("stability-ai", "inpaint", {}, "image"),
        ("stability-ai", "sd3.5-large", {"image": DATA, "mask": MASK}, "mask"),
        ("nanobanana", "nanobanana-pro", {"image": DATA}, "image"),
        ("recraft", "recraftv3", {"image": [DATA, DATA]}, "image"),
        ("topaz", "topaz-enhance", {}, "image"),
        ("comfyui", "sdxl", {"workflow": "a string"}, "workflow"),
        ("comfyui", "sdxl", {"image": DATA, "mask": MASK}, "mask"),
    ],
)
async def test_what_a_vendor_lacks_is_named(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, change: dict[str, Any], param: str
) -> None:
    """Nothing is sent."""
    upstream = await _joined(joined, provider, lambda _: faults.html(), "")
    answer = await client.post(URL, json={"model": f"{provider}/{model}", "prompt": "a cat", **change})
    assert (answer.status_code, answer.json()["error"].get("param")) == (400, param), answer.text
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("provider", "model", "vendor", "path"),
    [
        ("black-forest-labs", "flux-2-pro", painters.black_forest, ""),
        ("fal-ai", "fal-ai/flux-2-pro", painters.fal, ""),
        ("stability-ai", "stable-image-core", lambda: painters.stability, ""),
        ("recraft", "recraftv3", lambda: painters.recraft, ""),
        ("nanobanana", "nanobanana-flash", painters.nanobanana, "/api/v1"),
        ("fireworks", "accounts/fireworks/flux-kontext-pro", painters.fireworks, "/v1"),
        ("fireworks", "accounts/fireworks/flux-1-schnell-fp8", painters.fireworks, "/v1"),
        ("gemini", "gemini-3-pro-image-preview", lambda: painters.gemini, "/v1beta"),
        ("gemini", "imagen-4.0-generate-001", lambda: painters.gemini, "/v1beta"),
    ],
)
async def test_what_moderation_stops_is_the_callers(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str
) -> None:
    """No other account is asked for it, and the one that was stays in use."""
    await _joined(joined, provider, vendor(), path)
    second = await _joined(joined, provider, vendor(), path)
    answer = await client.post(URL, json={"model": f"{provider}/{model}", "prompt": "blood"})
    assert (answer.status_code, second.requests) == (400, []), answer.text
    again = await client.post(URL, json={"model": f"{provider}/{model}", "prompt": "a cat"})
    assert (again.status_code, second.requests) == (200, []), again.text


@pytest.mark.parametrize(
    ("provider", "model", "vendor", "path"),
    [
        ("black-forest-labs", "flux-2-pro", painters.black_forest, ""),
        ("fal-ai", "fal-ai/flux-2-pro", painters.fal, ""),
        ("nanobanana", "nanobanana-flash", painters.nanobanana, "/api/v1"),
        ("fireworks", "accounts/fireworks/flux-kontext-pro", painters.fireworks, "/v1"),
        ("comfyui", "sdxl", painters.comfy, ""),
    ],
)
async def test_a_job_that_fails_goes_to_the_next(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str
) -> None:
    """REL-01."""
    first = await _joined(joined, provider, vendor(), path)
    await joined("openai", pictures.openai_images)
    names = [f"{provider}/{model}", "openai/gpt-image-1.5"]
    assert (await client.post("/api/combos", json={"name": "art", "models": names})).status_code == 201
    answer = await client.post(URL, json={"model": "art", "prompt": "broken"})
    assert (answer.status_code, answer.headers["x-omniroute-provider"]) == (200, "openai"), answer.text
    assert first.requests


async def test_an_account_without_credit_makes_way(client: httpx.AsyncClient, joined: Join) -> None:
    """An error in an answer of status 200 is one (REL-03)."""
    await _joined(joined, "nanobanana", lambda _: faults.json_answer({"code": 402, "msg": "Insufficient credits"}), "/api/v1")
    await _joined(joined, "nanobanana", painters.nanobanana(), "/api/v1")
    assert (await client.post(URL, json={"model": "nanobanana/nanobanana-flash", "prompt": "a cat"})).status_code == 200


LEFT: list[tuple[str, str, Callable[[], painters.Handler], str, dict[str, Any], str]] = [
    ("fal-ai", "fal-ai/flux-2-pro", painters.fal, "", {"prompt": "never"}, "PUT /fal-ai/requests/job-0/cancel"),
    ("topaz", "topaz-enhance", painters.topaz, "", {"image": DATA, "output_format": "never"}, "DELETE /image/v1/cancel/job-0"),
    ("sdwebui", "sdxl-base-1.0", painters.web_ui, "", {"prompt": "never"}, "POST /sdapi/v1/interrupt"),
    ("comfyui", "sdxl", painters.comfy, "", {"prompt": "never"}, "POST /interrupt"),
]


@pytest.mark.parametrize(("provider", "model", "vendor", "path", "ask", "goodbye"), LEFT, ids=[one[0] for one in LEFT])
async def test_a_job_is_withdrawn_when_the_client_leaves(
    running: Running, client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, ask: Any, goodbye: str
) -> None:
    """REL-06."""
    upstream = await _joined(joined, provider, vendor(), path)
    task = asyncio.create_task(client.post(URL, json={"model": f"{provider}/{model}", **ask}))
    async with asyncio.timeout(10):
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        while not any(f"{request.method} {request.target}" == goodbye for request in upstream.requests):
            await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running.hub.ledger.running == {}


async def test_a_job_that_never_ends_is_given_up(tmp_path: Path) -> None:
    """It is withdrawn, and the client hears how long it was waited for."""
    async with running_hub(tmp_path, request_seconds=1.0) as hub, faults.FaultUpstream() as upstream:
        upstream.script(painters.fal())
        options = {"name": "up", "secret": "sk-vendor-secret-0001", "allow_private": True}
        await hub.hub.store.connections.create(provider="fal-ai", base_url=upstream.url, **options)
        async with httpx.AsyncClient(base_url=hub.url, headers=await hub.headers(), timeout=30) as client:
            answer = await client.post(URL, json={"model": "fal-ai/fal-ai/flux-2-pro", "prompt": "never"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "job_timeout"), answer.text
        assert any(request.method == "PUT" for request in upstream.requests)


async def test_the_key_goes_to_no_other_host(client: httpx.AsyncClient, joined: Join) -> None:
    """SEC-10: an answer that names a foreign address is no answer."""

    def foreign(_: Any) -> Behaviour:
        return faults.json_answer({"id": "1", "polling_url": "https://example.com/v1/get_result?id=1"})

    await joined("black-forest-labs", foreign, "")
    answer = await client.post(URL, json={"model": "black-forest-labs/flux-2-pro", "prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "malformed_answer")


async def test_what_is_dropped_is_said(client: httpx.AsyncClient, joined: Join) -> None:
    """D20."""
    await _joined(joined, "xai", _XAI, "/v1")
    ask = {"model": "xai/grok-imagine-image", "prompt": "a", "style": "vivid", "quality": "hd", "user": "u"}
    assert (await client.post(URL, json=ask)).headers["x-hubroute-dropped"] == "quality, style"


async def test_events_are_made_where_a_vendor_has_none(client: httpx.AsyncClient, joined: Join) -> None:
    await _joined(joined, "recraft", painters.recraft, "")
    ask = {"model": "recraft/recraftv3", "prompt": "a", "stream": True, "partial_images": 2}
    answer = await client.post(URL, json=ask)
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-hubroute-dropped"] == "partial_images"
    assert answer.text.startswith("event: image_generation.completed\ndata: {")
    assert pictures.B64 in answer.text


@pytest.mark.parametrize(
    ("provider", "model", "vendor", "path", "count", "want"),
    [
        ("recraft", "recraftv3", lambda: painters.recraft, "", 3, 0.12),
        ("fireworks", "accounts/fireworks/flux-kontext-pro", painters.fireworks, "/v1", 1, 0.04),
        ("gemini", "gemini-3-pro-image-preview", lambda: painters.gemini, "/v1beta", 2, 2 * 0.134 + 20 * 2e-6),
    ],
)
async def test_a_picture_has_its_price(
    client: httpx.AsyncClient, joined: Join, provider: str, model: str, vendor: Any, path: str, count: int, want: float
) -> None:
    await _joined(joined, provider, vendor(), path)
    answer = await client.post(URL, json={"model": f"{provider}/{model}", "prompt": "a cat", "n": count})
    assert float(answer.headers["x-omniroute-response-cost"]) == pytest.approx(want)


def test_every_row_that_promises_has_a_format() -> None:
    """The whole catalogue, and every model of these kinds belongs to a row that offers it."""
    formats, kinds = Formats().names(), {"image": "images", "video": "video", "music": "music"}
    lacking = [
        (row.id, service)
        for row in Catalog.load().providers.values()
        for service in kinds.values()
        if service in row.services and (service, row.speaks(service, "")) not in formats
    ]
    assert lacking == []
    orphans = [
        (row.id, model.id)
        for row in Catalog.load().providers.values()
        for model in row.models
        if model.kind in kinds and kinds[model.kind] not in row.services
    ]
    assert orphans == []
