"""The one reading of upstream errors: routing.md 3.3 and 3.4, REL-04's hints."""

from __future__ import annotations

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.providers._failure import MAX_WAIT, classify, message_of, retry_after
from hub.providers.base import FailureKind as K

NOW = 1_700_000_000_000


def body(message: str, **more: object) -> bytes:
    return orjson.dumps({"error": {"message": message, **more}})


@pytest.mark.parametrize(
    ("status", "data", "kind"),
    [
        (400, body("Invalid value for 'temperature'"), K.CALLER),
        (400, body("This model's maximum context length is 8192 tokens.", code="context_length_exceeded"), K.CONTEXT),
        (
            400,
            b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}',
            K.CONTEXT,
        ),
        (400, body("The input token count (2000000) exceeds the maximum number of tokens allowed (1048576)."), K.CONTEXT),
        (400, body("API key not valid. Please pass a valid API key.", status="INVALID_ARGUMENT"), K.AUTH),
        (400, body("The requested model 'x-1' does not exist.", code="model_not_found"), K.MODEL),
        (400, body("Your credit balance is too low to access the API"), K.CREDIT),
        (401, body("Incorrect API key provided"), K.AUTH),
        (403, body("This account has been deactivated"), K.AUTH),
        (402, b"", K.CREDIT),
        (403, body("no access"), K.PERMISSION),
        (403, body("Generative Language API has not been used in project 12 before"), K.PERMISSION),
        (404, b"<html><title>404 Not Found</title></html>", K.MODEL),
        (404, b'{"error":"model \\"llama9\\" not found, try pulling it first"}', K.MODEL),
        (408, b"", K.SERVER),
        (413, b"", K.CONTEXT),
        (429, b"", K.RATE),
        (429, body("You exceeded your current quota, please check your plan", code="insufficient_quota"), K.QUOTA),
        (429, body("Resource has been exhausted", status="RESOURCE_EXHAUSTED"), K.QUOTA),
        (429, body("Rate limit reached for gpt-4 on tokens per min"), K.RATE),
        (500, body("The server had an error"), K.SERVER),
        (503, body("The model is overloaded. Please try again later."), K.CAPACITY),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', K.CAPACITY),
        (200, b'{"error":{"message":"slow down","type":"rate_limit_error"}}', K.RATE),
        (200, b'{"error":{"message":"bad","code":400}}', K.CALLER),
        (200, b'{"error":{"message":"oops"}}', K.SERVER),
        (302, b"", K.SERVER),
    ],
)
def test_kinds(status: int, data: bytes, kind: K) -> None:
    assert classify(status, [], data, now_ms=NOW).kind is kind


@pytest.mark.parametrize(
    ("name", "value", "seconds"),
    [
        (b"Retry-After", b"7", 7.0),
        (b"retry-after", b"Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        (b"retry-after", b"Tue, 14 Nov 2023 22:00:00 GMT", None),
        (b"retry-after", b"-5", None),
        (b"retry-after", b"soon", None),
        (b"retry-after", b"nan", None),
        (b"retry-after", b"999999999999", MAX_WAIT),
        (b"retry-after-ms", b"1500", 1.5),
        (b"x-ratelimit-reset", b"1700000060", 60.0),
        (b"x-ratelimit-reset", b"1700000060500", 60.5),
        (b"x-ratelimit-reset", b"1600000000", None),
        (b"x-ratelimit-reset", b"12", 12.0),
        (b"x-ratelimit-reset", b"1e9", None),
        (b"retry-after", b"1.5", 1.5),
        (b"retry-after", b"-1.5", None),
        (b"retry-after", b"0", 0.0),
        (b"retry-after", b"9" * 30, None),
        (b"retry-after", b"Wed, 21 Oct 99999 07:28:00 GMT", None),
        (b"retry-after", b"Wed, 99 Foo 2040 00:00:00 GMT", None),
        (b"retry-after", b"Thu, 01 Jan 2037 00:00:00 GMT", MAX_WAIT),
    ],
)
def test_header_hints(name: bytes, value: bytes, seconds: float | None) -> None:
    found = retry_after([(name, value)], b"", now_ms=NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (b'{"error":{"details":[{"@type":"RetryInfo","retryDelay":"10s"}]}}', 10.0),
        (b'{"retryDelay": "500ms"}', 0.5),
        (b'{"retryDelay":"2m"}', 120.0),
        (body("Please try again in 6m0s."), 360.0),
        (body("Please retry after 20 seconds"), 20.0),
        (body("retry after 3"), 3.0),
        (body("Your quota will reset after 1h2m3s."), 3723.0),
        (body("try again in 1.25s and then"), 1.25),
        (body("try again tomorrow"), None),
        (b"", None),
    ],
)
def test_spoken_hints(data: bytes, seconds: float | None) -> None:
    assert retry_after([], data, now_ms=NOW) == seconds


def test_header_wins_over_text_and_date_header_is_the_clock() -> None:
    headers = [(b"date", b"Tue, 14 Nov 2023 22:13:20 GMT"), (b"retry-after", b"Tue, 14 Nov 2023 22:13:29 GMT")]
    assert retry_after(headers, b"retry after 99 s") == 9.0


def test_an_impossible_date_of_the_answer_is_no_clock() -> None:
    """REL-04: garbage in a header must not end the request."""
    headers = [(b"date", b"Wed, 21 Oct 99999 07:28:00 GMT"), (b"retry-after", b"9")]
    assert classify(429, headers, b"").retry_after == 9.0


@pytest.mark.parametrize(
    ("headers", "data", "status", "source"),
    [
        ([(b"retry-after", b"9")], body("retry after 20 s"), 429, "header"),
        ([], body("retry after 20 s"), 429, "text"),
        ([(b"retry-after", b"soon")], body("slow down"), 429, ""),
        ([], body("no credentials"), 403, "rule"),
    ],
)
def test_where_a_wait_is_from(headers: list[tuple[bytes, bytes]], data: bytes, status: int, source: str) -> None:
    assert classify(status, headers, data, now_ms=NOW).source == source


@given(st.lists(st.tuples(st.sampled_from([b"retry-after", b"retry-after-ms", b"x-ratelimit-reset", b"date"]), st.binary(max_size=80))))
def test_no_header_breaks_the_reading(headers: list[tuple[bytes, bytes]]) -> None:
    """REL-04: whatever is sent, a wait is a number within a day or nothing."""
    found = classify(429, headers, b"").retry_after
    assert found is None or 0 <= found <= MAX_WAIT


def test_daily_quota_lasts_until_midnight_of_utc_unless_the_status_is_429(monkeypatch: pytest.MonkeyPatch) -> None:
    """routing.md 3 'Better': whatever zone the machine is in."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    try:
        found = classify(403, [], body("You have used today's quota"), now_ms=NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.kind is K.QUOTA
    assert found.retry_after == 86_400 - NOW // 1000 % 86_400 == 6400
    assert classify(429, [], body("You have used today's quota"), now_ms=NOW).retry_after is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (body("one\ntwo\x00\x1b[31m"), "one two [31m"),
        (b'{"error":"plain"}', "plain"),
        (b'[{"error":{"code":404,"message":"models/x is not found"}}]', "models/x is not found"),
        (b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "field required"),
        (b"<html><head><title>502 Bad Gateway</title></head><body>x</body></html>", "502 Bad Gateway"),
        (b"<p>gone <b>away</b></p>", "gone away"),
        (b"upstream connect error", "upstream connect error"),
        (b"{broken", "{broken"),
        (b"", ""),
    ],
)
def test_messages(data: bytes, words: str) -> None:
    assert message_of(data) == words


def test_a_message_is_short_and_hostile_bodies_are_survived() -> None:
    assert len(message_of(body("x" * 10_000))) == 500
    for hostile in (b"<" * 200_000, b"[" * 200_000, b'{"error":' * 50_000, b"retry after " * 20_000, b"account " * 20_000):
        assert len(classify(400, [], hostile, now_ms=NOW).message) <= 500
