"""What an A2A dialect must translate: its method names, its parameters into ours, our tasks and events into its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agents.message import Said
    from hub.errors import HubError
    from hub.records import TaskRow
    from hub.tasks.task import Item
    from transports._a2a_params import Params


class Operation(StrEnum):
    """What a method does."""

    SEND = "send"
    STREAM = "stream"
    GET = "get"
    LIST = "list"
    CANCEL = "cancel"
    SUBSCRIBE = "subscribe"
    CARD = "card"
    PUSH_SET = "push-set"
    PUSH_GET = "push-get"
    PUSH_LIST = "push-list"
    PUSH_DELETE = "push-delete"


@dataclass(frozen=True, slots=True)
class Send:
    """A message to send, and how much history the answer shows (None: all)."""

    said: Said
    history: int | None = None


@dataclass(frozen=True, slots=True)
class Ref:
    """A task by its id."""

    id: str
    history: int | None = None


class Dialect(Protocol):
    """Stateless; one for each dialect. Decoders raise BadRequest naming the field at fault."""

    methods: ClassVar[Mapping[str, Operation]]
    #: The version it speaks; empty for the seed's.
    version: str
    #: Whether work that was started as a stream ends when its client leaves: there is no way to come back to it.
    tied: bool

    def send(self, params: Params, *, stream: bool) -> Send: ...

    def ref(self, params: Params) -> Ref: ...

    def sent(self, row: TaskRow, history: int | None) -> Any:
        """The result of a message whose work paused, ended, or goes on. Raises HubError where the dialect has no such task."""
        ...

    def answered(self, message: dict[str, Any]) -> Any:
        """The result of a message that was answered by a message."""
        ...

    def got(self, row: TaskRow, history: int | None) -> Any: ...

    def canceled(self, row: TaskRow) -> Any: ...

    def frames(self, rpc_id: Any, row: TaskRow, item: Item, history: int | None) -> list[Any]:
        """An item of a stream as JSON-RPC objects; ``row`` is the task."""
        ...

    def frame(self, rpc_id: Any, message: dict[str, Any]) -> Any:
        """A message that is a whole stream."""
        ...

    def error(self, error: HubError) -> tuple[int, dict[str, Any]]:
        """HTTP status and JSON-RPC error object."""
        ...
