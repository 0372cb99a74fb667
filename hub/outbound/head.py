"""The bytes of a request's head, checked so that no value can add a line of its own (SEC-29)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.outbound.base import Fixed, Headers, Origin, Outgoing

#: Headers that frame the message or name its receiver: the engine's business alone (SEC-14).
OWNED = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
    }
)
_METHOD = re.compile(r"[A-Z]{1,20}")
_TARGET = re.compile(r"/[!-~]*")
_HEADERS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*\r\n)*")
_IDENTITY = b"accept-encoding: identity\r\n"
_TEMPLATES = 256
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})


def host_header(origin: Origin) -> str:
    """The Host value: no port where it is the scheme's own, brackets around IPv6."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if origin.port == (443 if origin.scheme == "https" else 80) else f"{host}:{origin.port}"


def header_lines(headers: Headers | Fixed) -> bytes:
    """Header lines as sent, ``accept-encoding: identity`` added where the caller says nothing about it.

    Raises BadRequest for names that are not tokens, for CR, LF, NUL and other control characters in a
    value, and for headers that only an engine may set.
    """
    plain = True
    for name, _ in headers:
        lowered = name.lower()
        if lowered in OWNED:
            raise BadRequest(f"the header {lowered.decode()} cannot be set", field=lowered.decode())
        if lowered == b"accept-encoding":
            plain = False
    block = b"\r\n".join(map(b": ".join, headers)) + b"\r\n" if headers else b""
    # A value with its own CRLF would pass the pattern as two lines; the count tells.
    if _HEADERS.fullmatch(block) is None or block.count(b"\n") != len(headers):
        raise BadRequest("a header has a name or value with characters that are not allowed", field="headers")
    return block + _IDENTITY if plain else block


def check_request(method: str, target: str) -> None:
    """Raise BadRequest for a method or target that could break the request line."""
    if _METHOD.fullmatch(method) is None or method == "CONNECT":
        raise BadRequest("the HTTP method is not valid", field="method")
    if _TARGET.fullmatch(target) is None:
        raise BadRequest("the request target must begin with / and be printable ASCII without spaces", field="target")


class Heads:
    """Builds heads for one origin; request and host lines are kept as templates per method and target."""

    def __init__(self, origin: Origin) -> None:
        self._host = host_header(origin)
        self._lines: dict[tuple[str, str], bytes] = {}
        self._blocks: dict[Fixed, bytes] = {}

    def build(self, request: Outgoing) -> bytes:
        """The whole head with its empty line. Raises BadRequest (:func:`header_lines`, :func:`check_request`)."""
        start = self._lines.get((request.method, request.target)) or self._template(request.method, request.target)
        headers = request.headers
        lines = (self._blocks.get(headers) or self._block(headers)) if isinstance(headers, tuple) else header_lines(headers)
        if request.body or request.method in _BODY_METHODS:
            return b"%b%bcontent-length: %d\r\n\r\n" % (start, lines, len(request.body))
        return b"%b%b\r\n" % (start, lines)

    def _block(self, headers: Fixed) -> bytes:
        lines = header_lines(headers)
        if len(self._blocks) >= _TEMPLATES:
            self._blocks.clear()
        self._blocks[headers] = lines
        return lines

    def _template(self, method: str, target: str) -> bytes:
        check_request(method, target)
        if len(self._lines) >= _TEMPLATES:
            self._lines.clear()
        line = f"{method} {target} HTTP/1.1\r\nhost: {self._host}\r\n".encode("ascii")
        self._lines[method, target] = line
        return line
