"""A2A 0.3 as its HTTP+JSON binding writes it: the JSON of 0.3's protocol buffers, which is neither 0.3's JSON-RPC nor 1.0.

Messages hold ``content``, files and data are wrapped, and names may come in either spelling (specification 0.3, section 3.2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agents.message import Said
from hub.errors import BadRequest
from transports import _a2a_v1
from transports._a2a_dialect import Ref, Send
from transports._a2a_push import V03Shapes
from transports._a2a_v03 import file_in, push_of
from transports._a2a_v1 import V1

if TYPE_CHECKING:
    from hub.records import PushConfig, TaskRow
    from hub.tasks.task import Item
    from transports._a2a_params import Params

_V1 = V1()
_SHAPES = V03Shapes()
_ROLES = {"ROLE_USER": "ROLE_USER", "ROLE_AGENT": "ROLE_AGENT", 1: "ROLE_USER", 2: "ROLE_AGENT"}
_ENDED = frozenset(f"TASK_STATE_{name}" for name in ("COMPLETED", "FAILED", "CANCELLED", "REJECTED", "INPUT_REQUIRED", "AUTH_REQUIRED"))


class Proto03:
    """The codec of the binding, see :class:`transports._a2a_rest.Codec`."""

    version = "0.3"

    def send(self, params: Params, *, stream: bool) -> Send:
        """Read a SendMessageRequest. A configuration that does not say ``blocking`` says no, as protocol buffers have it."""
        message = _message_in(params.inner("message" if params.get("message") is not None else "request", required=True))
        options = params.inner("configuration")
        push = options.inner("pushNotification")
        return Send(
            Said(
                message=message,
                metadata={**params.object("metadata"), **message.get("metadata", {})},
                stream=stream,
                accepted=options.words("acceptedOutputModes"),
                push=push_of(push) if options.object("pushNotification") else None,
                waits=options.flag("blocking") or params.get("configuration") is None,
            ),
            # Zero cannot be told from nothing here.
            history=options.number("historyLength", 0) or None,
        )

    def ref(self, params: Params) -> Ref:
        """Read a request that names a task."""
        return Ref(params.text("id", required=True), params.number("historyLength", 0) or None)

    def sent(self, row: TaskRow, history: int | None) -> Any:
        """Write a SendMessageResponse."""
        return {"task": self.got(row, history)}

    def answered(self, message: dict[str, Any]) -> Any:
        """Write a SendMessageResponse of a message."""
        return {"message": _message_out(message)}

    def got(self, row: TaskRow, history: int | None) -> Any:
        """Write a Task."""
        return _task_out(_a2a_v1.task(row, history))

    def canceled(self, row: TaskRow) -> Any:
        """Write a Task."""
        return self.got(row, None)

    def event(self, row: TaskRow, item: Item, history: int | None) -> dict[str, Any]:
        """Write a StreamResponse."""
        made = _V1.event(row, item, history)
        if "statusUpdate" in made:
            status = _status_out(made["statusUpdate"]["status"])
            return {"statusUpdate": {**made["statusUpdate"], "status": status, "final": status["state"] in _ENDED}}
        if "artifactUpdate" in made:
            return {"artifactUpdate": {**made["artifactUpdate"], "artifact": _artifact_out(made["artifactUpdate"]["artifact"])}}
        return {"task": _task_out(made["task"])}

    def push(self, params: Params) -> PushConfig:
        """Read a CreateTaskPushNotificationConfigRequest, or its config alone."""
        config = params.inner("config") if params.get("config") is not None else params
        return push_of(config.inner("pushNotificationConfig", required=True))

    def config(self, config: PushConfig) -> dict[str, Any]:
        """Write a TaskPushNotificationConfig."""
        shown = _SHAPES.one(config)["pushNotificationConfig"]
        return {"name": f"tasks/{config.task_id}/pushNotificationConfigs/{config.id}", "pushNotificationConfig": shown}

    def configs(self, configs: list[PushConfig]) -> dict[str, Any]:
        """Write a ListTaskPushNotificationConfigResponse."""
        return {"configs": [self.config(config) for config in configs]}


def _message_in(params: Params) -> dict[str, Any]:
    role = _ROLES.get(params.get("role"))
    if role is None:
        raise params.wrong("role", "must be ROLE_USER or ROLE_AGENT")
    message: dict[str, Any] = {"messageId": params.text("messageId", required=True), "role": role}
    message["parts"] = [_part_in(part) for part in params.items("content", required=True)]
    message.update({name: value for name in ("contextId", "taskId") if (value := params.text(name))})
    if extensions := params.words("extensions"):
        message["extensions"] = list(extensions)
    if metadata := params.object("metadata"):
        message["metadata"] = metadata
    return message


def _part_in(params: Params) -> dict[str, Any]:
    held = [name for name in ("text", "file", "data") if params.get(name) is not None]
    if len(held) != 1:
        raise BadRequest(f"{params.where('')[:-1]} must hold exactly one of text, file, data", field=params.where("")[:-1])
    part: dict[str, Any]
    if held[0] == "text":
        if not isinstance(params.get("text"), str):
            raise params.wrong("text", "must be a string")
        part = {"text": params.get("text")}
    elif held[0] == "data":
        part = {"data": params.inner("data").object("data")}
    else:
        part = file_in(params.inner("file"), "fileWithBytes", "fileWithUri")
    if metadata := params.object("metadata"):
        part["metadata"] = metadata
    return part


def _task_out(task: dict[str, Any]) -> dict[str, Any]:
    found = {**task, "status": _status_out(task["status"])}
    if "history" in task:
        found["history"] = [_message_out(message) for message in task["history"]]
    if "artifacts" in task:
        found["artifacts"] = [_artifact_out(artifact) for artifact in task["artifacts"]]
    return found


def _status_out(status: dict[str, Any]) -> dict[str, Any]:
    found = {**status, "state": status["state"].replace("CANCELED", "CANCELLED")}
    return {**found, "message": _message_out(status["message"])} if "message" in status else found


def _message_out(message: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in message.items() if name not in ("parts", "referenceTaskIds")}
    return {**found, "content": [_part_out(part) for part in message["parts"]]}


def _artifact_out(artifact: dict[str, Any]) -> dict[str, Any]:
    return {**artifact, "parts": [_part_out(part) for part in artifact["parts"]]}


def _part_out(part: dict[str, Any]) -> dict[str, Any]:
    metadata = {"metadata": part["metadata"]} if "metadata" in part else {}
    if "text" in part:
        return {"text": part["text"], **metadata}
    if "data" in part:
        data: Any = part["data"]
        return {"data": {"data": data if isinstance(data, dict) else {"value": data}}, **metadata}
    names = (("fileWithBytes", "raw"), ("fileWithUri", "url"), ("mimeType", "mediaType"), ("name", "filename"))
    return {"file": {theirs: part[ours] for theirs, ours in names if ours in part}, **metadata}
