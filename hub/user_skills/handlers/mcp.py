"""A tool of another MCP server behind this hub, under a name, a description and fixed arguments of the owner's."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.errors import UpstreamFailed
from hub.upstream.skills import tool_name
from hub.user_skills.handler import Handler, Work
from hub.user_skills.handlers.skill import called
from hub.wire import Body


class Tool(Body):
    """Which tool. The caller needs the scope of such tools, and the owner has to have allowed it."""

    server: str = Field(min_length=1, max_length=100, description="Name of the MCP server, its namespace.")
    tool: str = Field(min_length=1, max_length=200, description="The tool's own name.")
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any], description="Fixed arguments; they win over the input's.")


class McpTool(Handler):
    """Calls the tool by the one path of all calls: with the caller's scopes, limits and policies."""

    kind = "mcp"
    words = "a tool of an upstream MCP server"
    spec = Tool

    async def run(self, work: Work) -> Any:
        spec: Tool = work.spec
        outcome = await called(work, tool_name(spec.server, spec.tool), spec.arguments)
        if outcome.failed:
            raise UpstreamFailed(f"the tool failed: {outcome.text()[:500]}")
        return outcome.structured if outcome.structured is not None else outcome.text()


HANDLER = McpTool()
