"""What a form sent, and the fields of a form as a skill's input describes them: a page names fields, the registry knows the rest."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hub.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hub.skill import Skill
    from hub.uploads import Upload

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?(e-?[0-9]+)?")
#: Text that may be longer has room for several lines.
_LONG = 5000
#: Words that are no words when taken apart.
_WRITTEN = {
    "api": "API",
    "id": "ID",
    "ids": "IDs",
    "url": "URL",
    "mcp": "MCP",
    "usd": "USD",
    "tz": "time zone",
    "ip": "IP",
    "ttl": "TTL",
    "json": "JSON",
}


class Form:
    """The fields of a form, and its files, which are there as long as the request. ``do`` is which of the page's actions is meant."""

    def __init__(self, fields: Mapping[str, str], files: Mapping[str, Upload] | None = None) -> None:
        self._fields = fields
        self._files = files or {}
        self.do = self.text("do")

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def text(self, name: str) -> str:
        """A field's value without the blanks around it; empty when it is missing."""
        return self._fields.get(name, "").strip()

    def file(self, name: str) -> Upload:
        """A file that was chosen. Raises InvalidInput when none was: browsers then send one without name and content."""
        file = self._files.get(name)
        if file is None or not (file.name or file.size):
            raise InvalidInput([{"field": name, "message": "choose a file first"}])
        return file

    def chosen(self, prefix: str) -> list[str]:
        """What was ticked among fields whose names begin with a prefix: what stands behind it."""
        return [name.removeprefix(prefix) for name in self._fields if name.startswith(prefix)]

    def values(self) -> dict[str, str]:
        """The fields as they were typed, to fill the form again."""
        return dict(self._fields)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form: how it is shown and how what is typed becomes a value.

    ``kind`` is text, long (several lines), secret, number, whole (a number), switch, choice, list (a line each) or json. ``topic`` is
    what it is about, where its model says so.
    """

    name: str
    label: str
    kind: str
    help: str
    required: bool
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    longest: int | None = None
    topic: str = ""

    @property
    def emptied(self) -> Any:
        """What says that a value is taken away."""
        return "" if self.kind in ("text", "long", "choice") else None

    def shown(self, value: Any) -> str:
        """A value as its field shows it, to tell whether it was changed."""
        if value is None or value == "":
            return ""
        write = _WRITE.get(self.kind)
        return str(value) if write is None else write(value)

    def taken(self, form: Form) -> Any:
        """The value that was typed; None when nothing was. Raises ValueError saying what to type."""
        if self.kind == "switch":
            return form.text(self.name) == "on"
        if self.kind == "list":
            return [line.strip() for line in form.text(self.name).splitlines() if line.strip()]
        typed = form.text(self.name)
        if not typed:
            return None
        if self.kind == "json":
            return _tree(typed)
        return typed


def _number(value: Any) -> str:
    return f"{float(value):g}" if _NUMBER.fullmatch(str(value)) else str(value)


#: How values of each kind of field are compared, whether they were stored or typed.
_WRITE: dict[str, Callable[[Any], str]] = {
    "switch": lambda value: "on" if value else "",
    "list": lambda value: "\n".join(map(str, value)),
    "json": lambda value: json.dumps(value, sort_keys=True) if value else "",
    "whole": _number,
    "number": _number,
}


def _tree(typed: str) -> Any:
    try:
        return json.loads(typed)
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON: {error}") from None


def fields(skill: Skill, names: Iterable[str] = ()) -> list[Field]:
    """The fields of a skill's input by their names on the wire, in this order; all of them when none are named. Raises KeyError."""
    schema = skill.input_schema()
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = frozenset(cast("list[str]", schema.get("required", [])))
    return [_field(name, properties[name], schema, required=name in required) for name in names or properties]


def of_model(schema: Mapping[str, Any]) -> list[Field]:
    """The fields of a whole document, those of objects within it by dotted names."""
    return list(_within(schema, schema, ""))


def _within(shape: Mapping[str, Any], schema: Mapping[str, Any], before: str) -> Iterator[Field]:
    properties: Mapping[str, Any] = shape["properties"]
    for name, raw in properties.items():
        inner = _resolved(raw, schema)
        if "properties" in inner:
            yield from _within(inner, schema, f"{before}{name}.")
        else:
            yield _field(before + name, raw, schema, required=False)


def grouped(shown: Iterable[Field], plain: str) -> dict[str, list[Field]]:
    """Fields by the object that they belong to; those of none by their topic, or first, as the group ``plain``."""
    found: dict[str, list[Field]] = {plain: []}
    for one in shown:
        found.setdefault(one.name.partition(".")[0] if "." in one.name else one.topic or plain, []).append(one)
    return {name: members for name, members in found.items() if members}


def flat(tree: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Values of a tree by their dotted names."""
    found: dict[str, Any] = {}
    for name in names:
        at: Any = tree
        for part in name.split("."):
            at = cast("Mapping[str, Any]", at).get(part) if isinstance(at, dict) else None
        found[name] = at
    return found


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of values with dotted names."""
    tree: dict[str, Any] = {}
    for name, value in values.items():
        *way, last = name.split(".")
        at = tree
        for part in way:
            at = at.setdefault(part, {})
        at[last] = value
    return tree


def filled(skill: Skill, form: Form, names: Iterable[str], *, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A skill's input of what was typed into these fields. Raises InvalidInput naming the fields that cannot be read.

    For a new thing what was left empty is left out. For a change, ``stored`` is what the form was filled with: only what differs is sent,
    and a field that was emptied is sent empty. A secret that was not typed anew stays as it is.
    """
    return taken(fields(skill, names), form, stored=stored)


def taken(shown: Iterable[Field], form: Form, *, stored: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What was typed into these fields, as :func:`filled` has it. Raises InvalidInput."""
    data: dict[str, Any] = {}
    faults: list[dict[str, str]] = []
    for one in shown:
        try:
            value = one.taken(form)
        except ValueError as error:
            faults.append({"field": one.name, "message": str(error)})
            continue
        if stored is None or one.kind == "secret":
            if value is not None:
                data[one.name] = value
        elif one.shown(value) != one.shown(stored.get(one.name)):
            data[one.name] = one.emptied if value is None else value
    if faults:
        raise InvalidInput(faults)
    return data


def _field(name: str, raw: Mapping[str, Any], schema: Mapping[str, Any], *, required: bool) -> Field:
    described: str = raw.get("description", "")
    shape = _resolved(raw, schema)
    kind, choices = _kind(shape)
    return Field(
        name=name,
        label=label(name),
        kind=kind,
        help=described or shape.get("description", ""),
        required=required,
        default=raw.get("default"),
        choices=choices,
        least=shape.get("minimum", shape.get("exclusiveMinimum")),
        most=shape.get("maximum"),
        longest=shape.get("maxLength"),
        topic=raw.get("x-topic", ""),
    )


def _resolved(raw: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A property's own shape: behind references, and without the null that it may be."""
    while True:
        if "$ref" in raw:
            raw = schema["$defs"][raw["$ref"].rsplit("/", 1)[-1]]
            continue
        either: list[Mapping[str, Any]] = [one for one in raw.get("anyOf", []) if one.get("type") != "null"]
        if not either:
            return raw
        raw = either[0]


_KINDS = {"boolean": "switch", "integer": "whole", "number": "number", "object": "json"}


def _kind(shape: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    if "enum" in shape or "const" in shape:
        return "choice", tuple(str(one) for one in shape.get("enum", [shape.get("const")]))
    if shape.get("type") == "array":
        plain = shape.get("items", {}).get("type") in ("string", "integer", "number")
        return ("list" if plain else "json"), ()
    if shape.get("format") == "password":
        return "secret", ()
    if shape.get("type") == "string" and shape.get("maxLength", 0) >= _LONG:
        return "long", ()
    return _KINDS.get(str(shape.get("type", "")), "text"), ()


def label(name: str) -> str:
    """A field's name in words: ``baseUrl`` is ``Base URL``."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name.replace("_", " ").replace("-", " ")).lower().split()
    words = " ".join(_WRITTEN.get(part, part) for part in parts).replace(".", ": ")
    return words[:1].upper() + words[1:]
