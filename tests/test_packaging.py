"""What is shipped: the wheel's contents, its command, the launcher's check, the lock files, the import of the packages."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from hub import launcher
from hub.version import VERSION
from tests.fakes.command import ROOT, environment

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone was installed; its libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("site")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run(
        [uv, "pip", "install", "-q", "--offline", "--no-deps", "--python", sys.executable, "--target", folder, wheel],
        check=True,
        capture_output=True,
    )
    return folder


def test_the_wheel_installs_one_name_and_nothing_strange(wheel: Path) -> None:
    """SEC-71"""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
    assert {name.split("/")[0] for name in names} == {"hubroute", f"hubroute-{VERSION}.dist-info"}
    assert not [name for name in names if name.endswith((".pth", ".pyc", ".so", ".sh", ".key", ".db")) or "__pycache__" in name]
    assert not [name for name, mode in modes.items() if mode & 0o111]
    inside = {name.split("/")[2] for name in names if name.startswith("hubroute/_app/")}
    assert inside == {"hub", "agents", "skills", "transports"}


def test_the_wheel_has_every_module_and_data_file_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in launcher.PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"hubroute/_app/{path.relative_to(ROOT).as_posix()}" in names
    for data in ("hub/py.typed", "hub/providers/catalog.json", "hub/store/migrations/env.py"):
        assert f"hubroute/_app/{data}" in names
    assert "hubroute/__init__.py" in names


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"hubroute-{VERSION}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == ("hubroute", VERSION, "MIT")
    assert scripts.split() == ["[console_scripts]", "hubroute", "=", "hubroute:main"]


def test_the_same_checkout_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    """SEC-72: two builds, the same bytes."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True, capture_output=True
    )
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_sdist_holds_the_checkout_and_no_environment(built: Path) -> None:
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"hatch_build.py", "Makefile", "LICENSE", "requirements.lock", "tests/test_packaging.py", "hub/launcher.py"} <= names
    assert not [name for name in names if name.startswith(".venv") or "site-packages" in name or "__pycache__" in name]


def test_the_installed_command_works(installed: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "data", PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1")
    run = [sys.executable, "-P", str(installed / "bin" / "hubroute")]
    shown = subprocess.run([*run, "--help"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "serve" in shown.stdout
    made = subprocess.run([*run, "keys", "create", "x"], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert made.stdout.startswith("hr_"), made.stderr
    where = "import hubroute, sys; sys.argv = ['hubroute', '--version']; hubroute.main(); import hub; print(hub.__file__)"
    found = subprocess.run([sys.executable, "-P", "-c", where], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == str(installed / "hubroute" / "_app" / "hub" / "__init__.py")


def test_importing_the_package_touches_nothing(installed: Path, tmp_path: Path) -> None:
    """SEC-71: no socket, no file outside itself."""
    script = f"""
import sys
seen = []
def hook(event, args):
    if event.startswith("socket.") or event == "open" and not str(args[0]).startswith(({str(installed)!r}, sys.base_prefix)):
        seen.append((event, str(args[0])))
sys.addaudithook(hook)
import hubroute
print(seen)
"""
    # What Python itself keeps of what it compiled is not the package's doing.
    env = {**environment(tmp_path), "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-S", "-P", "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stdout + done.stderr


def test_the_launcher_refuses_packages_that_lie_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """D10: another distribution's `agents` must never run in this process."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, names in ((ours, ("hub", "skills", "transports")), (theirs, ("agents",))):
        for name in names:
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(theirs), str(ours)])
    monkeypatch.setattr(launcher, "home", lambda: None)
    assert launcher.main() == 1
    assert f"agents in {theirs}" in capsys.readouterr().err


def test_an_editable_install_runs_the_checkout(tmp_path: Path) -> None:
    subprocess.run(
        [
            Path(sys.executable).with_name("uv"),
            "pip",
            "install",
            "-q",
            "--offline",
            "--no-deps",
            "--no-build-isolation",
            "--target",
            tmp_path,
            "-e",
            ROOT,
        ],
        env={**os.environ, "VIRTUAL_ENV": sys.prefix},
        check=True,
        capture_output=True,
    )
    script = (
        f"import site; site.addsitedir({str(tmp_path)!r}); import hubroute; print(hubroute.home(), hubroute._scattered() or 'together')"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "None together\n", done.stdout + done.stderr


@pytest.mark.parametrize("name", LOCKS)
def test_locks_carry_hashes_and_no_addresses(name: str) -> None:
    """D19"""
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index|--find-links| @ |^/|\.\./", text, re.MULTILINE)
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


def test_every_dependency_is_locked() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for name, wanted in (
        ("requirements.lock", project["project"]["dependencies"]),
        ("requirements-dev.lock", [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]),
    ):
        locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / name).read_text(), re.MULTILINE))
        for requirement in wanted:
            distribution = re.match(r"[\w.-]+", requirement)
            assert distribution is not None
            assert distribution[0].lower() in locked, f"{requirement} is not in {name}; run `make lock`"
