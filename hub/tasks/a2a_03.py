"""A2A 0.3 from and to the JSON of A2A 1.0, in which the hub keeps everything.

0.3 has two spellings: that of JSON-RPC, with ``kind`` on everything, and that of its protocol buffers, which HTTP+JSON
servers speak. Both are read; a request is written in the one that its binding wants. What is read is a stranger's: parts and
fields of a wrong type are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROLES = {"user": "ROLE_USER", "agent": "ROLE_AGENT"}
_ROLES_BACK = {back: role for role, back in ROLES.items()}
#: Fields of messages, tasks and events that are the same in both versions.
_SAME = ("messageId", "taskId", "contextId", "referenceTaskIds", "extensions", "metadata")
_FILE_IN = (
    ("raw", "bytes"),
    ("raw", "fileWithBytes"),
    ("url", "uri"),
    ("url", "fileWithUri"),
    ("mediaType", "mimeType"),
    ("filename", "name"),
)
_FILE_OUT = (("bytes", "raw"), ("uri", "url"), ("mimeType", "mediaType"), ("name", "filename"))
_FILE_PROTO = (("fileWithBytes", "raw"), ("fileWithUri", "url"), ("mimeType", "mediaType"), ("name", "filename"))


def message_out(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as 0.3's JSON-RPC has it."""
    return {**message, "kind": "message", "role": _ROLES_BACK[message["role"]], "parts": [part_out(part) for part in message["parts"]]}


def part_out(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part as 0.3's JSON-RPC has it."""
    metadata = {"metadata": part["metadata"]} if "metadata" in part else {}
    if "text" in part:
        return {"kind": "text", "text": part["text"], **metadata}
    if "data" in part:
        return {"kind": "data", "data": _object(part["data"]), **metadata}
    return {"kind": "file", "file": {theirs: part[ours] for theirs, ours in _FILE_OUT if ours in part}, **metadata}


def proto_message_out(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message as 0.3's protocol buffers have it, in their JSON."""
    plain = {name: value for name, value in message.items() if name != "parts"}
    return {**plain, "content": [_proto_part_out(part) for part in message["parts"]]}


def _proto_part_out(part: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"metadata": part["metadata"]} if "metadata" in part else {}
    if "text" in part:
        return {"text": part["text"], **metadata}
    if "data" in part:
        return {"data": {"data": _object(part["data"])}, **metadata}
    return {"file": {theirs: part[ours] for theirs, ours in _FILE_PROTO if ours in part}, **metadata}


def _object(data: Any) -> dict[str, Any]:
    # 0.3 knows objects only; the SDK wraps other values the same way.
    return cast("dict[str, Any]", data) if isinstance(data, dict) else {"value": data}


def item_in(item: Any) -> dict[str, Any]:
    """A result of a send, or an item of a stream, as 1.0's ``{"task" | "message" | "statusUpdate" | "artifactUpdate"}``; else empty."""
    found = _fields(item)
    named = _KINDS.get(str(found.get("kind")), "")
    if named:
        return {named: _READERS[named](found)}
    spelled = ({ours: _READERS[ours](found[theirs])} for theirs, ours in _PROTO if found.get(theirs))
    return next(spelled, dict[str, Any]())


def _status_update(event: Any) -> dict[str, Any]:
    found = _fields(event)
    return {**_here(found), "status": _status_in(found.get("status"))}


def _artifact_update(event: Any) -> dict[str, Any]:
    found = _fields(event)
    flags = {flag: found[flag] for flag in ("append", "lastChunk") if flag in found}
    return {**_here(found), "artifact": _artifact_in(found.get("artifact")), **flags}


def _here(event: dict[str, Any]) -> dict[str, Any]:
    return {field: event[field] for field in ("taskId", "contextId", "metadata") if field in event}


def task_in(task: Any) -> dict[str, Any]:
    """A task as 1.0 has it."""
    found = _fields(task)
    return {
        **{name: found[name] for name in ("id", "contextId", "metadata") if name in found},
        "status": _status_in(found.get("status")),
        "artifacts": [_artifact_in(one) for one in _list(found.get("artifacts"))],
        "history": [message_in(one) for one in _list(found.get("history"))],
    }


def message_in(message: Any) -> dict[str, Any]:
    """A message as 1.0 has it."""
    found = _fields(message)
    role = str(found.get("role"))
    plain = {name: found[name] for name in _SAME if name in found}
    return {**plain, "role": ROLES.get(role, role), "parts": _parts_in(found.get("parts") or found.get("content"))}


def _status_in(status: Any) -> dict[str, Any]:
    found = _fields(status)
    state = str(found.get("state") or "")
    told = {"state": state if state.startswith("TASK_STATE_") else f"TASK_STATE_{state.upper().replace('-', '_')}"}
    said: Any = found.get("message") or found.get("update")
    return {**told, "message": message_in(said)} if said else told


def _artifact_in(artifact: Any) -> dict[str, Any]:
    found = _fields(artifact)
    plain = {name: found[name] for name in ("artifactId", "name", "description", "metadata", "extensions") if name in found}
    return {**plain, "parts": _parts_in(found.get("parts"))}


def _parts_in(parts: Any) -> list[dict[str, Any]]:
    return [part for one in _list(parts) if (part := _part_in(_fields(one)))]


def _part_in(found: dict[str, Any]) -> dict[str, Any]:
    metadata = {"metadata": found["metadata"]} if isinstance(found.get("metadata"), dict) else {}
    if isinstance(found.get("text"), str):
        return {"text": found["text"], **metadata}
    if "data" in found:
        data = found["data"] if "kind" in found else _fields(found["data"]).get("data")
        return {"data": data, **metadata}
    file = _fields(found.get("file"))
    part = {ours: file[theirs] for ours, theirs in _FILE_IN if isinstance(file.get(theirs), str)}
    return {**part, **metadata} if "raw" in part or "url" in part else {}


def _fields(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


#: What 0.3 calls an item by its ``kind``, and by the field of its protocol buffers, and how it is read.
_KINDS = {"task": "task", "message": "message", "status-update": "statusUpdate", "artifact-update": "artifactUpdate"}
_PROTO = (("task", "task"), ("message", "message"), ("msg", "message"), *((name, name) for name in ("statusUpdate", "artifactUpdate")))
_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "task": task_in,
    "message": message_in,
    "statusUpdate": _status_update,
    "artifactUpdate": _artifact_update,
}
