"""A2A 1.0 in ProtoJSON. Tasks are kept in this form, so that writing one is mostly copying."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from agents.message import Said
from hub.errors import BadRequest, HubError
from hub.records import PushConfig, TaskRow
from hub.secret import Secret
from hub.tasks.task import ArtifactEvent, Item, State, StatusEvent
from transports import _a2a_errors
from transports._a2a_dialect import Operation, Ref, Send

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transports._a2a_params import Params

_ROLES: dict[Any, str] = {"ROLE_USER": "ROLE_USER", "ROLE_AGENT": "ROLE_AGENT", 1: "ROLE_USER", 2: "ROLE_AGENT"}
_CONTENT = ("text", "raw", "url", "data")
_NUMBERED = ("", "submitted", "working", "completed", "failed", "canceled", "input-required", "rejected", "auth-required")
_STATES: dict[str, str] = {state.value: f"TASK_STATE_{state.name}" for state in State}
_PAGE = 50
_LARGEST_PAGE = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which tasks to list."""

    choice: dict[str, Any]
    size: int
    history: int | None
    artifacts: bool


class V1:
    """The dialect of A2A 1.0."""

    methods: ClassVar[Mapping[str, Operation]] = {
        "SendMessage": Operation.SEND,
        "SendStreamingMessage": Operation.STREAM,
        "GetTask": Operation.GET,
        "ListTasks": Operation.LIST,
        "CancelTask": Operation.CANCEL,
        "SubscribeToTask": Operation.SUBSCRIBE,
        "GetExtendedAgentCard": Operation.CARD,
        "CreateTaskPushNotificationConfig": Operation.PUSH_SET,
        "GetTaskPushNotificationConfig": Operation.PUSH_GET,
        "ListTaskPushNotificationConfigs": Operation.PUSH_LIST,
        "DeleteTaskPushNotificationConfig": Operation.PUSH_DELETE,
    }
    version = "1.0"
    tied = False

    def send(self, params: Params, *, stream: bool) -> Send:
        """Read a SendMessageRequest."""
        said = message_of(params.inner("message", required=True))
        options = params.inner("configuration")
        return Send(
            Said(
                message=said,
                metadata={**params.object("metadata"), **said.get("metadata", {})},
                stream=stream,
                accepted=options.words("acceptedOutputModes"),
                push=push_of(options.inner("taskPushNotificationConfig")) if options.object("taskPushNotificationConfig") else None,
                waits=not options.flag("returnImmediately"),
            ),
            history=options.number("historyLength", 0),
        )

    def ref(self, params: Params) -> Ref:
        """Read a request that names a task."""
        return Ref(params.text("id", required=True), params.number("historyLength", 0))

    def page(self, params: Params) -> Page:
        """Read a ListTasksRequest."""
        size = params.number("pageSize", 1, _LARGEST_PAGE) or _PAGE
        after = params.text("statusTimestampAfter")
        choice = {
            "context_id": params.text("contextId") or None,
            "state": _state_of(params),
            # The store's limit is exclusive, the protocol's inclusive.
            "updated_after": _millis(params, after) - 1 if after else None,
            "before": _cursor(params),
            "limit": size + 1,
        }
        return Page(choice, size, params.number("historyLength", 0), params.flag("includeArtifacts"))

    def listed(self, page: Page, rows: list[TaskRow], total: int) -> dict[str, Any]:
        """Write a ListTasksResponse; one row more than the page says that there is another page."""
        shown = rows[: page.size]
        last = shown[-1] if len(rows) > page.size else None
        token = base64.urlsafe_b64encode(orjson.dumps([last.updated_at, last.id])).decode().rstrip("=") if last else ""
        tasks = [task(row, page.history, artifacts=page.artifacts) for row in shown]
        return {"tasks": tasks, "nextPageToken": token, "pageSize": page.size, "totalSize": total}

    def sent(self, row: TaskRow, history: int | None) -> Any:
        """Write a SendMessageResponse."""
        return {"task": task(row, history)}

    def answered(self, message: dict[str, Any]) -> Any:
        """Write a SendMessageResponse of a message."""
        return {"message": message}

    def got(self, row: TaskRow, history: int | None) -> Any:
        """Write a Task."""
        return task(row, history)

    def canceled(self, row: TaskRow) -> Any:
        """Write a Task."""
        return task(row, None)

    def event(self, row: TaskRow, item: Item, history: int | None) -> dict[str, Any]:
        """Write a StreamResponse."""
        here = {"taskId": row.id, "contextId": row.context_id}
        if isinstance(item, StatusEvent):
            metadata = {"metadata": item.metadata} if item.metadata else {}
            return {"statusUpdate": {**here, "status": _status(item.status), **metadata}}
        if isinstance(item, ArtifactEvent):
            flags = {name: True for name, on in (("append", item.append), ("lastChunk", item.last)) if on}
            return {"artifactUpdate": {**here, "artifact": item.artifact, **flags}}
        return {"task": task(item or row, history)}

    def frames(self, rpc_id: Any, row: TaskRow, item: Item, history: int | None) -> list[Any]:
        """Write a response of a stream."""
        return [{"jsonrpc": "2.0", "id": rpc_id, "result": self.event(row, item, history)}]

    def frame(self, rpc_id: Any, message: dict[str, Any]) -> Any:
        """Write the only response of a stream that is a message."""
        return {"jsonrpc": "2.0", "id": rpc_id, "result": {"message": message}}

    def error(self, error: HubError) -> tuple[int, dict[str, Any]]:
        """HTTP status and error object."""
        return _a2a_errors.status_of(error), _a2a_errors.rpc_v1(error)


def push_of(params: Params) -> PushConfig:
    """Read a TaskPushNotificationConfig."""
    auth = params.inner("authentication")
    return PushConfig(
        dialect="1.0",
        url=params.text("url", required=True),
        id=params.text("id"),
        token=Secret(params.text("token")),
        scheme=auth.text("scheme"),
        credentials=Secret(auth.text("credentials")),
    )


def message_of(params: Params) -> dict[str, Any]:
    """A message, checked, without fields that nobody knows."""
    role = _ROLES.get(params.get("role"))
    message: dict[str, Any] = {"messageId": params.text("messageId", required=True)}
    if role is None:
        raise params.wrong("role", "must be ROLE_USER or ROLE_AGENT")
    message["role"] = role
    message["parts"] = [_part(part) for part in params.items("parts", required=True)]
    message.update({name: value for name in ("contextId", "taskId") if (value := params.text(name))})
    message.update({name: list(value) for name in ("extensions", "referenceTaskIds") if (value := params.words(name))})
    if metadata := params.object("metadata"):
        message["metadata"] = metadata
    return message


def _part(params: Params) -> dict[str, Any]:
    held = [name for name in _CONTENT if params.get(name) is not None]
    if len(held) != 1:
        raise BadRequest(f"{params.where('')[:-1]} must hold exactly one of {', '.join(_CONTENT)}", field=params.where("")[:-1])
    kind = held[0]
    value = params.get(kind)
    if kind != "data" and not isinstance(value, str):
        raise params.wrong(kind, "must be a string")
    part: dict[str, Any] = {kind: value}
    part.update({name: text for name in ("mediaType", "filename") if (text := params.text(name))})
    if metadata := params.object("metadata"):
        part["metadata"] = metadata
    return part


def task(row: TaskRow, history: int | None, *, artifacts: bool = True) -> dict[str, Any]:
    """A Task with at most ``history`` messages, the latest. Empty lists are left out."""
    kept = row.task
    messages: list[dict[str, Any]] = kept["history"] if history is None else kept["history"][-history:] if history else []
    found: dict[str, Any] = {"id": row.id, "contextId": row.context_id, "status": _status(kept["status"])}
    if artifacts and kept["artifacts"]:
        found["artifacts"] = kept["artifacts"]
    if messages:
        found["history"] = messages
    metadata = {"skill": row.skill, **kept["metadata"], **({"error": kept["error"]} if "error" in kept else {})}
    return {**found, "metadata": metadata}


def _status(status: dict[str, Any]) -> dict[str, Any]:
    return {**status, "state": _STATES[status["state"]]}


def _state_of(params: Params) -> str | None:
    value = params.get("status")
    if value in (None, "", 0, "TASK_STATE_UNSPECIFIED"):
        return None
    if isinstance(value, int) and 0 < value < len(_NUMBERED):
        return _NUMBERED[value]
    short = str(value).removeprefix("TASK_STATE_").lower().replace("_", "-")
    if short not in _STATES:
        raise params.wrong("status", f"must be one of {', '.join(_STATES.values())}")
    return short


def _millis(params: Params, text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise params.wrong("statusTimestampAfter", "must be a time such as 2026-01-31T12:00:00Z") from None
    if at.tzinfo is None:
        raise params.wrong("statusTimestampAfter", "must name its time zone, as in 2026-01-31T12:00:00Z")
    return int(at.timestamp() * 1000)


def _cursor(params: Params) -> tuple[int, str] | None:
    token = params.text("pageToken")
    if not token:
        return None
    try:
        at, key = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, TypeError):  # not base64, not JSON, not a pair
        raise params.wrong("pageToken", "is not one that this agent gave") from None
    if not isinstance(at, int) or not isinstance(key, str):
        raise params.wrong("pageToken", "is not one that this agent gave")
    return at, key
