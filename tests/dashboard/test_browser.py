"""The dashboard in a real browser: the first run, keys of the keyboard, no scripts, narrow and wide, light and dark."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard.conftest import Dashboard, dashboard_in, looked_at, opened
from tests.dashboard.furnish import furnish
from tests.fakes.sdk_agent import sdk_agent
from tests.hub.store.rows import usage_row
from tests.upstream.test_http import toolbox
from transports._dash.site import Site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio
PLAIN = [page.url for page in Site().pages if "{" not in page.path]
_PATTERNS = {page.path: re.compile(re.sub(r"{\w+}", "[^/?#]+", page.url)) for page in Site().pages if "{" in page.path}
#: First load of any page, in bytes over the wire.
_MOST_LOADED = 300_000


@pytest.fixture(scope="module")
async def lived_in(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dashboard]:
    with toolbox("http") as tools:
        async with (
            sdk_agent("JSONRPC", "1.0") as agent,
            dashboard_in(tmp_path_factory.mktemp("lived"), push_allowed_hosts="127.0.0.1") as made,
        ):
            await furnish(made, tools=tools, agent=agent.url)
            yield made


@pytest.mark.parametrize("url", PLAIN)
async def test_pages_are_accessible_and_fit_every_screen(browser: Browser, lived_in: Dashboard, url: str) -> None:
    """axe-core finds nothing serious, in both themes; nothing sticks out; breaches of the policy are faults."""
    async with opened(browser, lived_in) as watched:
        await looked_at(watched.page, url)


@pytest.fixture(scope="module")
async def links(lived_in: Dashboard) -> dict[str, str]:
    """For every page with parameters one that a page without them leads to, over at most one other."""
    found: dict[str, str] = {}
    to_see = list(PLAIN)
    async with lived_in.client() as client:
        for url in to_see:
            main = (await client.get(url)).text.partition("<main")[2]
            for link in map(html.unescape, re.findall(r'<a [^>]*href="(/[^"?#]*)"', main)):
                for path, pattern in _PATTERNS.items():
                    if path not in found and link not in PLAIN and pattern.fullmatch(link):
                        found[path] = link
                        to_see.append(link)
    return found


@pytest.mark.parametrize("path", _PATTERNS)
async def test_pages_of_one_thing_are_too(browser: Browser, lived_in: Dashboard, links: dict[str, str], path: str) -> None:
    async with opened(browser, lived_in) as watched:
        await looked_at(watched.page, links[path])


async def test_a_first_load_is_small(browser: Browser, dashboard: Dashboard) -> None:
    async with opened(browser, dashboard) as watched:
        session = await watched.page.context.new_cdp_session(watched.page)
        await session.send("Network.enable")
        session.on("Network.loadingFinished", lambda event: watched.received.append(event["encodedDataLength"]))
        await watched.page.goto("/")
        await watched.page.wait_for_load_state("networkidle")
    assert 0 < sum(watched.received) <= _MOST_LOADED


async def test_the_first_steps_from_provider_to_first_request(browser: Browser, dashboard: Dashboard) -> None:
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto("/dashboard/start")
        await page.get_by_label("Client").select_option("codex")
        await page.wait_for_url("**/dashboard/start?client=codex")
        await page.get_by_role("button", name="Make a key for Codex").click()
        secret = (await page.locator("#snippet-openai").text_content() or "").rpartition("=")[2]
        assert secret.startswith("hr_")
        async with dashboard.client(signed_in=False) as client:
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            answer = await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {secret}"})
            assert answer.status_code == 200
        await page.get_by_text("answered by").wait_for()


async def test_a_request_is_seen_live_and_explained(browser: Browser, dashboard: Dashboard) -> None:
    key = await dashboard.running.headers("chat")
    async with opened(browser, dashboard) as watched, dashboard.client(signed_in=False, headers=key) as client:
        page = watched.page
        await page.goto("/dashboard/requests")
        await page.get_by_text("live", exact=True).wait_for()
        body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        link = page.locator(f'a[href="/dashboard/requests/{answer.headers["x-request-id"]}"]')
        await link.wait_for()
        await page.get_by_role("button", name="Pause").click()
        later = (await client.post("/v1/chat/completions", json=body)).headers["x-request-id"]
        await page.get_by_text("paused, 1 waiting").wait_for()
        assert await page.locator(f'a[href$="{later}"]').count() == 0
        await page.get_by_role("button", name="Go on").click()
        await page.locator(f'a[href$="{later}"]').wait_for()
        await dashboard.running.hub.store.flush()
        await link.click()
        await page.get_by_text("Why it went there").wait_for()
        assert await page.locator("svg.line rect").count() == 1


async def test_a_busy_hub_does_not_grow_the_live_page(browser: Browser, dashboard: Dashboard) -> None:
    """REL: far more than 100 events a second leave neither rows nor nodes, listeners or memory behind."""
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto("/dashboard/requests")
        await page.get_by_text("live", exact=True).wait_for()
        session: Any = await page.context.new_cdp_session(page)
        listeners = list(dashboard.running.hub.on_call)
        seen: list[dict[str, float]] = []
        for storm in range(3):
            for number in range(1500 * storm, 1500 * (storm + 1)):
                row = usage_row(number, at=dashboard.running.hub.clock.now_ms())
                for listener in listeners:
                    listener(row)
                if number % 25 == 24:
                    await asyncio.sleep(0.01)
            await page.locator(f"a[href$='{usage_row(1500 * storm + 1499).request_id}']").first.wait_for()
            assert await page.locator("#calls tbody tr").count() == 200
            await session.send("HeapProfiler.collectGarbage")
            used = await session.send("Runtime.getHeapUsage")
            seen.append({**await session.send("Memory.getDOMCounters"), "bytes": used["usedSize"]})
        first, *_, last = seen
        assert last["nodes"] <= first["nodes"] * 1.1 + 200, seen
        assert last["jsEventListeners"] <= first["jsEventListeners"], seen
        assert last["bytes"] <= first["bytes"] + 500_000, seen


async def test_the_keyboard_searches_walks_goes_and_explains(browser: Browser, dashboard: Dashboard) -> None:
    for name in ("walked one", "walked two"):
        await dashboard.ask("keys-create", name=name, scopes=["chat"])
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto("/dashboard/keys")
        await page.keyboard.press("j")
        await page.keyboard.press("j")
        second = await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("k")
        first = await page.evaluate("document.activeElement.textContent")
        assert first != second
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/dashboard/keys/*")
        await page.keyboard.press("?")
        assert await page.get_by_role("dialog").is_visible()
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("p")
        await page.wait_for_url("**/dashboard/providers")
        await page.keyboard.press("/")
        await page.keyboard.type("walked")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/dashboard/search?q=walked")
        assert await page.get_by_role("link", name="walked one").is_visible()


async def test_everything_works_without_scripts(browser: Browser, dashboard: Dashboard) -> None:
    async with opened(browser, dashboard, java_script_enabled=False, viewport={"width": 360, "height": 800}) as watched:
        page = watched.page
        await page.goto("/")
        await page.get_by_text("Menu", exact=True).click()
        await page.get_by_role("link", name="Keys & budgets").click()
        await page.get_by_text("Make a key").click()
        await page.get_by_label("Name").fill("without scripts")
        await page.get_by_role("button", name="Make the key").click()
        assert (await page.locator("#key").text_content() or "").startswith("hr_")
        await page.get_by_role("link", name="without scripts").click()
        await page.get_by_text("Delete the key").click()
        await page.get_by_role("button", name="Delete it").click()
        assert await page.get_by_text("The key is gone.").is_visible()
        dashboard.running.hub.store.usage.add(usage_row(at=dashboard.running.hub.clock.now_ms()))
        await page.goto("/")
        await page.get_by_text("Numbers").first.click()
        assert await page.locator(".chart table").first.is_visible()
