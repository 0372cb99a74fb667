"""The skills of the cache: both shapes of the statistics, what is thrown away, and the settings of its opt-in tier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.caching.fingerprint import Fingerprint
from hub.chat import Usage
from hub.engine.answers import StoredAnswer
from hub.errors import HubError, InvalidInput

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


def _fill(desk: Desk, *models: str) -> None:
    cache = desk.hub.sameness.cache
    for number, model in enumerate(models):
        answer = StoredAnswer(provider="p", model=model, usage=Usage(input=2, output=3), created=1, body=b"{}")
        cache.put(Fingerprint(f"s{number}", "c", "b", "key:a", model), answer)
        cache.hit(answer)
        cache.miss()


def _seen(desk: Desk, method: str, path: str, output: Any) -> Any:
    made = desk.hub.skills.by_rest[method, path]
    view = next(address.view for address in made.rest if (address.method, address.path) == (method, path))
    return view(output) if view else output.model_dump(by_alias=True)


async def test_statistics_have_both_shapes(desk: Desk) -> None:
    _fill(desk, "a", "b")
    output = await desk.ask("cache-stats")
    flat = _seen(desk, "GET", "/api/cache/stats", output)
    assert {name: flat[name] for name in ("size", "maxSize", "hits", "misses", "evictions", "hitRate")} == {
        "size": 2, "maxSize": 500, "hits": 2, "misses": 2, "evictions": 0, "hitRate": 50,
    }  # fmt: skip
    assert flat["bytes"] > 0
    nested = _seen(desk, "GET", "/api/cache", output)
    assert nested["semanticCache"]["hitRate"] == "50.0%"
    assert (nested["semanticCache"]["memoryEntries"], nested["semanticCache"]["dbEntries"], nested["semanticCache"]["tokensSaved"]) == (
        2,
        2,
        10,
    )
    assert nested["idempotency"] == {"activeKeys": 0, "windowMs": 5000}
    assert nested["promptCache"] is None
    assert nested["config"] == {"semanticCacheEnabled": True}
    assert "size" not in nested
    assert flat["semanticCache"] == nested["semanticCache"]


@pytest.mark.parametrize(
    ("given", "gone", "scope"),
    [
        ({}, 3, "all"),
        ({"model": "a"}, 2, "model"),
        ({"signature": "s1", "model": "zzz"}, 1, "signature"),
        ({"olderThanMs": 10**9}, 0, "all"),
    ],
)
async def test_answers_are_thrown_away(desk: Desk, given: dict[str, Any], gone: int, scope: str) -> None:
    _fill(desk, "a", "b", "a")
    done = await desk.ask("cache-flush", **given)
    assert done.model_dump() == {"ok": True, "invalidated": gone, "scope": scope}
    assert len(desk.hub.sameness.cache) == 3 - gone
    assert _seen(desk, "DELETE", "/api/cache/stats", done) == {"success": True, "message": f"{gone} cached answers are thrown away"}


async def test_unknown_fields_are_refused_by_name(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="sgnature"):
        await desk.ask("cache-flush", sgnature="x")


async def test_similarity_is_set_checked_and_shown(desk: Desk) -> None:
    with pytest.raises(HubError, match="embeddingModel"):
        await desk.ask("cache-similarity-set", enabled=True)
    with pytest.raises(HubError, match="no provider is connected"):
        await desk.ask("cache-similarity-set", enabled=True, embeddingModel="openai/text-embedding-3-small")
    assert not (await desk.ask("cache-similarity")).enabled
    await desk.connect("main")
    await desk.ask("cache-similarity-set", enabled=True, embeddingModel="openai/text-embedding-3-small")
    shown = await desk.ask("cache-similarity")
    assert (shown.enabled, shown.threshold, shown.lexical) == (True, 0.95, False)
    assert (await desk.ask("cache-stats")).semantic_cache.similarity == "semantic"
