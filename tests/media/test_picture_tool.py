"""The tool that makes pictures, over MCP: found by search, called by name, answered with an address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fakes import pictures
from tests.fakes.mcp import rpc

if TYPE_CHECKING:
    import httpx

    from tests.media.conftest import Join

pytestmark = pytest.mark.anyio


async def test_an_agent_makes_a_picture(client: httpx.AsyncClient, joined: Join) -> None:
    """D9: hidden tools stay callable by name."""
    await joined("openai", pictures.openai_images)
    arguments = {"model": "openai/gpt-image-1.5", "prompt": "a cat"}
    made = await rpc(client, "tools/call", name="hubroute_make_picture", arguments=arguments)
    assert made["structuredContent"]["data"] == [{"url": f"data:image/png;base64,{pictures.B64}"}]
    assert made["structuredContent"]["provider"] == "openai"
