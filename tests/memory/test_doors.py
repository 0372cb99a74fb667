"""Memory by REST and MCP, on both databases: the seed's shapes, clear refusals, one key never in another's memory, restarts and backups."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.mcp import client
from tests.memory.conftest import Desk, open_desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

FIELDS = {"id", "apiKeyId", "sessionId", "type", "key", "content", "metadata", "createdAt", "updatedAt", "expiresAt"}


async def test_a_memory_is_added_shown_changed_and_deleted(desk: Desk) -> None:
    made = await desk.add("ada", "editor", "I prefer vim", type="SEMANTIC", metadata={"a": 1}, expiresAt="2099-01-01T00:00:00Z")
    memory = made["memory"]
    assert (made["success"], made["id"], made["outcome"]) == (True, memory["id"], "added")
    assert memory.keys() >= FIELDS
    assert (memory["type"], memory["apiKeyId"], memory["expiresAt"]) == ("semantic", desk.ids["ada"], "2099-01-01T00:00:00.000Z")
    assert (await desk.add("ada", "editor", "I prefer emacs", metadata={"b": 2}))["outcome"] == "changed"
    shown = (await desk.ask("ada", "GET", f"/api/memory/{memory['id']}"))["memory"]
    assert (shown["content"], shown["metadata"], shown["version"]) == ("I prefer emacs", {"a": 1, "b": 2}, 2)
    assert shown["history"][0]["content"] == "I prefer vim"
    assert await desk.ask("ada", "DELETE", f"/api/memory/{memory['id']}") == {"success": True}
    await desk.ask("ada", "DELETE", f"/api/memory/{memory['id']}", 404)
    await desk.ask("ada", "GET", f"/api/memory/{memory['id']}", 404)
    assert await desk.found("ada", "emacs") == []


async def test_lists_are_paged_filtered_and_counted(desk: Desk) -> None:
    for n in range(7):
        await desk.add("ada", f"k{n}", f"note number{n} about tea", type="episodic" if n % 2 else "factual", sessionId="s" if n > 4 else "")
    page = await desk.ask("ada", "GET", "/api/memory", params={"limit": 3, "page": 2})
    assert {name: page[name] for name in ("total", "page", "limit", "totalPages")} == {"total": 7, "page": 2, "limit": 3, "totalPages": 3}
    assert page["stats"] == {"total": 7, "byType": {"factual": 4, "episodic": 3, "procedural": 0, "semantic": 0}}
    assert [one["key"] for one in page["data"]] == ["k3", "k2", "k1"]
    by_offset = await desk.ask("ada", "GET", "/api/memory", params={"limit": 3, "offset": 3})
    assert (by_offset["data"], by_offset["page"]) == (page["data"], 2)
    assert len(await desk.contents("ada", type="EPISODIC")) == 3
    assert len(await desk.contents("ada", sessionId="s")) == 2
    assert await desk.contents("ada", q="number4") == ["note number4 about tea"]
    found = await desk.ask("ada", "GET", "/api/memory", params={"q": "tea", "limit": 2, "type": "factual"})
    assert (len(found["data"]), found["total"]) == (2, 4)
    assert await desk.contents("ada", q='" OR *') == []


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/api/memory", {"key": "a"}, "content"),
        ("POST", "/api/memory", {"key": "", "content": "x"}, "key"),
        ("POST", "/api/memory", {"key": " ", "content": "x"}, "key"),
        ("POST", "/api/memory", {"key": "a", "content": "x" * 8001}, "content"),
        ("POST", "/api/memory", {"key": "a", "content": "x", "type": "wrong"}, "type"),
        ("POST", "/api/memory", {"key": "a", "content": "x", "metadata": {"a": "x" * 9000}}, "metadata"),
        ("POST", "/api/memory", {"key": "a", "content": "x", "expiresAt": "2001-01-01"}, "expiresAt"),
        ("POST", "/api/memory", {"key": "a", "content": "x", "expiresAt": "soon"}, "expiresAt"),
        ("GET", "/api/memory?limit=201", None, "limit"),
        ("GET", "/api/memory?type=wrong", None, "type"),
        ("POST", "/api/memory/retrieve-preview", {"query": "x", "maxTokens": 0}, "maxTokens"),
        ("DELETE", "/api/memory?olderThan=never", None, "olderThan"),
        ("DELETE", f"/api/memory?olderThan={10**30}", None, "olderThan"),
    ],
)
async def test_bad_input_names_the_field_and_changes_nothing(plain: Desk, method: str, path: str, body: Any, field: str) -> None:
    refused = await plain.ask("ada", method, path, 400, json=body)
    assert refused["error"]["details"][0]["field"] == field, refused
    assert await plain.contents("ada") == ["kept"]


async def test_a_key_reaches_its_own_memories_only(plain: Desk) -> None:
    """SEC-04; and management any that exists."""
    ada, bob = plain.ids["ada"], plain.ids["bob"]
    mine = (await plain.contents("ada"))[0]
    made = await plain.add("bob", "secret", f"{mine} of bob")
    for method, path in (("GET", f"/api/memory/{made['id']}"), ("DELETE", f"/api/memory/{made['id']}")):
        await plain.ask("ada", method, path, 404)
    await plain.ask("ada", "GET", "/api/memory", 403, params={"apiKeyId": bob})
    await plain.ask("ada", "DELETE", "/api/memory", 403, params={"apiKeyId": bob})
    await plain.ask("ada", "GET", "/api/memory/export", 403, params={"apiKeyId": bob})
    await plain.add("ada", "a", "b", 403, apiKeyId=bob)
    await plain.ask("ada", "POST", "/api/memory/retrieve-preview", 403, json={"query": mine, "apiKeyId": bob})
    assert await plain.found("ada", mine) == [mine]
    assert await plain.contents("ada", q=mine) == [mine]
    assert await plain.contents("ada", apiKeyId=ada) == [mine]
    assert set(await plain.contents("boss")) == {mine, f"{mine} of bob"}
    assert await plain.contents("boss", apiKeyId=bob) == [f"{mine} of bob"]
    assert (await plain.add("boss", "a", "b", 400, apiKeyId="key_no"))["error"]["details"][0]["field"] == "apiKeyId"
    lines = (await plain.ask("ada", "GET", "/api/memory/export")).text.splitlines()
    assert [json.loads(line)["content"] for line in lines] == [mine]
    assert len((await plain.ask("boss", "GET", "/api/memory/export")).text.splitlines()) == 2
    await plain.ask("ada", "GET", "/api/settings/memory", 403)
    await plain.key("poor", "chat")
    await plain.ask("poor", "GET", "/api/memory", 403)
    await plain.ask("poor", "GET", "/api/memory", 401, headers={"authorization": "Bearer wrong"})
    await plain.ask("ada", "DELETE", "/api/memory")


async def test_everything_of_a_key_is_forgotten_in_one_call_and_with_the_key(desk: Desk) -> None:
    rows = desk.running.hub.memory.rows
    for n in range(130):
        await desk.add("ada", f"k{n}", f"tea {n}", type="episodic" if n < 10 else "factual")
    await desk.add("bob", "b", "tea of bob")
    assert (await desk.ask("ada", "DELETE", "/api/memory", params={"type": "episodic"}))["deletedCount"] == 10
    for older in ("2001-01-01", "1970-01-01", "0", "-1"):
        assert (await desk.ask("ada", "DELETE", "/api/memory", params={"olderThan": older}))["deletedCount"] == 0
    assert (await desk.ask("ada", "DELETE", "/api/memory"))["deletedCount"] == 120
    assert await desk.contents("ada") == []
    assert await desk.found("ada", "tea") == []
    assert await rows.count() == 1
    await desk.ask("boss", "DELETE", f"/api/keys/{desk.ids['bob']}")
    assert await rows.count() == 0


async def test_the_tools_have_the_seeds_shapes_and_stand_in_its_list(plain: Desk) -> None:
    async with client(plain.running, plain.tokens["ada"]) as mcp:
        tools = {tool.name: tool for tool in (await mcp.list_tools()).tools if "memory" in tool.name}
        assert sorted(tools) == ["omniroute_memory_add", "omniroute_memory_clear", "omniroute_memory_search"]
        assert tools["omniroute_memory_clear"].annotations.destructive_hint is True  # type: ignore[union-attr]
        ada = plain.ids["ada"]
        arguments = {"apiKeyId": ada, "type": "factual", "key": "tool", "content": "said by a tool about tea"}
        added = (await mcp.call_tool("omniroute_memory_add", arguments)).structured_content
        assert added is not None
        assert (added["success"], added["data"]["memory"]["key"]) == (True, "tool")
        found = (await mcp.call_tool("omniroute_memory_search", {"apiKeyId": ada, "query": "tea"})).structured_content
        assert found is not None
        assert [one["key"] for one in found["data"]["memories"]] == ["tool"]
        assert found["data"]["count"] == 1
        assert 0 < found["data"]["totalTokens"] < 80
        newest = (await mcp.call_tool("omniroute_memory_search", {"limit": 1})).structured_content
        assert newest is not None
        assert [one["key"] for one in newest["data"]["memories"]] == ["tool"]
        assert newest["data"]["strategy"] == "recent"
        denied = await mcp.call_tool("omniroute_memory_search", {"apiKeyId": plain.ids["bob"], "query": "tea"})
        assert denied.is_error
        cleared = (await mcp.call_tool("omniroute_memory_clear", {"apiKeyId": ada, "confirm": True})).structured_content
        assert cleared is not None
        assert (cleared["success"], cleared["data"]["deletedCount"]) == (True, 2)


async def test_settings_are_patched_and_refused_by_name(plain: Desk) -> None:
    shown = await plain.ask("boss", "GET", "/api/settings/memory")
    assert {name: shown[name] for name in ("enabled", "maxTokens", "retentionDays", "strategy")} == {
        "enabled": True, "maxTokens": 2000, "retentionDays": 30, "strategy": "hybrid",
    }  # fmt: skip
    assert (await plain.set(maxTokens=16000, strategy="recent"))["maxTokens"] == 16000
    assert (await plain.set(maxTokens=None))["maxTokens"] == 2000
    for patch, field in (({"maxTokens": 16001}, "maxTokens"), ({"retentionDays": 0}, "retentionDays"), ({"nope": 1}, "nope")):
        refused = await plain.ask("boss", "PUT", "/api/settings/memory", 400, json=patch)
        assert field in json.dumps(refused)
    await plain.ask("boss", "PUT", "/api/settings/memory", 400, json={})
    assert (await plain.set(skillsEnabled=True))["skillsEnabled"]
    assert (await plain.ask("boss", "GET", "/api/settings"))["skillsEnabled"]
    assert not (await plain.set(strategy="hybrid", skillsEnabled=False))["skillsEnabled"]


async def test_health_tells_its_parts_apart_and_writes_nothing(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "data" / "memory-words.db"
    idle = await desk.ask("ada", "GET", "/api/memory/health")
    assert (idle["working"], idle["fullText"]["state"], idle["vectors"]["state"], idle["embeddings"]["state"]) == (
        True,
        "idle",
        "off",
        "off",
    )
    assert (idle["database"]["memories"], path.exists()) == (0, False)
    await desk.add("ada", "a", "tea")
    ready = await desk.ask("ada", "GET", "/api/memory/health")
    engine = "tsvector" if desk.running.hub.store.postgres else "fts5"
    assert ready["fullText"] == {"state": "ready", "engine": engine, "entries": 1, "error": ""}


async def test_sealing_seals_what_is_there_and_search_goes_on_without_an_index(desk: Desk, tmp_path: Path) -> None:
    """SEC-23."""
    await desk.add("ada", "illness", "I have asthma in spring")
    path, hub = tmp_path / "data" / "memory-words.db", desk.running.hub
    assert path.exists() is not hub.store.postgres
    await desk.set(sealed=True)
    assert not path.exists()

    async def stored() -> str:
        return str(await hub.store._database.read(lambda link: link.run("SELECT * FROM memories")))

    await desk.add("ada", "illness", "I have asthma in autumn")
    await desk.add("ada", "tea", "green tea")
    assert "asthma" not in await stored()
    assert await desk.found("ada", "when is the asthma?") == ["I have asthma in autumn"]
    assert await desk.contents("ada", q="asthma") == ["I have asthma in autumn"]
    assert (await desk.ask("ada", "GET", "/api/memory/health"))["fullText"]["state"] == "off"
    if hub.store.postgres:
        assert await hub.store.memory_text.held() == {}
    await desk.set(sealed=False)
    assert "asthma" in await stored()
    assert await desk.found("ada", "when is the asthma?") == ["I have asthma in autumn"]
    assert (await desk.ask("ada", "GET", "/api/memory/health"))["fullText"]["entries"] == 2


async def test_memories_are_there_after_a_restart_and_after_a_restore(tmp_path: Path, database_url: str) -> None:
    async with open_desk(tmp_path, database_url=database_url) as desk:
        await desk.add("ada", "tea", "I like green tea")
        await desk.add("ada", "gone", "a mistake about coffee")
        kept, tokens = dict(desk.ids), dict(desk.tokens)
        backup = (await desk.ask("boss", "PUT", "/api/db-backups"))["id"]
        await desk.ask("ada", "DELETE", "/api/memory")
        await desk.add("ada", "new", "I like milk now")
    async with open_desk(tmp_path, database_url=database_url) as desk:
        desk.ids, desk.tokens = kept, tokens
        assert await desk.contents("ada") == ["I like milk now"]
        assert await desk.found("ada", "milk") == ["I like milk now"]
        await desk.ask("boss", "POST", "/api/db-backups", json={"backupId": backup})
        assert set(await desk.contents("ada")) == {"I like milk now", "I like green tea", "a mistake about coffee"}
        assert await desk.found("ada", "green") == ["I like green tea"]


async def test_what_is_past_its_time_goes_with_the_sweep_and_words_with_it(desk: Desk) -> None:
    hub = desk.running.hub
    await desk.add("ada", "a", "old tea")
    await hub.store._database.write(lambda link: link.run("UPDATE memories SET updated_at = updated_at - ?", 31 * 86_400_000))
    await desk.add("ada", "b", "new tea")
    assert await desk.found("ada", "tea") == ["new tea"]
    assert await desk.contents("ada") == ["new tea"]
    assert await hub.memory.sweep() == 1
    assert len(await hub.store.memory_text.held()) == 1
    assert await hub.memory.rows.count() == 1


async def test_what_is_remembered_is_in_no_log_and_told_to_webhooks_without_its_words(
    plain: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    hub = plain.running.hub
    await plain.add("ada", "pet:name", "the dog is Rex")
    await plain.ask("ada", "GET", "/api/memory", params={"q": "Rex"})
    await hub.store.flush()
    rows, _ = await hub.store.audit.page(limit=200)
    assert {"memory-add"} <= {row.skill for row in rows}
    assert not any("Rex" in f"{row.detail}{row.target}" for row in rows)
    stored = [one for one in hub.events.recent if one.kind == "memory.stored"]
    assert stored
    assert "Rex" not in str(stored)
    assert "Rex" not in caplog.text


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture
async def plain(shared: Desk) -> Desk:
    """A hub on SQLite whose ada has one memory, and nobody else any."""
    await shared.forget()
    await shared.add("ada", "kept", "kept")
    return shared
