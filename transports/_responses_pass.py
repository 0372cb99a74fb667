"""Answers of a target that speaks the Responses API itself, on their way to a client that does, too (D20).

The bytes of events pass as they came. What the hub answers for is changed in the few that hold the response object: its id, under which
it is kept, what it goes on from, and whether it is in the background. Earlier turns, which the hub keeps and the target does not know,
are put before the request's own items.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.providers._responses_foreign import own_item
from hub.splice import edit
from hub.sse import SseParser
from transports._fields import objects
from transports._responses_write import failure_of

if TYPE_CHECKING:
    from hub.chat import JsonObject
    from hub.errors import HubError
    from transports._responses_decode import Asked

_RAWS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_BREAK = re.compile(rb"(?>\r\n|\n|\r){2}")
_RESPONSE = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress|completed|incomplete|failed)"')
_SEQUENCE = re.compile(rb'"sequence_number"\s*:\s*(\d{1,9})')
_BEGINS = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
#: Members of the response object that are the hub's to say.
_OURS = ("id", "previous_response_id", "background", "store")
#: Items that need no id; one that their vendor does not know any more would be refused.
_NAMELESS = frozenset({
    "message", "reasoning", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output",
})  # fmt: skip


class _Kind(msgspec.Struct):
    type: str = ""


_KIND = msgspec.json.Decoder(_Kind)


def body_for(asked: Asked, before: list[Any]) -> bytes:
    """The request for a target of the same dialect: the client's bytes, but for what the hub does in its place.

    ``before`` are the items of the conversation that it goes on from.
    """
    forgets = not asked.store and asked.fields.get("store") is not False
    if not (asked.previous or asked.resolved or asked.background or forgets):
        return asked.raw.body
    fields = _RAWS.decode(asked.raw.body)
    if asked.previous or asked.resolved:
        fields.pop("previous_response_id", None)
        fields["input"] = msgspec.Raw(msgspec.json.encode([*_earlier(before), *_given(asked, fields.get("input"), before)]))
    if asked.background:
        del fields["background"]
        fields["stream"] = msgspec.Raw(b"true")
    if forgets:
        fields["store"] = msgspec.Raw(b"false")
    return msgspec.json.encode(fields)


def _earlier(before: list[Any]) -> list[Any]:
    """Kept items as another request takes them. Reasoning goes along only where its vendor can read it."""
    found: list[Any] = []
    for item in objects(before):
        made = dict(item)
        if made.get("type") in _NAMELESS or str(made.get("id")).startswith("in_"):
            made.pop("id", None)
        if made.get("type") != "reasoning":
            found.append(made)
        elif made.get("encrypted_content"):
            own = own_item(msgspec.Raw(msgspec.json.encode(made)))
            found += [own] if own is not None else []
    return found


def _given(asked: Asked, raw: msgspec.Raw | None, before: list[Any]) -> list[Any]:
    """The request's own items as they came, without references to those before them, which are there already; what it referred to
    elsewhere is in its place."""
    if asked.resolved:
        return _earlier(asked.given)
    if raw is None or not bytes(raw).startswith(b"["):
        return asked.given
    known = {item.get("id") for item in objects(before)}
    pairs = zip(asked.given, _LIST.decode(raw), strict=True)
    return [item for tree, item in pairs if not _refers(tree, known)]


def _refers(item: object, known: set[Any]) -> bool:
    fields = cast("JsonObject", item) if isinstance(item, dict) else {}
    return fields.get("type") == "item_reference" and fields.get("id") in known


class Passing:
    """Passes one answer on. ``shell`` is the response object as the hub would begin it.

    :meth:`feed` any number of times, then one of :meth:`end`, :meth:`fail`; each gives the events to send. ``body`` is the response object
    as it is known so far. With ``begun`` its first events are told already, and all others are numbered anew after those.
    """

    def __init__(self, shell: JsonObject, *, begun: int = 0) -> None:
        self.body = shell
        self.over = False
        self._begun = begun
        self._told = begun
        self._last = b""
        self._ours = {name: msgspec.json.encode(shell[name]) for name in _OURS}

    def begin(self) -> list[bytes]:
        """Nothing: the target tells its beginning itself."""
        return []

    def whole(self, body: bytes) -> bytes:
        """A whole answer."""
        told = edit(body, dict(self._ours))
        self.body, self.over = msgspec.json.decode(told), True
        return told

    def feed(self, data: bytes) -> list[bytes]:
        """The events of whole events of the target: one each where they are numbered anew, else as few as can be."""
        if not self._begun and _RESPONSE.search(data) is None:
            self._last = data
            return [data]
        ends = [*(found.end() for found in _BREAK.finditer(data)), len(data)]
        blocks = (data[start:stop] for start, stop in itertools.pairwise([0, *ends]) if start < stop)
        return [made for block in blocks if (made := self._event(block))]

    def end(self, now: int) -> list[bytes]:
        """Nothing: the target told its end itself."""
        return []

    def fail(self, error: HubError) -> list[bytes]:
        """The answer broke off: ``response.failed``, the last event (REL-01)."""
        if self.over:
            return []
        self.over = True
        self.body.update({"status": "failed", "error": failure_of(error)})
        numbers = _SEQUENCE.findall(self._last)
        number = self._told if self._begun else int(numbers[-1]) + 1 if numbers else 0
        return [
            _framed("response.failed", msgspec.json.encode({"type": "response.failed", "sequence_number": number, "response": self.body}))
        ]

    def _event(self, block: bytes) -> bytes:
        """One event as the client gets it; empty for one that is told already."""
        self._last = block
        if not self._begun and _RESPONSE.search(block) is None:
            return block
        parser = SseParser()
        found = parser.feed(block) + parser.end()
        if not found:
            return b"" if self._begun else block
        data = found[0].data
        kind = _KIND.decode(data).type
        if self._begun and kind in _BEGINS:
            return b""
        if self._begun:
            data = edit(data, {"sequence_number": b"%d" % self._told})
            self._told += 1
        if kind in _BEGINS or kind in _ENDS:
            data = edit(data, {"response": self._owned})
            self.body = msgspec.json.decode(_RAWS.decode(data)["response"])
            self.over = kind in _ENDS
        return _framed(kind, data)

    def _owned(self, response: bytes | None) -> bytes:
        return edit(response or b"{}", dict(self._ours))


def _framed(kind: str, data: bytes) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
