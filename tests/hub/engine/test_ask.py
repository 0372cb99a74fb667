"""A chat request on its way in: decoded on first use, counted even when it cannot be."""

from __future__ import annotations

import pytest

from hub.chat import ChatRequest, Message, Role, Text
from hub.engine.ask import ChatAsk
from hub.errors import BadRequest
from hub.providers.base import RawChat

RAW = RawChat("openai", b"x" * 400, "m", stream=True)
REQUEST = ChatRequest(model="m", messages=[Message(role=Role.USER, parts=[Text("hello there")])])


def test_it_is_bytes_or_a_request() -> None:
    assert (ChatAsk(RAW).model, ChatAsk(RAW).stream) == ("m", True)
    assert ChatAsk(request=REQUEST).request() is REQUEST
    with pytest.raises(TypeError, match="raw or request"):
        ChatAsk()
    with pytest.raises(TypeError, match="no decoder"):
        ChatAsk(RAW).request()


def test_bytes_are_decoded_once() -> None:
    seen: list[bytes] = []

    def decode(body: bytes) -> ChatRequest:
        seen.append(body)
        return REQUEST

    ask = ChatAsk(RAW, decode=decode)
    assert ask.request() is ask.request() is REQUEST
    assert seen == [RAW.body]
    assert ask.prompt_tokens() == ChatAsk(request=REQUEST).prompt_tokens() == 7


def test_what_cannot_be_decoded_is_counted_by_its_size() -> None:
    """A provider took the bytes, so they cost something."""

    def decode(body: bytes) -> ChatRequest:
        raise BadRequest("not ours")

    assert ChatAsk(RAW, decode=decode).prompt_tokens() == 100
    assert ChatAsk(RawChat("openai", b"", "m"), decode=decode).prompt_tokens() == 1
