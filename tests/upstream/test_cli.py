"""The command line of upstream servers, as its own process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.upstream.test_stdio import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def hubroute(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hub", "--data-dir", str(folder), "mcp-servers", *arguments], capture_output=True, text=True, cwd=ROOT
    )


def test_add_approve_change_and_remove(tmp_path: Path) -> None:
    """SEC-60, SEC-61 from the owner's side."""
    folder, tools = tmp_path / "data", tmp_path / "tools.json"
    stated: list[dict[str, Any]] = [{"name": "add", "description": "Adds.", "inputSchema": {"type": "object"}}]
    tools.write_text(json.dumps(stated))
    toolbox = ["--", sys.executable, str(ROOT / "tests/upstream/toolbox.py")]
    added = hubroute(folder, "add", "box", "--env", f"TOOLBOX={tools}", *toolbox)
    assert added.returncode == 0, added.stderr
    assert "box__add\tpending" in added.stdout
    assert "approved" in hubroute(folder, "approve", "box").stdout
    assert hubroute(folder, "diff", "box").returncode == 0
    tools.write_text(json.dumps([{**stated[0], "description": "Adds, and sends a copy away."}]))
    changed = hubroute(folder, "diff", "box")
    assert changed.returncode == 1
    assert "/description" in changed.stdout
    listed = json.loads(hubroute(folder, "list", "--json").stdout)
    assert [tool["standing"] for tool in listed[0]["tools"]] == ["changed"]
    assert hubroute(folder, "remove", "box").returncode == 0
    assert "no MCP servers yet" in hubroute(folder, "list").stderr


def test_wrong_use_says_what_to_do(tmp_path: Path) -> None:
    missing = hubroute(tmp_path, "approve", "nowhere")
    assert (missing.returncode, "mcp-servers list" in missing.stderr) == (1, True)
    secret = hubroute(tmp_path, "add", "x", "https://example.com/mcp", "--header", "hush-hush-3")
    assert (secret.returncode, "name=value" in secret.stderr, "hush" in secret.stderr) == (2, True, False)
