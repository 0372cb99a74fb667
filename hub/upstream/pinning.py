"""Tools of strangers: what of them is pinned, what changed, and what in their words or schemas is suspicious (SEC-60 to SEC-63)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.upstream.model import Pin, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

#: Bounds of a tool object (SEC-63).
MOST_BYTES = 64 * 1024
MOST_DEPTH = 24
MOST_TOOLS = 1000

_ORDERS = re.compile(
    r"<\s*/?\s*(?:important|system|instructions?|secret)\s*>"
    r"|\b(?:ignore|disregard|forget)\b.{0,40}\b(?:previous|prior|above|earlier|all)\b"
    r"|\bdo not (?:tell|inform|mention|reveal)\b|\bwithout (?:telling|informing|asking)\b"
    r"|\bbefore (?:using|calling) (?:this|any)\b.{0,60}\b(?:read|send|call|pass)\b"
    r"|\b(?:api[_ -]?key|password|credential|private key|id_rsa|\.env|mcp\.json)\b",
    re.IGNORECASE | re.DOTALL,
)
_BLOB = re.compile(r"[A-Za-z0-9+/]{64,}={0,2}")
_SCANNED = 64 * 1024


def canonical(value: object) -> bytes:
    """JSON with sorted keys: equal for equal objects, whatever the order they came in."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: object) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(value)).hexdigest()


def difference(before: object, after: object, path: str = "") -> list[dict[str, Any]]:
    """Where two objects differ, as ``{"path", "before", "after"}``; None stands for absent."""
    if isinstance(before, dict) and isinstance(after, dict):
        left, right = cast("dict[str, Any]", before), cast("dict[str, Any]", after)
        found: list[dict[str, Any]] = []
        for name in sorted({*left, *right}):
            found += difference(left.get(name), right.get(name), f"{path}/{name}")
        return found
    return [] if before == after else [{"path": path or "/", "before": before, "after": after}]


def findings(texts: Iterable[str]) -> tuple[str, ...]:
    """What is suspicious in words that a model will read: hidden characters, orders to the model, encoded blocks (SEC-62)."""
    found: set[str] = set()
    for text in texts:
        part = text[:_SCANNED]
        if any(map(_hidden, set(part))):
            found.add("hidden characters")
        if _ORDERS.search(part):
            found.add("words that give orders to the model")
        if any(_decodes(match.group()) for match in _BLOB.finditer(part)):
            found.add("an encoded block")
    return tuple(sorted(found))


def strings(value: object, depth: int = MOST_DEPTH) -> Iterator[str]:
    """Every text in an object, keys included."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield name
            yield from strings(item, depth - 1)
    elif depth and isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from strings(item, depth - 1)


def fields(value: object) -> dict[str, Any]:
    """The fields of a JSON object; none of anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def fault(tool: Mapping[str, Any]) -> str:
    """Why a tool object cannot be taken; empty when it can."""
    checks: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("its name is not 1 to 200 visible characters without spaces", lambda: not visible(tool.get("name"), 200)),
        ("its inputSchema is not a schema of an object", lambda: not _of_object(tool.get("inputSchema"))),
    )
    found = next((words for words, wrong in checks if wrong()), "") or bulk_fault(tool)
    return found or ("its schema refers to another document" if any(not one.startswith("#") for one in _references(tool)) else "")


def bulk_fault(stated: object, *, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH) -> str:
    """Why an object is too deep or too large to be taken; empty when it is neither."""
    # Depth before all that walks the whole.
    if too_deep(stated, most_depth):
        return f"it is nested more than {most_depth} deep"
    taken = size(stated)
    if taken is None:
        return "it holds a number or text that cannot be stored"
    return f"it is larger than {most_bytes // 1024} KiB" if taken > most_bytes else ""


def size(value: object) -> int | None:
    """Bytes of the canonical form; None where there is none: numbers over 64 bits, half characters, hundreds of levels."""
    try:
        return len(canonical(value))
    except TypeError:
        return None


def visible(text: object, most: int) -> bool:
    """Whether this is a text of 1 to ``most`` characters, all of which show and none of which is a space."""
    return isinstance(text, str) and 0 < len(text) <= most and not any(_hidden(letter) or letter.isspace() for letter in text)


def _of_object(schema: object) -> bool:
    return isinstance(schema, dict) and cast("dict[str, Any]", schema).get("type", "object") == "object"


def judged(seen: Mapping[str, Any], kept: Pin | None, check: Callable[[Mapping[str, Any]], str] = fault) -> Pin:
    """Where a tool, or what else ``check`` is for, stands now that the server states ``seen``, given what was kept of it."""
    whole = dict(seen)
    approved, seal = (kept.approved, kept.digest) if kept else (None, "")
    if reason := check(whole):
        return Pin(standing=Standing.REFUSED, seen={}, approved=approved, digest=seal, reason=reason)
    words = findings(strings(whole))
    pinned = Standing.APPROVED if digest(whole) == seal else Standing.CHANGED
    standing = Standing.PENDING if approved is None else pinned
    return Pin(standing=standing, seen=whole, approved=approved, digest=seal, findings=words)


def allowed(pin: Pin) -> Pin:
    """The pin after its owner allowed what the server states now."""
    return pin.model_copy(update={"standing": Standing.APPROVED, "approved": pin.seen, "digest": digest(pin.seen)})


def _hidden(letter: str) -> bool:
    """Whether a character shows nothing or turns the text about: format and private characters, tags, controls."""
    return letter not in "\n\r\t" and unicodedata.category(letter) in ("Cf", "Cc", "Co", "Cn")


def _decodes(text: str) -> bool:
    """Whether a long run of letters is an encoding of bytes and not, say, a row of the same letter."""
    if len(set(text)) < 16:
        return False
    try:
        base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def too_deep(value: object, left: int) -> bool:
    """Whether objects and lists stand more than ``left`` deep in one another."""
    if isinstance(value, (dict, list)):
        inner = cast("dict[str, Any]", value).values() if isinstance(value, dict) else cast("list[Any]", value)
        return not left or any(too_deep(item, left - 1) for item in inner)
    return False


def _references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            if name in ("$ref", "$dynamicRef") and isinstance(item, str):
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from _references(item)
