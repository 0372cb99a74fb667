"""Every client dialect with every provider format, both ways: what was said comes back as it was (routing.md 4).

A conversation is written in the client's dialect, read by its door, written for the provider, and read again as a client of that dialect
would have sent it. An answer takes the way back: written as the provider writes it, whole and as a stream that is cut anywhere, read by
the adapter, written by the client's door, whole and streamed, and read as the client reads it.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    Used,
)
from hub.engine.answers import StoredAnswer, assemble, events_of
from hub.providers._signature import unwrapped
from hub.providers.anthropic import adapter as CLAUDE
from hub.providers.base import Target
from hub.providers.catalog import Auth, ProviderRow
from hub.providers.gemini import adapter as GEMINI
from hub.providers.ollama import adapter as OLLAMA
from hub.providers.openai import OPENAI
from hub.providers.responses import adapter as RESPONSES
from hub.secret import Secret
from tests.fakes.clock import Still
from tests.fakes.vendors import PIXEL
from transports import (
    _anthropic_chat,
    _anthropic_decode,
    _anthropic_stream,
    _gemini_chat,
    _gemini_decode,
    _ollama_chat,
    _ollama_decode,
    _openai_chat,
    _openai_decode,
)
from transports._responses_decode import decode as decode_responses
from transports._responses_decode import read, shell
from transports._responses_write import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.chat import ChatEvent
    from hub.providers.base import Adapter


@dataclass(frozen=True)
class Wire:
    """One format, from both ends. ``ids`` says whether calls have ids of their own; ``kinds`` whether pictures say what they are."""

    adapter: Adapter
    decode: Callable[[bytes], ChatRequest]
    whole: Callable[[ChatResponse], bytes]
    stream: Callable[[Iterable[list[ChatEvent]]], bytes]
    ids: bool = True
    kinds: bool = True


def _timing() -> Any:
    return _ollama_chat.Timing(Still())


def _streamed(encoder: Any, batches: Iterable[list[ChatEvent]]) -> bytes:
    return b"".join(encoder.feed(events) for events in batches) + encoder.end()


def _writer() -> Writer:
    return Writer(shell(read(b'{"model": "m", "input": "a"}'), "resp_1", 5))


def _responses_stream(batches: Iterable[list[ChatEvent]]) -> bytes:
    made = _writer()
    events = made.begin() + [event for batch in batches for event in made.feed(batch)] + made.end(9)
    return b"".join(events)


def _responses_whole(response: ChatResponse) -> bytes:
    made = _writer()
    for batch in events_of(response, response.usage or Usage(), response.id):
        made.feed(batch)
    made.end(9)
    return json.dumps(made.body).encode()


WIRES = {
    "openai": Wire(
        OPENAI,
        _openai_decode.decode,
        partial(_openai_chat.encode, created=5),
        lambda batches: _streamed(_openai_chat.StreamEncoder(id="x", model="m", created=5, include_usage=True), batches),
    ),
    "claude": Wire(
        CLAUDE,
        _anthropic_decode.decode,
        partial(_anthropic_chat.encode, fallback_id="f"),
        lambda batches: _streamed(_anthropic_stream.StreamEncoder("msg_1", "m"), batches),
    ),
    "gemini": Wire(
        GEMINI,
        partial(_gemini_decode.decode, model="m"),
        partial(_gemini_chat.encode, request_id="r"),
        lambda batches: _streamed(_gemini_chat.StreamEncoder(model="m", request_id="r"), batches),
    ),
    "ollama": Wire(
        OLLAMA,
        _ollama_decode.decode,
        lambda response: _ollama_chat.encode(response, model="m", timing=_timing(), generate=False),
        lambda batches: _streamed(_ollama_chat.StreamEncoder(model="m", timing=_timing(), generate=False), batches),
        ids=False,
        kinds=False,
    ),
    "openai-responses": Wire(RESPONSES, lambda body: decode_responses(read(body), []), _responses_whole, _responses_stream),
}
every_pair = pytest.mark.parametrize(("client", "vendor"), list(itertools.product(WIRES, WIRES)), ids=lambda name: name)


def target(wire: str) -> Target:
    row = ProviderRow(id="p", alias="p", name="P", category="api_key", format=wire, auth=Auth("none"))
    return Target(row, "m", None, "c", "https://vendor.test/v1", Secret(""))


# -- what may be said


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(lambda text: text.strip() == text)
names = st.text("abcdefgh_", min_size=1, max_size=8).map(lambda name: f"f{name}")
values = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | texts | st.just("") | st.just([])
#: Argument text in the spelling of its author: white space and escapes are part of it.
arguments = st.builds(
    lambda tree, spaced, plain: json.dumps(tree, separators=(" ,  ", ":  ") if spaced else (",", ":"), ensure_ascii=plain),
    st.dictionaries(texts, values | st.dictionaries(texts, values, max_size=2), max_size=3),
    st.booleans(),
    st.booleans(),
)
calls = st.lists(st.tuples(names, arguments, texts), min_size=1, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """A talk with a picture, and with calls of tools and what they gave."""
    picture: list[Part] = [Image(data=PIXEL, media_type="image/png")] if draw(st.booleans()) else []
    made = [Message(Role.SYSTEM, [Text(draw(texts))])] if draw(st.booleans()) else []
    made.append(Message(Role.USER, [Text(draw(texts)), *picture]))
    number = 0
    for asked in draw(st.lists(calls, max_size=2)):
        said: list[Part] = [Text(draw(texts))] if draw(st.booleans()) else []
        turn, results = [*said], list[Part]()
        for name, given_arguments, answer in asked:
            number += 1
            turn.append(ToolCall(f"call_{number}", name, given_arguments))
            results.append(ToolResult(f"call_{number}", [Text(answer)], name))
        made += [Message(Role.ASSISTANT, turn), Message(Role.TOOL, results)]
    made += [Message(Role.ASSISTANT, [Text(draw(texts))]), Message(Role.USER, [Text(draw(texts))])]
    return made


def told(messages: list[Message], *, ids: bool, kinds: bool) -> list[Any]:
    """A conversation without what two dialects may say differently: which turn is whose message, and what has no place in one of them."""
    found: list[Any] = []
    for message in messages:
        role = Role.USER if message.role is Role.TOOL else message.role
        for part in message.parts:
            match part:
                case Text():
                    found.append((role, part.text))
                case Image():
                    found.append((role, "image", part.data, part.media_type if kinds else ""))
                case ToolCall():
                    found.append(("call", part.id if ids else "", part.name, part.arguments))
                case ToolResult():
                    words = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
                    found.append(("result", part.call_id if ids else "", words))
                case _:
                    found.append((role, part))
    return found


@settings(deadline=None, max_examples=12)
@every_pair
@given(messages=conversations(), limit=st.integers(16, 9000), temperature=st.sampled_from([None, 0.0, 0.25, 1.0]), stream=st.booleans())
def test_a_request_arrives_as_it_was_said(
    client: str, vendor: str, messages: list[Message], limit: int, temperature: float | None, stream: bool
) -> None:
    """Texts, pictures, names, ids and argument bytes, results, tools and limits."""
    mine, theirs = WIRES[client], WIRES[vendor]
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    asked = ChatRequest(
        "m",
        messages,
        dialect=mine.adapter.dialect,
        stream=stream,
        tools=[Tool("f", "Does it.", schema)],
        max_tokens=limit,
        temperature=temperature,
    )
    sent = mine.adapter.prepare(asked, target(client)).outgoing.body
    heard = mine.decode(sent)
    assert heard.dialect == mine.adapter.dialect
    prepared = theirs.adapter.prepare(heard, target(vendor))
    arrived = theirs.decode(prepared.outgoing.body)
    how = {"ids": mine.ids and theirs.ids, "kinds": mine.kinds and theirs.kinds}
    assert told(arrived.messages, **how) == told(messages, **how)
    assert [(tool.name, tool.description, tool.schema) for tool in arrived.tools] == [("f", "Does it.", schema)]
    assert (arrived.max_tokens, arrived.temperature) == (limit, temperature)
    assert prepared.dropped == [], prepared.dropped


# -- what is answered


@st.composite
def answers(draw: st.DrawFn) -> ChatResponse:
    """Reasoning, words and calls, as all vendors order them."""
    parts: list[Part] = [Reasoning(draw(texts), "c2lnbmVk" if draw(st.booleans()) else "")] if draw(st.booleans()) else []
    spoken = draw(st.booleans())
    parts += [Text(draw(texts))] if spoken else []
    asked = draw(calls) if not spoken or draw(st.booleans()) else []
    parts += [ToolCall(f"call_{number}", name, text) for number, (name, text, _) in enumerate(asked, 1)]
    finish = Finish.TOOL_CALLS if asked else draw(st.sampled_from([Finish.STOP, Finish.LENGTH]))
    counts = st.integers(0, 10**6)
    read_before, output = draw(counts), draw(st.integers(1, 10**6))
    return ChatResponse("msg_1", "m", [Choice(parts, finish)], 5, Usage(draw(counts), read_before, output=output))


#: Formats whose usage says how much of the prompt came from a cache, and whose thoughts come with what signs them.
_CACHED = frozenset({"openai", "claude", "gemini", "openai-responses"})
_SIGNED = frozenset({"openai", "claude", "gemini", "openai-responses"})


def said(response: ChatResponse, *, ids: bool) -> list[Any]:
    """An answer without what two formats may say differently; pieces of one kind that follow one another are one."""
    found: list[Any] = []
    for part in response.choices[0].parts:
        match part:
            case ToolCall():
                found.append(("call", part.id if ids else "", part.name, part.arguments))
            case Text() | Reasoning() if part.text or isinstance(part, Reasoning):
                found.append((type(part).__name__, part.text))
            case _:
                pass
    return found


def signatures(response: ChatResponse) -> list[str]:
    """What signs the thoughts, without whose it is and how it travels."""
    found = [_bare(part.signature) for part in response.choices[0].parts if isinstance(part, Reasoning)]
    return [one for one in found if one]


def _bare(signature: str) -> str:
    bare = signature.rpartition(":")[2]
    inner = unwrapped(bare)
    return bare if inner is None else _bare(inner[0])


def assembled(events: list[ChatEvent]) -> ChatResponse:
    """The answer that a stream told."""
    usage = next((event.usage for event in reversed(events) if isinstance(event, Used)), Usage())
    made = assemble(events, StoredAnswer("p", "m", usage, 0))
    assert made is not None, events
    return made


def batches(response: ChatResponse) -> list[list[ChatEvent]]:
    return list(events_of(response, response.usage or Usage(), response.id))


def decoded(adapter: Adapter, wire: str, body: bytes, cuts: list[int]) -> ChatResponse:
    """A stream of these bytes, cut here."""
    decoder = adapter.decoder(target(wire))
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    events = [event for start, stop in itertools.pairwise(edges) for event in decoder.feed(body[start:stop])]
    return assembled(events + decoder.end())


def same(found: ChatResponse, given_answer: ChatResponse, client: str, vendor: str) -> None:
    """Nothing of an answer is lost on its way from a vendor to a client."""
    ids = WIRES[client].ids and WIRES[vendor].ids
    assert said(found, ids=ids) == said(given_answer, ids=ids)
    assert found.choices[0].finish is given_answer.choices[0].finish
    if client in _SIGNED and vendor in _SIGNED:
        assert signatures(found) == signatures(given_answer)
    used, stated = found.usage, given_answer.usage
    assert used is not None
    assert stated is not None
    assert (used.prompt, used.output) == (stated.prompt, stated.output)
    if client in _CACHED and vendor in _CACHED:
        assert used.cache_read == stated.cache_read


@settings(deadline=None, max_examples=12)
@every_pair
@given(answer=answers())
def test_a_whole_answer_comes_back_as_it_was(client: str, vendor: str, answer: ChatResponse) -> None:
    theirs, mine = WIRES[vendor], WIRES[client]
    heard = theirs.adapter.parse(theirs.whole(answer), target(vendor))
    same(mine.adapter.parse(mine.whole(heard), target(client)), answer, client, vendor)


@settings(deadline=None, max_examples=12)
@every_pair
@given(answer=answers(), cuts=st.lists(st.integers(0, 1 << 20), max_size=40), more=st.lists(st.integers(0, 1 << 20), max_size=40))
def test_a_stream_comes_back_as_it_was(client: str, vendor: str, answer: ChatResponse, cuts: list[int], more: list[int]) -> None:
    """Cut anywhere on both ways, in the middle of a character too."""
    theirs, mine = WIRES[vendor], WIRES[client]
    heard = decoded(theirs.adapter, vendor, theirs.stream(batches(answer)), cuts)
    decoder, wire = theirs.adapter.decoder(target(vendor)), theirs.stream(batches(answer))
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    flow = [decoder.feed(wire[start:stop]) for start, stop in itertools.pairwise(edges)] + [decoder.end()]
    same(heard, answer, vendor, vendor)
    same(decoded(mine.adapter, client, mine.stream([events for events in flow if events]), more), answer, client, vendor)


#: Formats that stream as events, whose lines may end in three ways; the others end theirs with a newline alone.
_ENDS = [(vendor, ends) for vendor in WIRES for ends in ((b"\n",) if vendor == "ollama" else (b"\n", b"\r\n", b"\r"))]


@pytest.mark.parametrize(("vendor", "ends"), _ENDS)
def test_a_stream_cut_at_every_byte_says_the_same(vendor: str, ends: bytes) -> None:
    """No argument and no character breaks, whatever ends a line."""
    theirs = WIRES[vendor]
    parts: list[Part] = [
        Reasoning("größe 🎉", "c2ln"),
        Text("日本 ok"),
        ToolCall("call_1", "f", '{"é":  "🎉", "": []}'),
        ToolCall("call_2", "g", "{}"),
    ]
    answer = ChatResponse("msg_1", "m", [Choice(parts, Finish.TOOL_CALLS)], 5, Usage(3, 1, output=7))
    wire = theirs.stream(batches(answer)).replace(b"\n", ends)
    expected = decoded(theirs.adapter, vendor, wire, [])
    same(expected, answer, vendor, vendor)
    for at in range(len(wire)):
        assert decoded(theirs.adapter, vendor, wire, [at]) == expected
    assert decoded(theirs.adapter, vendor, wire, list(range(len(wire)))) == expected
