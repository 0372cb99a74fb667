"""SEC-74: with no provider configured a hub that serves calls nobody, whatever its clients ask of it."""

from __future__ import annotations

import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from hub.registry import Skills
from tests.fakes.hub import running_hub
from tests.fakes.mcp import modern

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

#: What a process does to reach another machine, as the interpreter reports it.
EVENTS = frozenset({"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.sendmsg"})
_watching: list[list[tuple[str, Any]]] = []


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event in EVENTS:
        where = args[1] if event in ("socket.connect", "socket.sendto", "socket.sendmsg") else args[:2]
        _watching[-1].append((event, where))


@contextmanager
def watched() -> Iterator[list[tuple[str, Any]]]:
    """Every connection, look-up and datagram of this process meanwhile. The hook stays (none can be taken away), but idle."""
    if not getattr(sys, "_egress_hook", False):
        sys.addaudithook(_hook)
        sys._egress_hook = True  # type: ignore[attr-defined]
    found: list[tuple[str, Any]] = []
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.remove(found)


def test_the_watch_sees_what_leaves() -> None:
    """A watch that can fail."""
    with watched() as found:
        with socket.socket() as sock, pytest.raises(OSError, match="refused"):
            sock.connect(("127.0.0.1", 9))
        socket.getaddrinfo("localhost", 80)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", 9))
    assert [event for event, _ in found] == ["socket.connect", "socket.getaddrinfo", "socket.sendto"]
    socket.getaddrinfo("localhost", 80)
    assert len(found) == 3


async def ask_everything(http: httpx.AsyncClient, skills: Skills) -> set[int]:
    """Every address that only reads, every tool, every agent skill, and a chat in both forms; the statuses of the answers."""
    statuses: set[int] = set()

    async def send(method: str, path: str, body: Any = None, **headers: str) -> None:
        statuses.add((await http.request(method, path, json=body, headers=headers)).status_code)

    for made in skills:
        for address in made.rest:
            if address.method == "GET" and "{" not in address.path:
                await send("GET", f"{address.path}?seconds=0.1" if made.streams else address.path)
    for path in ("/", "/login", "/health", "/ready", "/.well-known/agent-card.json", "/.well-known/agent.json", "/nowhere"):
        await send("GET", path)
    messages = [{"role": "user", "content": "hello"}]
    for stream in (False, True):
        await send("POST", "/v1/chat/completions", {"model": "auto", "messages": messages, "stream": stream})
    for tool in skills.by_tool:
        body, headers = modern("tools/call", {"name": tool, "arguments": {"messages": messages, "requestId": "x"}})
        await send("POST", "/api/mcp/stream", body, **headers)
    for number, agent in enumerate(skills.by_a2a):
        message = {"messageId": f"m{number}", "role": "ROLE_USER", "parts": [{"text": "hello"}], "metadata": {"skill": agent}}
        await send(
            "POST", "/a2a", {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}, **{"a2a-version": "1.0"}
        )
    return statuses


async def test_a_hub_without_providers_calls_nobody(tmp_path: Path) -> None:
    """SEC-74: not at its start, not while it answers at every door, not at its end."""
    with watched() as found:
        async with running_hub(tmp_path) as running:
            async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as http:
                assert await ask_everything(http, running.hub.skills) == {200, 303, 308, 401, 404, 426}
            assert running.hub.outbound.stats() == {"pools": [], "breadth": False}
            own = ("127.0.0.1", int(running.url.rpartition(":")[2]))
    # The client of this test calls the hub; what is bound to be listened on is looked up without a question to anybody.
    assert [(event, where) for event, where in found if where not in (own, ("127.0.0.1", 0))] == []
