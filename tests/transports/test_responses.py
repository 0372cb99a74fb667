"""The Responses dialect without a socket: requests, the writer, and streams that come in any order; and what is kept, on both databases."""

from __future__ import annotations

import json
from typing import Any

import openai.types.responses as sdk
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.chat import (
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    Message,
    Opaque,
    Part,
    Reasoning,
    Role,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolChoice,
    ToolMode,
    ToolResult,
    Usage,
    Used,
)
from hub.engine.answers import events_of
from hub.errors import BadRequest, UpstreamTimeout
from tests.transports.test_anthropic_chat import said_parts, unique_calls
from transports._responses_decode import decode, read, references, resolved, shell
from transports._responses_tools import Offered, offered
from transports._responses_write import Writer


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **fields}).encode()


def messages(*items: Any, before: tuple[Any, ...] = ()) -> list[Message]:
    return decode(read(body(input=list(items))), list(before)).messages


def writer(**fields: Any) -> Writer:
    return Writer(shell(read(body(**fields)), "resp_1", 5))


def told(events: list[bytes]) -> list[Any]:
    """The events, each read as its own class of the SDK; numbered without a gap."""
    found = [json.loads(event.decode().split("data: ", 1)[1]) for event in events]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    for event in found:
        name = "".join(word.title() for word in event["type"].replace(".", "_").split("_"))
        kind = getattr(sdk, name.replace("ResponseOutputText", "ResponseText") + "Event")
        kind.model_validate(event)
    return found


def test_items_are_turns() -> None:
    found = messages(
        {"role": "user", "content": "a"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "anthropic:c2ln"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": '{"a":  1}'},
        {"type": "local_shell_call", "call_id": "2", "action": {"command": ["ls"]}},
        {"type": "web_search_call", "id": "ws", "status": "completed"},
        {"type": "function_call_output", "call_id": "1", "output": "x"},
        {"type": "local_shell_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "y"}]},
    )
    search = Opaque("openai-responses", {"type": "web_search_call", "id": "ws", "status": "completed"})
    calls: list[Part] = [ToolCall("1", "f", '{"a":  1}'), ToolCall("2", "local_shell", '{"command":["ls"]}')]
    assert found == [
        Message(Role.USER, [Text("a")]),
        Message(Role.ASSISTANT, [Reasoning("hm", "anthropic:c2ln"), Text("b"), *calls, search]),
        Message(Role.TOOL, [ToolResult("1", [Text("x")]), ToolResult("2", [Text("y")])]),
    ]


def test_reasoning_that_only_its_vendor_can_read_keeps_its_mark() -> None:
    assert messages({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"})[0].parts == [Reasoning("", "openai-responses:gAAA")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True, "store": False}, "background"),
        ({"stream": "yes"}, "stream"),
        ({"input": [{"type": "function_call", "call_id": "1"}]}, "input.0.name"),
        ({"input": [{"type": "function_call_output"}]}, "input.0.call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
    ],
)
def test_errors_name_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(read(body(**fields)), [])
    assert caught.value.field == field


def test_only_allowed_tools_are_offered() -> None:
    tools = [{"type": "function", "name": name} for name in "ab"]
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    asked = decode(read(body(tools=tools, tool_choice=choice, parallel_tool_calls=False)), [])
    assert [tool.name for tool in asked.tools] == ["b"]
    assert asked.tool_choice == ToolChoice(ToolMode.REQUIRED, parallel=False)


@settings(deadline=None)  # the first reading builds the models of an SDK
@given(st.lists(said_parts, min_size=1, max_size=6).map(unique_calls))
def test_an_answer_comes_back_as_it_was(parts: list[Part]) -> None:
    """What is kept or sent again on the next turn is what the provider said; a signature says whose it is."""
    made = writer()
    events = made.begin()
    for batch in events_of(ChatResponse("x", "m", [Choice(parts, Finish.STOP)]), Usage(1, output=2), "x"):
        events += made.feed(batch)
    last = told(events + made.end(9))[-1]
    assert last["type"] == "response.completed"
    assert last["response"] == made.body
    sdk.Response.model_validate(made.body)
    (message,) = decode(read(body(input=made.body["output"])), []).messages
    expected = [Reasoning(p.text, f"anthropic:{p.signature}") if isinstance(p, Reasoning) and p.signature else p for p in parts]
    assert message.parts == expected


def test_a_limit_leaves_an_answer_incomplete_and_a_break_fails_it() -> None:
    """REL-01: never a silent end."""
    made = writer()
    events = made.begin() + made.feed([Started("x", "m"), TextDelta("a"), Finished(Finish.LENGTH), Used(Usage(1, output=1))]) + made.end(9)
    last = told(events)[-1]["response"]
    assert (last["status"], last["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    for broken in (lambda one: one.feed([Failed("gone", status=429)]), lambda one: one.fail(UpstreamTimeout("slow"))):
        made = writer()
        events = made.begin() + made.feed([TextDelta("a")]) + broken(made) + made.end(9)
        last = told(events)[-1]
        assert last["type"] == "response.failed"
        assert last["response"]["error"]["code"] in ("rate_limit_exceeded", "server_error")
        assert made.end(9) == []


def test_calls_that_come_mixed_are_kept_apart() -> None:
    made = writer()
    steps: list[Any] = [
        ToolCallStarted(0, "a", "f"), ToolCallDelta(0, '{"x"'), ToolCallStarted(1, "b", "g"), ToolCallDelta(1, "{"),
        ToolCallDelta(0, ":1}"), TextDelta("so"), ToolCallDelta(1, "}"), Finished(Finish.TOOL_CALLS),
    ]  # fmt: skip
    told(made.begin() + [event for step in steps for event in made.feed([step])] + made.end(9))
    assert [(item["type"], item.get("arguments")) for item in made.body["output"]] == [
        ("function_call", '{"x":1}'),
        ("function_call", "{}"),
        ("message", None),
    ]


def test_calls_that_come_mixed_are_told_one_after_the_other() -> None:
    """Each item is done before the next one's first event, as OpenAI has it; the last call waits for a brace inside a string to pass."""
    made = Writer(shell(read(body()), "resp_1", 5), {"free": Offered("free", free=True)})
    starts = [ToolCallStarted(0, "a", "f", signature="gemini:s"), ToolCallStarted(1, "b", "free"), ToolCallStarted(2, "c", "g")]
    given = ['{"x": "}", "y": {"z": 1}}', '{"input": "in"}', '{"k": [2]}']
    steps: list[Any] = [TextDelta("so"), *starts]
    for at in range(max(map(len, given))):
        steps += [ToolCallDelta(index, text[at]) for index, text in enumerate(given) if at < len(text)]
    events = told(made.begin() + [event for step in steps for event in made.feed([step])] + made.end(9))
    places = [one["output_index"] for one in events if "output_index" in one]
    assert places == sorted(places)
    kinds = [(one["output_index"], one["type"].split(".")[-1]) for one in events if one["type"].startswith("response.output_item")]
    assert kinds == [(place, kind) for place in range(5) for kind in ("added", "done")]
    pieces = ["".join(one["delta"] for one in events if one.get("output_index") == place and "delta" in one) for place in (2, 3, 4)]
    assert pieces == [given[0], "in", given[2]]
    assert [item.get("call_id") for item in made.body["output"]] == [None, None, "a", "b", "c"]


def test_a_call_that_never_becomes_whole_holds_the_others_until_the_end_and_no_longer() -> None:
    made = writer()
    steps = [ToolCallStarted(0, "a", "f"), ToolCallStarted(1, "b", "g"), ToolCallDelta(1, "{}")]
    events = told(made.begin() + made.feed(list(steps)) + made.end(9))
    assert [item["call_id"] for item in made.body["output"]] == ["a", "b"]
    assert [one["arguments"] for one in events if one["type"] == "response.function_call_arguments.done"] == ["{}", "{}"]
    assert events[-1]["type"] == "response.completed"


def test_a_function_of_a_namespace_has_one_name_that_vendors_take() -> None:
    """Names are told apart, fit the vendors' 64 characters, and a call keeps its own on the next turn."""
    long, tool = "l" * 64, {"type": "function", "name": "f"}
    fields = {"tools": [{"type": "namespace", "name": name, "tools": [tool, {"type": "custom", "name": long}]} for name in ("a__", "b")]}
    request = decode(read(body(**fields)), [])
    names = [one.name for one in request.tools]
    assert names[0::2] == ["a__f", "b__f"]
    assert len(set(names)) == 4
    assert max(map(len, names)) == 64
    assert {name: (tool.namespace, tool.name, tool.free) for name, tool in offered(fields).items()} == {
        names[0]: ("a__", "f", False),
        names[1]: ("a__", long, True),
        names[2]: ("b", "f", False),
        names[3]: ("b", long, True),
    }
    called = messages({"role": "user", "content": "a"}, {"type": "function_call", "call_id": "1", "name": "f", "namespace": "b"})
    assert called[1].parts == [ToolCall("1", "b__f")]
    chosen = decode(read(body(**fields, tool_choice={"type": "function", "name": "f", "namespace": "b"})), [])
    assert chosen.tool_choice == ToolChoice(ToolMode.ONE, "b__f")
    left = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f", "namespace": "b"}]}
    assert [one.name for one in decode(read(body(**fields, tool_choice=left)), []).tools] == ["b__f"]


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        ({"type": "namespace"}, "tools.0.name"),
        ({"type": "namespace", "name": "a", "tools": [{"type": "web_search"}]}, "tools.0.tools.0.type"),
        ({"type": "namespace", "name": "a", "tools": [{"type": "function"}]}, "tools.0.tools.0.name"),
    ],
)
def test_a_namespace_that_is_none_is_refused_by_field(tool: Any, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(read(body(tools=[tool])), [])
    assert refused.value.field == field


def test_references_to_items_become_the_items() -> None:
    """By the id that an item was told with; what the conversation has already is not told twice."""
    asked = read(body(input=[{"type": "item_reference", "id": one} for one in ("msg_1_0", "fc_1_1", "msg_2_0", "in_1_0")]))
    said = {"type": "message", "role": "assistant", "id": "msg_1_0", "content": "a"}
    called = {"type": "function_call", "id": "fc_1_1", "call_id": "c", "name": "f", "arguments": "{}"}
    given = {"type": "message", "role": "user", "id": "in_1_0", "content": "b"}
    before = [{"type": "message", "role": "user", "id": "msg_2_0", "content": "old"}]
    assert references(asked, before) == ["resp_1"]
    assert resolved(asked, before, [given, said, called]).given == [said, called, given]


@pytest.mark.parametrize("named", ["msg_1_0", "", None, 7, "rs_resp_1", "é" * 300])
def test_a_reference_that_leads_nowhere_is_refused_by_field(named: Any) -> None:
    asked = read(body(input=["x", {"type": "item_reference", "id": named}]))
    assert len(references(asked, [])) == 1
    with pytest.raises(BadRequest) as refused:
        resolved(asked, [], [])
    assert refused.value.field == "input.1.id"
