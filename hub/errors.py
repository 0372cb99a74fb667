"""The error tree, and the one table from an error to the shape each door shows.

HubError
  BadRequest                  400  the caller's request is wrong; says which field and what to send
    InvalidInput              400  a skill's input does not fit its schema; carries every field at fault
    AmbiguousModel            400  a bare model id is served by several providers
    TooLarge                  413  a body, upload or message over its limit
      HeadTooLarge            431  too many headers
    UnsupportedMedia          415  a body in a form that is not read
    Unprocessable             422  a well-formed request that contradicts an earlier one
  Unauthenticated             401  no credential, or one that is not valid (any more)
  Forbidden                   403  a valid credential without the scope
    PolicyDenied              403  a rule of the owner says no; names the rule
  LoginRequired               403  another server wants a login first; says where
  NotFound                    404
    UnknownModel              404
    UnknownSkill              404
  MethodNotAllowed            405
  Conflict                    409
  Cancelled                   499  the caller went away
  RateLimited                 429  carries ``retry_after`` seconds
    BudgetSpent               429  a budget is used up; says which limit and when it starts anew
  BudgetExceeded              402  the price limit of the call or the key does not cover it
  UpstreamFailed              502  a provider failed; carries its status and message
    UpstreamTimeout           504
    UpstreamRejected          its own status: the provider says that the request itself is wrong
  Unavailable                 503  nothing can take the call now; says what to set up or when to retry
    NotConfigured             503  a setting or connection is missing; says which
  Internal                    500  a fault of ours; the cause is in the log under the request id

A message says what happened and what to do. It never carries a secret, a prompt or a stack trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Shape:
    """How one error class looks at each door.

    ``type`` and ``code`` are OpenAI's error fields (routing.md 3.4), ``rpc`` is the JSON-RPC code of
    MCP and of the seed's A2A dialect, ``anthropic`` is Anthropic's error type.
    """

    status: int
    type: str
    code: str
    rpc: int
    anthropic: str


class HubError(Exception):
    """Base of all errors that a door may show. ``data`` is safe, structured detail for the caller.

    ``replayed`` marks the error of an earlier request that this one repeats; ``request_id`` is set by a door that names it.
    ``wire`` replaces the management API's error body where the seed's has a shape of its own.
    """

    shape = Shape(500, "server_error", "internal_server_error", -32603, "api_error")

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
        data: Mapping[str, Any] | None = None,
        wire: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.shape.code
        self.field = field
        self.retry_after = retry_after
        self.data: dict[str, Any] = dict(data or {})
        self.replayed = False
        self.request_id = ""
        self.wire = wire

    @property
    def status(self) -> int:
        """The HTTP status of this error."""
        return self.shape.status


class BadRequest(HubError):
    """The request is wrong; ``field`` names the part at fault."""

    shape = Shape(400, "invalid_request_error", "bad_request", -32602, "invalid_request_error")


class InvalidInput(BadRequest):
    """A skill's input does not fit its schema. ``details`` is ``[{"field", "message"}]``."""

    def __init__(self, details: Sequence[Mapping[str, str]]) -> None:
        first = details[0]
        rest = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        super().__init__(f"{first['field'] or 'input'}: {first['message']}{rest}", field=first["field"] or None)
        self.details = [dict(detail) for detail in details]
        self.data["details"] = self.details


class AmbiguousModel(BadRequest):
    """A bare model id that several providers serve; the message names candidates to choose from."""

    shape = Shape(400, "invalid_request_error", "ambiguous_model", -32602, "invalid_request_error")


class TooLarge(BadRequest):
    """A body or item over its limit."""

    shape = Shape(413, "invalid_request_error", "PAYLOAD_TOO_LARGE", -32600, "request_too_large")


class HeadTooLarge(TooLarge):
    """A request with too many headers."""

    shape = Shape(431, "invalid_request_error", "HEADERS_TOO_LARGE", -32600, "request_too_large")


class UnsupportedMedia(BadRequest):
    """A body whose coding is not read here."""

    shape = Shape(415, "invalid_request_error", "unsupported_media_type", -32600, "invalid_request_error")


class Unprocessable(BadRequest):
    """A well-formed request that contradicts an earlier one, such as an idempotency key with another body."""

    shape = Shape(422, "invalid_request_error", "unprocessable_entity", -32602, "invalid_request_error")


class Unauthenticated(HubError):
    """No credential, or one that is unknown, revoked or expired. The words never say which."""

    shape = Shape(401, "authentication_error", "invalid_api_key", -32001, "authentication_error")


class Forbidden(HubError):
    """A valid credential that lacks a scope; ``data["missing"]`` lists what it lacks."""

    shape = Shape(403, "permission_error", "insufficient_scope", -32003, "permission_error")


class PolicyDenied(Forbidden):
    """A policy of the owner refuses the call; ``data["policy"]`` has its ``id`` and ``name``."""

    shape = Shape(403, "permission_error", "policy_denied", -32003, "permission_error")


class LoginRequired(HubError):
    """An upstream server wants a login of the caller's principal first.

    ``data`` is ``{"server", "loginUrl"}``, the URL empty where the caller cannot log in by itself.
    """

    shape = Shape(403, "permission_error", "login_required", -32014, "permission_error")


class NotFound(HubError):
    """No such thing, or none that this caller may see."""

    shape = Shape(404, "invalid_request_error", "not_found", -32004, "not_found_error")


class UnknownModel(NotFound):
    """No provider is known for a model string."""

    shape = Shape(404, "invalid_request_error", "model_not_found", -32602, "not_found_error")


class UnknownSkill(NotFound):
    """No skill, or none that this caller may see, has this name."""

    shape = Shape(404, "invalid_request_error", "unknown_skill", -32601, "not_found_error")


class MethodNotAllowed(HubError):
    """The address exists, the HTTP method does not."""

    shape = Shape(405, "invalid_request_error", "method_not_allowed", -32601, "invalid_request_error")


class Conflict(HubError):
    """The state of the thing does not allow the change."""

    shape = Shape(409, "invalid_request_error", "conflict", -32009, "invalid_request_error")


class Cancelled(HubError):
    """The caller went away or cancelled the work."""

    shape = Shape(499, "request_cancelled", "cancelled", -32800, "api_error")


class RateLimited(HubError):
    """Too many calls; ``retry_after`` says when to come back."""

    shape = Shape(429, "rate_limit_error", "rate_limit_exceeded", -32005, "rate_limit_error")


class BudgetSpent(RateLimited):
    """A budget has no money left for the call; ``data`` is ``{"budget", "period", "spent", "limit", "resetsAt"}``."""

    shape = Shape(429, "rate_limit_error", "budget_exceeded", -32006, "rate_limit_error")


class BudgetExceeded(HubError):
    """The call would cost more than its limit; nothing was spent on it."""

    shape = Shape(402, "billing_error", "budget_exceeded", -32006, "billing_error")


class UpstreamFailed(HubError):
    """A provider failed. ``upstream_status`` is its HTTP status, None when none was received."""

    shape = Shape(502, "server_error", "bad_gateway", -32010, "api_error")

    def __init__(self, message: str, *, upstream_status: int | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.upstream_status = upstream_status


class UpstreamTimeout(UpstreamFailed):
    """A provider did not answer in time."""

    shape = Shape(504, "server_error", "gateway_timeout", -32011, "timeout_error")


#: OpenAI error type and code for the statuses a provider answers (routing.md 3.4).
_BY_STATUS: dict[int, tuple[str, str]] = {
    400: ("invalid_request_error", "bad_request"),
    401: ("authentication_error", "invalid_api_key"),
    402: ("billing_error", "payment_required"),
    403: ("permission_error", "insufficient_quota"),
    404: ("invalid_request_error", "model_not_found"),
    406: ("invalid_request_error", "model_not_supported"),
    413: ("invalid_request_error", "PAYLOAD_TOO_LARGE"),
    422: ("invalid_request_error", "unprocessable_entity"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    500: ("server_error", "internal_server_error"),
    502: ("server_error", "bad_gateway"),
    503: ("server_error", "service_unavailable"),
    504: ("server_error", "gateway_timeout"),
}


class UpstreamRejected(UpstreamFailed):
    """A provider answered with an error status; the caller sees that status and message.

    ``body`` is the provider's own error body with our credentials masked (SEC-25), shown as it came
    where door and provider speak the same dialect.
    """

    def __init__(self, message: str, *, upstream_status: int, body: bytes = b"", content_type: str = "", **kwargs: Any) -> None:
        super().__init__(message, upstream_status=upstream_status, **kwargs)
        self.body = body
        self.content_type = content_type
        if "code" not in kwargs or kwargs["code"] is None:
            self.code = _BY_STATUS.get(upstream_status, ("", "upstream_error"))[1]

    @property
    def status(self) -> int:
        """The provider's status: 4xx as it came, other codes as a gateway error."""
        status = self.upstream_status or 502
        return status if 400 <= status < 600 else 502


class Full(HubError):
    """There is no room for what should be stored."""

    shape = Shape(507, "server_error", "insufficient_storage", -32603, "api_error")


class Unavailable(HubError):
    """Nothing can take the call now."""

    shape = Shape(503, "server_error", "service_unavailable", -32012, "overloaded_error")


class NotConfigured(Unavailable):
    """Something must be set up first; the message names it."""

    shape = Shape(503, "server_error", "not_configured", -32013, "api_error")


class Internal(HubError):
    """A fault of ours; the log has the cause under the request id."""


def openai_type(error: HubError) -> str:
    """OpenAI's ``error.type`` for an error; a provider's status decides for its own answers."""
    if isinstance(error, UpstreamRejected):
        return _BY_STATUS.get(error.status, ("server_error" if error.status >= 500 else "invalid_request_error", ""))[0]
    return error.shape.type


def openai_body(error: HubError) -> dict[str, Any]:
    """The OpenAI error envelope: ``{"error": {"message", "type", "code", "param"}}``; who may not is told the request's id as well."""
    body: dict[str, Any] = {"message": error.message, "type": openai_type(error), "code": error.code, "param": error.field}
    if error.request_id and isinstance(error, (Unauthenticated, Forbidden)):
        body["correlation_id"] = error.request_id
    if error.data:
        body["details"] = error.data
    return {"error": body}


#: Anthropic's ``error.type`` for the statuses a provider answers.
_ANTHROPIC: dict[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def anthropic_body(error: HubError) -> dict[str, Any]:
    """The Messages API's error envelope: ``{"type": "error", "error": {"type", "message"}, "request_id"}``."""
    kind = error.shape.anthropic
    if isinstance(error, UpstreamRejected):
        kind = _ANTHROPIC.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    body: dict[str, Any] = {"type": kind, "message": error.message}
    if error.data:
        body["details"] = error.data
    return {"type": "error", "error": body, "request_id": error.request_id or None}


def cohere_body(error: HubError) -> dict[str, Any]:
    """Cohere's error body: ``{"message"}``, and the field at fault."""
    return {"message": error.message, "code": error.code, **({"field": error.field} if error.field else {})}


def rest_body(error: HubError) -> dict[str, Any]:
    """The management API's error body, in the seed's three forms (openapi.yaml, AuthzError, ValidationError, ErrorString).

    Who may not: ``{"error": {"code", "message", "correlation_id"}}``. A bad request that names a field: ``{"error": {"message", "code",
    "details": [{"field", "message"}]}}``. All others: ``{"error": message, "code"}``, with ``details`` where there are any.
    """
    if error.wire is not None:
        return dict(error.wire)
    if isinstance(error, (Unauthenticated, Forbidden)):
        body: dict[str, Any] = {"code": "AUTH_001", "message": error.message, "correlation_id": error.request_id}
        return {"error": {**body, "details": {"code": error.code, **error.data}} if error.data else body}
    if isinstance(error, InvalidInput):
        return {"error": {"message": error.message, "code": error.code, "details": error.details}}
    details = [{"field": error.field, "message": error.message}] if error.field else error.data
    if error.field and isinstance(error, BadRequest):
        return {"error": {"message": error.message, "code": error.code, "details": details}}
    plain: dict[str, Any] = {"error": error.message, "code": error.code}
    return {**plain, "details": details} if details else plain


#: The type that :func:`managed_body` names, by status; that of all others says whose fault it is.
_MANAGED: dict[int, str] = {404: "not_found", 409: "conflict"}


def managed_body(error: HubError) -> dict[str, Any]:
    """The error body of the seed's proxy routes (openapi.yaml, ManagedError): ``{"error": {"message", "type", ...}, "requestId"}``.

    Who may not is told so in the form of :func:`rest_body`.
    """
    kind = _MANAGED.get(error.status, "server_error" if error.status >= 500 else "invalid_request")
    body: dict[str, Any] = {"message": error.message, "code": error.code}
    if isinstance(error, (Unauthenticated, Forbidden)):
        body = rest_body(error)["error"]
    elif isinstance(error, InvalidInput):
        body["details"] = error.details
    elif error.field or error.data:
        body["details"] = [{"field": error.field, "message": error.message}] if error.field else error.data
    return {"error": {**body, "type": kind}, "requestId": error.request_id}


def rpc_body(error: HubError) -> dict[str, Any]:
    """The JSON-RPC error object: ``{"code", "message", "data"}``."""
    body: dict[str, Any] = {"code": error.shape.rpc, "message": error.message}
    data = dict(error.data)
    if error.field:
        data["field"] = error.field
    if error.retry_after is not None:
        data["retryAfter"] = error.retry_after
    if data:
        body["data"] = data
    return body
