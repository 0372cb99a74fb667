"""What a server asks for in the middle of a call: a model's answer, a word from the user, the client's folders.

It is put to the client that made the call and to nobody else, in words that say who asks, or refused. The owner says
for each server whether it may ask for a model at all, and whether the hub's own models answer where the client has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from hub.upstream import pinning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.store.documents import Document
    from hub.upstream.model import Server

SAMPLING, ELICITATION, ROOTS = "sampling/createMessage", "elicitation/create", "roots/list"

#: Bounds of what may be asked: characters of a message to the user, bytes of a form and of a request to a model.
_WORDS, _FORM_BYTES, _MODEL_BYTES = 4000, 16 * 1024, 1024 * 1024
_FORM_DEPTH, _MODEL_DEPTH = 8, 24
_METHOD_NOT_FOUND, _INVALID_PARAMS = -32601, -32602


class Declined(Exception):
    """A server does not get what it asked for; ``code`` and the words are what it is told."""

    def __init__(self, words: str, code: int = _METHOD_NOT_FOUND) -> None:
        super().__init__(words)
        self.code = code


class Asker(Protocol):
    """How the client of one call can be asked. Made by the door that the call came by.

    ``capabilities`` are what the client declared, in the protocol's own form. ``client`` is equal for two calls where the same
    client made both. ``waits`` says that :meth:`ask` gives the client's answer; without it a client is asked by an interim
    result of its call, and sends its answers with the call again.
    """

    capabilities: Mapping[str, Any]
    client: str
    waits: bool

    async def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The client's answer. Raises Declined where it gives none."""
        ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What a client sent with a call that it made again: its answers by the names of the questions, and our state, opened."""

    responses: Mapping[str, Any]
    state: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is put to a client, or to the hub's own models where ``hub`` is set."""

    method: str
    params: dict[str, Any]
    hub: bool = False


def capabilities(body: Server, asker: Asker | None) -> dict[str, Any]:
    """What a server is told that it may ask for in a call, in the protocol's own form."""
    if asker is None:
        return {"sampling": {}} if body.sampling == "hub" else {}
    has: dict[str, Any] = {}
    if forms := _forms(asker.capabilities):
        has["elicitation"] = {mode: {} for mode in sorted(forms)}
    if asker.capabilities.get("roots") is not None:
        has["roots"] = {}
    sampling = asker.capabilities.get("sampling")
    if body.sampling != "off" and (sampling is not None or body.sampling == "hub"):
        has["sampling"] = {"tools": {}} if _has_tools(sampling) else {}
    return has


def prepared(document: Document[Server], method: str, params: Mapping[str, Any], asker: Asker | None) -> Question:
    """What a server asks, as it may be put to a client. Raises Declined with the reason for the server."""
    able: Mapping[str, Any] = asker.capabilities if asker is not None else {}
    if method == ROOTS:
        if able.get("roots") is None:
            raise Declined("the client that called has no roots to show")
        return Question(method, {})
    if method == ELICITATION:
        return Question(method, _elicitation(document.name, params, able))
    if method == SAMPLING:
        return _sampling(document, params, able)
    raise Declined(f"{method[:100]} is nothing that a client can be asked")


def labelled(namespace: str, message: str) -> str:
    """A stranger's words to a user, so that they cannot be taken for the hub's or the client's own (SEC-62)."""
    shown = "".join(letter for letter in message if letter in "\n\t" or letter.isprintable())
    return f"The MCP server “{namespace}” asks: {shown}"


def _elicitation(namespace: str, params: Mapping[str, Any], able: Mapping[str, Any]) -> dict[str, Any]:
    mode, message = str(params.get("mode") or "form"), str(params.get("message") or "")
    if mode not in _forms(able):
        raise Declined(f"the client that called cannot be asked by {mode[:20]}", _INVALID_PARAMS if _forms(able) else _METHOD_NOT_FOUND)
    if len(message) > _WORDS:
        raise Declined(f"a message to the user is at most {_WORDS} characters", _INVALID_PARAMS)
    asked: dict[str, Any] = {"mode": mode, "message": labelled(namespace, message)}
    if mode == "url":
        return {**asked, "url": _https(params.get("url")), "elicitationId": str(params.get("elicitationId") or "")[:200]}
    form = params.get("requestedSchema")
    if not isinstance(form, dict) or pinning.bulk_fault(form, most_bytes=_FORM_BYTES, most_depth=_FORM_DEPTH):  # pyright: ignore[reportUnknownArgumentType] - any JSON
        raise Declined(f"requestedSchema is no schema of at most {_FORM_BYTES // 1024} KiB and {_FORM_DEPTH} levels", _INVALID_PARAMS)
    return {**asked, "requestedSchema": form}


def _https(url: object) -> str:
    """An address that a user may be sent to. Raises Declined for anything but https (SEC-32, SEC-53)."""
    try:
        parts = urlsplit(url if isinstance(url, str) and pinning.visible(url, 2000) else "")
        good = parts.scheme == "https" and bool(parts.hostname) and parts.username is None
    except ValueError:
        good = False
    if not good:
        raise Declined("a user is sent to https addresses only, with a host and no user name in them", _INVALID_PARAMS)
    return str(url)


def _sampling(document: Document[Server], params: Mapping[str, Any], able: Mapping[str, Any]) -> Question:
    way, sampling = document.body.sampling, able.get("sampling")
    if way == "off" or (sampling is None and way != "hub"):
        raise Declined("no model answers for this server in this call")
    if fault := pinning.bulk_fault(dict(params), most_bytes=_MODEL_BYTES, most_depth=_MODEL_DEPTH):
        raise Declined(f"the request cannot be passed on: {fault}", _INVALID_PARAMS)
    asked = {name: value for name, value in params.items() if name not in ("_meta", "task", "includeContext")}
    if asked.get("tools") and not _has_tools(sampling):
        raise Declined("the model that answers here is given no tools", _INVALID_PARAMS)
    # What other servers know is none of this one's business.
    return Question(SAMPLING, {**asked, "includeContext": "none"} if "includeContext" in params else asked, hub=sampling is None)


def _has_tools(sampling: object) -> bool:
    return pinning.fields(sampling).get("tools") is not None


def _forms(able: Mapping[str, Any]) -> set[str]:
    """By what a client can be asked: ``form``, ``url``. One that declares neither can be asked by form."""
    declared = able.get("elicitation")
    if declared is None:
        return set()
    return {mode for mode in ("form", "url") if pinning.fields(declared).get(mode) is not None} or {"form"}
