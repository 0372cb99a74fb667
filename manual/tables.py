"""The reference beside skills and settings: commands, providers, errors, scopes, webhook events."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main

import hub.providers
from hub import errors
from hub.access import scopes
from hub.cli import app
from hub.webhooks.names import EVENTS
from manual.markdown import code, plain, table

if TYPE_CHECKING:
    from collections.abc import Iterator

TITLES = {
    "commands.md": "Commands",
    "providers.md": "Providers",
    "errors.md": "Errors",
    "scopes.md": "Scopes",
    "events.md": "Webhook events",
}


def pages() -> dict[str, str]:
    """Every page by its name."""
    made = {"commands.md": _commands, "providers.md": _providers, "errors.md": _errors, "scopes.md": _scopes, "events.md": _events}
    return {name: f"# {TITLES[name]}\n\n{write()}" for name, write in made.items()}


def _commands() -> str:
    root = typer.main.get_command(app)
    parts = ["What `--help` of each command says. `--data-dir`, `--database-url` and `--config` may stand anywhere on a line."]
    parts += [f"## {name}\n\n```text\n{text.strip()}\n```" for name, text in _helps(root, "hubroute", None)]
    return "\n\n".join(parts) + "\n"


def _helps(command: Any, name: str, above: Any) -> Iterator[tuple[str, str]]:
    context = command.context_class(command, info_name=name.rpartition(" ")[2], parent=above, terminal_width=100, max_content_width=100)
    yield name, command.get_help(context)
    for short, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, f"{name} {short}", context)


def _providers() -> str:
    rows = json.loads(Path(hub.providers.__file__).with_name("catalog.json").read_text("utf-8"))
    shown = [
        (
            code(row["id"]),
            plain(row["name"]),
            code(row["format"]),
            ", ".join(row.get("services", ["chat"])),
            "login" if row.get("oauth") else plain(str(row["auth"]["type"])),
            str(len(row.get("models", []))),
        )
        for row in rows
    ]
    words = "What `hubroute providers add` knows. Further models are read from the provider where it says them, or named by you.\n\n"
    return words + table(("id", "provider", "wire format", "services", "credential", "models listed"), shown)


def _errors() -> str:
    rows = [
        (
            code(made.__name__),
            str(made.shape.status),
            code(made.shape.code),
            code(made.shape.type),
            str(made.shape.rpc),
            plain(_first(made)),
        )
        for made in _tree(errors.HubError)
    ]
    words = (
        "Every error of the hub, with what it is at each door: the HTTP status; code and type in OpenAI's form; the number in JSON-RPC"
        " (MCP). A message says what happened and what to do. An error may carry a code of its own in place of the one here.\n\n"
    )
    return words + table(("error", "status", "code", "type", "JSON-RPC", "when"), rows)


def _tree(above: type[errors.HubError]) -> Iterator[type[errors.HubError]]:
    for made in above.__subclasses__():
        if made.__module__ == errors.__name__:
            yield made
        yield from _tree(made)


def _first(made: type) -> str:
    return (inspect.getdoc(made) or "").split("\n\n")[0]


def _scopes() -> str:
    words = (
        "A key holds scopes, alone (`chat`), by pattern (`read:*`) or by bundle. It sees and calls what they reach and nothing else.\n\n"
    )
    bundles = ((code(name), ", ".join(map(code, held))) for name, held in scopes.BUNDLES.items())
    single = ((code(name), plain(covers)) for name, covers in scopes.SCOPES.items())
    return words + table(("scope", "covers"), single) + "\n## Bundles\n\n" + table(("bundle", "scopes"), bundles)


def _events() -> str:
    words = "What an address may subscribe to, by name or pattern (`budget.*`); [how messages look](../webhooks.md).\n\n"
    return words + table(("event", "when"), ((code(name), plain(when)) for name, when in EVENTS.items()))
