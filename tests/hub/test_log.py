"""Logs: one record a line whatever the text holds, and no credential in any part of it."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.log import JsonFormatter, TextFormatter, logger, masked, secret_name, set_up

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "hr_0123456789AB_" + "s3cr3tpart" * 3 + "xyChEcK6"


@pytest.fixture
def root() -> Iterator[None]:
    """Put the process's logging back as it was."""
    names = ["", "httpx", "httpcore", "mcp", "alembic", "sqlalchemy", "a2a", "uvicorn.access"]
    kept = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    for one, level in kept:
        one.setLevel(level)


@pytest.fixture(params=["json", "text"])
def style(request: pytest.FixtureRequest) -> str:
    return request.param


def written(style: str, event: str, level: str = "debug", **fields: Any) -> str:
    stream = io.StringIO()
    set_up(level, style=style, stream=stream)
    logger("hub.test").info(event, **fields)
    return stream.getvalue()


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return caught


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"key {TOKEN} is bad", "key … is bad"),
        ("sk-proj-abc_DEF-123 refused", "… refused"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: …"),
        ("at postgresql://me:pass-word@db/x", "at postgresql://…@db/x"),
        ("at socks5://:pass-word@proxy:1", "at socks5://…@proxy:1"),
        ("hr_short and sk-abc and http://host/path@x", "hr_short and sk-abc and http://host/path@x"),
        ("héllo", "héllo"),
        ("half \ud800 character", "half ? character"),
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str, left: str) -> None:
    """SEC-22: of a hub key not only the public part."""
    assert masked(text) == left


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("key", True), ("apiKey", True), ("api_key", True), ("X-Api-Key", True), ("access_token", True), ("clientSecret", True),
        ("password", True), ("Authorization", True), ("set-cookie", True), ("proxy", True),
        ("key_id", False), ("tokens", False), ("max_tokens", False), ("keys", False), ("proxied", False),
    ],
)  # fmt: skip
def test_which_fields_hold_secrets(name: str, secret: bool) -> None:
    assert secret_name(name) is secret


def test_secrets_are_masked_in_every_part(style: str, root: None) -> None:
    """SEC-22: message, fields by name, fields by look, traces with their causes and notes."""
    cause = raised(ValueError(f"inner {TOKEN}"))
    error = RuntimeError("outer sk-live-abcdefgh")
    error.__cause__ = cause
    error.add_note("Bearer notenotenote")
    text = written(
        style,
        f"event {TOKEN}",
        api_key="canary-by-name",
        url="http://user:canary-pass@host/",
        nested={"a": "sk-canary-nested"},
        exc_info=raised(error),
    )
    for secret in ("s3cr3tpart", "canary", "abcdefgh", "notenote", "ChEcK6"):
        assert secret not in text
    assert "inner" in text
    assert "outer" in text


def test_a_record_is_one_line_whatever_it_holds(root: None) -> None:
    """SEC-83: what a user sends cannot look like a record of its own."""
    forged = "x\n2026-01-01 error hub.call forged\r\x1b[2J\x00\u2028\x85end"
    line = written("json", forged, field=forged)
    assert line.count("\n") == 1
    row = json.loads(line)
    assert row["event"] == row["field"] == forged
    text = written("text", forged, field=forged)
    assert text.count("\n") == 1
    assert not set(text[:-1]) & {chr(code) for code in [*range(32), *range(127, 160), 0x2028, 0x2029]}


def test_a_trace_in_a_text_log_stands_apart(root: None) -> None:
    """SEC-83: the message of an exception may hold what a user sent."""
    text = written("text", "failed", exc_info=raised(ValueError("bad\n12:00:00 error forged\x1b[31m\rred")))
    first, *rest = text.splitlines()
    assert first.endswith("info    failed")
    assert rest
    assert all(line.startswith("  ") for line in rest)
    assert "\x1b" not in text
    assert "\r" not in text


def test_json_rows(root: None) -> None:
    row = json.loads(written("json", "started", port=1, ok=True, none=None, ratio=0.5, path=["a"]))
    assert row.pop("at").endswith("+00:00")
    assert row == {
        "level": "info", "logger": "hub.test", "event": "started", "port": 1, "ok": True, "none": None, "ratio": 0.5, "path": "['a']",
    }  # fmt: skip


def test_a_field_does_not_stand_for_the_time_of_a_row(root: None) -> None:
    row = json.loads(written("json", "started", at=5))
    assert row.pop("at").endswith("+00:00")
    assert row == {"level": "info", "logger": "hub.test", "event": "started"}


def test_text_rows(root: None) -> None:
    text = written("text", "started", port=1, name="x")
    assert text[8:] == " info    started port=1 name=x\n"


def test_what_json_cannot_say_is_logged_all_the_same(root: None, capsys: pytest.CaptureFixture[str]) -> None:
    row = json.loads(written("json", "half \ud800", value="\udfff", count=2**80, less=-(2**80), nan=float("nan")))
    assert (row["event"], row["value"], row["count"], row["less"], row["nan"]) == ("half ?", "?", str(2**80), str(-(2**80)), None)
    assert capsys.readouterr().err == ""


@given(st.text(), st.dictionaries(st.sampled_from(["a", "b_c", "key"]), st.text() | st.integers() | st.floats() | st.none()))
def test_no_text_breaks_the_log(event: str, fields: dict[str, Any]) -> None:
    record = logging.makeLogRecord({"msg": event.replace("%", "%%"), "levelno": 20, "levelname": "INFO", "fields": fields})
    json.loads(JsonFormatter().format(record))
    assert "\n" not in TextFormatter().format(record)


def test_long_values_are_cut(root: None) -> None:
    row = json.loads(written("json", "e", value="v" * 5000, exc_info=raised(ValueError("t" * 20_000))))
    assert len(row["value"]) == 2000
    assert len(row["trace"]) == 8000


def test_foreign_records_go_the_same_way(root: None) -> None:
    stream = io.StringIO()
    set_up("info", style="json", stream=stream)
    foreign = logging.getLogger("somebody.else")
    try:
        raise ValueError("sk-foreign-secret")
    except ValueError:
        foreign.exception("at %s", "http://u:foreignpass@h/")
    row = json.loads(stream.getvalue())
    assert (row["level"], row["logger"], row["event"]) == ("error", "somebody.else", "at http://…@h/")
    assert "foreign-secret" not in row["trace"]


def test_levels(root: None) -> None:
    stream = io.StringIO()
    set_up("warning", style="json", stream=stream)
    log = logger("hub.test")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["c", "d"]
    assert logging.getLogger("httpx").level == logging.WARNING
    set_up("error", style="json", stream=stream)
    assert logging.getLogger("mcp").level == logging.ERROR
    set_up("debug", style="json", stream=stream)
    log.debug("e")
    assert json.loads(stream.getvalue().splitlines()[-1])["level"] == "debug"
    assert logging.getLogger("httpx").level == logging.WARNING


def test_people_get_text_and_machines_json(root: None, capsys: pytest.CaptureFixture[str]) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream, first in ((Terminal(), "t"), (io.StringIO(), "{")):
        set_up("info", stream=stream)
        logger("hub.test").info("hello")
        assert (stream.getvalue()[0] == "{") is (first == "{")
    set_up("info", style="json")
    logger("hub.test").info("on standard error")
    assert "on standard error" in capsys.readouterr().err


def test_access_tokens_are_masked() -> None:
    """SEC-22: a JWT gives itself away by its form, wherever it turns up."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmVk-_x"
    assert masked(f"refused {token}, sorry") == "refused …, sorry"
    assert masked("eyJust.a.name") == "eyJust.a.name"
