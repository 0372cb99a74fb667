"""Whole ways of an owner through the dashboard, clicked in a real browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.conftest import Dashboard, opened
from tests.fakes.hub import running_hub
from tests.fakes.upstream import FaultUpstream, Received, json_answer, sse
from tests.fakes.vendor import chunks, completion
from tests.upstream.test_http import toolbox

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser, Page

    from tests.fakes.upstream import Behaviour

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse battery"


def _vendor(request: Received) -> Behaviour:
    """A vendor that lists one model and answers chats, whole and streamed, with usage."""
    if request.method == "GET":
        return json_answer({"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]})
    if json.loads(request.body).get("stream"):
        return sse(chunks("Seen ", "live"))
    return json_answer(completion("Seen live"))


async def test_a_provider_is_added_tested_asked_seen_live_and_paid(browser: Browser, tmp_path: Path) -> None:
    """Add a provider, test it, chat in the playground, see the request live, and what it cost."""
    async with running_hub(tmp_path, allow_private=True) as running, FaultUpstream() as upstream:
        upstream.script(_vendor)
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        dashboard = Dashboard(running, token)
        async with opened(browser, dashboard) as watched, opened(browser, dashboard) as other:
            page, live = watched.page, other.page
            await live.goto("/dashboard/requests")
            await live.get_by_text("live", exact=True).wait_for()
            await page.goto("/dashboard/providers/new?provider=openai")
            await page.get_by_label("Name").fill("my account")
            await page.get_by_label("API key").fill("sk-of-a-test")
            await page.get_by_label("Base URL").fill(f"{upstream.url}/v1")
            await page.get_by_label("Allow private").check()
            await page.get_by_role("button", name="Add and test").click()
            await page.get_by_role("heading", name="my account").wait_for()
            await page.goto("/dashboard/playground?model=openai/gpt-4o")
            await page.get_by_label("Message").fill("Hello")
            await page.get_by_role("button", name="Ask").click()
            await page.locator(".answer .said").get_by_text("Seen live").wait_for()
            row = live.locator("#calls tbody tr").first
            await row.get_by_text("gpt-4o").first.wait_for()
            assert "$0.0" in (await row.inner_text())
            await running.hub.store.flush()
            await row.locator("a").first.click()
            await live.get_by_text("Why it went there").wait_for()
            assert "my account" in (await live.inner_text("main"))
            await live.goto("/")
            assert "$0.0" in (await live.locator(".figure").first.inner_text())


async def test_a_combo_is_edited_and_simulated(browser: Browser, dashboard: Dashboard) -> None:
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto("/dashboard/combos")
        await page.get_by_label("Name").fill("clicked")
        await page.get_by_label("A model to add").fill("demo/demo")
        await page.get_by_role("button", name="Add a line").click()
        await page.get_by_label("A model to add").fill("demo/demo-echo")
        await page.get_by_role("button", name="Add a line").click()
        assert await page.get_by_label("Models").input_value() == "demo/demo\ndemo/demo-echo"
        await page.get_by_role("button", name="Make the combo").click()
        await page.get_by_text("clicked can be asked for as a model.").wait_for()
        await page.get_by_role("row", name="demo/demo-echo").get_by_role("button", name="Up").click()
        await page.locator("section", has_text="Models, in order").get_by_role("row").nth(1).get_by_text("demo/demo-echo").wait_for()
        await page.get_by_label("Strategy").select_option("auto")
        await page.get_by_role("button", name="Save").click()
        await page.get_by_text("clicked is changed").wait_for()
        await page.get_by_role("button", name="Show where it would go").click()
        await page.get_by_role("columnheader", name="Score").wait_for()
        await page.get_by_text("Delete the combo").click()
        await page.get_by_role("button", name="Delete it").click()
        await page.get_by_text("The combo is gone.").wait_for()


async def test_a_quarantined_tool_is_approved(browser: Browser, dashboard: Dashboard) -> None:
    """SEC-60: nothing of a new server is offered before the owner ticks it."""

    async def offered() -> list[str]:
        return [one.name for one in (await dashboard.ask("mcp-servers-get", id="clicked")).tools if one.standing == "approved"]

    with toolbox("http") as url:
        await dashboard.ask("mcp-servers-add", name="clicked", transport="http", url=url, allowPrivate=True)
        async with opened(browser, dashboard) as watched:
            page = watched.page
            await page.goto("/")
            await page.get_by_text("tools wait to be allowed").wait_for()
            await page.goto("/dashboard/mcp")
            await page.get_by_role("link", name="clicked").click()
            assert await offered() == []
            card = page.locator("section.tool", has=page.get_by_role("heading", name="echo", exact=True))
            await card.get_by_label("Allow").check()
            await page.get_by_role("button", name="Allow what is ticked").click()
            await page.get_by_role("button", name="Stop offering it").wait_for()
            assert await offered() == ["echo"]
        await dashboard.ask("mcp-servers-remove", id="clicked")


async def test_a_budget_is_set_and_shown(browser: Browser, dashboard: Dashboard) -> None:
    key = await dashboard.ask("keys-create", name="with a budget", scopes=["chat"])
    async with opened(browser, dashboard) as watched:
        page = watched.page
        await page.goto(f"/dashboard/keys/{key.id}")
        await page.get_by_label("Daily limit USD").fill("2.5")
        await page.get_by_role("button", name="Set the budget").click()
        await page.get_by_text("The budget holds from now on.").wait_for()
        await page.goto("/dashboard/keys")
        assert "$2.50" in await page.get_by_role("row", name="with a budget").inner_text()


async def _log_in(page: Page, password: str) -> None:
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def test_the_first_password_the_login_and_its_lockout(browser: Browser, tmp_path: Path) -> None:
    """The one-time link sets the password; who guesses has to wait, also with the right password then."""
    async with running_hub(tmp_path) as running:
        link = await running.hub.login.record.new_link()
        dashboard = Dashboard(running, "")
        async with opened(browser, dashboard, signed_in=False) as watched:
            page = watched.page
            await page.goto(f"/owner?token={link}")
            await page.get_by_label("Password").fill(PASSWORD)
            await page.get_by_role("button", name="Set the password and log in").click()
            await page.get_by_role("heading", name="First steps").or_(page.get_by_role("heading", name="Overview")).wait_for()
            await page.get_by_role("button", name="Sign out").click()
            await page.goto("/")
            assert "/login" in page.url
            await _log_in(page, PASSWORD)
            await page.get_by_role("link", name="Overview").wait_for()
            await page.get_by_role("button", name="Sign out").click()
            for _ in range(6):
                await page.goto("/login")
                await _log_in(page, "a wrong guess")
            await page.goto("/login")
            await _log_in(page, PASSWORD)
            await page.get_by_text("too many", exact=False).wait_for()
            assert "/login" in page.url
            watched.faults.clear()  # the browser's own word on the answers 401 and 429
