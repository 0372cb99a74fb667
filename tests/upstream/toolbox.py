"""An upstream MCP server in its own process, on stdio: ``python -m tests.upstream.toolbox``, or over HTTP with ``http PORT``.

``TOOLBOX`` in its environment names a file with JSON: what its tools are to look like now.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import mcp_types as types
from mcp.server import Server

PLAIN: dict[str, Any] = {
    "name": "echo",
    "description": "Say a text back.",
    "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "annotations": {"readOnlyHint": True},
}
OTHERS = ["count", "slow", "die", "fail", "secret"]


def stated() -> list[dict[str, Any]]:
    """The tools now."""
    path = os.environ.get("TOOLBOX", "")
    if path and Path(path).exists():
        return json.loads(Path(path).read_text())
    plain = [{"name": name, "description": f"The tool {name}.", "inputSchema": {"type": "object"}} for name in OTHERS]
    return [PLAIN, *plain]


def build() -> Server[Any]:
    """The server. ``count`` counts the calls of its process, ``slow`` reports progress and waits, ``die`` ends the process."""
    server: Server[Any] = Server("toolbox", version="1.0")
    counted = 0

    async def list_tools(ctx: Any, params: Any) -> dict[str, Any]:
        return {"tools": stated(), "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}

    async def call_tool(ctx: Any, params: Any) -> dict[str, Any]:
        nonlocal counted
        name, arguments = params.name, params.arguments or {}
        text, failed = str(arguments.get("text", "")), False
        if name == "count":
            counted += 1
            text = str(counted)
        elif name == "slow":
            await _slow(ctx, float(arguments.get("seconds", 30)))
        elif name == "die":
            os._exit(3)
        elif name == "fail":
            text, failed = "it did not work", True
        elif name == "secret":
            text = os.environ.get("TOKEN", "") + "|" + os.environ.get("HUBROUTE_DATA_DIR", "")
        return {
            "content": [{"type": "text", "text": text}],
            "structuredContent": {"text": text},
            "isError": failed,
            "resultType": "complete",
        }

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    return server


async def _slow(ctx: Any, seconds: float) -> None:
    """Report progress twice, then wait; a note is left where the wait was cut short."""
    for done in (1, 2):
        with contextlib.suppress(Exception):
            await ctx.session.report_progress(done, 3, "working")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note = os.environ.get("TOOLBOX_NOTE", "")
        if note:
            Path(note).write_text("cancelled")
        raise


async def _stdio() -> None:
    from mcp.server.stdio import stdio_server

    server = build()
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _http(port: int, *, sse: bool) -> None:
    import uvicorn

    app = build().streamable_http_app(streamable_http_path="/mcp")
    if sse:
        from mcp.server.sse import SseServerTransport
        from starlette.applications import Starlette
        from starlette.responses import Response
        from starlette.routing import Mount, Route

        transport, server = SseServerTransport("/messages/"), build()

        async def open_stream(request: Any) -> Response:
            async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
                await server.run(read, write, server.create_initialization_options())
            return Response()

        app = Starlette(routes=[Route("/sse", open_stream), Mount("/messages/", app=transport.handle_post_message)])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _http(int(sys.argv[2]), sse=sys.argv[1] == "sse")
    else:
        if os.environ.get("TOOLBOX_GARBAGE"):
            print("this is no message", flush=True)
        asyncio.run(_stdio())
