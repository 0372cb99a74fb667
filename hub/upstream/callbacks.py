"""What the SDK's client does when an upstream server asks or tells something: it is brought to the request that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mcp_types as types
from pydantic import TypeAdapter, ValidationError

from hub.upstream.asking import ELICITATION, ROOTS, SAMPLING, Declined
from hub.upstream.ongoing import CURRENT

if TYPE_CHECKING:
    from hub.upstream.ongoing import Ongoing

_SAMPLED: TypeAdapter[Any] = TypeAdapter(types.CreateMessageResult | types.CreateMessageResultWithTools)
_ELICITED: TypeAdapter[Any] = TypeAdapter(types.ElicitResult)
_ROOTS: TypeAdapter[Any] = TypeAdapter(types.ListRootsResult)


class Callbacks:
    """Of one session. ``ongoing`` are its requests, oldest first."""

    def __init__(self) -> None:
        self.ongoing: dict[Ongoing, None] = {}

    def options(self, *, sampling: bool) -> dict[str, Any]:
        """The client's options; what is given here is what a server with a handshake is told that it may ask for."""
        given: dict[str, Any] = {
            "elicitation_callback": self.elicit,
            "list_roots_callback": self.roots,
            "logging_callback": self.logged,
        }
        return {**given, "sampling_callback": self.sample} if sampling else given

    async def sample(self, context: Any, params: types.CreateMessageRequestParams) -> Any:
        """``sampling/createMessage``."""
        return await self._asked(SAMPLING, params, _SAMPLED)

    async def elicit(self, context: Any, params: types.ElicitRequestParams) -> Any:
        """``elicitation/create``."""
        return await self._asked(ELICITATION, params, _ELICITED)

    async def roots(self, context: Any) -> Any:
        """``roots/list``."""
        return await self._asked(ROOTS, None, _ROOTS)

    async def logged(self, params: types.LoggingMessageNotificationParams) -> None:
        """``notifications/message``."""
        if (found := self._current()) is not None:
            found.note(params.level, params.data)

    async def _asked(self, method: str, params: Any, shape: TypeAdapter[Any]) -> Any:
        found = self._current()
        if found is None:
            return types.ErrorData(
                code=types.INVALID_REQUEST, message="nobody is there to be asked: ask within one call, and one at a time"
            )
        given: dict[str, Any] = params.model_dump(mode="json", by_alias=True, exclude_none=True) if params is not None else {}
        try:
            return shape.validate_python(await found.ask(method, given), by_name=False)
        except Declined as error:
            return types.ErrorData(code=error.code, message=str(error))
        except ValidationError:
            return types.ErrorData(code=types.INTERNAL_ERROR, message="the client's answer is not in the protocol's form")

    def _current(self) -> Ongoing | None:
        """The request that a message of the server belongs to.

        On HTTP it comes back on that request's stream. On one stream for all it belongs to the newest, as long as all are one
        client's: what is put to one client is never answered by another (SEC-55).
        """
        found = CURRENT.get()
        if found in self.ongoing:
            return found
        clients = {one.client or id(one) for one in self.ongoing}
        return next(reversed(self.ongoing)) if len(clients) == 1 else None
