"""Which A2A error each of our errors is, and its shape in each A2A dialect (specification 1.0, sections 5.4, 9.5 and 11.6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hub.errors import BadRequest, HubError, InvalidInput, NotFound, Shape, UnknownSkill

_DOMAIN = "a2a-protocol.org"


class WrongBodyType(BadRequest):
    """The request's own Content-Type is not JSON."""

    shape = Shape(415, "invalid_request_error", "content_type_not_supported", -32005, "invalid_request_error")


@dataclass(frozen=True, slots=True)
class Fault:
    """An A2A error: its JSON-RPC code, its HTTP status in the HTTP+JSON binding, its gRPC status name; ``own`` is A2A's own kind."""

    code: int
    status: int
    grpc: str
    own: bool = False


#: By ``HubError.code``.
_FAULTS: dict[str, Fault] = {
    "task_not_found": Fault(-32001, 404, "NOT_FOUND", own=True),
    "task_not_cancelable": Fault(-32002, 409, "FAILED_PRECONDITION", own=True),
    "push_notification_not_supported": Fault(-32003, 400, "UNIMPLEMENTED", own=True),
    "unsupported_operation": Fault(-32004, 400, "UNIMPLEMENTED", own=True),
    "content_type_not_supported": Fault(-32005, 415, "INVALID_ARGUMENT", own=True),
    "version_not_supported": Fault(-32009, 400, "UNIMPLEMENTED", own=True),
    "agent_disabled": Fault(-32000, 503, "UNAVAILABLE"),
    "parse_error": Fault(-32700, 400, "INVALID_ARGUMENT"),
    "invalid_request": Fault(-32600, 400, "INVALID_ARGUMENT"),
    "method_not_found": Fault(-32601, 404, "UNIMPLEMENTED"),
}
_TYPES_V03 = {
    "task_not_found": "TaskNotFoundError",
    "task_not_cancelable": "TaskNotCancelableError",
    "push_notification_not_supported": "PushNotificationNotSupportedError",
    "unsupported_operation": "UnsupportedOperationError",
    "content_type_not_supported": "ContentTypeNotSupportedError",
}
_GRPC = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}
#: What JSON-RPC leaves to HTTP: credentials, scope, method and size of the request, its content type, and a door that is shut.
_OVER_HTTP = frozenset({401, 403, 405, 413, 415, 503})


def fault_of(error: HubError) -> Fault:
    """The A2A error of ours."""
    known = _FAULTS.get(error.code)
    if known is not None:
        return known
    status = error.status
    if status in (401, 403, 405, 413):
        return Fault(-32600, status, _GRPC.get(status, "INVALID_ARGUMENT"))
    if isinstance(error, (BadRequest, UnknownSkill)):
        return Fault(-32602, 400, "INVALID_ARGUMENT")
    return Fault(-32603, status, _GRPC.get(status, "INTERNAL"))


def status_of(error: HubError) -> int:
    """The HTTP status of a JSON-RPC error: 200, but for what concerns HTTP itself."""
    return error.status if error.status in _OVER_HTTP else 200


def details(error: HubError) -> list[dict[str, Any]]:
    """A2A 1.0's error details: ErrorInfo, and for wrong parameters the fields at fault."""
    fault = fault_of(error)
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": error.code.upper(),
        "domain": _DOMAIN if fault.own else "hubroute",
    }
    plain = {name: str(value) for name, value in error.data.items() if isinstance(value, (str, int, float))}
    found: list[dict[str, Any]] = [{**info, **({"metadata": plain} if plain else {})}]
    fields = error.details if isinstance(error, InvalidInput) else [{"field": error.field, "message": error.message}] if error.field else []
    if fields:
        violations = [{"field": one["field"], "description": one["message"]} for one in fields]
        found.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    return found


def rpc_v1(error: HubError) -> dict[str, Any]:
    """The JSON-RPC error object of A2A 1.0."""
    return {"code": fault_of(error).code, "message": error.message, "data": details(error)}


def rpc_v03(error: HubError) -> dict[str, Any]:
    """The JSON-RPC error object of A2A 0.3, whose ``data`` is free."""
    data = {**error.data, **({"field": error.field} if error.field else {})}
    return {"code": fault_of(error).code, "message": error.message, **({"data": data} if data else {})}


def rpc_seed(error: HubError) -> tuple[int, dict[str, Any]]:
    """HTTP status and error object of the seed's dialect: unknown things are -32601, all faults of the work -32603."""
    code = fault_of(error).code
    if isinstance(error, NotFound):
        code = -32601
    elif code not in (-32700, -32600, -32601, -32602):
        code = -32603
    status = {-32600: 400, -32601: 404, -32603: 500}.get(code, 200)
    return (error.status if error.status in _OVER_HTTP else status), {"code": code, "message": error.message}


def rest(error: HubError) -> dict[str, Any]:
    """The body of an error in the HTTP+JSON binding (AIP-193)."""
    fault = fault_of(error)
    return {"error": {"code": fault.status, "status": fault.grpc, "message": error.message, "details": details(error)}}


def rest_v03(error: HubError) -> dict[str, Any]:
    """The body of an error in the HTTP+JSON binding of 0.3, which names A2A's own errors by their type; and the later form beside it."""
    return {
        "type": _TYPES_V03.get(error.code, "InternalError" if error.status >= 500 else "InvalidRequestError"),
        "message": error.message,
        **rest(error),
    }


def refused(error: HubError) -> dict[str, Any]:
    """The JSON-RPC body of an error that comes before the request is read."""
    return {"jsonrpc": "2.0", "id": None, "error": rpc_v1(error)}
