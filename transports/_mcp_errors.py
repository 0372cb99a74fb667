"""Refusals of resources and prompts as JSON-RPC errors, in the words and codes of the client's protocol revision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from hub.errors import HubError, rpc_body

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    Ctx = ServerRequestContext[Any, Any]

#: The code for "no such resource" before 2026-07-28.
_NOT_FOUND = -32002
_LONGEST = 1000


def not_found(ctx: Ctx, uri: str) -> MCPError:
    """The refusal of a resource that does not exist, or not for this caller."""
    code = types.INVALID_PARAMS if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS else _NOT_FOUND
    return MCPError(code, "Resource not found", {"uri": uri[:_LONGEST]})


def refused(error: HubError, request_id: str) -> MCPError:
    """What a failed call of the hub is as a JSON-RPC error."""
    body = rpc_body(error)
    return MCPError(body["code"], body["message"], {**body.get("data", {}), "code": error.code, "requestId": request_id})
