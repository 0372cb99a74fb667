"""The folder of a key: what paths lead to, and that nothing leads out of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.errors import BadRequest, Conflict, Forbidden, Full, HubError, NotFound, TooLarge
from hub.user_skills.workspace import REFUSED, Workspaces, parts_of

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1000


@pytest.fixture
def spaces(tmp_path: Path) -> Workspaces:
    return Workspaces(tmp_path / "workspaces", most_file=MOST, most_all=3 * MOST)


def put(spaces: Workspaces, path: str, data: bytes = b"x", *, key: str = "key_1", append: bool = False, overwrite: bool = False) -> int:
    return spaces.write(key, path, data, append=append, overwrite=overwrite)


def test_files_are_written_read_appended_and_replaced(spaces: Workspaces) -> None:
    assert put(spaces, "notes/today.txt", b"one") == 3
    with pytest.raises(Conflict):
        put(spaces, "notes/today.txt", b"two")
    assert put(spaces, "notes/today.txt", b" two", append=True) == 7
    assert spaces.read("key_1", "./notes//today.txt") == b"one two"
    assert put(spaces, "notes/today.txt", b"three", overwrite=True) == 5
    assert spaces.read("key_1", "notes\\today.txt") == b"three"
    folder = spaces.folder("key_1")
    assert [path.name for path in (folder / "notes").iterdir()] == ["today.txt"], "nothing is left of how it was written"
    assert (folder / "notes" / "today.txt").stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotFound):
        spaces.read("key_2", "notes/today.txt")
    assert len(folder.name) == 24


def test_sizes_are_bounded(spaces: Workspaces) -> None:
    put(spaces, "a", b"x" * MOST)
    with pytest.raises(TooLarge):
        put(spaces, "a", b"y", append=True)
    with pytest.raises(TooLarge):
        put(spaces, "b", b"x" * (MOST + 1))
    (spaces.folder("key_1") / "big").write_bytes(b"x" * (MOST + 1))
    with pytest.raises(TooLarge):
        spaces.read("key_1", "big")
    (spaces.folder("key_1") / "big").unlink()
    put(spaces, "b", b"x" * MOST)
    put(spaces, "c", b"x" * MOST)
    with pytest.raises(Full):
        put(spaces, "d", b"x")
    put(spaces, "c", b"x", overwrite=True)
    put(spaces, "d", b"x")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "..",
        "../key",
        "a/../../b",
        "~/x",
        "C:\\x",
        "\\\\host\\x",
        "",
        ".",
        "a/",
        "a\x00b",
        "a/\n/b",
        "x" * 256,
        "/".join("a" * 21),
    ],
)
def test_paths_out_of_bounds(spaces: Workspaces, path: str) -> None:
    for use in (lambda: put(spaces, path), lambda: spaces.read("key_1", path)):
        with pytest.raises(BadRequest):
            use()


@pytest.mark.parametrize("name", [*sorted(REFUSED), ".ENV", ".Git", "Secrets", ".env.local", "secrets. ", ".ssh."])
def test_names_that_are_never_touched(spaces: Workspaces, name: str) -> None:
    for path in (f"{name}/x", f"a/{name}/x", f"a/{name}"):
        with pytest.raises(Forbidden):
            put(spaces, path)


def test_links_are_never_followed(spaces: Workspaces, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of somebody else")
    put(spaces, "here/x")
    root = spaces.folder("key_1")
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    (root / "here" / "up").symlink_to("../..")
    os.link(outside / "secret", root / "hard")
    os.mkfifo(root / "pipe")
    for path in ("file", "folder/secret", "here/up/x", "hard", "pipe", "here"):
        with pytest.raises(Forbidden):
            spaces.read("key_1", path)
        with pytest.raises(Forbidden):
            put(spaces, path, overwrite=True)
        with pytest.raises(Forbidden):
            put(spaces, path, append=True)
    assert (outside / "secret").read_text() == "of somebody else"
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    # The root itself is no link either.
    real = spaces.folder("key_2")
    real.parent.mkdir(exist_ok=True)
    real.symlink_to(outside)
    with pytest.raises((OSError, HubError)):
        spaces.read("key_2", "secret")


PIECES = st.lists(
    st.sampled_from(["..", ".", "/", "\\", "a", "b", "~", ":", "\x00", ".git", " ", "é", "\u202e", "file", "link"]), max_size=12
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.one_of(st.text(max_size=40), PIECES.map("".join)))
def test_no_path_leads_out(spaces: Workspaces, tmp_path: Path, path: str) -> None:
    """Whatever is asked for is below the folder of the key, or refused."""
    outside = tmp_path / "outside"
    outside.mkdir(exist_ok=True)
    root = spaces.folder("key_1")
    root.mkdir(parents=True, exist_ok=True)
    link = root / "link"
    if not link.is_symlink():
        link.symlink_to(outside)
    try:
        put(spaces, path, b"x", overwrite=True)
    except HubError:
        pass
    else:
        parts = parts_of(path)
        assert (root.joinpath(*parts)).resolve().is_relative_to(root.resolve())
        assert ".." not in parts
        assert spaces.read("key_1", path) == b"x"
        (root.joinpath(*parts)).unlink()
    assert list(outside.iterdir()) == []
    assert {one.name for one in tmp_path.iterdir()} == {"outside", "workspaces"}
