"""What makes two requests the same, and kept answers on their way out."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.caching.fingerprint import fingerprint, without_last_words
from hub.chat import (
    ChatRequest,
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    Message,
    Reasoning,
    Refusal,
    Role,
    Started,
    Text,
    TextDelta,
    ToolCall,
    Usage,
)
from hub.engine.answers import Recorder, StoredAnswer, assemble, events_of, fresh
from hub.engine.ask import ChatAsk, Hints, StreamHead
from transports._openai_chat import decode, envelope

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}


def _print(body: bytes, owner: str = "a", **hints: Any) -> Any:
    return fingerprint(ChatAsk(envelope(body), decode=decode, hints=Hints(**hints)), owner)


@given(st.dictionaries(st.text(max_size=8).map("x_".__add__), JSON, max_size=4), st.randoms())
def test_order_and_white_space_do_not_matter_and_values_do(extra: dict[str, Any], chance: Any) -> None:
    whole = {**BASE, **extra}
    names = list(whole)
    chance.shuffle(names)
    one, two = json.dumps(whole, indent=1).encode(), json.dumps({name: whole[name] for name in names}, ensure_ascii=True).encode()
    if b"\\u003" not in one + two and b"\\ud" not in one + two:
        assert _print(one) == _print(two)
    for name in extra:
        changed = json.dumps({**whole, name: [whole[name]]}).encode()
        assert _print(changed).id != _print(one).id
        assert _print(changed).check != _print(one).check


def test_how_an_answer_is_sent_does_not_matter() -> None:
    plain = _print(orjson.dumps(BASE))
    assert _print(orjson.dumps({**BASE, "stream": True, "stream_options": {"include_usage": True}, "prompt_cache_key": "k"})) == plain


@pytest.mark.parametrize(
    "other",
    [
        {"owner": "b"}, {"endpoint": "/v1/messages"}, {"effort": "high"}, {"mode": "cheap"}, {"budget": 1.0}, {"tags": ("eu",)},
    ],
)  # fmt: skip
def test_who_asks_where_and_how_matters(other: dict[str, Any]) -> None:
    assert _print(orjson.dumps(BASE), **other).id != _print(orjson.dumps(BASE)).id


def test_numbers_beyond_64_bits_are_told_apart() -> None:
    assert _print(b'{"seed":%d,' % 2**70 + orjson.dumps(BASE)[1:]).id != _print(b'{"seed":%d,' % (2**70 + 1) + orjson.dumps(BASE)[1:]).id


def test_requests_of_the_internal_model_have_fingerprints_of_their_own() -> None:
    def ask(**fields: Any) -> ChatAsk:
        return ChatAsk(request=ChatRequest(model="m", messages=[Message(Role.USER, [Text("Hi")])], temperature=0, **fields))

    assert ask().cacheable
    assert not ask(n=2).cacheable
    assert fingerprint(ask(stream=True), "a") == fingerprint(ask(), "a")
    assert fingerprint(ask(seed=1), "a") != fingerprint(ask(), "a")
    assert fingerprint(ask(), "a").id != _print(orjson.dumps(BASE)).id


def test_only_a_user_s_plain_words_are_compared() -> None:
    def parts(*messages: Any) -> Any:
        return without_last_words(ChatAsk(envelope(orjson.dumps({**BASE, "messages": messages})), decode=decode))

    one, two = parts({"role": "user", "content": "a"}), parts({"role": "user", "content": "b"})
    assert (one[0], one[1], two[1]) == (two[0], "a", "b")
    assert parts({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]}) is None
    assert parts({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}) is None


PARTS = st.lists(
    st.one_of(
        st.builds(Text, st.text(min_size=1, max_size=300)),
        st.builds(Reasoning, text=st.text(min_size=1), signature=st.just("s")),
        st.builds(Refusal, st.text(min_size=1)),
        st.builds(ToolCall, st.just("id"), st.just("f"), st.text(min_size=1, max_size=200)),
    ),
    min_size=1,
    max_size=4,
)


@given(PARTS)
def test_an_answer_as_events_is_the_same_answer(parts: list[Any]) -> None:
    merged = [
        part for place, part in enumerate(parts) if not place or type(part) is not type(parts[place - 1]) or isinstance(part, ToolCall)
    ]
    usage = Usage(input=1, output=2)
    response = ChatResponse("i", "m", [Choice(merged)], created=5, usage=usage)
    stored = StoredAnswer(provider="p", model="m", usage=usage, created=1)
    assert assemble([event for events in events_of(response, usage, "i") for event in events], stored) == response


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Started("i", "m"), TextDelta("half")],
        [TextDelta("a"), Finished(Finish.STOP), Failed("broke")],
        [TextDelta("a"), TextDelta("b", 1), Finished(Finish.STOP)],
    ],
)
def test_events_without_a_good_end_are_no_answer(events: list[Any]) -> None:
    assert assemble(events, StoredAnswer(provider="p", model="m", usage=Usage(), created=1)) is None


def test_a_recorder_gives_up_beyond_its_limit_and_without_an_end() -> None:
    recorder = Recorder(limit=10)
    recorder.add(StreamHead(provider="p", model="m", lossless=True, dropped=[]))
    recorder.add(b"123456")
    assert recorder.stored("openai", 1) is None
    recorder.add(b"7890123")
    assert recorder._pieces == []  # pyright: ignore[reportPrivateUsage]


def test_a_fresh_id_changes_nothing_else() -> None:
    body = b'{ "id" : "msg_1" , "x": {"id": "kept"}, "y": 1.50 }'
    assert fresh(body, "new") == b'{ "id" : "msg_new" , "x": {"id": "kept"}, "y": 1.50 }'
    assert fresh(b'{"x": 1}', "new") == b'{"x": 1}'


def test_a_stored_answer_survives_its_journey() -> None:
    stored = StoredAnswer(provider="p", model="m", usage=Usage(input=1), created=1, dialect="d", body=b"\x00\xff", dropped=("a",))
    assert msgspec.json.decode(msgspec.json.encode(stored), type=StoredAnswer) == stored
