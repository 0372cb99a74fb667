"""Resources and prompts of other servers at the MCP door: those that their owner allowed, under their server's namespace.

Every use is a call of a skill, so that scopes, limits and the audit log hold as for tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.exceptions import MCPError

from hub.errors import Forbidden, HubError, NotFound
from hub.upstream import addresses
from hub.upstream.skills import SCOPE
from transports._mcp import context_of
from transports._mcp_asker import arm
from transports._mcp_errors import not_found, refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mcp.server.context import ServerRequestContext

    from hub.call import Hub
    from hub.upstream.offered import Item
    from hub.upstream.outcome import Answer
    from transports._mcp_confirm import Confirm

    Ctx = ServerRequestContext[Any, Any]

_READ, _PROMPT, _COMPLETE = "mcp-servers-read", "mcp-servers-prompt", "mcp-servers-complete"


class Imported:
    """What the door shows of other servers beside their tools."""

    def __init__(self, hub: Hub, confirm: Confirm) -> None:
        self._hub = hub
        self._confirm = confirm

    def resources(self, scopes: frozenset[str]) -> list[dict[str, Any]]:
        """Their entries in ``resources/list``."""
        return _shown(self._hub.upstreams.offered.resources, scopes)

    def templates(self, scopes: frozenset[str]) -> list[dict[str, Any]]:
        """Their entries in ``resources/templates/list``."""
        return _shown(self._hub.upstreams.offered.templates, scopes)

    def prompts(self, scopes: frozenset[str]) -> list[dict[str, Any]]:
        """Their entries in ``prompts/list``."""
        return _shown(self._hub.upstreams.offered.prompts, scopes)

    def watched(self, uri: str, scopes: frozenset[str]) -> Item | None:
        """The resource that a URI names for a caller, to be watched."""
        return self._hub.upstreams.offered.reading(uri) if SCOPE in scopes else None

    async def read(self, uri: str, ctx: Ctx) -> dict[str, Any]:
        """``resources/read`` of an address at which another server's resource would be. Raises MCPError."""
        namespace, own = addresses.inner(uri) or ("", "")
        answer = await self._call(_READ, {"server": namespace, "uri": own}, ctx, not_found(ctx, uri))
        return answer.wire()

    async def get(self, name: str, arguments: Mapping[str, str], ctx: Ctx) -> dict[str, Any] | None:
        """``prompts/get``, None where no server's prompt has this name. Raises MCPError."""
        item = self._hub.upstreams.offered.prompts.get(name)
        if item is None:
            return None
        unknown = MCPError(types.INVALID_PARAMS, f"Unknown prompt: {name[:100]}")
        ask = {"server": item.namespace, "prompt": item.own, "arguments": dict(arguments)}
        return (await self._call(_PROMPT, ask, ctx, unknown)).wire()

    async def complete(self, params: types.CompleteRequestParams, ctx: Ctx) -> dict[str, Any] | None:
        """``completion/complete`` for one of theirs, None where it is none. Raises MCPError."""
        ref, offered = params.ref, self._hub.upstreams.offered
        prompt = isinstance(ref, types.PromptReference)
        item = offered.prompts.get(ref.name) if prompt else offered.templates.get(str(ref.uri))
        if item is None:
            return None
        context = params.context.arguments if params.context and params.context.arguments else {}
        ask = {
            "server": item.namespace,
            "prompt" if prompt else "template": item.own,
            "argument": params.argument.name,
            "typed": params.argument.value,
            "known": context,
        }
        unknown = MCPError(types.INVALID_PARAMS, "There is no such prompt, resource template or argument")
        return (await self._call(_COMPLETE, ask, ctx, unknown)).raw["completion"]

    async def _call(self, name: str, ask: dict[str, Any], ctx: Ctx, unknown: MCPError) -> Answer:
        """A skill's answer. What the caller may not see is as unknown as what is nowhere (SEC-54)."""
        call = context_of(self._hub, ctx)
        await arm(call, ctx, self._confirm)
        skill = self._hub.find(name)
        try:
            return await self._hub.call(skill, ask, call)
        except NotFound as error:
            raise unknown from error
        except Forbidden as error:
            raise (refused(error, call.request_id) if skill.scopes <= call.caller.scopes else unknown) from error
        except HubError as error:
            raise refused(error, call.request_id) from error


def _shown(items: Mapping[str, Item], scopes: frozenset[str]) -> list[dict[str, Any]]:
    found: Iterable[Item] = items.values() if SCOPE in scopes else ()
    return [item.shown for item in found]
