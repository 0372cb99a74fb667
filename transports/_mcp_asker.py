"""How an MCP client is asked for what an upstream server wants to know in the middle of a call, in both protocol eras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from hub.upstream.asking import ELICITATION, SAMPLING, Answers, Declined
from hub.upstream.pinning import fields
from hub.upstream.rounds import PATIENCE_SECONDS, ours
from transports._mcp import connection_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp.server.context import ServerRequestContext

    from hub.context import Context
    from transports._mcp_confirm import Confirm

    Ctx = ServerRequestContext[Any, Any]


async def arm(call: Context, ctx: Ctx, confirm: Confirm) -> None:
    """Let a call ask its client, and give it the answers that came with it. Raises MCPError for a state that came before."""
    if call.asker is not None:
        return  # tried before, in vain: it was told to log in first
    modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
    call.asker = Interim(ctx, call.request_id) if modern else Session(ctx)
    params = ctx.params or {}
    state = params.get("requestState")
    if modern and ours(state):
        await confirm.use(str(state))
        call.answers = Answers(fields(params.get("inputResponses")), str(state))


class Interim:
    """A client of 2026-07-28: it is asked by the result of its call, and sends its answers with the call again."""

    waits = False

    def __init__(self, ctx: Ctx, request_id: str) -> None:
        self.capabilities: Mapping[str, Any] = _declared(ctx)
        # Nothing tells such clients apart, so each call is one's own.
        self.client = request_id

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Not to be used: nobody waits for an answer here."""
        raise Declined("the client answers with its next request")


class Session:
    """A client with a session: it is asked by a request on the stream of its call."""

    waits = True

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self.capabilities: Mapping[str, Any] = _declared(ctx) if ctx.session.can_send_request else {}
        self.client = f"session {id(connection_of(ctx))}"

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The client's answer. Raises Declined where it refuses, says nothing for ten minutes, or nothing of sense."""
        metadata = ServerMessageMetadata(related_request_id=self._ctx.request_id)
        with anyio.move_on_after(PATIENCE_SECONDS):
            try:
                request, shape = _request(method, params)
                answer = await self._ctx.session.send_request(request, shape, metadata=metadata)
            except MCPError as error:
                raise Declined(error.message[:500], error.code) from None
            except ValidationError:
                raise Declined("what is asked, or the client's answer, is not in the protocol's form", types.INVALID_PARAMS) from None
            return answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        raise Declined("the client did not answer", types.REQUEST_TIMEOUT)


def _request(method: str, params: dict[str, Any]) -> tuple[Any, type[BaseModel]]:
    """A request to a client and the form of its answer. Raises ValidationError."""
    if method == SAMPLING:
        given = types.CreateMessageRequestParams.model_validate(params, by_name=False)
        return types.CreateMessageRequest(params=given), types.CreateMessageResultWithTools if given.tools else types.CreateMessageResult
    if method == ELICITATION:
        kind = types.ElicitRequestURLParams if params.get("mode") == "url" else types.ElicitRequestFormParams
        return types.ElicitRequest(params=kind.model_validate(params, by_name=False)), types.ElicitResult
    return types.ListRootsRequest(), types.ListRootsResult


def _declared(ctx: Ctx) -> dict[str, Any]:
    declared = ctx.session.client_capabilities
    return declared.model_dump(mode="json", by_alias=True, exclude_none=True) if declared is not None else {}
