"""The one table of programs that run others: SEC-30 for coding agents and MCP servers alike."""

from __future__ import annotations

import pytest

from hub.acp import command
from hub.errors import BadRequest
from hub.process.programs import Kind, hands_code, kind_of, may_hand_code
from hub.upstream import program


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/bin/bash", Kind.SHELL),
        ("/usr/bin/python3.11", Kind.INTERPRETER),
        ("perl5.36", Kind.INTERPRETER),
        ("nodejs", Kind.INTERPRETER),
        ("Node.EXE", Kind.INTERPRETER),
        ("bunx", Kind.RUNNER),
        ("/usr/bin/git", Kind.TOOL),
        ("/opt/agent", None),
        ("bash5", None),
        ("python-agent", None),
        ("claude", None),
    ],
)
def test_kinds(path: str, kind: Kind | None) -> None:
    assert kind_of(path) is kind


@pytest.mark.parametrize("name", ["sh", "python3", "npx", "bunx", "git", "perl5.36"])
def test_no_coding_agent_is_a_program_that_runs_others(name: str) -> None:
    """SEC-30: whatever an interpreter is told, it runs."""
    with pytest.raises(BadRequest, match="runs whatever it is told"):
        command.binary_name(name)


@pytest.mark.parametrize(
    ("argument", "kind", "found"),
    [
        ("-c", Kind.INTERPRETER, True),
        ("-Ec", Kind.INTERPRETER, True),
        ("--eval=1", Kind.INTERPRETER, True),
        ("-m", Kind.INTERPRETER, False),
        ("server.py", Kind.INTERPRETER, False),
        ("--call=id", Kind.RUNNER, True),
        ("-y", Kind.RUNNER, False),
        ("-c", Kind.TOOL, False),
    ],
)
def test_code_in_arguments(argument: str, kind: Kind, found: bool) -> None:
    assert hands_code(argument, kind) is found


def test_where_the_program_is_unknown_all_such_flags_count() -> None:
    assert all(map(may_hand_code, ("-e", "-r", "--import=x", "--loader")))
    assert not any(map(may_hand_code, ("--acp", "-m", "--config=x")))


def test_node_under_its_other_name_takes_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """SEC-30: the same interpreter under another name is the same interpreter."""

    def which(name: str) -> str:
        return f"/usr/bin/{name}"

    monkeypatch.setattr("hub.upstream.program.shutil.which", which)
    with pytest.raises(BadRequest, match="run code from its arguments"):
        program.checked("nodejs", ["-e", "1"], {})
