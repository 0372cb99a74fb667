"""What was said in a request, for people: indented, put together from a stream, and as a command that asks it again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Characters of one body that a page shows.
_SHOWN = 300_000
#: Headers that change what a request asks for, and so belong into a command that asks it again.
_MEANT = ("anthropic-version", "anthropic-beta", "openai-beta")
_OURS = "x-omniroute-"
#: Where the pieces of a stream's text are, by the formats that streams come in.
_PIECES = (
    ("choices", 0, "delta", "content"),
    ("delta", "text"),
    ("delta",),
    ("candidates", 0, "content", "parts", 0, "text"),
    ("message", "content"),
)
_END = "HUBROUTE_BODY"
#: The name of the variable that holds the key in commands.
KEY = "HUBROUTE_API_KEY"


@dataclass(frozen=True, slots=True)
class Shown:
    """One body on a page. ``text`` is indented where it is JSON as a whole; ``words`` are a stream's put together."""

    id: str
    title: str
    text: str
    size: int
    notes: list[str]
    words: str = ""


def shown(name: str, title: str, said: Any) -> Shown:
    """A body (:class:`skills.request_content.Said`) as a page shows it."""
    notes: list[str] = []
    if said.truncated:
        notes.append("only its beginning was stored")
    if said.binary:
        notes.append("not text: bytes that are none are shown as \ufffd")
    text = said.text if said.truncated else _indented(said.text)
    if len(text) > _SHOWN:
        notes.append("the page shows its beginning; the API gives all that is stored")
    return Shown(name, title, text[:_SHOWN], said.size, notes, "".join(_words(said.text)))


def _indented(text: str) -> str:
    try:
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except orjson.JSONDecodeError:
        return text


def _words(text: str) -> Iterator[str]:
    """The pieces of text in a stream, of server-sent events or of JSON lines; none in what is no stream."""
    lines = text.splitlines()
    if len(lines) < 2:
        return
    for line in lines:
        data = line.removeprefix("data:").strip() if line.startswith("data:") else line
        if data.startswith("{"):
            try:
                tree = orjson.loads(data)
            except orjson.JSONDecodeError:
                continue
            yield next((piece for place in _PIECES if (piece := _at(tree, place))), "")


def _at(tree: Any, place: tuple[str | int, ...]) -> str:
    for part in place:
        if isinstance(part, int):
            tree = cast("list[Any]", tree)[part] if isinstance(tree, list) and len(cast("list[Any]", tree)) > part else None
        else:
            tree = cast("dict[str, Any]", tree).get(part) if isinstance(tree, dict) else None
    return tree if isinstance(tree, str) else ""


def curl(base: str, content: Any) -> str:
    """A command that asks a stored request again with a key of one's own; empty where it cannot: cut, no text, or not from a client."""
    said = content.request
    if said.truncated or said.binary or not content.path or "\x00" in said.text:
        return ""
    headers = [f"{name}: {value}" for name, value in sorted(content.headers.items()) if name in _MEANT or name.startswith(_OURS)]
    given = "".join(f" \\\n  -H {_quoted(one)}" for one in headers)
    # A word that stands alone in no line of the body ends it.
    end = _END
    while re.search(f"^{end}$", said.text, re.MULTILINE):
        end += "_"
    path, _, query = content.path.partition("?")
    address = base + quote(path, safe="/:@") + (f"?{query}" if query else "")
    return f"{_call(address)}{given} \\\n  --data-binary @- <<'{end}'\n{said.text}\n{end}"


def skeleton(base: str, model: str) -> str:
    """A command that asks the same model; the words are yours."""
    body = {"model": model, "messages": [{"role": "user", "content": "your words here: those of this request are not stored"}]}
    return f"{_call(base + '/v1/chat/completions')} \\\n  -d {_quoted(json.dumps(body, ensure_ascii=False))}"


def _call(address: str) -> str:
    return f"curl {_quoted(address)} \\\n  -H \"Authorization: Bearer ${KEY}\" \\\n  -H 'Content-Type: application/json'"


def _quoted(text: str) -> str:
    """A word of a shell. Characters of control do not survive there, and are left out."""
    return "'" + "".join(letter for letter in text if letter.isprintable()).replace("'", "'\\''") + "'"
