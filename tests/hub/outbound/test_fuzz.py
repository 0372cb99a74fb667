"""The connection fed with answers cut anywhere and with garbage: it ends, and only with our own errors."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.outbound.base import Limits, Origin, OutboundError, Outgoing
from hub.outbound.exchange import Answer, Connection

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = Outgoing(Origin("http", "a.test", 80), "GET", "/", [], limits=Limits(head=2000, body=5000))
ANSWERS = [
    b"HTTP/1.1 200 OK\r\ncontent-type: a\r\ncontent-length: 11\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nt: x\r\n\r\n",
    b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 204 None\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: 19\r\n\r\nx\x9c\xcbH\xcd\xc9\xc9W(\xcf/\xcaI\x01\x00\x1a\x0b\x04]",
]


class Owner:
    def __init__(self) -> None:
        self.back = 0
        self.gone = 0

    def give_back(self, connection: Connection) -> None:
        self.back += 1

    def lost(self, connection: Connection) -> None:
        self.gone += 1


class Wire(asyncio.Transport):
    """Takes what is written and notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def play(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> tuple[int, list[tuple[bytes, bytes]], bytes] | OutboundError:
    """The outcome of an answer that arrives in these pieces and then ends."""
    owner = Owner()
    connection = Connection(owner, loop)
    connection.connection_made(Wire())
    answer = connection.begin(REQUEST)
    connection.sent = True
    for piece in pieces:
        if piece:
            connection.data_received(piece)
    connection.connection_lost(None)
    assert owner.gone + owner.back >= 1
    assert owner.gone <= 1
    if answer.error is not None and not answer.status:
        return answer.error
    return finish(answer)


def test_half_sent_request_spoils_the_connection(loop: asyncio.AbstractEventLoop) -> None:
    """The rest of the body would be read as the next request."""
    for sent in (True, False):
        owner = Owner()
        connection = Connection(owner, loop)
        connection.connection_made(Wire())
        answer = connection.begin(REQUEST)
        connection.sent = sent
        connection.data_received(ANSWERS[0])
        assert (owner.back, owner.gone) == ((1, 0) if sent else (0, 1))
        assert finish(answer) == (200, [(b"content-type", b"a"), (b"content-length", b"11")], b"hello world")


def finish(answer: Answer) -> tuple[int, list[tuple[bytes, bytes]], bytes] | OutboundError:
    """Read the answer, which must not wait for anything any more."""
    reading = answer.read()
    try:
        reading.send(None)
    except StopIteration as end:
        return answer.status, answer.headers, end.value
    except OutboundError as error:
        return error
    reading.close()
    pytest.fail("reading waits although the connection is gone")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ANSWERS), st.lists(st.integers(0, 400), max_size=12))
def test_cuts_change_nothing(loop: asyncio.AbstractEventLoop, data: bytes, places: list[int]) -> None:
    whole = play(loop, [data])
    assert not isinstance(whole, OutboundError)
    assert play(loop, cut(data, places)) == whole


@pytest.mark.parametrize("data", ANSWERS)
def test_byte_by_byte(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    assert play(loop, [bytes([byte]) for byte in data]) == play(loop, [data])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=10))
def test_garbage_ends_in_our_error(loop: asyncio.AbstractEventLoop, pieces: list[bytes]) -> None:
    assert isinstance(play(loop, pieces), OutboundError)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(ANSWERS),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(min_size=1, max_size=6)), min_size=1, max_size=6),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_damaged_answers_end(loop: asyncio.AbstractEventLoop, data: bytes, damage: list[tuple[int, int, bytes]], places: list[int]) -> None:
    """Bytes replaced, removed and put in: an answer or our own error, never anything else, never a wait."""
    for place, removed, added in damage:
        at = place % (len(data) + 1)
        data = data[:at] + added + data[at + removed :]
    play(loop, cut(data, places))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(0, 9), st.booleans(), st.booleans())
def test_endless_parts_hit_a_limit(loop: asyncio.AbstractEventLoop, times: int, where: int, names: bool, newline: bool) -> None:
    """Heads, trailers, chunk marks and bodies without end all stop at their limit."""
    starts = [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 ", ANSWERS[1][:-2], ANSWERS[1][:48]]
    filler = (b"ab: c\r\n" if newline else b"y" if names else b"1") * 700 * times
    play(loop, [starts[where % len(starts)], *[filler] * 10])
