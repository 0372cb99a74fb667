"""The playground: every dialect, with scripts and without, and the session at the model doors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.dashboard.conftest import Dashboard, opened
from tests.dashboard.test_pages import csrf
from tests.fakes.hub import running_hub
from transports._dash.pages.playground import DIALECTS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_without_scripts_each_model_is_asked_in_turn(dashboard: Dashboard, dialect: str) -> None:
    url = "/dashboard/playground"
    async with dashboard.client() as client:
        token = csrf((await client.get(url)).text)
        fields = {
            "csrf": token,
            "do": "ask",
            "models": "demo demo/demo-echo",
            "dialect": dialect,
            "prompt": "Hello <b>there</b>",
            "most": "50",
        }
        page = (await client.post(url, data=fields)).text
        assert page.count('<section class="card answer">') == 2
        assert page.count('<span class="badge ok">200</span>') == 2
        assert "Hello &lt;b&gt;there&lt;/b&gt;" in page
        for wrong in ({"prompt": ""}, {"models": " "}, {"dialect": "klingon"}, {"temperature": "hot"}):
            answer = await client.post(url, data={**fields, **wrong})
            assert answer.status_code == 400
            assert 'role="alert"' in answer.text


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_with_scripts_answers_come_as_they_are_made(browser: Browser, dashboard: Dashboard, dialect: str) -> None:
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto("/dashboard/playground?model=demo")
        await page.get_by_label("Dialect").select_option(dialect)
        await page.get_by_label("Models").fill("demo demo/demo-echo")
        await page.get_by_label("Message").fill("Say something to me")
        await page.get_by_role("button", name="Ask").click()
        await page.get_by_text("first words after").nth(1).wait_for()
        said = await page.locator(".said").all_text_contents()
        assert len(said) == 2
        assert all("Say something to me" in text for text in said), said
        await page.get_by_text("Raw").first.click()
        assert "model" in (await page.locator("pre").first.text_content() or "") or dialect == "gemini"
        await page.get_by_role("link", name="why it went there").first.click()
        await page.get_by_text("Why it went there").wait_for()


async def test_an_error_is_shown_in_its_own_words(browser: Browser, tmp_path: Path) -> None:
    async with running_hub(tmp_path, demo="off") as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        dashboard = Dashboard(running, token)
        async with dashboard.client() as client:
            page = (await client.get("/dashboard/playground")).text
            fields = {"csrf": csrf(page), "do": "ask", "models": "no-such", "dialect": "openai", "prompt": "Hi", "system": "Be brief"}
            answer = (await client.post("/dashboard/playground", data=fields)).text
            assert '<span class="badge bad">404</span>' in answer
            assert "&#34;content&#34;: &#34;Be brief&#34;" in answer
        async with opened(browser, dashboard) as watched:
            page = watched.page
            await page.goto("/dashboard/playground?model=no-such-model")
            await page.get_by_label("Message").fill("Hello")
            await page.get_by_role("button", name="Ask").click()
            await page.get_by_text("refused with 404").wait_for()
            watched.faults.clear()  # a browser counts every answer of 4xx


@pytest.mark.parametrize("path", ["/v1/models", "/v1beta/models", "/api/tags"])
async def test_the_model_doors_take_the_cookie_only_with_its_token(dashboard: Dashboard, path: str) -> None:
    """SEC-07, SEC-08: another site's page can send the cookie, and no header of its own."""
    async with dashboard.client() as client:
        token = csrf((await client.get("/dashboard/look")).text)
        assert (await client.get(path)).status_code == 401
        assert (await client.get(path, headers={"x-csrf-token": "x" * 43})).status_code == 403
        assert (await client.get(path, headers={"x-csrf-token": token})).status_code == 200
        assert (await client.get(path, headers={"x-csrf-token": token, "origin": "https://evil.example"})).status_code == 403
    async with dashboard.client(signed_in=False) as client:
        assert (await client.get(path, headers={"x-csrf-token": token})).status_code == 401
