"""What the demo provider says: a fixed function of the request, so that every try gives the same answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

import orjson

from hub.chat import JsonObject

_PIECE = re.compile(r"\s*(?:\w+|[^\w\s])|\s+")
_DEPTH = 12
_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "12:00:00Z",
    "email": "demo@example.com",
    "uri": "https://example.com",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}


@dataclass
class Reply:
    """One answer, ready to be written: pieces of text, or calls as name and argument text."""

    pieces: list[str] = field(default_factory=list[str])
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    finish: str = "stop"
    prompt: int = 0
    mark: str = ""

    @property
    def output(self) -> int:
        """Generated tokens: words and signs, of arguments too."""
        return len(self.pieces) + sum(len(pieces_of(arguments)) for _, arguments in self.calls)


def reply_to(body: bytes) -> Reply:
    """The answer to an OpenAI chat request."""
    request = _object(orjson.loads(body))
    messages = [_object(message) for message in _list(request.get("messages"))]
    prompt = sum(len(pieces_of(_text(message.get("content")))) + 1 for message in messages)
    mark = blake2b(body, digest_size=8).hexdigest()
    tool = _tool_to_call(request, messages)
    if tool is not None:
        schema = _object(tool.get("parameters"))
        arguments = orjson.dumps(example(schema, schema)).decode() if schema else "{}"
        return Reply(calls=[(str(tool.get("name", "")), arguments)], finish="tool_calls", prompt=prompt, mark=mark)
    pieces, finish = _limited(_words(request, messages), request)
    return Reply(pieces=pieces, finish=finish, prompt=prompt, mark=mark)


def pieces_of(text: str) -> list[str]:
    """A text cut before each word and sign; joined again it is the same text."""
    return _PIECE.findall(text)


def _tool_to_call(request: JsonObject, messages: list[JsonObject]) -> JsonObject | None:
    choice = request.get("tool_choice")
    tools = [_object(_object(tool).get("function")) for tool in _list(request.get("tools")) if _object(tool).get("function")]
    if not tools or choice == "none":
        return None
    forced = _object(_object(choice).get("function")).get("name")
    if forced:
        return next((tool for tool in tools if tool.get("name") == forced), None)
    asked = bool(messages) and messages[-1].get("role") == "user"
    return tools[0] if asked or choice == "required" else None


def _words(request: JsonObject, messages: list[JsonObject]) -> str:
    last = messages[-1] if messages else {}
    asked = next((_text(message.get("content")) for message in reversed(messages) if message.get("role") == "user"), "")
    wanted = _object(request.get("response_format"))
    if wanted.get("type") == "json_schema":
        schema = _object(_object(wanted.get("json_schema")).get("schema"))
        return orjson.dumps(example(schema, schema)).decode()
    if request.get("model") == "demo-echo" and wanted.get("type") != "json_object":
        return asked
    if last.get("role") == "tool":
        words = f"The tool answered: {_short(_text(last.get('content')))}"
    else:
        words = (
            f'This is the demo provider built into HubRoute: no account, no network. You wrote: "{_short(asked)}". '
            "Add a real provider with `hubroute providers add` to talk to a model."
        )
    return orjson.dumps({"answer": words}).decode() if wanted.get("type") == "json_object" else words


def _limited(words: str, request: JsonObject) -> tuple[list[str], str]:
    stops = request.get("stop")
    for stop in [stops] if isinstance(stops, str) else _list(stops):
        if isinstance(stop, str) and stop:
            words = words.partition(stop)[0]
    pieces = pieces_of(words)
    limit = request.get("max_completion_tokens") or request.get("max_tokens")
    if isinstance(limit, int) and 0 < limit < len(pieces):
        return pieces[:limit], "length"
    return pieces, "stop"


def example(schema: JsonObject, root: JsonObject, depth: int = 0) -> Any:
    """A value that fits a JSON Schema, as far as types, ``enum``, ``$ref``, unions, sizes and common formats go."""
    schema = _resolved(schema, root)
    if depth > _DEPTH:
        return None
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("enum", "examples"):
        if _list(schema.get(word)):
            return schema[word][0]
    for word in ("anyOf", "oneOf"):
        options = [_object(option) for option in _list(schema.get(word))]
        if options:
            return example(next((option for option in options if option.get("type") != "null"), options[0]), root, depth + 1)
    return _typed(schema, root, depth)


def _typed(schema: JsonObject, root: JsonObject, depth: int) -> Any:
    match _kind(schema):
        case "object":
            return _fields(schema, root, depth)
        case "array":
            count = min(16, max(1, int(schema.get("minItems") or 0)))
            return [example(_object(schema.get("items")), root, depth + 1)] * count
        case "integer" | "number":
            return _number(schema)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _string(schema)


def _kind(schema: JsonObject) -> object:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return next((one for one in cast("list[Any]", kind) if one != "null"), "null") if isinstance(kind, list) else kind


def _fields(schema: JsonObject, root: JsonObject, depth: int) -> JsonObject:
    properties = _object(schema.get("properties"))
    names = _list(schema.get("required")) or list(properties)
    return {str(name): example(_object(properties.get(str(name))), root, depth + 1) for name in names}


def _number(schema: JsonObject) -> float:
    lowest = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else None)
    highest = schema.get("maximum", schema.get("exclusiveMaximum", 0) - 1 if "exclusiveMaximum" in schema else None)
    value = 1 if lowest is None else max(1, lowest)
    return value if highest is None or value <= highest else highest


def _string(schema: JsonObject) -> str:
    text = _FORMATS.get(str(schema.get("format")), "example")
    return text.ljust(min(int(schema.get("minLength") or 0), 10_000), "x")[: schema.get("maxLength")]


def _resolved(schema: JsonObject, root: JsonObject) -> JsonObject:
    for _ in range(_DEPTH):
        name = schema.get("$ref")
        if not isinstance(name, str) or not name.startswith("#"):
            break
        schema = root
        for step in name.removeprefix("#").strip("/").split("/"):
            schema = _object(schema.get(step.replace("~1", "/").replace("~0", "~"))) if step else schema
    for part in _list(schema.get("allOf")):
        inner = _resolved(_object(part), root) if part is not schema else {}
        fields = {**_object(schema.get("properties")), **_object(inner.get("properties"))}
        required = [*_list(schema.get("required")), *_list(inner.get("required"))]
        schema = {**inner, **schema, **({"properties": fields} if fields else {}), **({"required": required} if required else {})}
    return schema


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in map(_object, _list(content)) if part.get("type") == "text" and "text" in part)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else line[:199] + "…"


def _object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
