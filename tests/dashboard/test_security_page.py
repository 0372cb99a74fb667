"""Sign-in & security: password, second factor, sessions, locked logins, whether a login is asked for."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest
from pyotp.totp import TOTP

from tests.dashboard.conftest import axe, opened, serious
from tests.dashboard.test_pages import csrf
from tests.dashboard.test_routing_pages import sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from tests.dashboard.conftest import Dashboard

pytestmark = pytest.mark.anyio
URL = "/dashboard/security"
OLD, NEW = "correct horse battery", " staple with blanks "


@pytest.fixture(autouse=True)
async def owned(dashboard: Dashboard) -> AsyncIterator[None]:
    """The owner has a password; whatever a test set up is gone afterwards."""
    login = dashboard.running.hub.login
    await dashboard.ask("login-update", password=OLD)
    _, dashboard.token = await login.sessions.begin(address="127.0.0.1", agent="tests")
    yield
    await login.second.disable()
    await login.lockout.unlock()
    await dashboard.ask("login-update", requireLogin=True)


def found(pattern: str, text: str) -> str:
    """The part of a text that a pattern marks."""
    match = re.search(pattern, text)
    assert match is not None, text
    return match.group(1)


async def log_in(dashboard: Dashboard, password: str, code: str = "") -> int:
    """The status of a login over the wire."""
    async with dashboard.client(signed_in=False) as client:
        return (await client.post("/api/auth/login", json={"password": password, "code": code})).status_code


async def test_the_password_is_changed_and_typed_twice(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        refused = await sent(client, URL, "password", status=400, password=NEW, repeat=NEW.strip())
        assert 'class="field wrong"' in refused.text
        assert NEW not in refused.text
        refused = await sent(client, URL, "password", status=400, password="short", repeat="short")
        assert 'role="alert"' in refused.text
        assert await log_in(dashboard, OLD) == 200
        await sent(client, URL, "password", password=NEW, repeat=NEW)
        assert "is changed" in (await client.get(URL)).text
        assert await log_in(dashboard, NEW) == 200
        assert await log_in(dashboard, NEW.strip()) == 401


async def test_an_old_session_needs_the_password_until_now(dashboard: Dashboard) -> None:
    """SEC-06: a stolen cookie is not enough to become the owner."""
    login = dashboard.running.hub.login
    await dashboard.ask("login-update", requireLogin=False)  # a session without a login must say it, whatever its age
    async with dashboard.client(signed_in=False) as client:
        refused = await sent(client, URL, "password", status=403, password=NEW, repeat=NEW)
        assert "current password" in refused.text
        await sent(client, URL, "password", password=NEW, repeat=NEW, currentPassword=OLD)
    await login.lockout.unlock()
    assert await log_in(dashboard, NEW) == 200


async def test_a_second_factor_from_its_picture_to_its_end(dashboard: Dashboard) -> None:
    """SEC-08: the picture is one, no markup of the page; secret and recovery codes are shown once."""
    async with dashboard.client() as client:
        page = await sent(client, URL, "enrol", status=200)
        picture = found(r'src="data:image/svg\+xml;base64,([^"]+)"', page.text)
        assert base64.b64decode(picture).startswith(b"<svg")
        assert "<svg" not in page.text
        secret = found(r'id="totp-secret"[^>]*>([A-Z2-7]+)<', page.text)
        assert secret not in (await client.get(URL)).text
        refused = await sent(client, URL, "confirm", status=400, code="000000")
        assert 'class="field wrong"' in refused.text
        assert "Start anew" in refused.text
        page = await sent(client, URL, "confirm", status=200, code=TOTP(secret).now())
        codes = found(r'id="codes"[^>]*>([^<]+)<', page.text).split()
        assert len(codes) == 10
        assert codes[0] not in (await client.get(URL)).text
        assert await log_in(dashboard, OLD) == 401
        assert await log_in(dashboard, OLD, codes[0]) == 200
        assert "9 recovery codes" in (await client.get(URL)).text
        refused = await sent(client, URL, "disable", status=403, password="wrong")
        assert 'role="alert"' in refused.text
        await sent(client, URL, "disable", password=OLD)
        assert await log_in(dashboard, OLD) == 200
        assert (await sent(client, URL, "disable", status=409, password=OLD)).status_code == 409


async def test_browsers_are_listed_and_signed_out(dashboard: Dashboard) -> None:
    sessions = dashboard.running.hub.login.sessions
    for agent in ("<i>one</i>", "two", "three"):
        await sessions.begin(address="198.51.100.9", agent=agent)
    async with dashboard.client() as client:
        page = (await client.get(URL)).text
        assert "&lt;i&gt;one&lt;/i&gt;" in page
        assert page.count(">this one<") == 1
        identity = next(one.id for one in await sessions.list() if one.agent == "two")
        await sent(client, URL, "end", id=identity)
        assert "two" not in {one.agent for one in await sessions.list()}
        await sent(client, URL, "end", status=404, id=identity)
        await sent(client, URL, "end-all")
        assert [one.agent for one in await sessions.list()] == ["tests"]
        assert (await client.get(URL)).status_code == 200


async def test_failed_logins_are_shown_and_forgotten(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        assert "Nobody is locked out" in (await client.get(URL)).text
        for _ in range(6):
            await log_in(dashboard, "wrong")
        assert await log_in(dashboard, OLD) == 429
        page = (await client.get(URL)).text
        assert 'value="login:127.0.0.1"' in page
        assert "login failed" in page
        await sent(client, URL, "unlock", identifier="login:127.0.0.1")
        assert 'value="login:127.0.0.1"' not in (await client.get(URL)).text
        await sent(client, URL, "unlock", status=404, identifier="login:nobody")
        await sent(client, URL, "unlock")
        assert await log_in(dashboard, OLD) == 200


async def test_a_login_is_left_out_at_home_and_asked_for_again(dashboard: Dashboard) -> None:
    async with dashboard.client() as client, dashboard.client(signed_in=False) as stranger:
        assert (await stranger.get(URL)).status_code == 303
        await sent(client, URL, "require", to="off")
        page = await stranger.get(URL)
        assert "without a login" in page.text
        answer = await stranger.post(URL, data={"csrf": csrf(page.text), "do": "require", "to": "on"})
        assert answer.status_code == 303
        assert (await stranger.get(URL)).status_code == 303
        assert 'href="/dashboard/security"' in (await client.get("/dashboard/start")).text


async def test_a_browser_shows_the_picture_of_the_secret(browser: Browser, dashboard: Dashboard) -> None:
    """The policy lets it be loaded, in either theme on white ground; nothing sticks out of a narrow page."""
    async with opened(browser, dashboard, viewport={"width": 360, "height": 800}, color_scheme="dark") as watched:
        page = watched.page
        await page.goto(URL)
        await page.get_by_role("button", name="Set it up").click()
        picture = page.locator("img.qr")
        await picture.wait_for()
        assert await picture.evaluate("(it) => it.naturalWidth > 100 && getComputedStyle(it).backgroundColor === 'rgb(255, 255, 255)'")
        assert await serious(page, axe()) == []
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        secret = await page.locator("#totp-secret").text_content()
        await page.get_by_label("Code of the app").fill(TOTP(secret or "").now())
        await page.get_by_role("button", name="Turn it on").click()
        assert len((await page.locator("#codes").text_content() or "").split()) == 10
        assert await serious(page, axe()) == []
