"""The client programs this hub knows: rows of ``clients.json``, read once (D25). Adding a client is adding a row.

A row names the files a client reads and what to put where: a dotted path of keys to a template of the value. In templates
``{url}`` is the MCP address, ``{base}`` the hub's address, ``{model}`` the model asked for, ``{key}`` the key or the
client's way to name an environment variable; ``{command}``, ``{args}``, ``{command_line}``, ``{env}`` and
``{env_without_key}``, each alone in its string, start ``hubroute mcp``.
"""

from __future__ import annotations

import difflib
import importlib.resources
import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from hub.errors import NotFound

Part = Literal["tools", "models"]
Format = Literal["json", "toml", "yaml"]


class Place(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a client keeps a file, by ``sys.platform`` or for ``any``.

    ``~/`` is the home folder, ``~config/`` its configuration folder, ``~appdata/`` that of Windows. ``folder_variable`` and
    ``file_variable`` name environment variables by which the client itself is told another place.
    """

    any: str = ""
    linux: str = ""
    darwin: str = ""
    win32: str = ""
    folder_variable: str = ""
    in_folder: str = ""
    file_variable: str = ""


class Edit(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What goes into one file for one part. ``http_env`` and ``stdio_env`` replace a template that would name the variable.

    ``takes_reference`` is false where the client does not read environment variables in this file.
    """

    part: Part
    format: Format
    file: Place
    http: dict[str, Any] = {}
    stdio: dict[str, Any] = {}
    http_env: dict[str, Any] = {}
    stdio_env: dict[str, Any] = {}
    takes_reference: bool = True


class Client(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One client program. ``tool`` is its id in the management API; ``key_reference`` is how its files name our variable, if they can."""

    title: str
    docs: str
    command: str
    next: str
    edits: tuple[Edit, ...]
    key_reference: str | None = None
    tool: str = ""

    @property
    def transports(self) -> tuple[str, ...]:
        """Of ``http`` and ``stdio`` those the client's tools part has, the usual one first."""
        return tuple(name for name in ("http", "stdio") if any(edit.part == "tools" and getattr(edit, name) for edit in self.edits))

    @property
    def parts(self) -> frozenset[Part]:
        """Which of tools (MCP) and models (chat) this client can be pointed at."""
        return frozenset(edit.part for edit in self.edits)


@cache
def clients() -> dict[str, Client]:
    """Every client by name."""
    text = importlib.resources.files(__package__ or "").joinpath("clients.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Client])


def client(name: str) -> Client:
    """The row of this name. Raises NotFound that names the nearest."""
    found = clients().get(name)
    if found is None:
        near = difflib.get_close_matches(name, clients(), n=3, cutoff=0.4)
        guess = f"; did you mean {' or '.join(near)}?" if near else ";"
        raise NotFound(f"no client {name!r}{guess} `hubroute connect --list` names them")
    return found


@dataclass(frozen=True, slots=True)
class Home:
    """Whose files are edited. ``fixed`` leaves out the variables by which clients move their files."""

    path: Path
    fixed: bool = False

    @classmethod
    def of(cls, configured: str) -> Home:
        """The configured home folder, or the user's own."""
        return cls(Path(configured).expanduser().absolute(), fixed=True) if configured else cls(Path.home().absolute())

    def locate(self, place: Place) -> tuple[Path, Path]:
        """A file, and the folder that it may not leave through symbolic links."""
        if moved := self._moved(place):
            return moved
        written: str = getattr(place, sys.platform, "") or place.any or place.linux
        start, _, rest = written.partition("/")
        folder = {"~config": self._folder("XDG_CONFIG_HOME", ".config"), "~appdata": self._folder("APPDATA", "AppData/Roaming")}.get(
            start, self.path
        )
        return folder / rest, self.path if folder.is_relative_to(self.path) else folder

    def _moved(self, place: Place) -> tuple[Path, Path] | None:
        if file := self._variable(place.file_variable):
            return file, file.parent
        if folder := self._variable(place.folder_variable):
            return folder / place.in_folder, folder
        return None

    def _folder(self, variable: str, usual: str) -> Path:
        return self._variable(variable) or self.path / usual

    def _variable(self, name: str) -> Path | None:
        value = os.environ.get(name, "") if name and not self.fixed else ""
        return Path(value).expanduser().absolute() if value else None
