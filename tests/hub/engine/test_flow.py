"""Streams on their way through: passed on or translated, refused before they begin, given up when they only ping (REL-01 to 03)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hub.chat import ChatEvent, Failed, TextDelta, Usage
from hub.engine.flow import Patience, Refused, pass_through, translate
from hub.errors import UpstreamFailed
from hub.outbound.base import Fault, OutboundError, Timeouts
from hub.providers.base import Adapter, FailureKind, RawChat, Target
from hub.records import Caller
from hub.registry import load
from hub.secret import Secret
from tests.fakes.book import CATALOG, Book, option
from tests.fakes.clock import Still
from tests.fakes.vendor import chunk, chunks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.engine.attempts import Run
    from hub.providers.base import Watcher

pytestmark = pytest.mark.anyio

ADAPTER = load("hub.providers", Adapter, lambda adapter: adapter.name)["openai"]
TARGET = Target(CATALOG.get("openai"), "gpt-4o", None, "con_a", "https://x", Secret("s"))
ERROR = {"error": {"message": "overloaded, come back", "type": "server_error", "code": "overloaded"}}
PING = b": ping\n\n"


class Incoming:
    """An answer's body, piece by piece; a float lets so many seconds pass first."""

    status = 200

    def __init__(self, clock: Still, *pieces: bytes | float) -> None:
        self._clock = clock
        self._pieces = pieces
        self.headers: list[tuple[bytes, bytes]] = []

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
            else:
                self._clock.advance(piece)

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self])

    async def close(self) -> None:
        pass


class Desk:
    """One request under way, and the two ways a body may take through it."""

    def __init__(self) -> None:
        self.book = Book()
        self.run: Run = self.book.begin(Caller.anonymous())
        self.run.attempt(option())
        self.patience = Patience(self.book.clock, Timeouts(first_byte=10, idle=5))

    def watcher(self) -> Watcher:
        raw = RawChat("openai", b"{}", "gpt-4o", stream=True, include_usage=True)
        return self.run.watch(ADAPTER.watcher(raw))

    def passed(self, *pieces: bytes | float) -> AsyncIterator[bytes]:
        return pass_through(Incoming(self.book.clock, *pieces), self.watcher(), self.run, self.patience)

    def translated(self, *pieces: bytes | float) -> AsyncIterator[list[ChatEvent]]:
        return translate(Incoming(self.book.clock, *pieces), ADAPTER.decoder(TARGET), self.run, self.patience)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def events(*values: str | dict[str, Any]) -> bytes:
    return b"".join(f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n".encode() for value in values)


DONE = b"data: [DONE]\n\n"
WHOLE = [events(one) for one in chunks("Hel", "lo")]


# -- patience


def test_patience_counts_from_the_last_useful_thing() -> None:
    """REL-02: keep-alives do not keep a dead upstream alive."""
    clock = Still()
    patience = Patience(clock, Timeouts(first_byte=10, idle=5))
    clock.advance(10)
    patience.idle(started=False)
    clock.advance(0.1)
    with pytest.raises(OutboundError, match="nothing but keep-alives for 10 s") as caught:
        patience.idle(started=False)
    assert (caught.value.fault, caught.value.started, caught.value.reached, caught.value.status) == (
        Fault.FIRST_BYTE_TIMEOUT,
        False,
        True,
        504,
    )
    patience.useful()
    clock.advance(5)
    patience.idle(started=True)
    clock.advance(0.1)
    with pytest.raises(OutboundError, match="for 5 s") as caught:
        patience.idle(started=True)
    assert (caught.value.fault, caught.value.started) == (Fault.IDLE_TIMEOUT, True)
    patience.useful()
    patience.idle(started=True)


# -- bytes that pass through


async def test_bytes_pass_as_they_are(desk: Desk) -> None:
    got = [piece async for piece in desk.passed(*WHOLE, DONE)]
    assert b"".join(got) == b"".join([*WHOLE, DONE])
    row = desk.run.finished()
    assert (row.usage.prompt, row.usage.output, row.outcome) == (100, 20, "ok")
    assert row.ttft_ms == 0


async def test_comments_before_the_first_event_are_dropped_and_later_ones_kept(desk: Desk) -> None:
    got = [piece async for piece in desk.passed(PING, 2.0, b":\n: still\n\n", 2.0, *WHOLE, PING, DONE)]
    assert got[0].startswith(b"data: ")
    assert PING in got
    assert desk.run.finished().ttft_ms == 4000


async def test_an_upstream_that_only_pings_is_given_up(desk: Desk) -> None:
    """REL-02: before the first event it is a target that failed, after it a stream that broke."""
    with pytest.raises(OutboundError) as caught:
        [piece async for piece in desk.passed(PING, 6.0, PING, 6.0, PING)]
    assert caught.value.fault is Fault.FIRST_BYTE_TIMEOUT
    other, got = Desk(), []
    flow = other.passed(WHOLE[0], 4.0, PING, 4.0, PING)
    got.append(await anext(flow))
    got.append(await anext(flow))
    with pytest.raises(OutboundError) as caught:
        await anext(flow)
    assert caught.value.fault is Fault.IDLE_TIMEOUT
    assert got == [WHOLE[0], PING]


async def test_a_held_back_piece_is_not_useful_yet(desk: Desk) -> None:
    half = WHOLE[0][: len(WHOLE[0]) // 2]
    with pytest.raises(OutboundError):
        [piece async for piece in desk.passed(half[:10], 11.0, half[10:])]


async def test_an_error_as_the_first_event_is_a_refusal(desk: Desk) -> None:
    """REL-05: a provider that says 200 and then no."""
    with pytest.raises(Refused) as caught:
        [piece async for piece in desk.passed(PING, events(ERROR), DONE)]
    assert caught.value.failure.message == "overloaded, come back"
    assert (caught.value.error.message, caught.value.error.code) == ("overloaded, come back", "overloaded")


async def test_an_error_without_a_line_end_is_a_refusal(desk: Desk) -> None:
    with pytest.raises(Refused):
        [piece async for piece in desk.passed(events(ERROR).rstrip(b"\n"))]


async def test_an_end_without_a_line_end_is_passed_on_too(desk: Desk) -> None:
    """REL-03."""
    got = [piece async for piece in desk.passed(*WHOLE, DONE.rstrip())]
    assert b"".join(got).rstrip() == b"".join([*WHOLE, DONE]).rstrip()
    assert desk.run.finished().outcome == "ok"


async def test_an_error_in_the_middle_is_passed_on_and_noted(desk: Desk) -> None:
    got = [piece async for piece in desk.passed(WHOLE[0], WHOLE[1], events(ERROR), DONE)]
    assert events(ERROR) in b"".join(got)
    row = desk.run.finished()
    assert (row.outcome, row.error_code) == ("error", "overloaded")
    assert desk.book.cooldowns.of("con_a", desk.book.clock.monotonic()) is not None


@pytest.mark.parametrize(
    ("pieces", "words"), [([], "an empty stream"), ([PING], "an empty stream"), ([WHOLE[0]], "before the answer was complete")]
)
async def test_a_stream_that_ends_too_soon(desk: Desk, pieces: list[bytes], words: str) -> None:
    """REL-01: never a silent stop."""
    with pytest.raises(UpstreamFailed, match=words):
        [piece async for piece in desk.passed(*pieces)]


KEY = b"sk-our-own-key-1"


@pytest.mark.parametrize(
    "event", [events({"error": {"message": f"bad {KEY.decode()}", "code": KEY.decode()}}), events(chunk({"content": KEY.decode()}))]
)
async def test_our_own_key_does_not_come_back_in_a_stream(event: bytes) -> None:
    """SEC-25: in either way through, in what is passed on and in what is noted."""
    body = [WHOLE[0], WHOLE[1], event, DONE]
    one, other = Desk(), Desk()
    passed = pass_through(Incoming(one.book.clock, *body), one.watcher(), one.run, one.patience, hidden=KEY)
    got = b"".join([piece async for piece in passed])
    assert b"[masked]" in got
    decoder = ADAPTER.decoder(TARGET)
    translated = translate(Incoming(other.book.clock, *body), decoder, other.run, other.patience, hidden=KEY)
    batches = [batch async for batch in translated]
    one.run.finished()
    other.run.finished()
    assert KEY.decode() not in repr((got, batches, one.book, other.book))


# -- events that are translated


async def test_events_come_as_they_are_decoded(desk: Desk) -> None:
    batches = [batch async for batch in desk.translated(*WHOLE, DONE)]
    assert "".join(event.text for batch in batches for event in batch if isinstance(event, TextDelta)) == "Hello"
    row = desk.run.finished()
    assert (row.usage.prompt, row.usage.output) == (100, 20)


async def test_translation_gives_up_on_pings_too(desk: Desk) -> None:
    """REL-02."""
    with pytest.raises(OutboundError) as caught:
        [batch async for batch in desk.translated(PING, 11.0, PING)]
    assert caught.value.fault is Fault.FIRST_BYTE_TIMEOUT
    flow = Desk().translated(WHOLE[1], 6.0, PING)
    await anext(flow)
    with pytest.raises(OutboundError) as caught:
        await anext(flow)
    assert caught.value.fault is Fault.IDLE_TIMEOUT


async def test_a_translated_error_at_the_start_is_a_refusal(desk: Desk) -> None:
    with pytest.raises(Refused) as caught:
        [batch async for batch in desk.translated(events(ERROR), DONE)]
    assert caught.value.failure.kind is FailureKind.SERVER
    assert desk.book.marks == []  # whoever tries the next target notes it


async def test_a_translated_error_in_the_middle_ends_the_stream(desk: Desk) -> None:
    batches = [batch async for batch in desk.translated(WHOLE[1], events(ERROR))]
    failed = [event for batch in batches for event in batch if isinstance(event, Failed)]
    assert [event.message for event in failed] == ["overloaded, come back"]
    assert desk.run.finished().outcome == "error"


@pytest.mark.parametrize("pieces", [[], [PING]])
async def test_a_translated_stream_without_events(desk: Desk, pieces: list[bytes]) -> None:
    with pytest.raises((UpstreamFailed, Refused)):
        [batch async for batch in desk.translated(*pieces)]


async def test_a_translated_stream_that_breaks_off_says_so(desk: Desk) -> None:
    """REL-01."""
    batches = [batch async for batch in desk.translated(events(chunk({"content": "Hel"})))]
    assert isinstance(batches[-1][-1], Failed)
    row = desk.run.finished()
    assert row.outcome == "error"
    assert row.usage == Usage(input=0, output=row.usage.output, estimated=True)


async def test_usage_named_at_the_start_counts_until_there_is_more(desk: Desk) -> None:
    """Anthropic says at the start what the prompt was."""
    adapter = load("hub.providers", Adapter, lambda one: one.name)["claude"]
    start = {
        "type": "message_start",
        "message": {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "c",
            "content": [],
            "usage": {"input_tokens": 9, "output_tokens": 1},
        },
    }
    body = b"event: message_start\n" + events(start)
    target = Target(CATALOG.get("anthropic"), "claude-sonnet-4-5", None, "con_a", "https://x", Secret("s"))
    flow = translate(Incoming(desk.book.clock, body), adapter.decoder(target), desk.run, desk.patience)
    await anext(flow)
    assert desk.run.usage is not None
    assert desk.run.usage.input == 9
