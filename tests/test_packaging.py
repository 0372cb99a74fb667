"""What is shipped: the wheel's and the sdist's contents, an installation that runs, the launcher's check, the lock files."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest
from mcp import Client, StdioServerParameters

from hatch_build import ASSETS, WITHOUT
from hub import launcher
from hub.version import VERSION
from tests.fakes.command import ROOT, environment, serving

LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-uv.lock", "requirements-docs.lock")
UV = Path(sys.executable).with_name("uv")
VENDOR = Path(ASSETS).parent


def build(source: Path, folder: Path, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Build what is asked for into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", *options, "-d", str(folder)]
    return subprocess.run(command, cwd=source, env={**os.environ, **env}, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout. Where npm brought nothing here, something stands for it: whether it is shipped is what is looked at."""
    folder = tmp_path_factory.mktemp("checkout")
    names = ["hub", "agents", "skills", "transports", "hatch_build.py", "pyproject.toml", ".gitignore", "Makefile"]
    for name in [*names, *(path.name for path in ROOT.glob("*.md")), *(path.name for path in ROOT.glob("*.lock")), "LICENSE", "tests"]:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    if not (ROOT / ASSETS).is_file():
        (folder / VENDOR).mkdir(parents=True, exist_ok=True)
        for name in ("htmx.min.js", "uPlot.iife.min.js", "uPlot.min.css", ".ready"):
            (folder / VENDOR / name).write_text("/* what npm brings */")
    return folder


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    done = build(checkout, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    [path] = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel alone was installed; its libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [UV, "pip", "install", "-q", "--offline", "--no-deps", "--python", sys.executable, "--target", folder, wheel],
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


def test_the_wheel_has_every_module_and_data_file_of_the_checkout(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for package in launcher.PACKAGES:
        for path in (checkout / package).rglob("*"):
            if path.is_file():
                assert f"hubroute/_app/{path.relative_to(checkout).as_posix()}" in names
    for data in ("hub/py.typed", "hub/providers/catalog.json", "hub/store/migrations/env.py", f"{VENDOR}/htmx.min.js"):
        assert f"hubroute/_app/{data}" in names
    assert "hubroute/__init__.py" in names


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"hubroute-{VERSION}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == ("hubroute", VERSION, "MIT")
    assert scripts.split() == ["[console_scripts]", "hubroute", "=", "hubroute:main"]


def test_checkout_and_sdist_give_the_same_wheel(built: Path, wheel: Path, tmp_path: Path) -> None:
    """SEC-72: two builds, the same bytes; the sdist has all that the wheel is made of, what npm brings as well."""
    [path] = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        archive.extractall(tmp_path, filter="data")
    assert {"hatch_build.py", "Makefile", "LICENSE", "requirements.lock", "tests/test_packaging.py", "hub/launcher.py", ASSETS} <= names
    assert not [name for name in names if name.startswith(".venv") or "site-packages" in name or "__pycache__" in name]
    done = build(tmp_path / path.name.removesuffix(".tar.gz"), tmp_path / "again", "-t", "wheel")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_a_build_without_the_dashboard_s_scripts_must_be_asked_for(checkout: Path, tmp_path: Path) -> None:
    away = tmp_path / "vendor"
    shutil.move(checkout / VENDOR, away)
    try:
        for kind in ("wheel", "sdist"):
            done = build(checkout, tmp_path / "dist", "-t", kind)
            assert done.returncode != 0
            assert "run `make assets` first" in done.stderr
            assert not list((tmp_path / "dist").glob("*"))
        done = build(checkout, tmp_path / "dist", "-t", "wheel", **{WITHOUT: "1"})
        assert done.returncode == 0, done.stderr
    finally:
        shutil.move(away, checkout / VENDOR)


def test_the_installed_command_runs_its_own_packages(installed: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "data", PYTHONPATH=str(installed), PYTHONDONTWRITEBYTECODE="1")
    where = "import hubroute, sys; sys.argv = ['hubroute', '--version']; hubroute.main(); import hub; print(hub.__file__)"
    found = subprocess.run([sys.executable, "-P", "-c", where], env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == str(installed / "hubroute" / "_app" / "hub" / "__init__.py")


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a virtual environment that has the locked libraries by hash, and the wheel; nothing else."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder], check=True, capture_output=True)
    install = [UV, "pip", "install", "-q", "--python", folder / "bin" / "python", "--offline"]
    done = subprocess.run([*install, "--require-hashes", "-r", ROOT / "requirements.lock"], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"uv's cache lacks libraries of requirements.lock: {done.stderr[-300:]}")
    subprocess.run([*install, "--no-deps", wheel], check=True, capture_output=True)
    return folder / "bin" / "hubroute"


@pytest.mark.anyio
async def test_a_fresh_installation_serves_every_kind_of_client(fresh: Path, tmp_path: Path) -> None:
    """Version, start, health, a chat of the demo, a page with what it loads, MCP over stdio."""
    data = tmp_path / "data"
    env = environment(data)

    def run(*args: str) -> str:
        done = subprocess.run([fresh, *args], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version") == f"hubroute {VERSION}\n"
    with serving(data, command=[str(fresh)], HUBROUTE_INITIAL_PASSWORD="correct horse battery") as served:
        assert run("health", "--port", served.url.rpartition(":")[2]) == "ready\n"
        key = re.search(r"API key .*: (hr_\w+)", served.words)
        assert key is not None
        async with httpx.AsyncClient(base_url=served.url, follow_redirects=True) as client:
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            said = await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key[1]}"})
            assert "Hello" in said.json()["choices"][0]["message"]["content"]
            page = await client.post("/api/auth/login", json={"password": "correct horse battery"})
            assert page.status_code == 200, page.text
            loaded = set(re.findall(r'(?:src|href)="(/dashboard/static/[^"]+)"', (await client.get("/")).text))
            assert {Path(one).name.partition(".")[0] for one in loaded} >= {"dash", "htmx", "uPlot", "charts", "icon"}
            assert {(await client.get(one)).status_code for one in loaded} == {200}
        async with Client(StdioServerParameters(command=str(fresh), args=["mcp"], env=env)) as mcp:
            assert "omniroute_get_health" in {tool.name for tool in (await mcp.list_tools()).tools}
        assert served.stop() == 0


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
            UV,
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
        ("requirements-docs.lock", project["dependency-groups"]["docs"]),
    ):
        locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / name).read_text(), re.MULTILINE))
        for requirement in wanted:
            distribution = re.match(r"[\w.-]+", requirement)
            assert distribution is not None
            assert distribution[0].lower() in locked, f"{requirement} is not in {name}; run `make lock`"
