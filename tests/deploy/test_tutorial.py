"""The tutorial is run as it stands: every command in order, against a hub, with what it says about their output."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.fakes.command import COMMAND, LIMIT, ROOT, environment, serving

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.M | re.S)
MARK = "-- end of block --"


def fits(expected: str, said: str) -> bool:
    """Whether an output is what the page shows; … stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.strip().replace("\n", "…").split("…"))
    return re.search(pattern, said, re.S) is not None


def script(blocks: list[tuple[str, str]]) -> str:
    """All that is to be run, as one shell session. A program is what a person saves and runs."""
    steps: list[str] = []
    for kind, text in blocks:
        if kind == "python":
            steps.append(f"cat > hello.py <<'END'\n{text}END\npython hello.py")
        elif kind == "sh":
            steps.append(text)
        if kind != "text":
            steps.append(f"echo; echo {shlex.quote(MARK)}")
    return "\n".join(["set -eo pipefail", *steps])


def test_every_command_of_the_tutorial_does_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "tutorial.md").read_text()
    blocks = BLOCK.findall(page)
    assert blocks[0] == ("sh", "hubroute serve\n")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, line in (("hubroute", COMMAND), ("python", [sys.executable])):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(line)} "$@"\n')
        (programs / name).chmod(0o755)
    with serving(tmp_path / "data") as served:
        port = served.url.rpartition(":")[2]
        env = environment(tmp_path / "data", HUBROUTE_PORT=port, HOME=str(tmp_path), ANTHROPIC_API_KEY="sk-ant-none")
        env["PATH"] = f"{programs}:{env['PATH']}"
        done = subprocess.run(
            ["bash", "-c", script(blocks[1:]).replace("20128", port)],
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=2 * LIMIT,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    said = [served.words, *done.stdout.split(MARK)]
    ran = -1
    for kind, text in blocks:
        if kind == "text":
            assert fits(text.replace("20128", port), said[ran]), (text, said[ran])
        else:
            ran += 1
    assert ran == len(said) - 2, "every block was run"
