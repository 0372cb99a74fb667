"""From a client's row to the values that go into its files, and back: whether a value is ours, and which key is in it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from hub.connect import tomltext
from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.connect.catalog import Client, Edit, Part

#: The environment variable that holds the key where a file only names it.
VARIABLE = "HUBROUTE_API_KEY"
#: Stands for a key that is not made yet, where lines are shown.
NO_KEY = "YOUR_HUBROUTE_KEY"
_SLOT = re.compile(r"\{(url|base|key|model|command|args|command_line|env|env_without_key)\}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to connect a client to. ``key`` empty: the entry holds none, which ``hubroute mcp`` takes as the owner's authority.

    ``command`` starts ``hubroute mcp``, ``folder`` is its data folder. With ``by_reference`` the files name the variable.
    """

    url: str
    base: str
    command: tuple[str, ...]
    folder: str
    transport: Literal["http", "stdio"] = "http"
    parts: frozenset[Part] = frozenset({"tools"})
    model: str = ""
    key: str = NO_KEY
    by_reference: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One value for one path of one file; ``template`` is what it was made of."""

    edit: Edit
    path: tuple[str, ...]
    template: Any
    value: Any


def entries(row: Client, wanted: Wanted) -> list[Entry]:
    """Every value that goes into the client's files. Raises BadRequest for what this client cannot do."""
    if missing := sorted(wanted.parts - row.parts):
        raise BadRequest(f"{row.title} cannot be pointed at this hub for {' and '.join(missing)} by this command", field="models")
    if "tools" in wanted.parts and wanted.transport not in row.transports:
        raise BadRequest(f"{row.title} takes {' and '.join(row.transports)} only", field="transport")
    slots = _slots(row, wanted)
    found: list[Entry] = []
    for edit in row.edits:
        if edit.part not in wanted.parts:
            continue
        for path, template in _templates(row, edit, wanted).items():
            if wanted.model or "{model}" not in json.dumps(template):
                found.append(Entry(edit, tuple(path.split(".")), template, _filled(template, slots)))
    if not found:
        raise BadRequest(f"{row.title} must be told which model to ask for", field="model")
    return found


def known_templates(row: Client) -> list[tuple[Edit, tuple[str, ...], Any]]:
    """Every path that a connection of this client may have, with each template of it."""
    return [
        (edit, tuple(path.split(".")), template)
        for edit in row.edits
        for templates in (edit.http, edit.http_env, edit.stdio, edit.stdio_env)
        for path, template in templates.items()
    ]


def key_in(template: Any, value: Any) -> str | None:
    """The key that stands in a value where its template has ``{key}``; None where it has none."""
    if isinstance(value, dict):
        fields = cast("Mapping[str, Any]", value)
        if isinstance(template, dict):
            pairs = [(item, fields.get(name)) for name, item in cast("Mapping[str, Any]", template).items()]
            return next((key for item, inner in pairs if (key := key_in(item, inner))), None)
        return key_in("{key}", fields.get(VARIABLE)) if template == "{env}" else None
    if isinstance(template, str) and isinstance(value, str) and "{key}" in template:
        return _between(value, *template.split("{key}", 1))
    return None


def _between(value: str, before: str, after: str) -> str | None:
    fits = value.startswith(before) and value.endswith(after) and len(value) > len(before) + len(after)
    return value[len(before) : len(value) - len(after)] if fits else None


def snippets(row: Client, wanted: Wanted) -> list[tuple[Edit, str]]:
    """The lines to paste, per file, each as its format writes them."""
    trees: dict[int, tuple[Edit, dict[str, Any]]] = {}
    for entry in entries(row, wanted):
        first = next(place for place, edit in enumerate(row.edits) if edit.file == entry.edit.file)
        _grown(trees.setdefault(first, (entry.edit, {}))[1], entry.path, entry.value)
    return [(edit, _written(edit, tree)) for edit, tree in trees.values()]


def _templates(row: Client, edit: Edit, wanted: Wanted) -> dict[str, Any]:
    transport = wanted.transport if edit.part == "tools" else "http"
    templates = edit.http if transport == "http" else edit.stdio
    if not wanted.by_reference:
        return templates
    if row.key_reference is None or not edit.takes_reference:
        raise BadRequest(f"{row.title} reads no environment variables there; leave out --env, or give the key another way", field="env")
    return (edit.http_env if transport == "http" else edit.stdio_env) or templates


def _slots(row: Client, wanted: Wanted) -> dict[str, Any]:
    key = row.key_reference or "" if wanted.by_reference else wanted.key
    folder = {"HUBROUTE_DATA_DIR": wanted.folder}
    return {
        "url": wanted.url,
        "base": wanted.base,
        "key": key,
        "model": wanted.model,
        "command": wanted.command[0],
        "args": list(wanted.command[1:]),
        "command_line": list(wanted.command),
        "env": {**folder, VARIABLE: key} if key else folder,
        "env_without_key": folder,
    }


def _filled(template: Any, slots: Mapping[str, Any]) -> Any:
    if isinstance(template, dict):
        return {name: _filled(item, slots) for name, item in cast("dict[str, Any]", template).items()}
    if isinstance(template, list):
        return [_filled(item, slots) for item in cast("list[Any]", template)]
    if not isinstance(template, str):
        return template
    whole = _SLOT.fullmatch(template)
    return slots[whole[1]] if whole else _SLOT.sub(lambda found: str(slots[found[1]]), template)


def _grown(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _written(edit: Edit, tree: dict[str, Any]) -> str:
    if edit.format == "yaml":
        return "".join(_yaml(tree, ""))
    if edit.format == "json":
        return json.dumps(tree, ensure_ascii=False, indent=2) + "\n"
    text = ""
    for path, value in sorted(_leaves(tree), key=lambda leaf: len(leaf[0])):
        text = tomltext.put(text, path, value)
    return text


def _leaves(tree: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
    """Scalars at the top and the tables under each of its other keys."""
    found: list[tuple[tuple[str, ...], Any]] = []
    for name, item in tree.items():
        if isinstance(item, dict):
            found += [((name, inner), value) for inner, value in cast("dict[str, Any]", item).items()]
        else:
            found.append(((name,), item))
    return found


def _yaml(tree: dict[str, Any], indent: str) -> list[str]:
    """Nested maps as YAML blocks; every other value as JSON, which YAML reads."""
    lines: list[str] = []
    for name, item in tree.items():
        if isinstance(item, dict) and item:
            lines += [f"{indent}{name}:\n", *_yaml(cast("dict[str, Any]", item), f"{indent}  ")]
        else:
            lines.append(f"{indent}{name}: {json.dumps(item, ensure_ascii=False)}\n")
    return lines
