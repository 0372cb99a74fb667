"""Every client there and back, and what the engine refuses; no hub is needed for that."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import tomllib
from dataclasses import replace as changed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub.connect.catalog import Home, client, clients
from hub.connect.entries import Wanted
from hub.connect.files import replace
from hub.connect.plan import Connector
from hub.connect.receipts import Receipts
from hub.errors import Conflict

if TYPE_CHECKING:
    from tests.hub.connect.conftest import Person

KEY = "hr_given_key_0123456789"
WANTED = Wanted("http://127.0.0.1:1/api/mcp/stream", "http://127.0.0.1:1", ("/bin/hubroute", "mcp"), "/data", key=KEY)
#: Every client whose files this program edits.
EDITED = sorted(name for name, row in clients().items() if row.edits[0].format != "yaml")
SAMPLES = {
    "json": '{\n    "theme": "dark",\n    "numbers": [1, 2.50, 1e3],\n    "mcpServers": {"other": {"command": "x"}},\n'
    '    "mcp": {},\n    "env": {"A": "b", "ANTHROPIC_BASE_URL": "https://theirs"}\n}',
    "toml": '# mine\nmodel = "gpt" # c\n\n[mcp_servers.other]\ncommand = "x"  # y\n\n[[list]]\na = 1',
}


def _forms() -> list[Any]:
    """Each client with each transport, parts and way to give the key that it takes."""
    found: list[Any] = []
    for name in EDITED:
        row = client(name)
        for transport in row.transports:
            form = changed(WANTED, transport=transport)
            found.append(pytest.param(name, form, id=f"{name}-{transport}"))
            if row.key_reference is not None:
                found.append(pytest.param(name, changed(form, by_reference=True), id=f"{name}-{transport}-env"))
        if row.transports:
            found.append(pytest.param(name, changed(WANTED, transport="stdio", key=""), id=f"{name}-stdio-owner"))
        if "models" in row.parts:
            found.append(pytest.param(name, changed(WANTED, parts=row.parts, model="auto"), id=f"{name}-models"))
    return found


def _needed(name: str) -> list[str]:
    """Options without which a client cannot be connected."""
    return [] if client(name).transports else ["--model", "auto"]


def _files(home: Path, name: str) -> dict[Path, str]:
    return {Home(home, fixed=True).locate(edit.file)[0]: edit.format for edit in client(name).edits}


def _bytes(paths: Any) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.exists() else None for path in paths}


def _connector(tmp_path: Path, home: Path) -> Connector:
    return Connector(Home(home, fixed=True), Receipts(tmp_path / "data"))


def _sample(home: Path, name: str) -> None:
    for path, kind in _files(home, name).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SAMPLES[kind])
        path.chmod(0o640)


@pytest.mark.parametrize(("name", "wanted"), _forms())
@pytest.mark.parametrize("present", [True, False], ids=["file", "no file"])
@pytest.mark.parametrize("touched", [True, False], ids=["touched", "untouched"])
def test_every_form_there_and_back(tmp_path: Path, home: Path, name: str, wanted: Wanted, present: bool, touched: bool) -> None:
    """Connect, connect again without a change, disconnect to the byte, also where the client touched the file in between."""
    paths = _files(home, name)
    if present:
        _sample(home, name)
    before, connector = _bytes(paths), _connector(tmp_path, home)
    connector.apply(name, connector.connect(name, wanted), at=1, key_id="k")
    made = {path: content for path, content in _bytes(paths).items() if content is not None}
    assert made
    for path, content in made.items():
        tree = tomllib.loads(content.decode()) if paths[path] == "toml" else json.loads(content)
        assert not present or "theme" in tree or "list" in tree
        assert stat.S_IMODE(path.stat().st_mode) == (0o640 if present else 0o600)
    assert not any(change.needed for change in connector.connect(name, wanted))
    assert connector.held(name) == ([KEY] if wanted.key and not wanted.by_reference else [])
    if touched:
        for path in made:
            path.write_bytes(made[path] + b"\n")
    connector.apply(name, connector.disconnect(name), at=2, undo=True)
    after = {path: content.rstrip(b"\n") if touched and content else content for path, content in _bytes(paths).items()}
    assert after == before
    assert not any(change.needed for change in connector.disconnect(name))
    assert connector.receipts.get(name) is None


@pytest.mark.parametrize("name", EDITED)
def test_from_one_form_to_another_and_back(tmp_path: Path, home: Path, name: str) -> None:
    _sample(home, name)
    before, connector = _bytes(_files(home, name)), _connector(tmp_path, home)
    for at, wanted in enumerate(
        [WANTED, changed(WANTED, transport="stdio"), changed(WANTED, url="https://else/x", key="hr_other_key_123")]
    ):
        if wanted.transport in client(name).transports:
            connector.apply(name, connector.connect(name, wanted), at=at)
    connector.apply(name, connector.disconnect(name), at=9, undo=True)
    assert _bytes(_files(home, name)) == before


@pytest.mark.parametrize("name", EDITED)
def test_the_command_there_and_back(alone: Person, name: str) -> None:
    _sample(alone.home, name)
    before = _bytes(_files(alone.home, name))
    asked = ["connect", name, "--key", KEY, "--yes", *_needed(name)]
    assert KEY not in alone.ok(*asked)
    assert any(KEY in path.read_text() for path in before)
    again = alone(*asked)
    assert (again.returncode, again.stdout) == (0, "")
    assert "already" in again.stderr
    assert KEY not in alone.ok("disconnect", name, "--yes")
    assert _bytes(_files(alone.home, name)) == before


@pytest.mark.parametrize("name", sorted(clients()))
def test_what_is_printed_is_what_the_client_reads(alone: Person, name: str) -> None:
    """--print needs no hub and no file."""
    done = alone("connect", name, "--print", "--key", KEY, "--url", "https://hub.example/api/mcp/stream", *_needed(name))
    assert done.returncode == 0, done.stderr
    assert KEY in done.stdout
    assert "hub.example" in done.stdout or client(name).transports == ("stdio",)
    if client(name).edits[0].format == "json":
        assert json.loads(done.stdout)
    assert list(alone.home.iterdir()) == []


def test_a_client_s_own_variable_moves_its_file(alone: Person, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    alone.ok("connect", "codex", "--key", KEY, "--yes", CODEX_HOME=str(moved))
    assert "hubroute" in (moved / "config.toml").read_text()
    alone.ok("connect", "opencode", "--key", KEY, "--yes", XDG_CONFIG_HOME=str(tmp_path / "xdg"))
    assert (tmp_path / "xdg" / "opencode" / "opencode.json").exists()
    assert list(alone.home.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs POSIX users")
def test_a_read_only_folder(tmp_path: Path) -> None:
    """As a user whom the mode stops; root, whom it does not, becomes one for a moment."""
    with tempfile.TemporaryDirectory() as made:
        home = Path(made)
        home.chmod(0o755)
        path = home / ".cursor" / "mcp.json"
        path.parent.mkdir()
        path.write_text("{}")
        path.chmod(0o644)
        path.parent.chmod(0o555)
        [change] = _connector(tmp_path, home).connect("cursor", WANTED)
        was = os.geteuid()
        if was == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError):
                replace(change.found, change.text or "")
        finally:
            os.seteuid(was)
            path.parent.chmod(0o755)
        assert path.read_text() == "{}"
        assert [one.name for one in path.parent.iterdir()] == ["mcp.json"]


def test_a_file_that_changes_between_question_and_write_is_not_overwritten(tmp_path: Path, home: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    connector = _connector(tmp_path, home)
    changes = connector.connect("cursor", WANTED)
    path.write_text('{"new": 1}')
    with pytest.raises(Conflict, match="changed while"):
        connector.apply("cursor", changes, at=1)
    assert path.read_text() == '{"new": 1}'
    assert not list(path.parent.glob(".*"))


def test_twenty_copies_are_kept_and_the_first_while_it_is_needed(tmp_path: Path, home: Path) -> None:
    path = home / ".cursor" / "mcp.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"first": 1}')
    connector = _connector(tmp_path, home)
    for at in range(30):
        connector.apply("cursor", connector.connect("cursor", changed(WANTED, key=f"hr_key_number_{at:04}")), at=at)
    copies = connector.receipts.copies("cursor")
    assert len(copies) == 21
    assert connector.receipts.content("cursor", copies[-1].id) == b'{"first": 1}'
    connector.apply("cursor", connector.disconnect("cursor"), at=99, undo=True)
    assert path.read_text() == '{"first": 1}'


def test_rows_are_complete() -> None:
    """Every row has a page that says so, and a place on every system."""
    for name, row in clients().items():
        assert row.docs.startswith("https://"), name
        assert row.transports or row.parts == {"models"}, name
        for edit in row.edits:
            place = edit.file
            assert place.any or (place.linux and place.darwin and place.win32), name
            assert bool(place.folder_variable) == bool(place.in_folder), name
