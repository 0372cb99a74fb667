"""The seed's own dialect (agents.md 2): ``params.skill`` and ``params.messages`` in, ``{task, artifacts, metadata}`` out.

It takes the method names of A2A 0.3 and is told from it by its parameters.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from agents.message import Said
from hub.errors import BadRequest, HubError, Internal
from hub.records import TaskRow
from hub.tasks.agent_view import record, state_of, texts_of
from hub.tasks.task import RUNNING, ArtifactEvent, Item, State, StatusEvent
from transports import _a2a_errors
from transports._a2a_dialect import Operation, Ref, Send
from transports._a2a_params import Params

if TYPE_CHECKING:
    from collections.abc import Mapping


class Seed:
    """The dialect of the seed's clients. It has no task that asks back, and no way to come back to a stream."""

    methods: ClassVar[Mapping[str, Operation]] = {
        "message/send": Operation.SEND,
        "message/stream": Operation.STREAM,
        "tasks/get": Operation.GET,
        "tasks/cancel": Operation.CANCEL,
    }
    version = ""
    tied = True

    def send(self, params: Params, *, stream: bool) -> Send:
        """Read the parameters of a message: a list of messages, or one with ``content`` or ``parts``."""
        given = params.items("messages") or ([params.inner("message")] if params.get("message") is not None else [])
        turns = [turn for one in given if (turn := _turn(one))["content"]]
        if not turns:
            raise BadRequest("messages must hold at least one message with content", field="messages")
        text = next((turn["content"] for turn in reversed(turns) if turn["role"] == "user"), turns[-1]["content"])
        message = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": [{"text": text}]}
        said = Said(
            message=message,
            metadata=params.object("metadata"),
            skill=params.text("skill"),
            turns=turns,
            stream=stream,
            interactive=False,
        )
        return Send(said)

    def ref(self, params: Params) -> Ref:
        """Read ``taskId``, or ``id``."""
        return Ref(params.text("taskId") or params.text("id", required=True))

    def sent(self, row: TaskRow, history: int | None) -> Any:
        """The envelope of an answer. A task that did not complete is an error here."""
        if row.state != State.COMPLETED:
            raise _failed(row)
        return {"task": {"id": row.id, "state": state_of(row)}, "artifacts": texts_of(row), "metadata": row.task["metadata"]}

    def answered(self, message: dict[str, Any]) -> Any:
        """A message as an envelope without a task."""
        text = "\n".join(part["text"] for part in message["parts"] if "text" in part)
        task = {"id": message["messageId"], "state": "completed"}
        return {"task": task, "artifacts": [{"type": "text", "content": text}], "metadata": {}}

    def got(self, row: TaskRow, history: int | None) -> Any:
        """The full record."""
        return {"task": record(row)}

    def canceled(self, row: TaskRow) -> Any:
        """Id and state."""
        return {"task": {"id": row.id, "state": state_of(row)}}

    def frames(self, rpc_id: Any, row: TaskRow, item: Item, history: int | None) -> list[Any]:
        """Frames are requests without id: a chunk for each piece of text, then how it ended."""
        if isinstance(item, StatusEvent):
            return [] if item.state in RUNNING else [_last(row)]
        if isinstance(item, ArtifactEvent):
            return [_chunk(row, part["text"]) for part in item.artifact["parts"] if part.get("text")]
        if item is None or item.state in RUNNING:
            return []
        return [*(_chunk(item, one["content"]) for one in texts_of(item)), _last(item)]

    def frame(self, rpc_id: Any, message: dict[str, Any]) -> Any:
        """A message that is a whole stream."""
        return _frame({**self.answered(message)})

    def error(self, error: HubError) -> tuple[int, dict[str, Any]]:
        """HTTP status and error object, as the seed gives them."""
        return _a2a_errors.rpc_seed(error)


def speaks(params: Any) -> bool:
    """Whether parameters of a method that 0.3 has as well are the seed's."""
    if not isinstance(params, dict):
        return False
    return any(name in params for name in ("skill", "messages", "taskId")) or _bare(params.get("message"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - JSON edge


def _bare(message: Any) -> bool:
    """Whether a message is without the marks of 0.3: ``messageId``, and ``kind`` on itself and its parts."""
    if not isinstance(message, dict) or "messageId" in message or "kind" in message:
        return False
    parts: Any = message.get("parts")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON edge
    if not isinstance(parts, list) or not parts:
        return "content" in message
    return not any(isinstance(part, dict) and "kind" in part for part in parts)  # pyright: ignore[reportUnknownVariableType] - JSON edge


def _turn(params: Params) -> dict[str, Any]:
    content = params.get("content")
    if content is None:
        parts: Any = params.get("parts") or []
        if not isinstance(parts, list):
            raise params.wrong("parts", "must be a list")
        content = "\n".join(filter(None, (_part(part) for part in parts)))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] - JSON edge
    if not isinstance(content, str):
        raise params.wrong("content", "must be a string")
    return {"role": params.text("role") or "user", "content": content}


def _part(part: Any) -> str:
    if isinstance(part, dict):
        part = part.get("text") or part.get("content")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON edge
    return part if isinstance(part, str) else ""


def _failed(row: TaskRow) -> HubError:
    error = row.task.get("error", {})
    words = error.get("message") or f"the task ended as {state_of(row)}"
    return BadRequest(words, code=error.get("code")) if error.get("kind") == "input" else Internal(words)


def _last(row: TaskRow) -> dict[str, Any]:
    metadata = row.task["metadata"] if row.state == State.COMPLETED else {"error": _failed(row).message}
    return _frame({"task": {"id": row.id, "state": state_of(row)}, "metadata": metadata})


def _chunk(row: TaskRow, text: str) -> dict[str, Any]:
    return _frame({"task": {"id": row.id, "state": "working"}, "chunk": {"type": "text", "content": text}})


def _frame(params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "message/stream", "params": params}
