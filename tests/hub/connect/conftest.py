"""Somebody with a home folder of their own, who runs commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.connect.catalog import Home, client, clients
from tests.fakes.command import hubroute

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


class Person:
    """Runs commands with a home of their own; the clients' variables of this machine do not reach them."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder = folder
        self.home = home

    def __call__(self, *args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        places = [edit.file for row in clients().values() for edit in row.edits]
        moved = {name for place in places for name in (place.folder_variable, place.file_variable) if name}
        apart = {"HOME": str(self.home), **dict.fromkeys(["XDG_CONFIG_HOME", "APPDATA", *moved], "")}
        return hubroute(self.folder, *args, stdin=stdin, **{**apart, **env})

    def file(self, name: str, part: str = "tools") -> Path:
        edit = next(edit for edit in client(name).edits if edit.part == part)
        return Home(self.home, fixed=True).locate(edit.file)[0]

    def write(self, name: str, text: str) -> Path:
        path = self.file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return path

    def ok(self, *args: str, **options: Any) -> str:
        done = self(*args, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.fixture
def alone(tmp_path: Path, home: Path) -> Person:
    """Without any hub."""
    return Person(tmp_path / "data", home)
