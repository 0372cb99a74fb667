"""What makes two chat requests the same: everything that shapes the answer, and who asks.

A request is reduced to one canonical text, so that the order of keys and white space do not matter, and the
text to two independent digests. Whoever finds something under the first compares the second and the owner as
well, so that no collision can give one caller another's answer (REL-25).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

import msgspec

from hub.chat import Role, Text

if TYPE_CHECKING:
    from hub.engine.ask import ChatAsk

#: Members that never shape an answer: how it is sent, and OpenAI's documented marks for its own cache and abuse checks. ``user``
#: and ``metadata`` stay in: servers keep memory by the one and route by the other.
_BOOKKEEPING = ("stream", "stream_options", "prompt_cache_key", "prompt_cache_retention", "safety_identifier")
_DECODER = msgspec.json.Decoder(dict[str, object])
_ENCODER = msgspec.json.Encoder(order="sorted")
_PLAIN_ENCODER = msgspec.json.Encoder()


class Fingerprint(msgspec.Struct, frozen=True, gc=False):
    """The key of a request. ``id`` (hex) is the digest of all of it, ``check`` a second one by another function; ``body`` is
    that of the request without who asked and where. ``owner`` may see the answer again."""

    id: str
    check: str
    body: str
    owner: str
    model: str
    route: str = ""


def fingerprint(ask: ChatAsk, owner: str, route: str = "") -> Fingerprint:
    """The fingerprint of a request for an owner; ``route`` is where its model's name leads now. Microseconds for a short body."""
    text = _canonical(ask.raw.body) if ask.raw is not None else _ENCODER.encode(_comparable(ask))
    return of_text(ask, owner, text, route)


def of_text(ask: ChatAsk, owner: str, text: bytes, route: str = "") -> Fingerprint:
    """The fingerprint of a request whose text is known. The head is a JSON list: its end cannot be mistaken."""
    raw, hints = ask.raw, ask.hints
    head = _PLAIN_ENCODER.encode(
        (
            "raw" if raw is not None else "internal",
            raw.dialect if raw is not None else "",
            ask.model,
            raw.headers if raw is not None else (),
            ask.connection,
            ask.strategy,
            ask.budget,
            sorted(ask.needs),
            hints.tags,
            hints.all_tags,
            hints.mode,
            hints.budget,
            hints.budget_fallback,
            hints.effort,
            *((ask.system,) if ask.system else ()),
            *(("compression", hints.compression) if hints.compression else ()),
        )
    )
    whole = head + text
    body = hashlib.blake2b(whole, digest_size=32).hexdigest()
    check = hashlib.sha256(whole).hexdigest()
    place = _PLAIN_ENCODER.encode((owner, hints.endpoint, body, route))
    return Fingerprint(hashlib.blake2b(place, digest_size=32).hexdigest(), check, body, owner, ask.model, route)


def _comparable(ask: ChatAsk) -> object:
    """A request of the internal model without how its answer is sent."""
    return msgspec.structs.replace(ask.request(), stream=False, include_usage=False)


def _canonical(body: bytes) -> bytes:
    """The body with sorted members and without white space and bookkeeping.

    Where two readers could take the body differently (a member given twice, halves of characters), the text is
    the body itself, so that only the very same bytes are the same request.
    """
    try:
        tree = _DECODER.decode(body)
        text = _ENCODER.encode(tree)
        # A parser that drops a repeated member drops a colon with it; escaped colons could hide that.
        if b"\\u003" in body or body.count(b":") != text.count(b":"):
            return b"exact:" + body
        if tree.keys().isdisjoint(_BOOKKEEPING):
            return text
        for name in _BOOKKEEPING:
            tree.pop(name, None)
        return _ENCODER.encode(tree)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return b"exact:" + body


def without_last_words(ask: ChatAsk) -> tuple[bytes, str] | None:
    """The request without the text of its last message, and that text; None where it does not end with a user's plain words."""
    request = ask.request()
    last = request.messages[-1] if request.messages else None
    if last is None or last.role is not Role.USER or not all(isinstance(part, Text) for part in last.parts):
        return None
    parts = cast("list[Text]", last.parts)
    words = "\n".join(part.text for part in parts)
    if not words.strip():
        return None
    blank = msgspec.structs.replace(last, parts=[msgspec.structs.replace(part, text="") for part in parts])
    rest = msgspec.structs.replace(request, stream=False, include_usage=False, messages=[*request.messages[:-1], blank])
    return _ENCODER.encode(rest), words
