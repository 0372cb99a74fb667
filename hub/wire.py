"""The base of skill inputs and outputs: camelCase on the wire as the seed has it, snake_case in code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic.alias_generators import to_camel

from hub.clock import FIRST_MS, LAST_MS

_EPOCH = datetime.fromtimestamp(0, UTC)


class Wire(BaseModel):
    """An input or output of a skill. Unknown fields of an input are ignored, as the seed's clients expect."""

    # Validators are made when the first input comes: most skills are never called in a process (a start takes a fifth less).
    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True, defer_build=True
    )


class Body(Wire):
    """What a management route takes and what it stores: unknown fields are refused by name, nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Wire):
    """No input."""


class Done(Wire):
    """What was done, in words."""

    message: str


def iso(at_ms: int | None) -> str | None:
    """Milliseconds since the epoch as ISO 8601 in UTC with milliseconds, as the seed writes times."""
    if at_ms is None:
        return None
    # Whole milliseconds: seconds as a float lose one in some.
    return f"{_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=16)
def _second(at: int) -> str:
    return (_EPOCH + timedelta(seconds=at)).isoformat(timespec="seconds").removesuffix("+00:00")


def header(text: str) -> str:
    """Text as the value of an HTTP header: printable ASCII only, whatever a model is called (SEC-29)."""
    return text.encode("ascii", "replace").translate(None, bytes(range(32)) + b"\x7f").decode()


def _moment(value: object) -> object:
    """A moment as a caller writes it, in epoch milliseconds."""
    if not isinstance(value, str) or value.lstrip("-").isdigit():
        return value
    try:
        # A plus sign that nobody escaped reads as a blank in a query.
        at = datetime.fromisoformat(value.strip().replace(" ", "+") if "T" in value else value.strip())
    except ValueError:
        raise ValueError("write milliseconds since 1970, or ISO 8601 such as 2026-11-23T10:00:00Z") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _dated(at_ms: int) -> int:
    if not FIRST_MS <= at_ms <= LAST_MS:
        raise ValueError("write milliseconds since 1970 of a moment in the years 1 to 9999")
    return at_ms


#: An input field that holds a moment: epoch milliseconds, or ISO 8601 (UTC where no zone is given).
Moment = Annotated[int, BeforeValidator(_moment), AfterValidator(_dated)]
