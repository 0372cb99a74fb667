"""Pages of routing and the agent side: models, combos, cache, MCP servers, settings, skills; their forms do what they say."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.test_pages import csrf
from tests.upstream.test_http import toolbox

if TYPE_CHECKING:
    import httpx

    from tests.dashboard.conftest import Dashboard

pytestmark = pytest.mark.anyio


async def sent(client: httpx.AsyncClient, at: str, do: str, /, *, status: int = 303, **fields: str) -> httpx.Response:
    """Send a form of a page."""
    page = await client.get(at)
    assert page.status_code == 200, page.text
    answer = await client.post(at, data={"csrf": csrf(page.text), "do": do, **fields})
    assert answer.status_code == status, re.findall(r'role="alert">([^<]+)|class="fault">([^<]+)', answer.text)
    return answer


async def test_a_model_gets_a_price_and_another_name(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/models"
        assert "demo" in (await client.get(url)).text
        await sent(client, url, "price", model="demo/demo", input="12.5", output="30")
        assert "$12.50" in (await client.get(url)).text
        assert "provider/model" in (await sent(client, url, "price", status=400, model="demo", input="1")).text
        assert (await sent(client, url, "price", status=400, model="demo/demo", input="much")).status_code == 400
        await sent(client, url, "unprice", model="demo/demo")
        assert "$12.50" not in (await client.get(url)).text
        await sent(client, url, "alias", alias="quick", model="demo/demo")
        assert "quick" in (await client.get(url)).text
        await sent(client, url, "unalias", alias="quick")
        assert "quick" not in (await client.get(url)).text


async def test_a_combo_is_made_changed_simulated_and_removed(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        url = "/dashboard/combos"
        refused = await sent(client, url, "create", status=400, name="mine", strategy="priority", models="demo/demo x y")
        assert "no line of a model" in refused.text
        assert "demo/demo x y" in refused.text
        made = await sent(client, url, "create", name="mine", strategy="priority", models="demo/demo 3\n\nopenai/gpt-4o\n")
        place = made.headers["location"]
        page = (await client.get(place)).text
        assert "demo/demo 3\nopenai/gpt-4o" in page
        await sent(client, place, "change", name="mine", strategy="weighted", models="openai/gpt-4o 1\ndemo/demo 4", isActive="on")
        stored = await dashboard.ask("combos-get", id=place.rsplit("/", 1)[1])
        assert [(step["model"], step["weight"]) for step in stored.models] == [("openai/gpt-4o", 1), ("demo/demo", 4)]
        assert stored.strategy == "weighted"
        await sent(client, place, "add", model="demo/demo-echo", weight="2")
        await sent(client, place, "step", at="2", name="demo/demo-echo", to="up")
        await sent(client, place, "step", at="0", name="openai/gpt-4o", to="out")
        stale = await sent(client, place, "step", status=400, at="0", name="openai/gpt-4o", to="out")
        assert "were changed meanwhile" in stale.text
        stored = await dashboard.ask("combos-get", id=place.rsplit("/", 1)[1])
        assert [(step["model"], step["weight"]) for step in stored.models] == [("demo/demo-echo", 2), ("demo/demo", 4)]
        await sent(client, place, "change", name="mine", strategy="auto", models="demo/demo-echo 2\ndemo/demo 4", isActive="on")
        assert ">Score</th>" in (await sent(client, place, "simulate", status=200, promptTokenEstimate="100")).text
        simulated = await sent(client, place, "simulate", status=200, promptTokenEstimate="100")
        assert "Where a request would go now" in simulated.text
        assert "demo/demo" in simulated.text
        tested = await sent(client, place, "test", status=200)
        assert "What every model said" in tested.text
        other = await sent(client, url, "create", name="second", strategy="priority", models="combo:mine")
        second = other.headers["location"].rsplit("/", 1)[1]
        await sent(client, url, "move", id=second, to="up")
        assert [one.name for one in (await dashboard.ask("combos-list")).combos] == ["second", "mine"]
        await sent(client, url, "switch", id=second, to="off")
        await sent(client, f"/dashboard/combos/{second}", "delete")
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404


async def test_the_cache_is_emptied_and_set(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        await sent(client, "/dashboard/cache", "flush", model="")
        assert "answers are forgotten" in (await client.get("/dashboard/cache")).text
        stored = await dashboard.ask("cache-similarity")
        await sent(client, "/dashboard/cache", "similar", threshold="0.91", maxEntries=str(stored.max_entries), lexical="on")
        changed = await dashboard.ask("cache-similarity")
        assert (changed.threshold, changed.max_entries) == (0.91, stored.max_entries)
        refused = await sent(client, "/dashboard/cache", "similar", status=400, threshold="7")
        assert 'class="field wrong"' in refused.text


async def test_settings_change_only_what_was_typed_and_are_found_by_their_words(dashboard: Dashboard) -> None:
    url = "/dashboard/settings"
    async with dashboard.client() as client:
        found = (await client.get(url, params={"q": "usage rows"})).text
        assert 'name="retention.usageDays"' in found
        assert 'name="stickyRoundRobinLimit"' not in found
        fields = {"has.retention.usageDays": "on", "retention.usageDays": "45", "has.retention.sumDays": "on", "retention.sumDays": "730"}
        await sent(client, url, "save", **fields)
        current = (await dashboard.ask("settings-get")).preferences
        assert (current.retention.usage_days, current.retention.sum_days) == (45, 730)
        assert "Retention: usage days" in (await client.get(url)).text
        await sent(client, url, "save", **fields)
        assert "Nothing was changed" in (await client.get(url)).text
        refused = await sent(client, url, "save", status=400, **{**fields, "retention.usageDays": "0"})
        assert 'role="alert"' in refused.text
        assert (await dashboard.ask("settings-get")).preferences.retention.usage_days == 45


async def test_settings_show_no_secret(dashboard: Dashboard) -> None:
    """SEC-22: what may hold one is only said to be set."""
    async with dashboard.client() as client:
        page = (await client.get("/dashboard/settings")).text
    assert re.search(r"HUBROUTE_MASTER_KEY</code></dt><dd><code>not set", page)


async def test_every_skill_has_a_page_and_can_be_called(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        for skill in list(dashboard.running.hub.skills)[::7]:
            assert (await client.get(f"/dashboard/skills/{skill.name}")).status_code == 200
        assert (await client.get("/dashboard/skills/no-such")).status_code == 404
        answer = await sent(client, "/dashboard/skills/health", "call", status=200)
        assert "uptimeSeconds" in answer.text
        refused = await sent(client, "/dashboard/skills/keys-get", "call", status=404, id="nobody")
        assert 'role="alert"' in refused.text
        live = await sent(client, "/dashboard/skills/usage-live", "call", status=200, seconds="0.2")
        assert "leftOut" in live.text


async def test_tools_of_a_server_wait_until_they_are_allowed(dashboard: Dashboard) -> None:
    """SEC-60: what a stranger's server offers is shown with what the scan found, and offered to nobody before the owner's word."""
    async with dashboard.client() as client:
        with toolbox("http") as url:
            refused = await sent(client, "/dashboard/mcp", "add", status=400, name="far", transport="http", url="not an address")
            assert 'role="alert"' in refused.text
            made = await sent(
                client, "/dashboard/mcp", "add", name="far", transport="http", url=url, allowPrivate="on", timeoutSeconds="20"
            )
            place = made.headers["location"]
            page = (await client.get(place)).text
            assert 'name="tools:echo"' in page
            assert "tools wait to be allowed" in (await client.get("/")).text
            await sent(client, place, "approve")
            assert 'name="tools:echo"' in (await client.get(place)).text
            await sent(client, place, "approve", **{"tools:echo": "on"})
            page = (await client.get(place)).text
            assert 'name="tools:echo"' not in page
            assert 'value="echo"' in page
            await sent(client, place, "revoke", kind="tools", name="echo")
            assert 'name="tools:echo"' in (await client.get(place)).text
            await sent(client, place, "sync")
            await sent(client, place, "change", timeoutSeconds="9", enabled="on", allowPrivate="on", sampling="off")
            assert (await dashboard.ask("mcp-servers-get", id=place.rsplit("/", 1)[1])).timeout_seconds == 9
        await sent(client, place, "remove")
        assert (await client.get(place)).status_code == 404
