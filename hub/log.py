"""One logging set-up: events with fields, JSON lines or text; secrets are masked here and nowhere else (SEC-22).

``logger("hub.x").info("event words", field=value)``. Field names that look secret are masked, control
characters stay inside one field (SEC-83), prompts are never logged because nobody passes them.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from textwrap import indent
from typing import IO, Any

import orjson

_SECRET_FIELD = re.compile(r"(key|token|secret|password|authorization|cookie|proxy)$", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"\b(hr_[A-Za-z0-9_]{8,}|osync_[\w-]{8,}|sk-[A-Za-z0-9_-]{6,}|Bearer\s+\S+|eyJ[\w-]{8,}\.[\w-]+\.[\w-]*)|(?<=://)[^/@\s]*:[^/@\s]+(?=@)"
)
#: C0 and C1 controls and Unicode's own line ends; a trace keeps its tabs and line feeds.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACE_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_LARGEST = 2**63


def masked(text: str) -> str:
    """Text without what looks like a credential, and without what UTF-8 cannot write."""
    return _SECRET_TEXT.sub("…", text if text.isascii() else text.encode(errors="replace").decode())


def secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _SECRET_FIELD.search(name) is not None


class EventLogger:
    """A logger whose calls take an event and fields."""

    def __init__(self, name: str) -> None:
        self._log = logging.getLogger(name)

    def debug(self, event: str, **fields: object) -> None:
        """For developers; off by default."""
        self._emit(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator may want to know."""
        self._emit(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """What an operator should look at."""
        self._emit(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """A fault; ``exc_info`` takes the exception."""
        self._emit(logging.ERROR, event, fields)

    def _emit(self, level: int, event: str, fields: dict[str, Any]) -> None:
        if self._log.isEnabledFor(level):
            cause = fields.pop("exc_info", None)
            self._log.log(level, event, extra={"fields": fields, "cause": cause})


def logger(name: str) -> EventLogger:
    """The event logger of a module."""
    return EventLogger(name)


def _fields(record: logging.LogRecord) -> dict[str, str | int | float | bool | None]:
    found: dict[str, str | int | float | bool | None] = {}
    raw: dict[str, Any] = getattr(record, "fields", {})
    for name, value in raw.items():
        if secret_name(name):
            found[name] = "…"
        elif isinstance(value, float) or value is None or (isinstance(value, int) and -_LARGEST <= value < _LARGEST):
            found[name] = value
        else:
            found[name] = masked(str(value))[:2000]
    cause: BaseException | None = getattr(record, "cause", None)
    if cause is None and record.exc_info:
        cause = record.exc_info[1]
    if cause is not None:
        found["trace"] = masked("".join(traceback.format_exception(cause)))[-8000:]
    return found


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, event, fields."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row = {"at": at, "level": record.levelname.lower(), "logger": record.name, "event": masked(record.getMessage())}
        # What the line itself says stays first, and a field of the same name does not take its place.
        return orjson.dumps({**row, **_fields(record), **row}).decode()


class TextFormatter(logging.Formatter):
    """A line for people: time, level, event, fields as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of text; a trace follows on lines of its own."""
        fields = _fields(record)
        trace = fields.pop("trace", None)
        words = " ".join(f"{name}={_CONTROL.sub(' ', str(value))}" for name, value in fields.items())
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{at} {record.levelname.lower():7} {_CONTROL.sub(' ', masked(record.getMessage()))} {words}".rstrip()
        # Indented, so that no line of a trace passes for a record (SEC-83).
        return f"{line}\n{indent(_TRACE_CONTROL.sub(' ', str(trace).rstrip()), '  ')}" if trace else line


def set_up(level: str, *, style: str = "auto", stream: IO[str] | None = None) -> None:
    """Send all logging of the process to one stream (default stderr). ``style`` is auto, json or text."""
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    text = style == "text" or (style == "auto" and out.isatty())
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "mcp", "alembic", "sqlalchemy", "a2a", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
