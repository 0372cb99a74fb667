"""Which clients are on this machine, and whether they point at this hub. Looks only; no program is run."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hub.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.connect.catalog import Client
    from hub.connect.plan import Connector

State = Literal["yes", "no", "unreadable"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A client on this machine. ``program`` is where its command is, ``file`` where its first file is or would be.

    ``state`` says whether it points here; ``fault`` says what is wrong with its file, where it cannot be read.
    """

    name: str
    row: Client
    program: str
    file: str
    exists: bool
    state: State
    fault: str = ""

    @property
    def installed(self) -> bool:
        """Whether its command or its folder is here."""
        return bool(self.program) or self.exists


def found_clients(connector: Connector, rows: Mapping[str, Client], *, extra: str = "", base: str = "") -> list[Seen]:
    """Every client of the rows, as it is. ``extra`` holds further folders to look for programs in."""
    return [seen(connector, name, row, extra=extra, base=base) for name, row in rows.items()]


def seen(connector: Connector, name: str, row: Client, *, extra: str = "", base: str = "") -> Seen:
    """One client, as it is."""
    path, _ = connector.home.locate(row.edits[0].file)
    state: State = "no"
    fault = ""
    try:
        if connector.connected(name, base):
            state = "yes"
    except (Conflict, OSError) as error:
        state, fault = "unreadable", error.message if isinstance(error, Conflict) else f"{path}: {error.strerror or error}"
    exists = path.exists() or (path.parent != connector.home.path and path.parent.is_dir())
    return Seen(name, row, program(row, extra), str(path), exists, state, fault)


def program(row: Client, extra: str = "") -> str:
    """Where a client's command is: what ``CLI_<NAME>_BIN`` says, else on PATH and in the further folders; empty where it is not."""
    if not row.command:
        return ""
    named = os.environ.get(f"CLI_{row.tool.upper() or row.command.upper()}_BIN", "")
    if named:
        return named if os.access(named, os.X_OK) else ""
    folders = os.pathsep.join(part for part in (os.environ.get("PATH", os.defpath), extra) if part)
    return shutil.which(row.command, path=folders) or ""
