"""Provider discovery: what a provider offers, how it stands now, and which one is best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import InvalidInput
from hub.records import TestStatus

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def candidate(desk: Desk, provider: str, **ask: Any):  # type: ignore[no-untyped-def]
    found = await desk.ask("provider-discovery", limit=200, **ask)
    return next(one for one in found.candidates if one.id == provider)


async def test_without_connections_nobody_is_recommended(desk: Desk) -> None:
    found = await desk.ask("provider-discovery")
    assert (found.capability, found.configured_candidates, found.recommended_provider) == ("chat", 0, None)
    assert found.total_candidates > 50
    assert len(found.candidates) == 10
    assert "demo" not in {one.id for one in (await desk.ask("provider-discovery", limit=200)).candidates}


async def test_a_score_is_the_sum_of_what_is_known(desk: Desk) -> None:
    """100; +30 active, +20 configured; +20 healthy, +5 recovering, -100 down; +1 a model up to 25."""
    models = min(25, len(desk.hub.catalog.get("openai").models))
    plain = await candidate(desk, "openai")
    assert (plain.score, plain.health, plain.configured, plain.active) == (100 + models, "unknown", False, False)
    one = await desk.connect("a")
    healthy = await candidate(desk, "openai")
    assert (healthy.score, healthy.health, healthy.configured, healthy.active) == (170 + models, "healthy", True, True)
    await desk.connect("b")
    desk.cool(one)
    recovering = await candidate(desk, "openai")
    assert (recovering.score, recovering.health) == (155 + models, "recovering")


async def test_one_that_is_down_falls_behind(desk: Desk) -> None:
    one = await desk.connect("a")
    await desk.connect("b", "groq")
    desk.cool(one)
    found = await desk.ask("provider-discovery", limit=200)
    assert found.recommended_provider == "groq"
    assert found.candidates[0].id == "groq"
    down = await candidate(desk, "openai")
    assert (down.health, down.active) == ("down", True)
    assert down.score < (await candidate(desk, "anthropic")).score
    desk.hub.mark((await desk.connect("c", "anthropic")).id, test_status=TestStatus.EXPIRED)
    assert (await candidate(desk, "anthropic")).health == "down"


async def test_one_that_is_switched_off_is_configured_but_not_active(desk: Desk) -> None:
    one = await desk.connect("a")
    await desk.hub.store.connections.update(one.id, active=False)
    found = await candidate(desk, "openai")
    assert (found.configured, found.active, found.health) == (True, False, "unknown")
    report = await desk.ask("provider-discovery")
    assert (report.configured_candidates, report.recommended_provider) == (1, None)


async def test_best_first_and_equal_ones_by_name(desk: Desk) -> None:
    found = (await desk.ask("provider-discovery", limit=200)).candidates
    keys = [(-one.score, one.id) for one in found]
    assert keys == sorted(keys)


@pytest.mark.parametrize("capability", ["chat", "image", "video", "audio", "embed", "rerank", "search", "local"])
async def test_every_capability_has_providers_that_offer_it(desk: Desk, capability: str) -> None:
    found = await desk.ask("provider-discovery", capability=capability, limit=200)
    assert found.total_candidates == len(found.candidates) > 0
    names = {
        "image": {"image", "images"},
        "audio": {"tts", "stt", "audio", "music"},
        "embed": {"embedding", "embeddings"},
        "chat": {"chat", "responses"},
    }
    for one in found.candidates:
        if capability == "local":
            assert desk.hub.catalog.get(one.id).category == "local"
        else:
            assert names.get(capability, {capability}) & set(one.capabilities)


@pytest.mark.parametrize(
    ("text", "options", "want"),
    [
        ("Which provider can generate images?", {}, "image"),
        ("describe this PICTURE", {}, "image"),
        ("make a video", {}, "video"),
        ("transcribe speech", {}, "audio"),
        ("Find me a provider for embeddings", {}, "embed"),
        ("rerank my results", {}, "rerank"),
        ("web search", {}, "search"),
        ("a local model", {}, "local"),
        ("hello", {}, "chat"),
        ("image", {"metadata": {"capability": "video"}}, "video"),
        ("image", {"metadata": {"capability": "video"}, "data": {"capability": "audio"}}, "audio"),
    ],
)
async def test_an_agent_s_words_name_the_capability(desk: Desk, text: str, options: dict[str, Any], want: str) -> None:
    """agents.md 2."""
    assert (await desk.agent("provider-discovery", text, **options)).data["capability"] == want


async def test_what_an_agent_client_gets(desk: Desk) -> None:
    answer = await desk.agent("provider-discovery", "chat")
    assert answer.text.splitlines()[0].endswith("providers offer chat. None of them is connected yet.")
    await desk.connect("a")
    answer = await desk.agent("provider-discovery", "chat")
    lines = answer.text.splitlines()
    assert lines[0].endswith("Best for chat: openai.")
    assert lines[1].startswith("- OpenAI: connected, ")
    assert answer.metadata == answer.data
    assert answer.data["recommendedProvider"] == "openai"


async def test_bounds(desk: Desk) -> None:
    for wrong in ({"capability": "flying"}, {"limit": 0}, {"limit": 201}):
        with pytest.raises(InvalidInput):
            await desk.ask("provider-discovery", **wrong)


async def test_the_catalogue(desk: Desk) -> None:
    await desk.connect("a", "groq")
    rows = {row.id: row for row in (await desk.ask("providers-list")).providers}
    assert "demo" not in rows
    assert len(rows) == len(desk.hub.catalog.providers) - 1
    assert (rows["groq"].connections, rows["openai"].connections) == (1, 0)
    assert rows["groq"].chat
    assert rows["azure-openai"].needs == ["apiKey", "resource"]
    assert not rows["elevenlabs"].chat
