"""What the public MCP conformance suite looks for beside the hub's own tools: resources, prompts, completion, subscriptions.

Part of the test profile only (``HUBROUTE_TEST_PROFILE=conformance``), which settings refuse beyond
loopback. The names and texts are the suite's.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server import CacheHint
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from transports import _mcp_conformance_inputs as inputs
from transports import _mcp_conformance_tools as simple
from transports._mcp_server import visitor_of

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.server.context import HandlerResult, ServerRequestContext

    from transports._mcp_conformance_tools import Fixture

    Ctx = ServerRequestContext[Any, Any]

_PRIVATE = CacheHint(ttl_ms=5_000, scope="private")
_TEMPLATE = "test://template/{id}/data"
_RESOURCES: dict[str, dict[str, Any]] = {
    "test://static-binary": {"mimeType": "image/png", "blob": simple.IMAGE},
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched resource content"},
}
_PROMPTS: dict[str, tuple[str, ...]] = {
    "test_input_required_result_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_simple_prompt": (),
}
_WORDS = ("paris", "park", "party", "test", "value1", "value2")


def add(server: Server[Any]) -> None:
    """Give a server the suite's fixtures, beside what it has."""
    bus = InMemorySubscriptionBus()
    _add_tools(server, {**simple.fixtures(bus), **inputs.fixtures()})
    server.add_request_handler("resources/list", types.PaginatedRequestParams, _list_resources)
    server.add_request_handler("resources/templates/list", types.PaginatedRequestParams, _list_templates)
    server.add_request_handler("resources/read", types.ReadResourceRequestParams, _read_resource)
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, _subscribed)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, _subscribed)
    server.add_request_handler("prompts/list", types.PaginatedRequestParams, _list_prompts)
    server.add_request_handler("prompts/get", types.GetPromptRequestParams, _get_prompt)
    server.add_request_handler("completion/complete", types.CompleteRequestParams, _complete)
    server.add_request_handler("subscriptions/listen", types.SubscriptionsListenRequestParams, ListenHandler(bus))
    for method in ("resources/list", "resources/templates/list", "resources/read", "prompts/list"):
        server.cache_hints[method] = _PRIVATE
    security = RequestStateSecurity(keys=[secrets.token_bytes(32)], bind_principal=lambda ctx: visitor_of(ctx).caller.key_id)
    server.middleware.append(RequestStateBoundary(security, default_audience=server.name))


def _add_tools(server: Server[Any], fixtures: dict[str, Fixture]) -> None:
    """Put fixtures before the hub's tools; a name that is none of them goes to the hub."""
    listed, called = server.get_request_handler("tools/list"), server.get_request_handler("tools/call")
    if listed is None or called is None:
        raise ValueError("the fixtures need a server with tools")

    async def list_tools(ctx: Ctx, params: types.PaginatedRequestParams) -> HandlerResult:
        result: Any = await listed.handler(ctx, params)
        shown: dict[str, dict[str, Any]] = {tool["name"]: tool for tool in result["tools"]}
        for name, made in fixtures.items():
            shown[name] = {"name": name, "description": made.words, "inputSchema": made.schema}
        return {"tools": [shown[name] for name in sorted(shown)], "resultType": "complete"}

    async def call_tool(ctx: Ctx, params: types.CallToolRequestParams) -> HandlerResult:
        made = fixtures.get(params.name)
        return await (called.handler(ctx, params) if made is None else made.run(ctx, params.arguments or {}))

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    schemas = {name: made.schema for name, made in fixtures.items()}
    server.get_tool_input_schema = schemas.get


async def _list_resources(ctx: Ctx, params: types.PaginatedRequestParams) -> HandlerResult:
    shown = [{"uri": uri, "name": uri.removeprefix("test://"), "mimeType": made["mimeType"]} for uri, made in _RESOURCES.items()]
    return {"resources": shown, "resultType": "complete"}


async def _list_templates(ctx: Ctx, params: types.PaginatedRequestParams) -> HandlerResult:
    shown = {"uriTemplate": _TEMPLATE, "name": "template", "mimeType": "application/json"}
    return {"resourceTemplates": [shown], "resultType": "complete"}


async def _read_resource(ctx: Ctx, params: types.ReadResourceRequestParams) -> HandlerResult:
    uri = str(params.uri)
    before, _, after = _TEMPLATE.partition("{id}")
    found = _RESOURCES.get(uri)
    if found is None and uri.startswith(before) and uri.endswith(after):
        name = uri[len(before) : -len(after)]
        found = {"mimeType": "application/json", "text": f'{{"id":"{name}","templateTest":true,"data":"Data for ID: {name}"}}'}
    if found is None:
        # The code was one of MCP's own until 2025-11-25.
        code = types.INVALID_PARAMS if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS else -32002
        raise MCPError(code, "Resource not found", {"uri": uri})
    return {"contents": [{"uri": uri, **found}], "resultType": "complete"}


async def _subscribed(ctx: Ctx, params: types.SubscribeRequestParams | types.UnsubscribeRequestParams) -> HandlerResult:
    """The fixtures never change, so there is never an update to send."""
    return {}


async def _list_prompts(ctx: Ctx, params: types.PaginatedRequestParams) -> HandlerResult:
    shown = [
        {
            "name": name,
            "description": f"Conformance fixture: {name}",
            "arguments": [{"name": argument, "description": f"The text of {argument}", "required": True} for argument in arguments],
        }
        for name, arguments in _PROMPTS.items()
    ]
    return {"prompts": shown, "resultType": "complete"}


async def _get_prompt(ctx: Ctx, params: types.GetPromptRequestParams) -> HandlerResult:
    arguments = params.arguments or {}
    wanted = _PROMPTS.get(params.name)
    if wanted is None or any(name not in arguments for name in wanted):
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt or missing argument: {params.name[:100]}")
    if params.name == "test_input_required_result_prompt":
        return inputs.context_prompt(ctx)
    messages = [{"role": "user", "content": content} for content in _contents(params.name, arguments)]
    return {"messages": messages, "resultType": "complete"}


def _contents(name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
    """What a prompt says."""
    if name == "test_prompt_with_arguments":
        return [simple.text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
    if name == "test_prompt_with_embedded_resource":
        resource = {"uri": arguments["resourceUri"], "mimeType": "text/plain", "text": "Embedded resource content for testing."}
        return [{"type": "resource", "resource": resource}, simple.text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [simple.image(), simple.text("Please analyze the image above.")]
    return [simple.text("This is a simple prompt for testing.")]


async def _complete(ctx: Ctx, params: types.CompleteRequestParams) -> HandlerResult:
    values = [word for word in _WORDS if word.startswith(params.argument.value)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}, "resultType": "complete"}
