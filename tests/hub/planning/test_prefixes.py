"""Warm prefixes: a conversation is warm where it was, as far as it is the same, for as long as caches live."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.engine.ask import ChatAsk
from hub.planning.prefixes import Chain, Prefixes, chain
from hub.providers.base import RawChat
from tests.fakes.clock import Still


def made(turns: int, *, system: str = "s" * 1000, mark: int | None = None, ttl: str = "5m") -> ChatAsk:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}]
    for number in range(turns):
        part: dict[str, Any] = {"type": "text", "text": f"turn {number} " * 20}
        if number == mark:
            part["cache_control"] = {"type": "ephemeral", "ttl": ttl}
        messages.append({"role": "user", "content": [part]})
    return ChatAsk(RawChat("openai", msgspec.json.encode({"model": "m", "messages": messages, "tools": [{"name": "t"}]}), "m"))


def test_the_next_turn_is_warm_where_the_last_one_was() -> None:
    prefixes = Prefixes(Still())
    prefixes.remember(chain(made(5, mark=4)), "con_1", "m")
    same, longer = chain(made(5)), chain(made(6, mark=5))
    assert prefixes.warm(same, "con_1", "m") == 1.0
    assert 0.8 < prefixes.warm(longer, "con_1", "m") < 1.0
    assert prefixes.warm(longer, "con_2", "m") == prefixes.warm(longer, "con_1", "n") == 0.0
    assert 0 < prefixes.warm(chain(made(5, system="x" * 1000)), "con_1", "m") < 0.05  # the tools stand before it
    prefixes.forget("con_1")
    assert prefixes.warm(same, "con_1", "m") == 0.0


@pytest.mark.parametrize(("ttl", "life"), [("5m", 300), ("1h", 3600)])
def test_for_as_long_as_caches_live(ttl: str, life: int) -> None:
    clock = Still()
    prefixes, one = Prefixes(clock), chain(made(3, mark=1, ttl=ttl))
    prefixes.remember(one, "con_1")
    clock.advance(life - 1)
    assert prefixes.warm(one, "con_1") == 1.0
    clock.advance(1)
    assert prefixes.warm(one, "con_1") == 0.0


def test_long_conversations_have_few_marks_at_the_same_places() -> None:
    one, next_one = chain(made(1000)), chain(made(1001))
    assert len(one.marks) < 120
    assert set(one.marks[:-1]) <= set(next_one.marks)
    assert list(one.sizes) == sorted(one.sizes)


def test_bounded_and_safe_with_nothing() -> None:
    prefixes = Prefixes(Still())
    empty = chain(ChatAsk(RawChat("openai", b"{}", "m")))
    assert empty == Chain()
    prefixes.remember(empty, "con_1")
    assert prefixes.warm(empty, "con_1") == 0.0
    for number in range(3000):
        prefixes.remember(Chain((b"%d" % number,), (1,)), f"con_{number}")
        prefixes.remember(Chain((b"%d" % number,), (1,)), "busy")
    assert len(prefixes._places) == 2048
    assert len(prefixes._places["busy", ""]) == 2048
