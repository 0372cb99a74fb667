"""The event-stream parser: REL-03 (line ends, BOM, caps, cuts anywhere)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.errors import UpstreamFailed
from hub.sse import SseEvent, SseParser

STREAM = (
    b'\xef\xbb\xbf: a comment\n\ndata: {"a":1}\n\nevent: ping\r\ndata:no space\r\n\r\nid: 7\rdata:  two\rdata\rdata: lines\r\r'
    b"retry: 5\nunknown: x\n\nevent: lost\n\ndata: caf\xc3\xa9 \xf0\x9f\x98\x80\n\r\ndata: [DONE]\n\n"
)
EVENTS = [
    SseEvent("message", b'{"a":1}'),
    SseEvent("ping", b"no space"),
    SseEvent("message", b" two\n\nlines", "7"),
    SseEvent("message", "café 😀".encode(), "7"),
    SseEvent("message", b"[DONE]", "7"),
]


def parse(data: bytes, cuts: list[int], *, limit: int = 1000) -> list[SseEvent]:
    parser = SseParser(limit=limit)
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    events = [event for start, stop in itertools.pairwise(places) for event in parser.feed(data[start:stop])]
    return events + parser.end()


def test_every_single_cut_gives_the_same_events() -> None:
    assert parse(STREAM, []) == EVENTS
    for cut in range(len(STREAM)):
        assert parse(STREAM, [cut]) == EVENTS
    assert parse(STREAM, list(range(len(STREAM)))) == EVENTS


@given(
    st.lists(st.sampled_from([b"data: x", b"data:", b"data", b"event: e", b"id: 1", b":", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xc3"]))
)
@example([b"data: x", b"\r", b"\r", b"\n", b"data: x"])
def test_cut_at_every_byte_is_like_no_cut(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert parse(data, list(range(len(data)))) == parse(data, [])


@pytest.mark.parametrize("step", [1, 7, 100])
@pytest.mark.parametrize("size", [50, 51, 60])
def test_one_event_has_a_limit(size: int, step: int) -> None:
    data = b"data: 1\n\ndata: " + b"x" * (size - 6) + b"\n\n"
    cuts = list(range(0, len(data), step))
    if size > 50:
        with pytest.raises(UpstreamFailed):
            parse(data, cuts, limit=50)
    else:
        assert len(parse(data, cuts, limit=50)) == 2


def test_unfinished_event_is_shown_at_the_end() -> None:
    parser = SseParser()
    assert parser.feed(b"data: [DONE]") == []
    assert parser.end() == [SseEvent("message", b"[DONE]")]
    assert parser.end() == []


def test_id_with_nul_is_ignored_and_ids_last() -> None:
    assert SseParser().feed(b"id: a\ndata: 1\n\nid: b\0\ndata: 2\n\n") == [SseEvent("message", b"1", "a"), SseEvent("message", b"2", "a")]
