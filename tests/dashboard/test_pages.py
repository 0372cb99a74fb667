"""Every page by plain HTTP: who sees it, what its forms do, and what it may load."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.dashboard.conftest import Dashboard
from tests.fakes.hub import running_hub
from tests.hub.store.rows import usage_row
from transports._dash import static
from transports._dash.site import Site
from transports._pages import local

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
SITE = Site()
PLAIN = [page.url for page in SITE.pages if "{" not in page.path]


def csrf(html: str) -> str:
    return re.search(r'name="csrf" value="([^"]+)"', html)[1]  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.parametrize("url", PLAIN)
async def test_every_page_answers_its_owner_with_a_strict_policy(dashboard: Dashboard, url: str) -> None:
    """SEC-08: no script that stands in a page runs, nothing comes from elsewhere, nobody frames it."""
    async with dashboard.client() as client:
        answer = await client.get(url)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<script(?![^>]*(?:src=|application/json))", answer.text)
    assert not re.search(r"\son\w+=|\sstyle=|<style", answer.text)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', answer.text)
    assert "<h1>" in answer.text


async def test_an_installation_without_the_scripts_of_npm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "_VENDOR", tmp_path / "vendor")
    async with running_hub(tmp_path) as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        async with Dashboard(running, token).client() as client:
            page = (await client.get("/")).text
    assert "make assets" in page
    assert not re.search(r"htmx\.min|uPlot", page)


@pytest.mark.parametrize("url", [page.url for page in SITE.pages])
async def test_strangers_are_sent_to_the_login_and_see_nothing(dashboard: Dashboard, url: str) -> None:
    """SEC-01."""
    async with dashboard.client(signed_in=False) as client:
        for address in (url, url.replace("{", "x").replace("}", "")):
            answer = await client.get(address)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login")
            assert not answer.content
        assert (await client.post(url.replace("{", "x").replace("}", ""), data={"do": "delete"})).status_code == 401


async def test_keys_are_no_way_into_pages(dashboard: Dashboard) -> None:
    async with dashboard.client(signed_in=False) as client:
        answer = await client.get("/", headers=await dashboard.running.headers("manage"))
        assert answer.status_code == 303


@pytest.mark.parametrize("token", [None, "", "x" * 43])
async def test_a_form_without_its_token_does_nothing(dashboard: Dashboard, token: str | None) -> None:
    """SEC-08."""
    async with dashboard.client() as client:
        fields = {"do": "create", "name": "forged", **({} if token is None else {"csrf": token})}
        answer = await client.post("/dashboard/keys", data=fields)
        assert answer.status_code == 403
        assert "forged" not in (await client.get("/dashboard/keys")).text


async def test_a_page_that_is_not_there_is_an_error_with_the_way_on(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        answer = await client.get("/dashboard/nowhere")
        assert answer.status_code == 404
        assert "There is no such page" in answer.text
        assert 'href="/dashboard/providers"' in answer.text
        assert (await client.get("/dashboard/providers/no-such-id")).status_code == 404
        assert (await client.get("/dashboard/static/nothing.js")).status_code == 404
        assert (await client.get("/dashboard/static/..%2fsite.py")).status_code == 404
        assert (await client.get("/dashboard")).status_code == 308


async def test_an_account_from_its_form_to_its_removal(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        page = (await client.get("/dashboard/providers/new?provider=openai")).text
        wrong = {"csrf": csrf(page), "do": "add", "provider": "no-such-provider", "name": "mine", "apiKey": "sk-secret-typed"}
        answer = await client.post("/dashboard/providers/new", data=wrong)
        assert answer.status_code in (400, 404)
        assert 'role="alert"' in answer.text
        assert 'value="mine"' in answer.text
        assert "sk-secret-typed" not in answer.text
        right = {**wrong, "provider": "openai", "baseUrl": "http://127.0.0.1:9", "allowPrivate": "on"}
        answer = await client.post("/dashboard/providers/new", data=right)
        assert answer.status_code == 303
        place = answer.headers["location"]
        page = (await client.get(place)).text
        assert "its test failed" in page
        assert "its test failed" not in (await client.get(place)).text
        assert "sk-secret-typed" not in page
        answer = await client.post(
            place, data={"csrf": csrf(page), "do": "change", "name": "<b>ours</b>", "isActive": "on", "priority": "1"}
        )
        assert answer.status_code == 303
        page = (await client.get(place)).text
        assert "&lt;b&gt;ours&lt;/b&gt;" in page
        assert "<b>ours" not in page
        answer = await client.post(place, data={"csrf": csrf(page), "do": "change", "name": "", "isActive": "on"})
        assert answer.status_code == 400
        assert 'class="field wrong"' in answer.text
        listed = (await client.get("/dashboard/providers")).text
        answer = await client.post(
            "/dashboard/providers", data={"csrf": csrf(listed), "do": "switch", "id": place.rsplit("/", 1)[1], "to": "off"}
        )
        assert answer.status_code == 303
        answer = await client.post(place, data={"csrf": csrf(page), "do": "delete"})
        assert answer.headers["location"] == "/dashboard/providers"
        assert (await client.get(place)).status_code == 404


async def test_a_key_is_shown_once_and_can_be_limited_and_revoked(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        page = (await client.get("/dashboard/keys")).text
        answer = await client.post("/dashboard/keys", data={"csrf": csrf(page), "do": "create", "name": "for a test", "scope.chat": "on"})
        assert answer.status_code == 200
        secret = re.search(r">(hr_[A-Za-z0-9_]+)</pre>", answer.text)[1]  # pyright: ignore[reportOptionalSubscript]
        page = (await client.get("/dashboard/keys")).text
        assert secret not in page
        place = re.search(r'href="(/dashboard/keys/[^"]+)">for a test', page)[1]  # pyright: ignore[reportOptionalSubscript]
        key = (await client.get(place)).text
        answer = await client.post(place, data={"csrf": csrf(key), "do": "limit", "dailyLimitUsd": "2.5", "warningThreshold": "0.5"})
        assert answer.status_code == 303
        assert "$2.50" in (await client.get(place)).text
        answer = await client.post(place, data={"csrf": csrf(key), "do": "limit", "dailyLimitUsd": "much"})
        assert answer.status_code == 400
        assert (await client.post(place, data={"csrf": csrf(key), "do": "unlimit"})).status_code == 303
        assert (await client.post(place, data={"csrf": csrf(key), "do": "revoke"})).status_code == 303
        assert "revoked" in (await client.get(place)).text
        assert (await client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})).status_code == 401
        assert (await client.post(place, data={"csrf": csrf(key), "do": "delete"})).status_code == 303


async def test_the_first_steps_make_a_key_that_works(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        page = (await client.get("/dashboard/start?client=cursor")).text
        assert "mcpServers" in page
        answer = await client.post("/dashboard/start", data={"csrf": csrf(page), "do": "key", "client": "cursor"})
        secret = re.search(r"OPENAI_API_KEY=(hr_[A-Za-z0-9_]+)", answer.text)[1]  # pyright: ignore[reportOptionalSubscript]
        headers = {"authorization": f"Bearer {secret}"}
        said = await client.post(
            "/v1/chat/completions", json={"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}, headers=headers
        )
        assert said.status_code == 200
        await dashboard.running.hub.store.flush()
        page = (await client.get("/dashboard/start")).text
        assert "answered by" in page


async def test_search_finds_by_every_word_and_shows_text_as_text(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        page = (await client.get("/dashboard/search", params={"q": "keys budg"})).text
        assert 'href="/dashboard/keys"' in page
        page = (await client.get("/dashboard/search", params={"q": "<script>alert(1)</script>"})).text
        assert "Nothing has this name" in page
        assert "<script>alert" not in page


async def test_colours_are_kept_in_the_browser_and_nobody_is_sent_elsewhere(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        page = (await client.get("/dashboard/look")).text
        answer = await client.post("/dashboard/look", data={"csrf": csrf(page), "do": "theme", "theme": "dark", "back": "//evil.example/"})
        assert answer.headers["location"] == "/dashboard/look"
        assert 'data-theme="dark"' in (await client.get("/")).text


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("/", "/"),
        ("/dashboard/keys?a=b", "/dashboard/keys?a=b"),
        ("//evil", ""),
        ("/\\evil", ""),
        ("https://evil", ""),
        ("/a\nb", ""),
        ("", ""),
    ],
)
def test_only_addresses_of_this_hub_are_gone_to(address: str, kept: str) -> None:
    assert local(address) == kept


async def test_files_are_packed_and_kept(dashboard: Dashboard) -> None:
    async with dashboard.client() as client:
        for name in ("dash.css", "dash.js", "icon.svg"):
            answer = await client.get(SITE.assets.url(name))
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["content-encoding"] == "gzip"
            plain = await client.get(SITE.assets.url(name), headers={"accept-encoding": "identity"})
            assert plain.content == answer.content
            assert "content-encoding" not in plain.headers


async def test_the_overview_shows_what_happened(dashboard: Dashboard) -> None:
    now = dashboard.running.hub.clock.now_ms()
    for number in range(40):
        failed = number % 10 == 0
        dashboard.running.hub.store.usage.add(
            usage_row(
                number,
                at=now - number * 60_000,
                model=f"model-{number % 12}",
                cost=0.5,
                outcome="error" if failed else "ok",
                status=502 if failed else 200,
                error_code="upstream_error" if failed else "",
            )
        )
    await dashboard.running.hub.store.flush()
    async with dashboard.client() as client:
        page = (await client.get("/?window=7d")).text
    assert "$20" in page
    assert "upstream_error" in page
    assert "others" in page
    assert "model-0" in page
