"""A person's browser: opens a login's address, agrees, and comes back; cookies are its own."""

from __future__ import annotations

import html
import re
import socket

import httpx


class Browser(httpx.AsyncClient):
    """Follows nothing by itself, so that a test sees each step."""

    def __init__(self) -> None:
        super().__init__(timeout=30)

    async def consent(self, url: str) -> httpx.Response:
        """The page behind a login's address."""
        return await self.get(url)

    async def agree(self, page: httpx.Response, **changed: str) -> httpx.Response:
        """Press the button of a consent page, with fields changed on the way; the page that leads on."""
        fields = {**dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text)), **changed}
        action = re.search(r'action="([^"]+)"', page.text)
        assert action is not None, page.text
        return await self.post(
            page.url.join(action[1]),
            data={name: html.unescape(value) for name, value in fields.items()},
            headers={"origin": f"{page.url.scheme}://{page.url.netloc.decode()}"},
        )

    async def authorize_url(self, url: str) -> str:
        """Where the authorization server is asked, after consent."""
        page = await self.consent(url)
        assert page.status_code == 200, page.text
        return onward(await self.agree(page))

    async def answer_url(self, url: str) -> str:
        """Where the authorization server sends the browser back to."""
        sent = await self.get(await self.authorize_url(url))
        assert sent.status_code == 302, sent.text
        return sent.headers["location"]

    async def log_in(self, url: str) -> httpx.Response:
        """All of it; the last page."""
        return await self.get(await self.answer_url(url))


def onward(page: httpx.Response) -> str:
    """The link of the page after consent."""
    assert page.status_code == 200, page.text
    link = re.search(r'href="([^"]+)"', page.text)
    assert link is not None, page.text
    return html.unescape(link[1])


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
