"""A secret does not show itself, whatever is done with it by accident (SEC B4)."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.secret import Secret

LONG = "sk-live-0123456789abcdef"


def test_it_shows_at_most_four_characters() -> None:
    secret = Secret(LONG)
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret!r}", "%s" % secret, secret.masked, str([secret]), str({"a": secret})):  # noqa: UP031 - one of the ways
        assert LONG[:-4] not in shown
        assert "…cdef" in shown
    assert secret.reveal() == LONG


@given(st.text(max_size=40))
def test_a_short_one_shows_nothing(value: str) -> None:
    masked = Secret(value).masked
    assert len(masked) <= 5
    if value and len(value) < 12:
        assert masked == "…"
    if not value:
        assert masked == ""


def test_it_never_leaves_by_serialisation() -> None:
    secret = Secret(LONG)
    assert LONG[:-4].encode() not in pickle.dumps(secret)
    assert pickle.loads(pickle.dumps(secret)).reveal() == "…cdef"
    assert copy.copy(secret).reveal() != LONG
    with pytest.raises(TypeError):
        json.dumps(secret)
    assert not hasattr(secret, "__dict__")


def test_equality_is_of_what_they_hold() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("a")
    assert not Secret("")
