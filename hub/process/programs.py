"""What programs run besides themselves: the one table behind every check of a command that a caller names (SEC-30).

Coding agents must be programs of their own; MCP servers may be scripts and packages, which an interpreter or a
runner starts, as long as no argument is code.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum


class Kind(StrEnum):
    """What a program does with its arguments."""

    SHELL = "shell"  # starts what they say
    INTERPRETER = "interpreter"  # runs the file that they name, or code in them
    RUNNER = "runner"  # fetches a package and runs it
    TOOL = "tool"  # can be made to start or fetch things among other work


_TABLE = {
    Kind.SHELL: "sh bash dash zsh fish ksh csh tcsh busybox env sudo su xargs nohup",
    Kind.INTERPRETER: "python pypy node nodejs deno bun ruby perl php lua",
    Kind.RUNNER: "npx npm pnpm yarn bunx uvx uv pipx",
    Kind.TOOL: "doas setsid nice timeout time find awk gawk ssh nc ncat socat curl wget make git docker podman"
    " osascript powershell pwsh cmd",
}
_KINDS = {name: kind for kind, names in _TABLE.items() for name in names.split()}
_RELEASE = re.compile(r"[\d.]+\Z")

_CODE = {
    Kind.INTERPRETER: re.compile(r"(?:-[A-Za-z]*[ceEp]|--(?:eval|exec|command|print|require|import|loader)(?:=.*)?)\Z"),
    # `npx -c` takes a whole command line, and `uvx python -c` code.
    Kind.RUNNER: re.compile(r"(?:-c|-e|--(?:call|eval|exec|shell-mode)(?:=.*)?)\Z"),
}
_CODE_OF_ANY = re.compile(r"(?:-e|-c|-r|--eval|--exec|--command|--require|--import|--loader)(?:=.*)?\Z")


def kind_of(path: str) -> Kind | None:
    """The kind of a program by its file name, None for one that is just itself. ``python3.11`` is ``python``, ``Node.exe`` is ``node``."""
    name = os.path.basename(path).lower().removesuffix(".exe")
    kind = _KINDS.get(name)
    if kind is None and _KINDS.get(_RELEASE.sub("", name)) is Kind.INTERPRETER:
        kind = Kind.INTERPRETER
    return kind


def hands_code(argument: str, kind: Kind) -> bool:
    """Whether an argument makes a program of a kind run code or a command line instead of a file or a package."""
    flags = _CODE.get(kind)
    return flags is not None and flags.match(argument) is not None


def may_hand_code(argument: str) -> bool:
    """Whether an argument would be code for some program, where nothing is known of the one that gets it."""
    return _CODE_OF_ANY.match(argument) is not None
