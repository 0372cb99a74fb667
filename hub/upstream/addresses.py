"""Addresses of other servers' resources at our doors: the server's own URI behind a scheme of ours that names the server.

``file:///notes.txt`` of the server ``box`` is ``hub+box:file:///notes.txt`` here: two servers cannot collide, the origin is
plain to see, nothing is encoded twice, and a URI template stays one.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from hub.upstream import pinning

#: Longest URI or template, in characters.
LONGEST = 2000
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_OURS = re.compile(r"hub\+([a-z0-9-]{1,24}):(.*)\Z", re.DOTALL)
#: More variables than a template of use has; matching takes time in proportion.
_MOST_VARIABLES = 16


def outer(namespace: str, uri: str) -> str:
    """A server's own URI or template as it is at our doors."""
    return f"hub+{namespace}:{uri}"


def inner(uri: str) -> tuple[str, str] | None:
    """The namespace and the server's own URI behind one of our doors' URIs, None for a URI that is no such thing."""
    found = _OURS.match(uri)
    return (found[1], found[2]) if found else None


def uri_fault(uri: object) -> str:
    """Why this is no URI that can be passed on; empty when it is one."""
    if not pinning.visible(uri, LONGEST) or not _SCHEME.match(str(uri)):
        return f"its URI is not 1 to {LONGEST} visible characters with a scheme in front"
    return ""


def template_fault(template: object) -> str:
    """Why this is no URI template (RFC 6570) that URIs can be matched with; empty when it is one."""
    if fault := uri_fault(template):
        return fault
    try:
        _parsed(str(template))
    except ValueError as error:
        return f"its URI template cannot be used: {str(error)[:200]}"
    return ""


def matches(template: str, uri: str) -> bool:
    """Whether a URI is made from a template. Takes time in proportion to its length; False for a template that is none."""
    try:
        return len(uri) <= LONGEST and _parsed(template).match(uri) is not None
    except ValueError:
        return False


def renamed(namespace: str, block: dict[str, Any]) -> dict[str, Any]:
    """A content block whose links and embedded resources lead to our doors."""
    if block.get("type") == "resource":
        return {**block, "resource": located(namespace, pinning.fields(block.get("resource")))}
    return located(namespace, block) if block.get("type") == "resource_link" else block


def located(namespace: str, named: dict[str, Any]) -> dict[str, Any]:
    """An object with the URI that it has at our doors."""
    uri = named.get("uri")
    return {**named, "uri": outer(namespace, uri)} if isinstance(uri, str) else named


def _parsed(template: str) -> Any:
    # The SDK's parser matches without backtracking. Loading the SDK is slow, and here it is loaded long since: a server was spoken to.
    module = importlib.import_module("mcp.shared.uri_template")
    return module.UriTemplate.parse(template, max_length=LONGEST, max_variables=_MOST_VARIABLES)
