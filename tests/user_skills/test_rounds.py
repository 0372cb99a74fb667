"""What a client sees of rounds, and what is put back of those that it did not see: for any order of words, thoughts and calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hub.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Finish,
    Message,
    Reasoning,
    ReasoningDelta,
    Role,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from hub.engine.answers import events_of
from hub.engine.ask import StreamTail
from hub.records import UsageRow
from hub.user_skills.aside import Aside
from hub.user_skills.sieve import Shown, Sieve
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from hub.chat import ChatEvent, Part

OURS = "skill_x"
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
calls = st.builds(ToolCall, id=st.uuids().map(str), name=st.sampled_from([OURS, "mine"]), arguments=texts)
parts = st.lists(st.one_of(texts.map(Text), calls, st.builds(Reasoning, text=texts, signature=texts)), max_size=6)


def tail() -> StreamTail:
    row = UsageRow(
        request_id="r", at=1, door="d", skill="chat", key_id="k", key_name="k", provider="p", model="m", requested_model="m",
        connection_id="", usage=Usage(), cost=0.0, price_source="none", status=200, outcome="ok", latency_ms=1,
    )  # fmt: skip
    return StreamTail(row)


@given(rounds=st.lists(parts, min_size=1, max_size=3))
def test_a_client_sees_all_but_calls_of_ours(rounds: list[list[Part]]) -> None:
    shown = Shown()
    seen: list[ChatEvent] = []
    for number, said in enumerate(rounds):
        sieve = Sieve({OURS}, shown)
        response = ChatResponse(id="x", model="m", choices=[Choice(said, Finish.TOOL_CALLS)])
        for events in events_of(response, Usage(), "x"):
            item = sieve.take(events)
            if item is not None:
                assert isinstance(item, list)
                seen += item
        assert sieve.take(tail()) is None
        # What the model is told it said is all of it, calls of ours and thoughts included.
        told = sieve.parts()
        assert [part for part in told if isinstance(part, ToolCall)] == [part for part in said if isinstance(part, ToolCall)]
        assert _text(told) == _text(said)
        assert number or not [one for one in seen if isinstance(one, ReasoningDelta)] or any(isinstance(part, Reasoning) for part in said)
    started = [event for event in seen if isinstance(event, ToolCallStarted)]
    theirs = [part for said in rounds for part in said if isinstance(part, ToolCall) and part.name != OURS]
    assert [(event.id, event.name) for event in started] == [(part.id, part.name) for part in theirs]
    assert [event.index for event in started] == list(range(len(theirs)))
    for index, part in enumerate(theirs):
        assert "".join(event.arguments for event in seen if isinstance(event, ToolCallDelta) and event.index == index) == part.arguments
    spoken = [_text(said) for said in rounds if _text(said)]
    assert "".join(event.text for event in seen if isinstance(event, TextDelta)) == "\n\n".join(spoken)
    thoughts = "".join(part.text for part in rounds[0] if isinstance(part, Reasoning))
    assert "".join(event.text for event in seen if isinstance(event, ReasoningDelta)) == thoughts


def _text(said: list[Part]) -> str:
    return "".join(part.text for part in said if isinstance(part, Text))


def user(words: str) -> Message:
    return Message(Role.USER, [Text(words)])


def turn(*made: ToolCall) -> Message:
    return Message(Role.ASSISTANT, list(made))


def test_hidden_turns_come_back_to_their_own_conversation_only() -> None:
    clock = Still()
    aside = Aside(clock)
    ours, theirs = ToolCall("call_1", OURS, "{}"), ToolCall("call_2", "mine", '{"a":1}')
    before = [user("hello")]
    result = Message(Role.TOOL, [ToolResult("call_1", [Text("of ours")])])
    aside.keep("key_1", before, [theirs], [turn(ours, theirs)], [result])
    mine = Message(Role.TOOL, [ToolResult("call_2", [Text("of mine")])])

    def asked(key: str = "key_1", words: str = "hello", call: ToolCall = theirs) -> list[Message]:
        request = ChatRequest(model="m", messages=[user(words), turn(call), mine, user("and now?")])
        return aside.restored(request, key).messages

    whole = [user("hello"), turn(ours, theirs), result, mine, user("and now?")]
    assert asked() == whole
    assert asked(call=ToolCall("call_2", "mine", '{ "a": 1 }')) == whole, "however the client writes the arguments"
    for other in (
        asked("key_2"),
        asked(words="another question"),
        asked(call=ToolCall("call_2", "mine", '{"a":2}')),
        asked(call=ToolCall("call_3", "mine", '{"a":1}')),
    ):
        assert len(other) == 4
    clock.advance(3601)
    assert len(asked()) == 4
    assert len(aside) == 0


def test_what_is_put_aside_is_bounded() -> None:
    aside = Aside(Still())
    for number in range(2100):
        aside.keep("k", [user(str(number))], [ToolCall("c", "mine")], [turn(ToolCall("c", "mine"))], [])
    assert len(aside) == 2000
    big = Message(Role.TOOL, [ToolResult("x", [Text("x" * 3_000_000)])])
    for number in range(30):
        aside.keep("k", [user(f"big {number}")], [ToolCall("c", "mine")], [big], [])
    assert len(aside) <= 12
    aside.keep("k", [user("too big")], [ToolCall("c", "mine")], [Message(Role.TOOL, [ToolResult("x", [Text("x" * 5_000_000)])])], [])
    assert len(aside) <= 12
