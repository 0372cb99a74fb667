"""Every error has a shape at every door, and says nothing it should not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hub import errors
from hub.errors import (
    BadRequest,
    Forbidden,
    HubError,
    Internal,
    InvalidInput,
    RateLimited,
    Unauthenticated,
    UnknownModel,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    openai_body,
    openai_type,
    rest_body,
    rpc_body,
)
from hub.outbound.base import TIMEOUTS, Fault, OutboundError
from hub.registry import modules

if TYPE_CHECKING:
    from collections.abc import Iterator


def _tree(kind: type[HubError] = HubError) -> Iterator[type[HubError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


for package in ("hub", "hub.outbound", "hub.store", "agents", "transports"):
    list(modules(package))

#: Those of the whole program, not only of hub/errors.py.
KINDS = sorted(set(_tree()), key=lambda kind: kind.__qualname__)


def make(kind: type[HubError]) -> HubError:
    if issubclass(kind, InvalidInput):
        return kind([{"field": "a", "message": "is wrong"}])
    if issubclass(kind, UpstreamRejected):
        return kind("refused", upstream_status=418)
    if issubclass(kind, OutboundError):
        return kind(Fault.CONNECT_FAILED, "no")
    return kind.__new__(kind) if kind.__init__ is not HubError.__init__ and kind.__module__ != errors.__name__ else kind("went wrong")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_every_error_has_a_shape(kind: type[HubError]) -> None:
    shape = kind.shape
    assert 400 <= shape.status < 600
    assert shape.type
    assert shape.code
    assert shape.anthropic
    # JSON-RPC: the protocol's own codes, or the range it leaves to servers (with LSP's code for cancelled).
    assert shape.rpc in (-32700, -32600, -32601, -32602, -32603, -32800) or -32099 <= shape.rpc <= -32000
    assert kind.__doc__


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.__module__ == errors.__name__], ids=lambda kind: kind.__qualname__)
def test_every_error_has_a_body_at_every_door(kind: type[HubError]) -> None:
    error = make(kind)
    inner = openai_body(error)["error"]
    assert set(inner) - {"details"} == {"message", "type", "code", "param"}
    assert inner["message"] == rpc_body(error)["message"] == error.message == str(error)
    assert inner["code"] == error.code
    rest = rest_body(error)
    if isinstance(error, (Forbidden, Unauthenticated)):
        assert rest["error"].items() >= {"code": "AUTH_001", "message": error.message, "correlation_id": ""}.items()
    elif isinstance(error, InvalidInput):
        assert rest["error"] == {"message": error.message, "code": error.code, "details": error.details}
    else:
        assert rest.items() >= {"error": error.message, "code": error.code}.items()
    assert isinstance(rpc_body(error)["code"], int)
    json.dumps([openai_body(error), rest_body(error), rpc_body(error)])


def test_field_errors() -> None:
    error = BadRequest("must be a number", field="count")
    assert openai_body(error) == {
        "error": {"message": "must be a number", "type": "invalid_request_error", "code": "bad_request", "param": "count"}
    }
    assert rest_body(error)["error"]["details"] == [{"field": "count", "message": "must be a number"}]
    assert rpc_body(error) == {"code": -32602, "message": "must be a number", "data": {"field": "count"}}


def test_every_field_at_fault() -> None:
    details = [{"field": "a", "message": "is missing"}, {"field": "b", "message": "is odd"}]
    error = InvalidInput(details)
    assert (error.message, error.field, error.status) == ("a: is missing (and 1 more)", "a", 400)
    assert rest_body(error)["error"]["details"] == details
    assert openai_body(error)["error"]["details"] == {"details": details}
    assert rpc_body(error)["data"] == {"details": details, "field": "a"}
    details[0]["field"] = "changed"
    assert error.details[0]["field"] == "a"
    whole = InvalidInput([{"field": "", "message": "must be an object"}])
    assert (whole.message, whole.field) == ("input: must be an object", None)


def test_data_and_waiting() -> None:
    data = {"missing": ["manage"]}
    error = Forbidden("no", data=data)
    data["missing"] = []
    assert rest_body(error)["error"]["details"] == {"code": "insufficient_scope", "missing": ["manage"]}
    limited = RateLimited("later", retry_after=1.5, code="mine")
    assert rpc_body(limited)["data"] == {"retryAfter": 1.5}
    assert limited.code == "mine"
    assert "data" not in rpc_body(Internal("x"))
    assert "details" not in rest_body(Internal("x"))["error"]


@pytest.mark.parametrize(
    ("upstream", "status", "kind", "code"),
    [
        (400, 400, "invalid_request_error", "bad_request"),
        (401, 401, "authentication_error", "invalid_api_key"),
        (402, 402, "billing_error", "payment_required"),
        (404, 404, "invalid_request_error", "model_not_found"),
        (418, 418, "invalid_request_error", "upstream_error"),
        (429, 429, "rate_limit_error", "rate_limit_exceeded"),
        (500, 500, "server_error", "internal_server_error"),
        (529, 529, "server_error", "upstream_error"),
        (302, 502, "server_error", "upstream_error"),
        (0, 502, "server_error", "upstream_error"),
        (700, 502, "server_error", "upstream_error"),
    ],
)
def test_a_provider_s_status_is_kept_where_it_is_one_of_an_error(upstream: int, status: int, kind: str, code: str) -> None:
    """routing.md 3.4."""
    error = UpstreamRejected("no", upstream_status=upstream, body=b"{}", content_type="application/json")
    assert (error.status, openai_type(error), error.code) == (status, kind, code)
    assert (error.body, error.content_type, error.upstream_status) == (b"{}", "application/json", upstream)


def test_a_provider_s_own_code_wins() -> None:
    assert UpstreamRejected("no", upstream_status=400, code="theirs").code == "theirs"
    assert UpstreamRejected("no", upstream_status=400, code=None).code == "bad_request"


def test_other_upstream_errors() -> None:
    assert (UpstreamFailed("x").status, UpstreamFailed("x").upstream_status) == (502, None)
    assert (UpstreamTimeout("x", upstream_status=524).status, openai_type(UpstreamTimeout("x"))) == (504, "server_error")
    assert [OutboundError(fault, "x").status == 504 for fault in Fault] == [fault in TIMEOUTS for fault in Fault]


def test_not_found_errors_say_what_was_not_found() -> None:
    body: dict[str, Any] = openai_body(UnknownModel("no model 'x'", field="model"))["error"]
    assert (body["code"], body["param"], UnknownModel("x").status) == ("model_not_found", "model", 404)
