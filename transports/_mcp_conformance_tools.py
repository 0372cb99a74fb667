"""The conformance suite's plain tools: kinds of content, progress, logging, and requests back to the client.

Test profile only, see :mod:`transports._mcp_conformance`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server.connection import allowed_log_levels
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import ServerRequestContext

    from transports._mcp_conformance import Bus

    Ctx = ServerRequestContext[Any, Any]
    Run = Callable[[Ctx, dict[str, Any]], Awaitable[dict[str, Any]]]

IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
_AUDIO = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
_STEP_SECONDS = 0.05

NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Fixture:
    """A tool of the suite."""

    words: str
    run: Run
    schema: dict[str, Any] = field(default_factory=lambda: NOTHING)


def text(words: str) -> dict[str, Any]:
    """A text block."""
    return {"type": "text", "text": words}


def image() -> dict[str, Any]:
    """A picture of one pixel."""
    return {"type": "image", "data": IMAGE, "mimeType": "image/png"}


def answer(*content: dict[str, Any], error: bool = False) -> dict[str, Any]:
    """A tool result."""
    return {"content": list(content), "isError": error, "resultType": "complete"}


def fixtures(bus: Bus) -> dict[str, Fixture]:
    """The tools by name; change notices go out over the bus."""

    async def tools_changed(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
        await bus.publish(ToolsListChanged())
        return answer(text("tool list changed"))

    async def prompts_changed(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
        await bus.publish(PromptsListChanged())
        return answer(text("prompt list changed"))

    return {
        "json_schema_2020_12_tool": Fixture("Keywords of JSON Schema 2020-12", _fixed(text("json_schema_2020_12_tool")), _SCHEMA_2020_12),
        "test_audio_content": Fixture("Audio", _fixed({"type": "audio", "data": _AUDIO, "mimeType": "audio/wav"})),
        "test_elicitation": Fixture("Asks the user", _elicit, _one("message")),
        "test_elicitation_sep1034_defaults": Fixture("Asks with default values", _elicit_defaults),
        "test_elicitation_sep1330_enums": Fixture("Asks with choices", _elicit_choices),
        "test_embedded_resource": Fixture(
            "An embedded resource", _fixed(_resource("test://embedded-resource", "text/plain", "This is an embedded resource content."))
        ),
        "test_error_handling": Fixture("Fails", _fail),
        "test_image_content": Fixture("A picture", _fixed(image())),
        "test_logging_tool": Fixture("Logs when asked to", _log_steps),
        "test_missing_capability": Fixture("Needs a client that can sample", _needs_sampling),
        "test_multiple_content_types": Fixture(
            "Several kinds of content",
            _fixed(
                text("Multiple content types test:"),
                image(),
                _resource("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}'),
            ),
        ),
        "test_reconnection": Fixture("Closes its stream meanwhile, where the client can come back", _reconnect),
        "test_sampling": Fixture("Asks the client's model", _sample, _one("prompt")),
        "test_simple_text": Fixture("Text", _fixed(text("This is a simple text response for testing."))),
        "test_streaming_elicitation": Fixture("Reports progress and answers", _progress),
        "test_tool_with_logging": Fixture("Logs in three steps", _log_steps),
        "test_tool_with_progress": Fixture("Reports progress in three steps", _progress),
        "test_trigger_prompt_change": Fixture("Announces changed prompts", prompts_changed),
        "test_trigger_tool_change": Fixture("Announces changed tools", tools_changed),
        "test_x_mcp_header": Fixture("A parameter that is mirrored as a header", _region, _REGION),
    }


def _fixed(*content: dict[str, Any]) -> Run:
    async def run(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
        return answer(*content)

    return run


def _resource(uri: str, kind: str, words: str) -> dict[str, Any]:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": words}}


def _one(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


async def _fail(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    return answer(text("This tool intentionally returns an error for testing"), error=True)


async def _region(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    return answer(text(f"region={arguments.get('region', '<none>')}"))


async def _progress(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(_STEP_SECONDS)
    return answer(text(str((ctx.meta or {}).get("progress_token", 0))))


async def _log_steps(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _log(ctx, words)
        await asyncio.sleep(_STEP_SECONDS)
    return answer(text("Tool with logging executed successfully"))


async def _log(ctx: Ctx, words: str) -> None:
    """Log to the client, on this request's stream; from 2026-07-28 on only where the request asked for it."""
    if "info" not in allowed_log_levels(ctx.protocol_version, ctx.meta):
        return
    params = types.LoggingMessageNotificationParams(level="info", data=words)
    await ctx.session.send_notification(types.LoggingMessageNotification(params=params), related_request_id=ctx.request_id)


async def _reconnect(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    await _log(ctx, "Before disconnect")
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await asyncio.sleep(_STEP_SECONDS * 4)
    await _log(ctx, "After reconnect")
    return answer(text("Reconnection test completed"))


async def _needs_sampling(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool requires the client capability 'sampling'",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return answer(text("The client declared sampling."))


async def _sample(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "user", "content": text(arguments.get("prompt", ""))}
    request = types.CreateMessageRequest.model_validate(
        {"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 100}}
    )
    try:
        back = ServerMessageMetadata(related_request_id=ctx.request_id)
        result = await ctx.session.send_request(request, types.CreateMessageResult, metadata=back)
    except MCPError as error:
        return answer(text(f"Sampling not supported or error: {error}"), error=True)
    said = result.content.text if isinstance(result.content, types.TextContent) else "No response"
    return answer(text(f"LLM response: {said}"))


async def _elicit(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"response": {"type": "string", "description": "User's response"}}, "required": ["response"]}
    return await _ask(ctx, arguments.get("message", ""), schema)


async def _elicit_defaults(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "description": "User status", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    }
    return await _ask(ctx, "Please provide user information", {"type": "object", "properties": fields})


async def _elicit_choices(ctx: Ctx, arguments: dict[str, Any]) -> dict[str, Any]:
    titled = [{"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"}]
    fields = {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return await _ask(ctx, "Please choose", {"type": "object", "properties": fields})


async def _ask(ctx: Ctx, message: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Ask the user in the middle of the call, as revisions with sessions can."""
    try:
        result = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    except MCPError as error:
        return answer(text(f"Elicitation not supported or error: {error}"), error=True)
    return answer(text(f"Elicitation completed: action={result.action}, content={result.content}"))


_REGION: dict[str, Any] = {
    "type": "object",
    "properties": {"region": {"type": "string", "description": "Mirrored into a header", "x-mcp-header": "Region"}},
}

_SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
