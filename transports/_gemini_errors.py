"""Errors in Google's shape: ``{"error": {"code", "message", "status", "details"}}``. Source: google.rpc.Status and its error details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.errors import HubError

#: google.rpc.Code by HTTP status.
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    504: "DEADLINE_EXCEEDED",
}
_TYPE = "type.googleapis.com/google.rpc."


def gemini_body(error: HubError) -> dict[str, Any]:
    """The error's body. The details hold the hub's own code, the field at fault, and when to come back."""
    fallback = "UNAVAILABLE" if error.status >= 500 else "INVALID_ARGUMENT"
    info: dict[str, Any] = {"@type": f"{_TYPE}ErrorInfo", "reason": error.code.upper(), "domain": "hubroute"}
    if error.data:
        info["metadata"] = {name: str(value) for name, value in error.data.items()}
    details = [info]
    if error.field:
        violation = {"field": error.field, "description": error.message}
        details.append({"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": _duration(error.retry_after)})
    return {"error": {"code": error.status, "message": error.message, "status": _STATUS.get(error.status, fallback), "details": details}}


def _duration(seconds: float) -> str:
    """A google.protobuf.Duration in JSON: decimal, without an exponent."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
