"""Takes out of a client's own generateContent bytes what Google did not sign: thoughts of other vendors in an earlier turn."""

from __future__ import annotations

from typing import Any, cast

import orjson

from hub.errors import BadRequest
from hub.providers._signature import unwrapped


def without_foreign_thoughts(body: bytes) -> tuple[bytes, list[str]]:
    """The body without them, every other value as it was, and what to report. Raises BadRequest for a body that is no JSON."""
    try:
        tree = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("Invalid JSON body") from error
    contents = cast("dict[str, object]", tree).get("contents") if isinstance(tree, dict) else None
    found = [one for content in _items(contents) if isinstance(content, dict) and (one := _cut(cast("dict[str, Any]", content)))]
    return (orjson.dumps(tree), ["reasoning"]) if found else (body, [])


def _items(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else [value]


def _cut(content: dict[str, Any]) -> bool:
    """Take the foreign thoughts out of a content; whether there were any. A content of nothing else says so in an empty part."""
    parts = _items(content.get("parts"))
    kept = [part for part in parts if not _foreign(part)]
    if len(kept) == len(parts):
        return False
    content["parts"] = kept or [{"text": ""}]
    return True


def _foreign(part: object) -> bool:
    fields = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
    signature = fields.get("thoughtSignature", fields.get("thought_signature"))
    return isinstance(signature, str) and unwrapped(signature) is not None
