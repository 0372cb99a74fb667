"""Installed instructions as MCP prompts: the owner's skills for models, for whoever may read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import HubError
from transports._mcp import context_of, visitor_of
from transports._mcp_errors import refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import ServerRequestContext

    from hub.call import Hub
    from hub.records import Caller
    from hub.store.documents import Document
    from hub.user_skills.model import UserSkill

    Ctx = ServerRequestContext[Any, Any]

_SKILL = "user-skills-instruction"


class Instructions:
    """What the door shows of installed instructions. Reading one is a call of a skill, so that scopes, policies and the audit log hold."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def listed(self, caller: Caller) -> list[dict[str, Any]]:
        """Their entries in ``prompts/list``."""
        return [
            {"name": name, "title": one.body.name, "description": one.body.description or one.body.name, "arguments": []}
            for name, one in self._readable(caller).items()
        ]

    def _readable(self, caller: Caller) -> Mapping[str, Document[UserSkill]]:
        """Those that a caller may read, by name; none in a hub that is served without the skill that reads them."""
        reads = self._hub.skills.by_name.get(_SKILL)
        return self._hub.user_skills.texts(caller) if reads is not None and reads.scopes <= caller.scopes else {}

    async def get(self, name: str, ctx: Ctx) -> dict[str, Any] | None:
        """``prompts/get``, None where no instruction that the caller may read has this name. Raises MCPError."""
        caller = visitor_of(ctx).caller
        found = self._readable(caller).get(name)
        if found is None:
            return None
        call = context_of(self._hub, ctx)
        try:
            read = await self._hub.call(self._hub.find(_SKILL), {"name": found.id}, call)
        except HubError as error:
            raise refused(error, call.request_id) from error
        message = {"role": "user", "content": {"type": "text", "text": read.text}}
        return {"description": read.description, "messages": [message], "resultType": "complete"}
