"""The page of memory: in a browser something is added, found, tried, changed and forgotten; without scripts its forms do the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.conftest import Dashboard, opened
from tests.dashboard.test_routing_pages import sent

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio
URL = "/dashboard/memory"


async def test_memory_in_a_browser(dashboard: Dashboard, browser: Browser) -> None:
    key, _ = await dashboard.running.hub.store.keys.create("Ada's laptop", grants=["chat"])
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto(URL)
        await page.get_by_role("button", name="Switch on").click()
        await page.get_by_text("Memory is on").wait_for()
        await page.get_by_text("Remember something").click()
        await page.select_option("#whose-add", key.id)
        await page.fill("#add-key", "editor")
        await page.fill("#add-content", "I prefer <b>vim</b>")
        await page.get_by_role("button", name="Remember it").click()
        await page.get_by_role("heading", name="editor").wait_for()
        await page.fill("#change-content", "I prefer <b>emacs</b>")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text("I prefer <b>vim</b>").wait_for()

        await page.goto(URL)
        await page.fill("input[name=q][maxlength='500']", "emacs")
        await page.get_by_role("button", name="Search", exact=True).click()
        await page.get_by_role("cell", name="I prefer <b>emacs</b>").wait_for()
        await page.get_by_text("What would a question be told?").click()
        await page.select_option("#whose-try", key.id)
        await page.fill("#try-query", "emacs or something else?")
        await page.get_by_role("button", name="Look").click()
        await page.get_by_text("found by words").wait_for()
        assert "I prefer" in await page.locator("#note").inner_text()

        await page.goto(f"{URL}?apiKeyId={key.id}")
        await page.locator("td.acts summary").click()
        await page.locator("td.acts button").click()
        await page.get_by_text("It is forgotten.").wait_for()
        assert await page.get_by_role("link", name="editor").count() == 0


async def test_the_forms_of_memory(dashboard: Dashboard) -> None:
    hub = dashboard.running.hub
    async with dashboard.client() as client:
        await sent(client, URL, "switch", to="on")
        for n in range(3):
            made = await sent(client, URL, "add", apiKeyId="owner", key=f"k{n}", content=f"tea {n}", type="episodic")
        place = made.headers["location"]
        assert "tea 2" in (await client.get(place)).text
        refused = await sent(client, URL, "add", status=400, apiKeyId="owner", key="k", content="x", expiresAt="never")
        assert "ISO 8601" in refused.text
        await sent(client, URL, "set", status=400, maxTokens="99999")
        await sent(
            client,
            URL,
            "set",
            enabled="on",
            injection="on",
            extraction="",
            strategy="recent",
            scope="key",
            maxTokens="100",
            retentionDays="7",
        )
        settings = hub.preferences.current.memory
        assert (settings.extraction, settings.strategy, settings.max_tokens, settings.retention_days) == (False, "recent", 100, 7)
        assert "Nothing remembered fits" in (await client.get(f"{URL}?q=coffee")).text
        await sent(client, URL, "reindex")
        await sent(client, place, "delete")
        assert (await client.get(place)).status_code == 404
        lines = (await client.get("/api/memory/export?apiKeyId=owner")).text.splitlines()
        assert len(lines) == 2
        await sent(client, URL, "forget", apiKeyId="owner")
        assert "Nothing is remembered yet" in (await client.get(URL)).text
        await sent(client, URL, "switch", to="off")
        assert not hub.preferences.current.memory.enabled
