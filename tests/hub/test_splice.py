"""Splicing: the byte path and the orjson path mean the same, and untouched bytes stay."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hub.errors import BadRequest
from hub.splice import edit, members, replace_model, set_stream_usage

scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
keys = st.sampled_from(["model", 'mo"del', "stream_options", "messages", "", "a\\", "ключ"]) | st.text(max_size=6)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8)
spaces = st.sampled_from(["", " ", "\n", "\t ", "\r\n"])


def write(pairs: list[tuple[str, object]], space: str, *, ascii_only: bool) -> bytes:
    """A JSON object with duplicate keys and white space as asked."""
    dump = lambda value: json.dumps(value, ensure_ascii=ascii_only, separators=("," + space, space + ":" + space))  # noqa: E731 - local shorthand
    inside = ("," + space).join(f"{space}{dump(key)}{space}:{space}{dump(value)}{space}" for key, value in pairs)
    return f"{space}{{{space}{inside}}}{space}".encode("utf-8", "surrogatepass")


def by_tree(body: bytes, changes: dict[str, bytes]) -> object:
    tree = orjson.loads(body)
    tree.update({key: orjson.loads(value) for key, value in changes.items()})
    return list(tree.items())


@given(st.lists(st.tuples(keys, values), max_size=6), spaces, st.booleans(), st.dictionaries(keys, values, max_size=2))
@example([("model", "a"), ("x", {"model": "b"}), ("model", "c")], " ", False, {"model": "z"})
@example([("model", 12), ("model", 1)], "", False, {"model": "z"})
@example([], " ", False, {"model": 1})
def test_edit_means_what_a_parser_would_do(pairs, space, ascii_only, changes) -> None:
    body = write(pairs, space, ascii_only=ascii_only)
    raw = {key: orjson.dumps(value) for key, value in changes.items()}
    assert list(orjson.loads(edit(body, raw)).items()) == by_tree(body, raw)


@given(st.dictionaries(keys, values, max_size=6), spaces)
def test_without_duplicates_only_the_value_changes(tree, space) -> None:
    tree["model"] = "old"
    body = write(list(tree.items()), space, ascii_only=True)
    found = members(body)
    assert found is not None
    start, stop = found[0]["model"]
    assert replace_model(body, "neu/es") == body[:start] + b'"neu/es"' + body[stop:]


def test_key_written_with_escapes() -> None:
    assert replace_model(rb'{"mod\u0065l" : "a", "n":{"model":"b"}}', "z") == rb'{"mod\u0065l" : "z", "n":{"model":"b"}}'


def test_value_that_looks_like_a_member() -> None:
    body = rb'{"a":"\",\"model\":\"x\"","model":"old"}'
    assert replace_model(body, "new") == rb'{"a":"\",\"model\":\"x\"","model":"new"}'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"stream":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":null}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{"include_usage":false,"x":1}}', b'{"stream_options":{"include_usage":true,"x":1}}'),
        (b'{"stream_options": {"include_usage" : true}}', b'{"stream_options": {"include_usage" : true}}'),
        (b"{ }", b'{ "stream_options":{"include_usage":true}}'),
    ],
)
def test_stream_usage_is_merged(before: bytes, after: bytes) -> None:
    assert set_stream_usage(before) == after


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1,}', b'{"a":1} x', b"\xff", b'{"a":' + b"[" * 100_000, b'"model"'])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        edit(body, {"model": b'"z"'})
