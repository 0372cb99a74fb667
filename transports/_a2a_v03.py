"""A2A 0.3: the same tasks with ``kind`` on everything, lower-case states, and the task itself as result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from agents.message import Said
from hub.errors import HubError
from hub.records import PushConfig, TaskRow
from hub.secret import Secret
from hub.tasks.a2a_03 import ROLES, message_out, part_out
from hub.tasks.task import RUNNING, ArtifactEvent, Item, StatusEvent
from transports import _a2a_errors
from transports._a2a_dialect import Operation, Ref, Send

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transports._a2a_params import Params


class V03:
    """The dialect of A2A 0.3."""

    methods: ClassVar[Mapping[str, Operation]] = {
        "message/send": Operation.SEND,
        "message/stream": Operation.STREAM,
        "tasks/get": Operation.GET,
        "tasks/cancel": Operation.CANCEL,
        "tasks/resubscribe": Operation.SUBSCRIBE,
        "agent/getAuthenticatedExtendedCard": Operation.CARD,
        "tasks/pushNotificationConfig/set": Operation.PUSH_SET,
        "tasks/pushNotificationConfig/get": Operation.PUSH_GET,
        "tasks/pushNotificationConfig/list": Operation.PUSH_LIST,
        "tasks/pushNotificationConfig/delete": Operation.PUSH_DELETE,
    }
    version = "0.3"
    tied = False

    def send(self, params: Params, *, stream: bool) -> Send:
        """Read MessageSendParams."""
        message = _message_in(params.inner("message", required=True))
        options = params.inner("configuration")
        return Send(
            Said(
                message=message,
                metadata={**params.object("metadata"), **message.get("metadata", {})},
                stream=stream,
                accepted=options.words("acceptedOutputModes"),
                push=push_of(options.inner("pushNotificationConfig")) if options.object("pushNotificationConfig") else None,
                waits=options.flag("blocking", default=True),
            ),
            history=options.number("historyLength", 0),
        )

    def ref(self, params: Params) -> Ref:
        """Read TaskQueryParams or TaskIdParams."""
        return Ref(params.text("id", required=True), params.number("historyLength", 0))

    def sent(self, row: TaskRow, history: int | None) -> Any:
        """Write a Task."""
        return task(row, history)

    def answered(self, message: dict[str, Any]) -> Any:
        """Write a Message."""
        return message_out(message)

    def got(self, row: TaskRow, history: int | None) -> Any:
        """Write a Task."""
        return task(row, history)

    def canceled(self, row: TaskRow) -> Any:
        """Write a Task."""
        return task(row, None)

    def frames(self, rpc_id: Any, row: TaskRow, item: Item, history: int | None) -> list[Any]:
        """Write a response of a stream."""
        return [{"jsonrpc": "2.0", "id": rpc_id, "result": event(row, item, history)}]

    def frame(self, rpc_id: Any, message: dict[str, Any]) -> Any:
        """Write the only response of a stream that is a message."""
        return {"jsonrpc": "2.0", "id": rpc_id, "result": message_out(message)}

    def error(self, error: HubError) -> tuple[int, dict[str, Any]]:
        """HTTP status and error object."""
        return _a2a_errors.status_of(error), _a2a_errors.rpc_v03(error)


def _message_in(params: Params) -> dict[str, Any]:
    role = ROLES.get(params.text("role", required=True))
    if role is None:
        raise params.wrong("role", "must be user or agent")
    if params.text("kind") not in ("", "message"):
        raise params.wrong("kind", "must be message")
    message: dict[str, Any] = {"messageId": params.text("messageId", required=True), "role": role}
    message["parts"] = [_part_in(part) for part in params.items("parts", required=True)]
    message.update({name: value for name in ("contextId", "taskId") if (value := params.text(name))})
    message.update({name: list(value) for name in ("extensions", "referenceTaskIds") if (value := params.words(name))})
    if metadata := params.object("metadata"):
        message["metadata"] = metadata
    return message


def _part_in(params: Params) -> dict[str, Any]:
    kind = params.text("kind", required=True)
    part: dict[str, Any]
    if kind == "text":
        if not isinstance(params.get("text"), str):
            raise params.wrong("text", "must be a string")
        part = {"text": params.get("text")}
    elif kind == "data":
        if params.get("data") is None:
            raise params.wrong("data", "is required")
        part = {"data": params.object("data")}
    elif kind == "file":
        part = file_in(params.inner("file", required=True), "bytes", "uri")
    else:
        raise params.wrong("kind", "must be text, data or file")
    if metadata := params.object("metadata"):
        part["metadata"] = metadata
    return part


def file_in(params: Params, in_bytes: str, at_uri: str) -> dict[str, Any]:
    """Read a file part of 0.3, whose content stands in one of two fields. They have other names over HTTP than over JSON-RPC."""
    raw, url = params.text(in_bytes), params.text(at_uri)
    if bool(raw) == bool(url):
        raise params.wrong(in_bytes, f"or {at_uri} is required, and not both")
    part = {"raw": raw} if raw else {"url": url}
    names = (("mediaType", "mimeType"), ("filename", "name"))
    return {**part, **{ours: value for ours, theirs in names if (value := params.text(theirs))}}


def task(row: TaskRow, history: int | None) -> dict[str, Any]:
    """A Task with at most ``history`` messages, the latest."""
    kept = row.task
    messages: list[dict[str, Any]] = kept["history"] if history is None else kept["history"][-history:] if history else []
    return {
        "kind": "task",
        "id": row.id,
        "contextId": row.context_id,
        "status": _status(kept["status"]),
        "history": [message_out(message) for message in messages],
        "artifacts": [_artifact(artifact) for artifact in kept["artifacts"]],
        "metadata": {"skill": row.skill, **kept["metadata"], **({"error": kept["error"]} if "error" in kept else {})},
    }


def push_of(params: Params) -> PushConfig:
    """Read a PushNotificationConfig. Of several schemes Bearer is used, else the first."""
    auth = params.inner("authentication")
    schemes = auth.words("schemes")
    bearer = next((one for one in schemes if one.lower() == "bearer"), None)
    return PushConfig(
        dialect="0.3",
        url=params.text("url", required=True),
        id=params.text("id"),
        token=Secret(params.text("token")),
        scheme=bearer or next(iter(schemes), ""),
        credentials=Secret(auth.text("credentials")),
    )


def event(row: TaskRow, item: Item, history: int | None) -> dict[str, Any]:
    """An item of a stream: a Task or an event with its kind."""
    here = {"taskId": row.id, "contextId": row.context_id}
    if isinstance(item, StatusEvent):
        metadata = {"metadata": item.metadata} if item.metadata else {}
        return {"kind": "status-update", **here, "status": _status(item.status), "final": item.state not in RUNNING, **metadata}
    if isinstance(item, ArtifactEvent):
        return {"kind": "artifact-update", **here, "artifact": _artifact(item.artifact), "append": item.append, "lastChunk": item.last}
    return task(item or row, history)


def _status(status: dict[str, Any]) -> dict[str, Any]:
    return {**status, "message": message_out(status["message"])} if "message" in status else status


def _artifact(artifact: dict[str, Any]) -> dict[str, Any]:
    return {**artifact, "parts": [part_out(part) for part in artifact["parts"]]}
