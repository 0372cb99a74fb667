"""Token estimates: the right size, and never far off for other scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.chat import ChatRequest, Document, Image, Message, Opaque, Role, Text, Tool, ToolCall, ToolResult
from hub.tokens import estimate_prompt, estimate_tokens


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("", 0, 0),
        ("a", 1, 1),
        ("The quick brown fox jumps over the lazy dog.", 9, 13),  # 10 in cl100k and o200k
        ("今日は天気がいいですね。", 8, 14),
        ("안녕하세요 세계", 5, 9),
        ("Привет, как дела?", 5, 9),
        ("👍🏽" * 10, 20, 40),
    ],
)
def test_sizes(text: str, low: int, high: int) -> None:
    assert low <= estimate_tokens(text) <= high


@given(st.text(), st.text())
def test_more_text_is_never_fewer_tokens(one: str, two: str) -> None:
    assert estimate_tokens(one) <= estimate_tokens(one + two) <= estimate_tokens(one) + estimate_tokens(two)
    assert (estimate_tokens(one) == 0) == (one == "")


def test_a_prompt_counts_every_part() -> None:
    def prompt(*parts: object, tools: list[Tool] | None = None) -> int:
        return estimate_prompt(ChatRequest(model="m", messages=[Message(Role.USER, list(parts))], tools=tools or []))  # pyright: ignore[reportArgumentType]

    bare = prompt()
    assert prompt(Text("x" * 400)) == bare + 100
    assert prompt(ToolCall("1", "f" * 4, "x" * 40)) == bare + 11
    assert prompt(ToolResult("1", [Text("x" * 40)])) == bare + 10
    assert prompt(Image(data="A" * 100_000)) == prompt(Image(url="https://x")) > bare + 200
    assert prompt(Document(data="A" * 1_000_000)) > prompt(Document(data="A" * 100)) > bare
    assert prompt(Opaque("openai", {"k": "v" * 400})) > bare + 100
    assert prompt(tools=[Tool("f", "d" * 400)]) > bare + 100
