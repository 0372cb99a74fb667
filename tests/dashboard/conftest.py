"""The dashboard over a real socket: by plain HTTP, and in Debian's chromium through playwright."""

from __future__ import annotations

import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import pytest

from tests.fakes.hub import Running, running_hub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

#: Set where a browser must be there, so that nothing is left out in silence.
REQUIRED = "HUBROUTE_TEST_REQUIRE_BROWSER"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Screenshots for the eye; made where this names a folder.
PICTURES = "HUBROUTE_TEST_PICTURES"
Theme = Literal["light", "dark"]
_SCREENS: tuple[tuple[int, Theme], ...] = ((360, "light"), (1280, "dark"), (1920, "light"))
#: Who wants pictures gets them of both themes.
_PICTURED: tuple[tuple[int, Theme], ...] = (*_SCREENS, (360, "dark"), (1280, "light"), (1920, "dark"))


@dataclass(slots=True)
class Dashboard:
    """A hub with a dashboard, and a session of its owner."""

    running: Running
    token: str

    @property
    def url(self) -> str:
        return self.running.url

    def client(self, *, signed_in: bool = True, **options: Any) -> httpx.AsyncClient:
        """A program with or without the owner's cookie; it does not follow redirects."""
        cookies = {"auth_token": self.token} if signed_in else {}
        return httpx.AsyncClient(base_url=self.url, cookies=cookies, timeout=20, **options)

    async def ask(self, skill: str, /, **data: Any) -> Any:
        """What a skill answers to the owner."""
        from hub.records import Caller

        hub = self.running.hub
        return await hub.call(hub.find(skill), data, hub.context(Caller.owner(), "cli"))


@asynccontextmanager
async def dashboard_in(folder: Path, **settings: Any) -> AsyncIterator[Dashboard]:
    """A hub in this folder."""
    async with running_hub(folder, allow_private=True, **settings) as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        yield Dashboard(running, token)


@pytest.fixture(scope="module")
async def dashboard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dashboard]:
    async with dashboard_in(tmp_path_factory.mktemp("dashboard")) as made:
        yield made


def chromium() -> str | None:
    """The browser of this machine."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    found = chromium()
    if found is None:
        if os.environ.get(REQUIRED):
            pytest.fail("no chromium on this machine, and it must be there")
        pytest.skip("LEFT OUT: no chromium on this machine; tests in a browser need it")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield started
        await started.close()


@dataclass(slots=True)
class Watched:
    """What a page did that it should not: errors, refused loads, requests to elsewhere."""

    page: Page
    faults: list[str] = field(default_factory=list[str])
    outside: list[str] = field(default_factory=list[str])
    received: list[int] = field(default_factory=list[int])


@asynccontextmanager
async def opened(browser: Browser, dashboard: Dashboard, *, signed_in: bool = True, **options: Any) -> AsyncIterator[Watched]:
    """A fresh window. In the end it must have had no fault and have asked nobody else."""
    context = await browser.new_context(base_url=dashboard.url, **options)
    context.set_default_timeout(10_000)
    if signed_in:
        await context.add_cookies([{"name": "auth_token", "value": dashboard.token, "url": dashboard.url}])
    watched = Watched(await context.new_page())
    watched.page.on("console", lambda message: watched.faults.append(message.text) if message.type == "error" else None)
    watched.page.on("pageerror", lambda error: watched.faults.append(str(error)))
    watched.page.on(
        "request", lambda request: None if request.url.startswith((dashboard.url, "data:")) else watched.outside.append(request.url)
    )
    try:
        yield watched
    finally:
        await context.close()
    assert not watched.outside
    assert not watched.faults


def axe() -> str:
    """The source of axe-core; ``make assets`` fetches it."""
    source = Path("build/assets/node_modules/axe-core/axe.min.js")
    if not source.is_file():
        if os.environ.get(REQUIRED):
            pytest.fail("axe-core is not there: make assets")
        pytest.skip("LEFT OUT: axe-core is not there; npm could not fetch it")
    return source.read_text(encoding="utf-8")


async def serious(page: Page, source: str) -> list[str]:
    """What axe-core finds on a page that is serious or worse."""
    await page.evaluate(source)
    found: list[dict[str, Any]] = await page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((all) => all.violations)")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


async def looked_at(page: Page, url: str) -> None:
    """A page with everything open that opens: axe-core finds nothing serious, in both themes, and nothing sticks out at any width."""
    # One window that is loaded anew at each size: a window of its own for each starts a process of the browser's.
    folder = os.environ.get(PICTURES)
    for width, theme in _PICTURED if folder else _SCREENS:
        await page.set_viewport_size({"width": width, "height": 800})
        await page.emulate_media(color_scheme=theme)
        await page.goto(url)
        if folder or await page.locator(".chart, [hx-trigger]").count():
            # Half a second of silence: what is drawn by scripts, or fetched by them, is there.
            await page.wait_for_load_state("networkidle")
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            name = url.strip("/").replace("/", "-").replace("?", "-") or "overview"
            await page.screenshot(path=f"{folder}/{name}-{width}-{theme}.png", full_page=True)
        await page.evaluate("document.querySelectorAll('main details').forEach((one) => { one.open = true; })")
        assert await serious(page, axe()) == [], url
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{url} sticks out at {width}"
