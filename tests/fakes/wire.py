"""What tests of wire formats share: targets without a network, bodies read back, streams cut anywhere."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import orjson

from hub.chat import ChatRequest, Message, Role, Text, ToolCallDelta, ToolCallStarted
from hub.providers.base import Target
from hub.providers.catalog import Auth, ModelRow, ProviderRow
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.chat import ChatEvent
    from hub.providers.base import Decoder, Prepared, Watcher

BASES = {"claude": "https://vendor.test/v1", "gemini": "https://vendor.test/v1beta", "ollama": "http://127.0.0.1:11434"}
AUTHS = {
    "claude": Auth(type="header", header="x-api-key", value="{key}"),
    "gemini": Auth(type="header", header="x-goog-api-key", value="{key}"),
    "ollama": Auth(type="optional_bearer"),
}


def target(wire: str, *, model: str = "model-1", row: ModelRow | None = None, secret: str = "sk-test-0001", **facts: Any) -> Target:
    """A target of a provider that speaks ``wire``; ``facts`` are fields of its row."""
    facts = {"id": "vendor", "alias": "v", "name": "Vendor", "category": "api_key", "format": wire, "auth": AUTHS[wire], **facts}
    provider = ProviderRow(base_url=BASES[wire], **facts)
    return Target(provider, model, row, "conn-1", facts.get("base_url_template") or BASES[wire], Secret(secret))


def ask(*messages: Message | str, **fields: Any) -> ChatRequest:
    """A request; a string is a user's message."""
    turns = [Message(Role.USER, [Text(message)]) if isinstance(message, str) else message for message in messages]
    return ChatRequest(model="vendor/model-1", messages=turns, **fields)


def sent(prepared: Prepared) -> Any:
    """The body of a prepared request, as a tree."""
    return orjson.loads(prepared.outgoing.body)


def header(prepared: Prepared, name: str) -> str | None:
    """A header of a prepared request."""
    found = [value.decode() for key, value in prepared.outgoing.headers if key == name.encode()]
    assert len(found) < 2, name
    return found[0] if found else None


def sse(*events: Any, named: bool = False) -> bytes:
    """Server-sent events with JSON data; ``named`` adds each one's ``type`` as its event name."""
    blocks: list[bytes] = []
    for event in events:
        name = b"event: " + event["type"].encode() + b"\n" if named else b""
        blocks.append(name + b"data: " + orjson.dumps(event) + b"\n\n")
    return b"".join(blocks)


def lines(*values: Any) -> bytes:
    """Newline-delimited JSON."""
    return b"".join(orjson.dumps(value) + b"\n" for value in values)


def pieces(body: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``body`` cut at these positions."""
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(edges)]


def decoded(decoder: Decoder, chunks: Sequence[bytes]) -> list[ChatEvent]:
    """All events of a stream that comes in these chunks."""
    events = [event for chunk in chunks for event in decoder.feed(chunk)]
    return events + decoder.end()


def watched(watcher: Watcher, chunks: Sequence[bytes]) -> bytes:
    """The bytes that a watcher passes on."""
    return b"".join(watcher.feed(chunk) for chunk in chunks) + watcher.end()


def calls_of(events: Iterable[ChatEvent]) -> list[tuple[str, str, str]]:
    """The tool calls of a stream: id, name, all arguments."""
    calls: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallStarted):
            calls[event.index] = [event.id, event.name, ""]
        elif isinstance(event, ToolCallDelta):
            calls[event.index][2] += event.arguments
    return [(one[0], one[1], one[2]) for one in calls.values()]
