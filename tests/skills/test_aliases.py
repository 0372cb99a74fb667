"""Aliases of models: set, listed, resolved, removed; they route, and lead in no circle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from hub.errors import BadRequest, NotFound
from tests.fakes.hub import running_hub
from tests.fakes.vendor import good

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.upstream import FaultUpstream
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hello"}]


async def test_over_http(tmp_path: Path) -> None:
    async with running_hub(tmp_path) as hub, httpx.AsyncClient(base_url=hub.url, headers=await hub.headers()) as client:
        made = await client.put("/api/models/alias", json={"alias": "fast", "model": "openai/gpt-4o-mini"})
        assert made.json() == {"success": True, "alias": "fast", "model": "openai/gpt-4o-mini"}
        version = hub.hub.catalog.version
        assert made.headers["x-model-catalog-version"] == version
        assert (await client.post("/api/models/alias", json={"alias": "my-*", "model": "groq/llama"})).status_code == 200
        listed = await client.get("/api/models/alias")
        assert listed.json() == {"aliases": {"fast": "openai/gpt-4o-mini", "my-*": "groq/llama"}, "catalogVersion": version}
        assert listed.headers["x-model-catalog-version"] == version
        missing = await client.get("/api/models/alias?alias=unheard")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "MODEL_NOT_MAPPED")
        assert (await client.delete("/api/models/alias?alias=fast")).json() == {"success": True}
        assert (await client.delete("/api/models/alias?alias=fast")).status_code == 404
        assert (await client.put("/api/models/alias", json={"alias": "x", "model": "openai/y", "more": 1})).status_code == 400


async def test_where_a_name_leads(desk: Desk) -> None:
    await desk.connect("a")
    await desk.connect("g", "groq")
    await desk.ask("aliases-set", alias="fast", model="openai/gpt-4o")
    await desk.ask("aliases-set", alias="my-*", model="groq/whatever")
    exact = (await desk.ask("aliases-list", alias="fast")).resolved
    assert (exact.provider, exact.model, exact.qualified_id, exact.source, exact.target) == (
        "openai", "gpt-4o", "openai/gpt-4o", "alias", "openai/gpt-4o",
    )  # fmt: skip
    row = desk.hub.catalog.get("openai").model("gpt-4o")
    assert row is not None
    assert exact.metadata["limits"]["contextWindow"] == row.context
    assert exact.metadata["capabilities"]["supportsTools"] is ("tools" in row.caps)
    wild = (await desk.ask("aliases-list", alias="MY-model")).resolved
    assert (wild.provider, wild.source) == ("groq", "wildcard")
    assert wild.metadata["capabilities"]["supportsTools"] is None
    assert wild.metadata["metadata"]["source"]["staticSpec"] is False


async def test_a_call_through_an_alias_of_an_own_node(desk: Desk, upstream: FaultUpstream) -> None:
    """openapi x-better: an alias whose target has a node's prefix routes; it takes effect at once, and ends at once."""
    upstream.answer(good())
    await desk.connect("other")
    await desk.connect("node", base_url=f"{upstream.url}/v1", allow_private=True, data={"prefix": "mine"})
    await desk.ask("aliases-set", alias="assistant", model="mine/llama")
    await desk.ask("aliases-set", alias="claude-*", model="mine/big")
    for asked in ("assistant", "claude-any"):
        report = await desk.ask("smart-routing", model=asked, messages=HELLO)
        assert report.response.content == "Hello from upstream"
    assert [one.json()["model"] for one in upstream.requests] == ["llama", "big"]
    assert {one.headers["authorization"] for one in upstream.requests} == {"Bearer sk-node-secret"}
    resolved = (await desk.ask("aliases-list", alias="assistant")).resolved
    assert resolved.qualified_id == "mine/llama"
    await desk.ask("aliases-set", alias="assistant", model="mine/new")
    await desk.ask("smart-routing", model="assistant", messages=HELLO)
    assert upstream.requests[-1].json()["model"] == "new"


async def test_circles_and_dead_ends(desk: Desk) -> None:
    await desk.connect("a")
    await desk.ask("aliases-set", alias="one", model="gpt-4o")
    await desk.ask("combos-create", name="team", models=["gpt-4o"])
    for alias, model, words in (
        ("two", "two", "itself"),
        ("two", "one", "'one' is an alias of 'gpt-4o'"),
        ("gpt-4o", "openai/gpt-4o-mini", "alias 'one' leads to 'gpt-4o'"),
        ("two", "team", "is a combo"),
        ("two", "nobody/x", "nowhere"),
        ("two", "openai/", "nowhere"),
    ):
        with pytest.raises(BadRequest, match=words):
            await desk.ask("aliases-set", alias=alias, model=model)
    assert list(desk.hub.directory.aliases()) == ["one"]
    await desk.ask("aliases-set", alias="gpt-*", model="openai/gpt-4o")
    await desk.ask("aliases-set", alias="one", model="openai/gpt-4o-mini")
    with pytest.raises(NotFound):
        await desk.ask("aliases-delete", alias="none")
