"""The input of a batch: JSONL, each line a request. Read line by line, so that a large file takes no memory.

Source: OpenAI API reference, "The request input object".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.embeddings import SERVICE as EMBEDDINGS
from hub.errors import BadRequest
from hub.planning.query import fits
from hub.planning.roots import AUTO
from hub.providers.catalog import CHAT
from hub.store.batches import NewItem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: What batches are made of, each with the service that its models are looked up for.
ENDPOINTS = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": CHAT,
    "/v1/completions": CHAT,
    "/v1/messages": CHAT,
    "/v1/embeddings": EMBEDDINGS,
    "/v1/moderations": "moderation",
    "/v1/rerank": "rerank",
    "/v1/images/generations": "images",
    "/v1/videos/generations": "video",
}
#: Requests of one batch, as OpenAI limits them.
MOST_LINES = 50_000
#: Models that one batch may name.
MOST_MODELS = 100
#: So many faults are named at once.
_MOST_FAULTS = 10
_NO_BODY = msgspec.Raw(b"")
#: Endpoints whose requests need not name a model.
_MODELLESS = frozenset({"/v1/moderations"})


class _Line(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = _NO_BODY


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None
    background: Any = None


_LINE = msgspec.json.Decoder(_Line)
_BODY = msgspec.json.Decoder(_Body)


class Fault(Exception):
    """What is wrong with a line; ``code`` and ``field`` as OpenAI's batch errors have them. Nothing is read after the ``last``."""

    def __init__(self, code: str, field: str | None, words: str, *, last: bool = False) -> None:
        super().__init__(words)
        self.code = code
        self.field = field
        self.last = last


class Scan(msgspec.Struct):
    """The requests of a file, each with its model as category, and all the models that they name."""

    items: list[NewItem]
    models: set[str]


def scan(path: Path, endpoint: str, *, allowed: Sequence[str], longest: int) -> Scan:
    """Check a whole input. Touches the disk: call it in a thread.

    ``allowed`` are the patterns of models that the key may use, ``longest`` the bytes of a line. Raises BadRequest naming the lines at
    fault, FileNotFoundError.
    """
    found, seen = Scan([], set()), set[str]()
    faults: list[dict[str, Any]] = []
    number = at = 0
    with path.open("rb") as file:
        while (line := file.readline(longest + 1)) and len(faults) < _MOST_FAULTS:
            number += 1
            try:
                if line.strip():
                    _whole(line, longest, len(found.items))
                    custom_id, model = _checked(line, endpoint, seen, allowed)
                    seen.add(custom_id)
                    _add_model(found.models, model)
                    found.items.append(NewItem(number, custom_id, model, at, len(line)))
            except Fault as fault:
                faults.append({"code": fault.code, "line": number, "message": str(fault), "param": fault.field})
                if fault.last:
                    break
            at += len(line)
    if faults:
        raise _refused(faults)
    if not found.items:
        raise BadRequest("input_file_id: the file is empty; write one JSON object a line", field="input_file_id", code="empty_file")
    return found


def _whole(line: bytes, longest: int, before: int) -> None:
    """Raise Fault for a line that is too long, or one too many."""
    if len(line) > longest:
        raise Fault("line_too_long", None, f"is longer than {longest // 2**20} MiB", last=True)
    if before == MOST_LINES:
        raise Fault("too_many_tasks", None, f"is beyond the {MOST_LINES} requests that a batch may have", last=True)


def _add_model(models: set[str], model: str) -> None:
    models.add(model)
    if len(models) > MOST_MODELS:
        raise Fault("too_many_models", "body.model", f"names one model more than the {MOST_MODELS} that a batch may have", last=True)


def body_of(line: bytes) -> bytes:
    """The request body that a line holds, as the client wrote it."""
    return bytes(_LINE.decode(line).body)


def _checked(line: bytes, endpoint: str, seen: set[str], allowed: Sequence[str]) -> tuple[str, str]:
    """A line's custom_id and model. Raises Fault."""
    try:
        found = _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Fault("invalid_json_line", None, f"is cut off, or no JSON object: {error}") from None
    custom_id = found.custom_id
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= 512:
        raise Fault("missing_required_parameter", "custom_id", "needs a custom_id: a text of 1 to 512 characters")
    if custom_id in seen:
        raise Fault("duplicate_custom_id", "custom_id", f"has the custom_id of a line before it: {custom_id[:80]!r}")
    if found.method != "POST":
        raise Fault("invalid_method", "method", 'needs "method": "POST"')
    if found.url != endpoint:
        raise Fault("mismatched_url", "url", f"needs the url of the batch's endpoint: {endpoint}")
    return custom_id, _model(bytes(found.body), endpoint, allowed)


def _model(body: bytes, endpoint: str, allowed: Sequence[str]) -> str:
    if not body.startswith(b"{"):
        raise Fault("missing_required_parameter", "body", "needs a body: a JSON object, the request")
    found = _BODY.decode(body)
    if found.stream or found.background:
        raise Fault("invalid_request", "body", "asks for a stream or for background; a batch answers each request as a whole")
    if found.model is None and endpoint in _MODELLESS:
        return ""
    if not isinstance(found.model, str) or not found.model.strip():
        raise Fault("missing_required_parameter", "body.model", "needs a model in its body")
    _require_allowed(found.model, allowed)
    return found.model


def _require_allowed(model: str, allowed: Sequence[str]) -> None:
    if allowed and model != AUTO and not fits(model, allowed):
        raise Fault("model_not_allowed", "body.model", f"names {model[:200]!r}, which this key may not use")


def _refused(faults: list[dict[str, Any]]) -> BadRequest:
    first = faults[0]
    more = f" (and {len(faults) - 1} more lines, at least)" if len(faults) > 1 else ""
    words = f"input_file_id: line {first['line']} {first['message']}{more}; nothing was created"
    return BadRequest(words, field="input_file_id", code=first["code"], data={"errors": faults})
