"""What was said, on pages: the switch, the bodies, a command that runs, the playground with it, and forgetting; errors as pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub.call import Hub
from tests.dashboard.conftest import PICTURES, Dashboard, axe, opened, serious
from tests.dashboard.test_pages import csrf
from tests.fakes.hub import running_hub
from transports._dash import said

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

pytestmark = pytest.mark.anyio
LIVE = "/dashboard/requests"
#: What is hard to say in a shell.
HARD = 'It\'s $HOME `id` "quoted" \\ and <b>ünïcode</b> 🦉\nHUBROUTE_BODY\n!! % $(touch /tmp/never)'


@pytest.fixture(scope="module")
async def dashboard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Dashboard]:
    """A hub that knows its own address, for commands that are run against it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with running_hub(tmp_path_factory.mktemp("content"), port=port) as running:
        _, token = await running.hub.login.sessions.begin(address="127.0.0.1", agent="tests")
        yield Dashboard(running, token)


async def _asked(dashboard: Dashboard, path: str, body: bytes, **headers: str) -> str:
    """The id of a request that was made with a key."""
    key = await dashboard.running.headers("chat")
    async with dashboard.client(signed_in=False, headers=key) as client:
        answer = await client.post(path, content=body, headers=headers)
        assert answer.status_code == 200, answer.text
    await dashboard.running.hub.store.flush()
    return answer.headers["x-request-id"]


def _chat(words: str = HARD, **more: Any) -> bytes:
    return json.dumps({"model": "demo", "messages": [{"role": "user", "content": words}], **more}, indent=1).encode()


async def _run(command: str, key: str) -> str:
    """What a command says, run as people run it."""
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", command, env={**os.environ, said.KEY: key}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, error.decode()
    return out.decode()


def _command(page: str) -> str:
    found = re.search(r'<pre id="curl" tabindex="0">(.*?)</pre>', page, re.DOTALL)
    assert found is not None
    return unescape(found[1])


async def test_without_scripts_it_is_switched_read_and_forgotten(dashboard: Dashboard) -> None:
    await dashboard.ask("request-content-set", enabled=False)
    before = await _asked(dashboard, "/v1/chat/completions", _chat("nobody reads this"))
    async with dashboard.client() as client:
        page = (await client.get(LIVE)).text
        assert "is not stored" in page
        one = (await client.get(f"{LIVE}/{before}")).text
        assert "only when you switch that on" in one
        assert "nobody reads this" not in one
        words = await _run(_command(one), await dashboard.running.key("chat"))
        assert "your words here" in json.loads(words)["choices"][0]["message"]["content"], "the skeleton works, too"
        token = csrf(page)
        assert (await client.post(LIVE, data={"csrf": token, "do": "switch", "to": "on"})).status_code == 303
        page = (await client.get(LIVE)).text
        assert "Stop storing" in page
        limits = {"csrf": token, "do": "limits", "days": "3", "requestKb": "64", "totalMb": "100", "keys": ""}
        assert (await client.post(LIVE, data=limits)).status_code == 303
        wrong = await client.post(LIVE, data={**limits, "days": "9999"})
        assert wrong.status_code == 400
        assert "less than or equal to 365" in wrong.text
        assert (await dashboard.ask("request-content-settings")).days == 3
        request = await _asked(dashboard, "/v1/chat/completions", _chat("<script>alert(1)</script>", stream=True))
        one = (await client.get(f"{LIVE}/{request}")).text
        assert "&lt;script&gt;alert(1)" in one
        assert "<script>alert" not in one, "SEC-27"
        assert "The text of the stream" in one
        assert (await client.post(f"{LIVE}/{request}", data={"csrf": token, "do": "forget"})).status_code == 303
        one = (await client.get(f"{LIVE}/{request}")).text
        assert "alert(1)" not in one
        assert (await client.post(LIVE, data={"csrf": token, "do": "forget"})).status_code == 303
        rows = (await client.get("/api/compliance/audit-log", params={"limit": 50})).json()
        looks = [row["skill"] for row in rows if row["target"] == request and row["skill"].startswith("request-content")]
        assert looks == ["request-content-forget", "request-content-get"]


ASKED: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "openai": ("/v1/chat/completions", _chat(), {}),
    "streamed": ("/v1/chat/completions", _chat(stream=True), {}),
    "body with our end": ("/v1/chat/completions", _chat().replace(b'"model"', b'\n\n"model"').replace(b"{", b"{\n", 1), {}),
    "anthropic": ("/v1/messages", _chat(max_tokens=500), {"anthropic-version": "2023-06-01"}),
    "gemini": (
        "/v1beta/models/demo:streamGenerateContent?alt=sse",
        json.dumps({"contents": [{"role": "user", "parts": [{"text": HARD}]}]}).encode(),
        {},
    ),
    "ollama": ("/api/chat", _chat(), {}),
    "responses": ("/v1/responses", json.dumps({"model": "demo", "input": HARD, "store": False}).encode(), {}),
}


@pytest.mark.parametrize("name", ASKED)
async def test_the_command_asks_the_same_again(dashboard: Dashboard, name: str) -> None:
    path, body, headers = ASKED[name]
    await dashboard.ask("request-content-set", enabled=True, request_kb=256)
    request = await _asked(dashboard, path, body, **headers)
    async with dashboard.client() as client:
        command = _command((await client.get(f"{LIVE}/{request}")).text)
    assert f"Bearer ${said.KEY}" in command
    key = await dashboard.running.key("chat")
    assert "This" in await _run(command, key)
    newest = (await dashboard.ask("request-content-list", limit=1)).requests[0].request_id
    again, first = [await dashboard.ask("request-content-get", request_id=one) for one in (newest, request)]
    assert newest != request
    assert (again.path, again.request.text) == (first.path, first.request.text + "\n")
    assert again.headers.get("anthropic-version") == first.headers.get("anthropic-version")


async def test_in_a_browser_it_is_read_copied_and_asked_again(browser: Browser, dashboard: Dashboard) -> None:
    source = axe()
    await dashboard.ask("request-content-set", enabled=True)
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]
    messages = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "one"}, {"role": "user", "content": HARD}]
    request = await _asked(dashboard, "/v1/chat/completions", json.dumps({"model": "demo", "messages": messages, "stream": True}).encode())
    for width, scheme in ((360, "light"), (1280, "dark")):
        async with opened(browser, dashboard, viewport={"width": width, "height": 800}, color_scheme=scheme) as watched:
            page = watched.page
            for name, url in (
                ("request", f"{LIVE}/{request}"),
                ("requests", LIVE),
                ("playground", f"/dashboard/playground?from={request}"),
            ):
                await page.goto(url)
                assert await serious(page, source) == []
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{url} sticks out at {width}"
                if folder := os.environ.get(PICTURES):
                    Path(folder).mkdir(parents=True, exist_ok=True)
                    await page.screenshot(path=f"{folder}/content-{name}-{width}-{scheme}.png", full_page=True)
    async with opened(browser, dashboard, permissions=["clipboard-read", "clipboard-write"]) as watched:
        page = watched.page
        await page.goto(f"{LIVE}/{request}")
        await page.locator('[data-copy="#curl"]').click()
        command = await page.evaluate("navigator.clipboard.readText()")
        assert "This" in await _run(command, await dashboard.running.key("chat"))
        await page.get_by_role("link", name="Open in the playground").click()
        body = page.get_by_label("Body")
        assert json.loads(await body.input_value())["messages"] == messages
        await body.fill("[1]")
        await page.get_by_role("button", name="Ask").click()
        assert await page.locator(".answer").count() == 0
        await body.fill(json.dumps({"messages": messages, "tools": tools}))
        await page.get_by_role("button", name="Ask").click()
        await page.get_by_text("why it went there").wait_for()
        sent = json.loads(await page.locator(".answer pre").first.text_content() or "")
        assert (sent["messages"], sent["tools"], sent["model"], sent["stream"]) == (messages, tools, "demo", True)


async def test_without_scripts_the_playground_asks_it_again(dashboard: Dashboard) -> None:
    await dashboard.ask("request-content-set", enabled=True, request_kb=256)
    for path, body in (ASKED["openai"][:2], ASKED["anthropic"][:2], ASKED["gemini"][:2], ASKED["ollama"][:2], ASKED["responses"][:2]):
        request = await _asked(dashboard, path, body)
        url = f"/dashboard/playground?from={request}"
        async with dashboard.client() as client:
            page = (await client.get(url)).text
            typed = re.search(r'<textarea id="body".*?>(.*?)</textarea>', page, re.DOTALL)
            dialect = re.search(r'<option value="([a-z]+)" selected>', page)
            assert typed is not None
            assert dialect is not None
            fields = {"csrf": csrf(page), "do": "ask", "models": "demo demo/demo-echo", "dialect": dialect[1], "most": "9"}
            answer = (await client.post(url, data={**fields, "body": unescape(typed[1])})).text
            assert answer.count('<span class="badge ok">200</span>') == 2, answer
            wrong = await client.post(url, data={**fields, "body": "[]"})
            assert wrong.status_code == 400
            assert "must be a JSON object" in wrong.text
    async with dashboard.client() as client:
        assert (await client.get("/dashboard/playground?from=no-such")).status_code == 404
        await dashboard.ask("request-content-set", enabled=True, request_kb=1)
        cut = await _asked(dashboard, "/v1/chat/completions", _chat("x" * 3000))
        assert (await client.get(f"/dashboard/playground?from={cut}")).status_code == 400
        page = (await client.get(f"{LIVE}/{cut}")).text
        assert "only its beginning was stored" in page
        assert "stored only in part" in page


async def test_a_fault_of_the_hub_is_a_page_with_its_id(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the shape of the other pages, without a word of the cause; what is no page stays JSON."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(Hub, "find", broken)
    async with dashboard.client() as client:
        answer = await client.get(LIVE)
        api = await client.get("/api/settings")
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "Something broke in the hub" in answer.text
    assert answer.headers["x-request-id"] in answer.text
    assert 'aria-label="Pages"' in answer.text
    assert "secret cause" not in answer.text
    assert api.headers["content-type"].startswith("application/json")


async def test_other_errors_of_the_door_are_pages_too(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    async with dashboard.client(signed_in=False) as stranger:
        answer = await stranger.post(LIVE, data={"do": "switch"})
        assert answer.status_code in (401, 403)
        assert answer.headers["content-type"].startswith("text/html")
    async with dashboard.client() as client:
        answer = await client.get("/dashboard/no-such-page")
        assert answer.status_code == 404
        assert answer.headers["x-request-id"] in answer.text
        from jinja2 import TemplateError

        from transports._dash.site import Site

        def broken(*_: Any) -> Any:
            raise TemplateError("broken")

        monkeypatch.setattr(Site, "failure", broken)
        answer = await client.get("/dashboard/no-such-page")
        assert answer.status_code == 500
        assert answer.headers["x-request-id"] in answer.text
        assert "<nav" not in answer.text
