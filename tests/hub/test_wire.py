"""Inputs and outputs have the seed's names on the wire, and times its form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from hub.wire import Done, Nothing, Wire, iso


class Sample(Wire):
    first_name: str
    x_2: int = 0


def test_camel_on_the_wire_snake_in_code() -> None:
    assert Sample.model_validate({"firstName": "a"}) == Sample.model_validate({"first_name": "a"}) == Sample(first_name="a")
    assert Sample(first_name="a").model_dump() == {"firstName": "a", "x2": 0}
    assert Sample(first_name="a").model_dump_json() == '{"firstName":"a","x2":0}'


def test_unknown_fields_are_passed_over() -> None:
    assert Nothing.model_validate({"a": 1}).model_dump() == {}
    assert Done.model_validate({"message": "m", "a": 1}).model_dump() == {"message": "m"}


def test_times() -> None:
    assert iso(None) is None
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(1_800_000_000_007) == "2027-01-15T08:00:00.007Z"


@given(st.integers(0, 253_402_300_799_000))
def test_times_read_back(at: int) -> None:
    text = iso(at)
    assert text is not None
    assert text.endswith("Z")
    assert (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1) == at
