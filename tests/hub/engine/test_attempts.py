"""The record of a request: one usage row and one decision, settled exactly once, whatever happened (D17, D21, D22)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from hub.chat import Usage
from hub.engine.attempts import Run
from hub.errors import NotConfigured, UpstreamFailed, UpstreamRejected
from hub.money.prices import Priced
from hub.outbound.base import Fault, OutboundError
from hub.providers.base import Failure, FailureKind
from hub.providers.catalog import Price
from hub.records import Caller, Decision, TestStatus, UsageRow
from hub.secret import Secret, mask
from tests.fakes.book import Book, option

if TYPE_CHECKING:
    from hub.providers.base import Watcher

pytestmark = pytest.mark.anyio

CALLER = Caller(key_id="key_1", name="mine", scopes=frozenset({"chat"}))
PRICED = Priced(Price(input=10.0, output=20.0), "catalogue")
USAGE = Usage(input=1000, output=100)


@pytest.fixture
def book() -> Book:
    return Book()


def begun(book: Book, *, stream: bool = True) -> Run:
    run = book.begin(CALLER, stream=stream)
    run.attempt(option())
    run.meter(PRICED, lambda: 50)
    return run


def rows(book: Book) -> tuple[UsageRow, Decision]:
    """The one row of each kind that a request leaves."""
    assert (len(book.usage), len(book.decisions)) == (1, 1)
    return book.usage[0], book.decisions[0]


def watcher(usage: Usage | None) -> Watcher:
    class Seen:
        finished = True
        failure = None

        def __init__(self) -> None:
            self.usage = usage

        def feed(self, data: bytes) -> bytes:
            return data

        def end(self) -> bytes:
            return b""

    return Seen()


def test_an_answer_is_priced_and_recorded(book: Book) -> None:
    run = begun(book, stream=False)
    book.clock.advance(0.2)
    run.first_byte()
    run.first_byte()
    book.clock.advance(0.3)
    settled = run.settle(USAGE, PRICED)
    row, decision = rows(book)
    assert row is settled
    assert (row.usage, row.cost, row.price_source) == (USAGE, pytest.approx(0.012), "catalogue")
    assert (row.outcome, row.status, row.error_code, row.fallbacks) == ("ok", 200, "", 0)
    assert (row.latency_ms, row.ttft_ms, row.stream, row.at) == (500, 200, False, book.clock.now_ms() - 500)
    assert (row.request_id, row.door, row.key_id, row.key_name) == ("req_1", "test", "key_1", "mine")
    assert (row.requested_model, row.provider, row.model, row.connection_id) == ("openai/gpt-4o", "openai", "gpt-4o", "con_a")
    assert (decision.resolution, decision.order, len(decision.candidates)) == ("'openai' names the provider", [0], 1)
    assert (decision.outcome, decision.provider, decision.model, decision.cost, decision.latency_ms) == (
        "ok",
        "openai",
        "gpt-4o",
        row.cost,
        500,
    )
    (attempt,) = decision.attempts
    assert (attempt.kind, attempt.status, attempt.latency_ms, attempt.connection_id) == ("ok", 200, 500, "con_a")
    assert book.marks == []


def test_an_unknown_price_is_unknown_and_not_nothing(book: Book) -> None:
    """D17."""
    row = begun(book).settle(USAGE, None)
    assert (row.cost, row.price_source) == (None, "unknown")
    assert book.decisions[0].cost is None


@pytest.mark.parametrize("end", ["error", "cancel", "closed"])
def test_what_is_settled_stays_settled(book: Book, end: str) -> None:
    """SEC B7, REL-06: a client that leaves after the last byte, or an error in its door, changes nothing any more."""
    run = begun(book)
    run.settle(USAGE, PRICED)
    run.failed({"error": UpstreamFailed("late"), "cancel": asyncio.CancelledError(), "closed": GeneratorExit()}[end])
    row, decision = rows(book)
    assert (row.outcome, decision.outcome) == ("ok", "ok")


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit()])
def test_leaving_before_the_first_byte_costs_nothing(book: Book, error: BaseException) -> None:
    """REL-06."""
    run = begun(book)
    book.clock.advance(1)
    run.failed(error)
    run.failed(error)
    row, decision = rows(book)
    assert (row.outcome, row.status, row.error_code) == ("cancelled", 499, "cancelled")
    assert (row.cost, row.price_source, row.usage, row.ttft_ms) == (0.0, "none", Usage(), None)
    assert decision.outcome == "cancelled"
    assert (decision.attempts[0].latency_ms, book.marks) == (1000, [])


@pytest.mark.parametrize(
    ("told", "want"),
    [
        (None, Usage(input=50, output=100, estimated=True)),
        (Usage(input=40, cache_read=2, output=1), Usage(input=40, cache_read=2, output=100, estimated=True)),
        (Usage(input=40, output=300), Usage(input=40, output=300, estimated=True)),
    ],
)
@pytest.mark.parametrize("watched", [True, False])
def test_leaving_in_the_middle_is_billed_for_what_was_made(book: Book, told: Usage | None, want: Usage, watched: bool) -> None:
    """REL-06, D22: from the provider's own count where there is one, else from the bytes."""
    run = begun(book)
    if watched:
        run.watch(watcher(told))
    else:
        run.usage = told
    run.passed(1000)
    run.first_byte()
    run.passed(3000)
    run.failed(asyncio.CancelledError())
    row, _ = rows(book)
    assert (row.outcome, row.status, row.usage) == ("cancelled", 499, want)
    assert row.cost == pytest.approx((want.input * 10 + want.cache_read * 10 + want.output * 20) / 1e6)
    assert book.marks == []


def test_a_stream_that_ends_uses_the_last_word_on_usage(book: Book) -> None:
    run = begun(book)
    run.watch(watcher(USAGE))
    run.usage = Usage(input=1)
    run.passed(400)
    assert run.finished().usage == USAGE
    other = Book()
    run = begun(other)
    run.passed(4000)
    assert run.finished().usage == Usage(input=50, output=100, estimated=True)
    third = Book()
    run = third.begin(CALLER)
    run.attempt(option())
    run.passed(40)
    row = run.finished()
    assert (row.usage, row.cost) == (Usage(input=0, output=1, estimated=True), None)


def test_a_stream_cut_by_its_provider_is_an_error_that_is_billed_and_cools(book: Book) -> None:
    """REL-01: partial usage billed; the connection is left alone for a while."""
    run = begun(book)
    run.passed(4000)
    run.first_byte()
    run.failed(UpstreamFailed("the connection broke"))
    row, decision = rows(book)
    assert (row.outcome, row.status, row.error_code, row.usage.output) == ("error", 502, "bad_gateway", 100)
    assert (decision.attempts[0].kind, decision.attempts[0].message) == ("server", "the connection broke")
    state = book.cooldowns.of("con_a", book.clock.monotonic())
    assert state is not None
    assert state.soft
    ((identity, mark),) = book.marks
    assert (identity, mark["test_status"], mark["last_error"]) == ("con_a", TestStatus.UNAVAILABLE, "502: the connection broke")
    assert mark["cooldown_until"] - book.clock.now_ms() == pytest.approx(3000, rel=0.1)
    assert mark["backoff_level"] == 0


def test_a_fault_of_ours_does_not_blame_the_provider(book: Book) -> None:
    run = begun(book)
    run.passed(4000)
    run.failed(RuntimeError("ours"))
    row, decision = rows(book)
    assert (row.outcome, row.status, row.error_code) == ("error", 500, "internal_server_error")
    assert decision.attempts[0].kind == "ok"
    assert book.marks == []


def test_an_error_before_any_attempt(book: Book) -> None:
    run = book.begin(CALLER)
    run.failed(NotConfigured("nothing is connected"))
    row, decision = rows(book)
    assert (row.outcome, row.status, row.error_code, row.cost) == ("error", 503, "not_configured", 0.0)
    assert (row.provider, row.fallbacks, decision.attempts) == ("", 0, [])


def test_an_error_the_provider_reports_in_its_stream(book: Book) -> None:
    run = begun(book)
    run.passed(400)
    run.provider_failed(Failure(FailureKind.CAPACITY, 529, "overloaded", code="overloaded_error"))
    row = run.finished()
    assert (row.outcome, row.error_code, row.status) == ("error", "overloaded_error", 200)
    assert book.decisions[0].attempts[0].kind == "capacity"
    assert book.cooldowns.of("con_a", book.clock.monotonic()) is not None
    left = Book()
    run = begun(left)
    run.passed(400)
    run.provider_failed(Failure(FailureKind.CAPACITY, 529, "overloaded"))
    run.failed(GeneratorExit())
    assert (left.usage[0].outcome, left.usage[0].error_code) == ("error", "capacity")
    bare = Book()
    run = bare.begin(CALLER)
    run.provider_failed(Failure(FailureKind.SERVER, 500, "x"))
    run.failed(UpstreamFailed("x"))
    assert bare.usage[0].error_code == "bad_gateway"
    assert bare.marks == []


@pytest.mark.parametrize(
    ("kind", "status", "soft"),
    [
        (FailureKind.AUTH, TestStatus.EXPIRED, None),
        (FailureKind.CREDIT, TestStatus.CREDITS_EXHAUSTED, None),
        (FailureKind.RATE, TestStatus.UNAVAILABLE, False),
        (FailureKind.QUOTA, TestStatus.UNAVAILABLE, False),
        (FailureKind.PERMISSION, TestStatus.UNAVAILABLE, False),
        (FailureKind.CAPACITY, TestStatus.UNAVAILABLE, True),
        (FailureKind.SERVER, TestStatus.UNAVAILABLE, True),
        (FailureKind.NETWORK, TestStatus.UNAVAILABLE, True),
        (FailureKind.MODEL, None, None),
        (FailureKind.CALLER, None, None),
        (FailureKind.CONTEXT, None, None),
    ],
)
def test_what_a_failure_means_for_its_connection(book: Book, kind: FailureKind, status: TestStatus | None, soft: bool | None) -> None:
    """routing.md 3.3 and 3.4."""
    run = begun(book)
    attempt = book.begin(CALLER).attempt(option())
    book.clock.advance(0.125)
    run.refused(attempt, Failure(kind, 418, "m" * 300, retry_after=30.0))
    assert (attempt.kind, attempt.status, len(attempt.message)) == (kind.value, 418, 200)
    state = book.cooldowns.of("con_a", book.clock.monotonic())
    assert (state and (state.soft, state.until - book.clock.monotonic())) == (
        None if soft is None else (soft, pytest.approx(30.0, rel=0.1))
    )
    marks = [(identity, mark["test_status"], len(mark["last_error"])) for identity, mark in book.marks]
    assert marks == ([] if status is None else [("con_a", status, 100)])
    if soft is not None:
        assert book.marks[0][1]["cooldown_until"] - book.clock.now_ms() == pytest.approx(30_000, rel=0.1)


@pytest.mark.parametrize(
    ("fault", "blamed"),
    [
        (Fault.CONNECT_FAILED, True),
        (Fault.FIRST_BYTE_TIMEOUT, True),
        (Fault.ADDRESS_REFUSED, False),
        (Fault.PROXY_FAILED, False),
        (Fault.POOL_BUSY, False),
    ],
)
def test_faults_on_the_way(book: Book, fault: Fault, blamed: bool) -> None:
    """What is the operator's doing says nothing about the provider."""
    run = book.begin(CALLER)
    attempt = run.attempt(option())
    run.refused(attempt, Failure(FailureKind.NETWORK, 502, "no", code=fault.value), fault=OutboundError(fault, "no"))
    assert attempt.status is None
    assert (book.cooldowns.of("con_a", book.clock.monotonic()) is not None) is blamed
    assert bool(book.marks) is blamed


def test_fallbacks_are_counted_and_told(book: Book) -> None:
    run = book.begin(CALLER)
    for name, seconds in (("a", 0.1), ("b", 0.2)):
        attempt = run.attempt(option(name))
        book.clock.advance(seconds)
        run.refused(attempt, Failure(FailureKind.SERVER, 503, f"{name} is down"))
    run.attempt(option("c"))
    run.first_byte()
    book.clock.advance(0.3)
    row = run.settle(USAGE, PRICED)
    _, decision = rows(book)
    assert (row.fallbacks, row.connection_id, row.latency_ms) == (2, "con_c", 600)
    assert [(one.connection_id, one.kind, one.status, one.latency_ms) for one in decision.attempts] == [
        ("con_a", "server", 503, 100), ("con_b", "server", 503, 200), ("con_c", "ok", 200, 300),
    ]  # fmt: skip
    assert run.elapsed() == pytest.approx(0.6)


def test_an_error_in_place_of_an_answer_is_not_billed(book: Book) -> None:
    """What came before an error was the error itself; the verdict on the connection stays what it was."""
    run = begun(book)
    attempt = run.attempt(option())
    run.passed(4000)
    run.refused(attempt, Failure(FailureKind.AUTH, 401, "no such key"))
    run.failed(UpstreamRejected("no such key", upstream_status=401))
    row, decision = rows(book)
    assert (row.cost, row.price_source, row.usage, row.status) == (0.0, "none", Usage(), 401)
    assert decision.attempts[-1].kind == "auth"
    assert [mark["test_status"] for _, mark in book.marks] == [TestStatus.EXPIRED]


@pytest.mark.parametrize(
    ("fields", "cooling", "marked"), [({}, False, False), ({"test_status": TestStatus.UNAVAILABLE}, False, True), ({}, True, True)]
)
def test_a_success_clears_the_connection(book: Book, fields: dict[str, Any], cooling: bool, marked: bool) -> None:
    if cooling:
        book.cooldowns.fail("con_a", 0.0, reason="x", soft=True)
    run = book.begin(CALLER)
    run.attempt(option(**fields))
    run.first_byte()
    run.settle(USAGE, PRICED)
    clean = {"test_status": TestStatus.ACTIVE, "last_error": "", "last_error_at": None, "cooldown_until": None, "backoff_level": 0}
    assert book.marks == ([("con_a", clean)] if marked else [])
    assert book.cooldowns.quiet


def test_settling_without_an_attempt_marks_nothing(book: Book) -> None:
    assert book.begin(CALLER).settle(USAGE, PRICED).outcome == "ok"
    assert book.marks == []


async def test_closing_lets_the_upstream_go(book: Book) -> None:
    class Upstream:
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    run, upstream = book.begin(CALLER), Upstream()
    await run.close()
    run.streaming(upstream)  # type: ignore[arg-type]
    await run.close()
    assert upstream.closed == 1


@pytest.mark.parametrize(
    ("secret", "body", "left"),
    [
        ("sk-12345678", b'{"error": "bad key sk-12345678!"}', b'{"error": "bad key [masked]!"}'),
        ("sk-12345678", b"nothing here", b"nothing here"),
        ("short", b"short words are words", b"short words are words"),
        ("", b"x", b"x"),
        ("schlüssel-lang", "kein schlüssel-lang".encode(), b"kein [masked]"),
    ],
)
def test_our_own_key_in_a_provider_s_answer(secret: str, body: bytes, left: bytes) -> None:
    """SEC-25."""
    assert mask(body, Secret(secret)) == left
