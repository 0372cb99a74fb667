"""Changes to a request: system messages, tools and their choice, tokens; and nothing is copied where nothing changes."""

from __future__ import annotations

import pytest

from hub.chat import ChatRequest, Message, Role, Text, Thinking, Tool, ToolChoice, ToolMode
from hub.engine.reshape import add_system, cap_tokens, keep_tools, with_system
from hub.routing.pattern import compiled


def say(role: Role, text: str) -> Message:
    return Message(role, [Text(text)])


REQUEST = ChatRequest(
    model="m",
    messages=[
        say(Role.SYSTEM, "one"),
        say(Role.DEVELOPER, "two"),
        say(Role.USER, "hi"),
        say(Role.SYSTEM, "late"),
        say(Role.ASSISTANT, "yes"),
    ],
    tools=[Tool("read_file"), Tool("write_file"), Tool("web_search", builtin={"type": "web_search"})],
    tool_choice=ToolChoice(ToolMode.ONE, name="write_file", parallel=False),
)


def spoken(request: ChatRequest) -> list[tuple[str, str]]:
    return [(message.role.value, part.text) for message in request.messages for part in message.parts if isinstance(part, Text)]


def test_one_system_message_takes_the_place_of_all() -> None:
    assert spoken(with_system(REQUEST, "mine")) == [("system", "mine"), ("user", "hi"), ("assistant", "yes")]
    assert with_system(REQUEST, "") is REQUEST
    assert len(REQUEST.messages) == 5


def test_a_further_one_follows_those_at_the_head() -> None:
    assert spoken(add_system(REQUEST, "more"))[:4] == [("system", "one"), ("developer", "two"), ("system", "more"), ("user", "hi")]
    assert spoken(add_system(ChatRequest(model="m", messages=[]), "more")) == [("system", "more")]
    assert add_system(REQUEST, "") is REQUEST


def test_only_tools_that_fit() -> None:
    kept = keep_tools(REQUEST, compiled("^read_|^web_"))
    assert [tool.name for tool in kept.tools] == ["read_file", "web_search"]
    assert kept.tool_choice == ToolChoice(ToolMode.AUTO, parallel=False)
    assert keep_tools(REQUEST, compiled("write")).tool_choice == REQUEST.tool_choice
    assert keep_tools(REQUEST, compiled("_")) is REQUEST
    none = keep_tools(REQUEST, compiled("^$"))
    assert (none.tools, none.tool_choice) == ([], None)
    assert len(REQUEST.tools) == 3


@pytest.mark.parametrize(("asked", "most", "sent"), [(None, 100, 100), (50, 100, 50), (100, 100, 100), (500, 100, 100)])
def test_tokens_are_capped(asked: int | None, most: int, sent: int) -> None:
    request = ChatRequest(model="m", messages=[], max_tokens=asked)
    capped = cap_tokens(request, most)
    assert capped.max_tokens == sent
    assert (capped is request) is (asked == sent)


def test_a_thinking_budget_stays_below_the_cap() -> None:
    request = ChatRequest(model="m", messages=[], max_tokens=50, thinking=Thinking(budget=4000))
    capped = cap_tokens(request, 2000)
    assert capped.thinking is not None
    assert (capped.max_tokens, capped.thinking.budget) == (50, 1999)
    assert request.thinking == Thinking(budget=4000)
