"""Sessions: whose a request is, where it is pinned, for how long, and that two callers never share one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.chat import ChatRequest, Message, Role, Text
from hub.engine.ask import ChatAsk, Hints
from hub.planning.affinity import IDLE_MS, Sessions
from hub.providers.base import RawChat
from hub.records import Caller
from hub.store import Store
from tests.fakes.clock import Still
from tests.fakes.database import make_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
HOUR = 3_600_000


def ask(hint: str = "", **body: Any) -> ChatAsk:
    return ChatAsk(RawChat("openai", msgspec.json.encode({"model": "m", **body}), "m"), hints=Hints(session=hint))


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    made = Store(make_settings(tmp_path), Still())
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def sessions(store: Store, clock: Still) -> Sessions:
    return Sessions(store.state, clock, ttl_ms=lambda: HOUR, most=4)


@pytest.mark.parametrize(
    ("hint", "body", "want"),
    [
        (" abc ", {"session_id": "other"}, "ext:abc"),
        ("ext:abc", {}, "ext:abc"),
        ("", {"metadata": {"session_id": "a"}, "prompt_cache_key": "b"}, "ext:a"),
        ("", {"metadata": {"sessionId": "a"}}, "ext:a"),
        ("", {"metadata": {"session_id": 5, "sessionId": "a"}}, "ext:a"),
        ("", {"metadata": "session_id", "conversation_id": "c"}, "ext:c"),
        ("", {"session_id": "s", "prompt_cache_key": "p"}, "ext:s"),
        ("", {"prompt_cache_key": "p"}, "ext:p"),
        ("", {"session_id": " ", "conversation_id": None}, ""),
        ("", {"messages": [turn("user", '"session_id":"no"')]}, ""),
    ],
)
async def test_a_clients_own_id(hint: str, body: dict[str, Any], want: str, sessions: Sessions) -> None:
    assert sessions.explicit(ask(hint, **body)) == want


@given(st.text(max_size=300), st.text(max_size=300))
def test_an_id_is_safe_to_echo_and_different_ids_stay_different(one: str, other: str) -> None:
    """SEC-29: it goes into a header, a row and a list."""
    cleaned = Sessions.clean(one)
    assert cleaned == "" or (cleaned.startswith("ext:") and len(cleaned) <= 68 and cleaned.isascii() and cleaned.isprintable())
    if one.strip().removeprefix("ext:") != other.strip().removeprefix("ext:"):
        assert not cleaned or cleaned != Sessions.clean(other)


async def test_a_fingerprint_stays_over_the_turns_of_a_conversation(sessions: Sessions) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("b", "a")]
    start = [turn("system", "be kind"), turn("user", "hello")]
    first = sessions.fingerprint(ask(messages=start, tools=tools))
    assert len(first) == 16
    assert int(first, 16) >= 0
    later = [*start, turn("assistant", "hi"), turn("user", "and then?")]
    assert sessions.identify(ask(messages=later, tools=tools[::-1])) == first
    parts = [turn("system", "be kind"), turn("user", [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}])]
    assert sessions.fingerprint(ask(messages=parts, tools=tools)) == first
    others = [
        ask(messages=start),
        ask(messages=[turn("system", "be rude"), start[1]], tools=tools),
        ask(messages=[start[0], turn("user", "hullo")], tools=tools),
        ChatAsk(RawChat("openai", ask(messages=start, tools=tools).raw.body, "other")),  # type: ignore[union-attr]
    ]
    assert len({first, *map(sessions.fingerprint, others)}) == 5


async def test_other_dialects_and_the_internal_model_have_one_too(sessions: Sessions) -> None:
    system = sessions.fingerprint(ask(system="be kind", messages=[turn("user", "hello")]))
    assert system == sessions.fingerprint(ask(messages=[turn("system", "be kind"), turn("user", "hello")]))
    assert sessions.fingerprint(ask(input="hello")) == sessions.fingerprint(ask(input=[turn("user", "hello")]))
    inner = ChatAsk(request=ChatRequest(model="m", messages=[Message(Role.USER, [Text("hello")])]))
    assert sessions.identify(inner) == sessions.fingerprint(ask(messages=[turn("user", "hello")]))


@pytest.mark.parametrize(
    "body", [b"", b"[1]", b'{"messages":', b'{"messages":5}', b'{"messages":[]}', b'{"messages":[5,{"role":5}]}', b"\xff"]
)
async def test_what_cannot_be_read_has_none_and_breaks_nothing(body: bytes, sessions: Sessions) -> None:
    made = ChatAsk(RawChat("openai", body, "m"))
    assert len(sessions.identify(made)) in (0, 16)


async def test_pins_are_a_callers_own_and_end(sessions: Sessions, clock: Still) -> None:
    mine, other = (Sessions.of(Caller(key_id=name, name="", scopes=frozenset()), "ext:s") for name in "ab")
    sessions.pin(mine, "north", "con_1")
    assert (sessions.pinned(mine, "north"), sessions.pinned(mine, "south"), sessions.pinned(other, "north")) == ("con_1", None, None)
    clock.advance(3599)
    sessions.pin(mine, "north", "con_2")
    clock.advance(3599)
    assert sessions.pinned(mine, "north") == "con_2"
    clock.advance(1)
    assert sessions.pinned(mine, "north") is None
    sessions.pin("", "north", "con_1")
    assert sessions.pinned("", "north") is None
    sessions.pin(mine, "combo:a", "step")
    clock.advance(12 * 3600)
    assert sessions.pinned(mine, "combo:a") == "step"
    sessions.unpin(mine, "combo:a")
    assert sessions.pinned(mine, "combo:a") is None


async def test_affinity_may_be_off_and_pins_are_bounded(store: Store, clock: Still) -> None:
    off = Sessions(store.state, clock, ttl_ms=lambda: 0)
    off.pin("k\ns", "north", "con_1")
    assert off.pinned("k\ns", "north") is None
    few = Sessions(store.state, clock, ttl_ms=lambda: HOUR, most=2)
    for number in range(5):
        few.pin(f"k\n{number}", "north", "con_1")
    assert [few.pinned(f"k\n{number}", "north") for number in range(5)] == [None, None, None, "con_1", "con_1"]


async def test_pins_survive_a_restart_and_are_seldom_stored(tmp_path: Path) -> None:
    clock = Still()
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    sessions = Sessions(store.state, clock, ttl_ms=lambda: HOUR)
    for _ in range(50):
        sessions.pin("k\next:s", "north", "con_1")
        clock.advance(1)
    assert store.queue._added == 1
    sessions.pin("k\next:s", "north", "con_2")
    assert store.queue._added == 2
    clock.advance(61)
    sessions.pin("k\next:s", "north", "con_2")
    assert store.queue._added == 3
    await store.close()
    store = Store(make_settings(tmp_path), clock)
    await store.open()
    again = Sessions(store.state, clock, ttl_ms=lambda: HOUR)
    again.open()
    assert again.pinned("k\next:s", "north") == "con_2"
    await store.close()


async def test_sessions_under_way(sessions: Sessions, clock: Still) -> None:
    assert sessions.begin("k\na", most=2)
    assert sessions.begin("k\nb", most=2)
    assert not sessions.begin("k\nc", most=2)
    assert sessions.begin("k\na", most=2)
    assert sessions.begin("j\nc", most=1)
    assert sessions.begin("", most=1)
    sessions.answered("k\na", "con_1")
    sessions.answered("k\nnone", "con_1")
    first = {one.id: one for one in sessions.live()}["a"]
    assert (first.requests, first.connection_id, first.key_id) == (2, "con_1", "k")
    assert sessions.by_key() == {"k": 2, "j": 1}
    clock.advance(IDLE_MS / 2000)
    sessions.begin("k\nb")
    clock.advance(IDLE_MS / 2000)
    assert [one.id for one in sessions.live()] == ["b"]
    assert sessions.by_key() == {"k": 1}
