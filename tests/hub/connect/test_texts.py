"""Edits in place: every byte that is not ours stays, and taking ours out gives the file back."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.connect import jsontext, tomltext
from hub.connect.faults import BY_HAND, COMMENTED, Malformed
from hub.errors import Conflict

PATH = ("mcpServers", "hubroute")
ENTRY: dict[str, Any] = {"type": "http", "url": "http://127.0.0.1:1/x", "headers": {"Authorization": "Bearer k"}, "args": ["a", "b"]}

#: The first text that is drawn builds tables, which a busy machine takes seconds for.
_calm = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_documents = st.dictionaries(st.text(max_size=6).filter(lambda name: name != "mcpServers"), _values, max_size=4)
_layouts = st.sampled_from([{"indent": 2}, {"indent": 4}, {"indent": "\t"}, {}, {"separators": (",", ":")}])


@_calm
@given(
    _documents, st.dictionaries(st.text(max_size=5).filter(lambda name: name != "hubroute"), _values, max_size=3), _layouts, st.booleans()
)
def test_a_json_entry_goes_in_and_out_without_a_trace(document: Any, servers: Any, layout: Any, windows: bool) -> None:
    text = json.dumps({**document, "mcpServers": servers}, **layout)
    text = text.replace("\n", "\r\n") if windows else text
    made = jsontext.put(text, PATH, ENTRY)
    assert json.loads(made) == {**document, "mcpServers": {**servers, "hubroute": ENTRY}}
    assert not windows or made.count("\n") == made.count("\r\n")
    assert jsontext.remove(made, PATH, text) == text


@_calm
@given(_documents, _layouts)
def test_a_json_holder_that_was_made_can_be_taken_out_again(document: Any, layout: Any) -> None:
    text = json.dumps(document, **layout)
    made = jsontext.put(text, PATH, ENTRY)
    assert list(json.loads(made)) == [*document, "mcpServers"]
    emptied = jsontext.remove(made, PATH, text)
    assert json.loads(emptied) == {**document, "mcpServers": {}}
    assert jsontext.remove(emptied, PATH[:1], text) == text


@pytest.mark.parametrize(
    "text", ['{"mcpServers":{}}\n', '{\n  "mcpServers": { }\n}', '{\n\t"a": [1,2],\n\t"mcpServers": {\n\t}\n}\n', " {} \n\n", ""]
)
def test_odd_but_valid_json(text: str) -> None:
    made = jsontext.put(text, PATH, ENTRY)
    assert json.loads(made)["mcpServers"]["hubroute"] == ENTRY
    back = jsontext.remove(made, PATH, text)
    if "mcpServers" in text:
        assert back == text


def test_a_json_entry_in_the_middle_goes_and_its_neighbours_stay() -> None:
    text = '{\n  "s": {\n    "a": 1,\n    "hubroute": {"x": 2},\n    "b": 3\n  }\n}\n'
    assert jsontext.remove(text, ("s", "hubroute")) == '{\n  "s": {\n    "a": 1,\n    "b": 3\n  }\n}\n'
    first = '{\n  "s": {\n    "hubroute": 1,\n    "b": 3\n  }\n}\n'
    assert jsontext.remove(first, ("s", "hubroute")) == '{\n  "s": {\n    "b": 3\n  }\n}\n'


def test_json_layout_is_the_file_s_own() -> None:
    text = '{\n    "mcpServers": {\n        "a": {\n            "url": "x"\n        }\n    }\n}\n'
    made = jsontext.put(text, PATH, {"url": "y", "headers": {"h": "1"}})
    assert made == (
        '{\n    "mcpServers": {\n        "a": {\n            "url": "x"\n        },\n        "hubroute": {\n            "url": "y",\n'
        '            "headers": {\n                "h": "1"\n            }\n        }\n    }\n}\n'
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [('{\n  "a": 1,\n  b: 2\n}', 3), ('{"a": 1', 1), ("[1]", 0), ('{"mcpServers": []}', 0), ("nonsense", 1), ('{"a": 1}}', 1)],
)
def test_json_that_is_wrong_is_refused(text: str, line: int) -> None:
    with pytest.raises(Conflict) as caught:
        jsontext.put(text, PATH, ENTRY)
    assert caught.value.code == "malformed_config"
    if line:
        assert isinstance(caught.value, Malformed)
        assert caught.value.line == line


def test_deep_json_is_refused_and_does_not_end_the_program() -> None:
    with pytest.raises(Conflict):
        jsontext.put("[" * 200_000, PATH, ENTRY)


@pytest.mark.parametrize("text", ['// c\n{"a": 1}', '{"a": 1, /* c */ "b": 2}', '{"a": [1, 2,],}', '{\n  "u": "http://x", // y\n}'])
def test_json_with_comments_is_left_alone(text: str) -> None:
    with pytest.raises(Conflict) as caught:
        jsontext.put(text, PATH, ENTRY)
    assert caught.value.code == COMMENTED


def test_what_looks_like_a_comment_inside_a_string_is_none() -> None:
    made = jsontext.put('{"a": "http://x // y /* z */ ,}"}', PATH, ENTRY)
    assert json.loads(made)["a"] == "http://x // y /* z */ ,}"


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(Conflict, match="twice"):
        jsontext.put('{"mcpServers": {}, "mcpServers": {}}', PATH, ENTRY)


TOML = """\
# top comment
model = "gpt" # keep me
notify = [
  "a", # inside
  "b",
]
text = '''
[not.a.table]
x = 1
'''

[mcp_servers.other] # theirs
command = "x"

# about profiles
[profiles."a.b"]
model = "y"

[[things]]
n = 1
"""
TABLE: dict[str, Any] = {"url": "http://x", "http_headers": {"Authorization": 'Bearer "k"'}, "args": ["a"], "on": True}


def test_a_toml_table_and_keys_go_in_and_out() -> None:
    made = tomltext.put(TOML, ("mcp_servers", "hubroute"), TABLE)
    made = tomltext.put(made, ("model_provider",), "hubroute")
    made = tomltext.put(made, ("model",), "auto")
    tree = tomllib.loads(made)
    assert tree["mcp_servers"]["hubroute"] == TABLE
    assert (tree["model"], tree["model_provider"]) == ("auto", "hubroute")
    assert 'model = "auto" # keep me\n' in made
    assert set(TOML.splitlines()) - set(made.splitlines()) == {'model = "gpt" # keep me'}
    back = tomltext.put(made, ("model",), "gpt")
    back = tomltext.remove(back, ("model_provider",))
    assert tomltext.remove(back, ("mcp_servers", "hubroute")) == TOML


@pytest.mark.parametrize("text", ["", "\n", "# c\n", "a = 1\n", "a = 1\r\n\r\n[t]\r\nb = 2\r\n", "[t]\nb = 1\n"])
def test_toml_of_every_size(text: str) -> None:
    made = tomltext.put(tomltext.put(text, ("m", "hubroute"), TABLE), ("p",), "q")
    assert tomllib.loads(made) == {**tomllib.loads(text), "m": {"hubroute": TABLE}, "p": "q"}
    assert "\r" not in text or made.count("\n") == made.count("\r\n")
    assert tomltext.remove(tomltext.remove(made, ("p",)), ("m", "hubroute")) == text


def test_a_toml_table_is_replaced_where_it_stands() -> None:
    text = '[m.hubroute]\nurl = "old"\n# ours\n[m.hubroute.http_headers]\nX = "1"\n\n# theirs\n[z]\na = 1\n'
    made = tomltext.put(text, ("m", "hubroute"), {"url": "new"})
    assert made == '[m.hubroute]\nurl = "new"\n\n# theirs\n[z]\na = 1\n'
    assert tomltext.remove(text, ("m", "hubroute")) == "\n# theirs\n[z]\na = 1\n"


@pytest.mark.parametrize("text", ["m = { other = { a = 1 } }\n", "[[m]]\na = 1\n", "m = 3\n"])
def test_toml_that_cannot_take_a_table_is_left_alone(text: str) -> None:
    with pytest.raises(Conflict) as caught:
        tomltext.put(text, ("m", "hubroute"), TABLE)
    assert caught.value.code == BY_HAND


def test_an_inline_toml_entry_is_replaced_in_its_line() -> None:
    made = tomltext.put('[m]\nhubroute = { url = "old" } # c\nb = 1\n', ("m", "hubroute"), {"url": "n#w"})
    assert made == '[m]\nhubroute = { url = "n#w" } # c\nb = 1\n'


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = \n", 2), ("[a\n", 1), ("a = 1\na = 2\n", 2), ("x = open\n", 1)])
def test_toml_that_is_wrong_is_refused(text: str, line: int) -> None:
    with pytest.raises(Malformed) as caught:
        tomltext.put(text, ("m", "hubroute"), TABLE)
    assert caught.value.line == line


@_calm
@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.booleans() | st.integers(), min_size=1, max_size=3))
def test_any_value_survives_toml(name: str, table: Any) -> None:
    made = tomltext.put(TOML, ("servers", name), table)
    assert tomllib.loads(made)["servers"][name] == table
    assert tomltext.remove(made, ("servers", name)) == TOML
