"""One hub with every vendor behind it for a whole module; its compression is set back before each test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes.doors import vendor_hub
from tests.fakes.vendors import MODELS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

SETTINGS = "/api/settings/compression"
STATUS = "\n".join(
    [
        "On branch main",
        "Your branch is up to date with 'origin/main'.",
        "",
        "Changes not staged for commit:",
        '  (use "git add <file>..." to update what will be committed)',
        '  (use "git restore <file>..." to discard changes in working directory)',
        "\tmodified:   a.py",
        "\tmodified:   b.py",
        "",
        'no changes added to commit (use "git add" and/or "git commit -a")',
    ]
)
ASKED = "Could you please explain, in order to help me, what the changes in `the file` of https://example.com/the/just are really about?"


@dataclass
class Desk:
    """The hub, what its vendors received, and its owner."""

    running: Running
    upstream: FaultUpstream
    owner: httpx.AsyncClient

    async def put(self, path: str = SETTINGS, **fields: Any) -> dict[str, Any]:
        """Change settings."""
        answer = await self.owner.put(path, json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
        """One request that must succeed."""
        answer = await self.owner.post(path, json=body, headers=headers)
        assert answer.status_code in (200, 201), answer.text
        return answer

    @property
    def sent(self) -> dict[str, Any]:
        """What a vendor received last."""
        return self.upstream.requests[-1].json()

    async def chat(self, *messages: dict[str, Any], vendor: str = "openai", headers: dict[str, str] | None = None, **more: Any) -> Any:
        """A chat through the OpenAI door."""
        body = {"model": MODELS.get(vendor, vendor), "messages": list(messages), **more}
        return await self.post("/v1/chat/completions", body, **(headers or {}))


def tool_turn(result: str = STATUS, *, command: str = "git status", said: str = ASKED) -> list[dict[str, Any]]:
    """A conversation in which a command was run, in the shape of OpenAI."""
    arguments = '{"city": "Oslo", "command": "' + command + '"}'
    call = {"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": arguments}}
    return [
        {"role": "system", "content": "You are a really helpful assistant. Please be kind."},
        {"role": "user", "content": said},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": result},
    ]


TOOLS = [
    {"type": "function", "function": {"name": "bash", "parameters": {"type": "object", "properties": {"command": {"type": "string"}}}}}
]


@pytest.fixture(scope="module")
async def whole(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with (
        vendor_hub(tmp_path_factory.mktemp("hub")) as (running, upstream),
        httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as owner,
    ):
        yield Desk(running, upstream, owner)


@pytest.fixture
async def desk(whole: Desk) -> Desk:
    await whole.running.hub.preferences.change({"compression": None})
    return whole
