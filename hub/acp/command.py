"""Commands that a caller names: read as a program and its arguments, or refused (SEC-30). Nothing here is ever given to a shell."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from hub.errors import BadRequest
from hub.process.programs import kind_of, may_hand_code

if TYPE_CHECKING:
    from collections.abc import Sequence

#: What a shell would give a meaning to; refused even though no shell sees it, so that nobody relies on it.
_SHELL = re.compile(r"[;&|<>`$\r\n\x00]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BINARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}\Z")
#: A version is asked for by a word or two: ``--version``, ``-V``, ``version``, ``--version --json``.
_VERSION_ARG = re.compile(r"(--?version|-[vV]|version|about|info|--json|--no-color|--quiet|-q)\Z")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


def binary_name(binary: str) -> str:
    """A program as an owner writes it: a bare name, or an absolute path. Raises BadRequest for anything else and for interpreters."""
    text = binary.strip()
    name = os.path.basename(text)
    if not _BINARY.match(name) or _CONTROL.search(text) or _SHELL.search(text):
        raise _bad("binary", "write the name of a program, or its absolute path")
    if text != name and (not os.path.isabs(text) or os.path.normpath(text) != text):
        raise _bad("binary", "a path must be absolute and hold no '..'")
    refuse_interpreter(name)
    return text


def refuse_interpreter(path: str) -> None:
    """Raise BadRequest for a program that runs whatever it is told, under whatever name a link gives it."""
    if kind_of(path) is not None:
        raise _bad("binary", f"{os.path.basename(path)} runs whatever it is told; name the agent's own program")


def version_arguments(command: str, binary: str) -> tuple[str, ...]:
    """The arguments of a version command, whose first word must be the agent's own binary (its path or its name).

    Raises BadRequest for shell syntax, another program, an environment assignment, or arguments that could do more than tell a version.
    """
    if _SHELL.search(command) or _CONTROL.search(command):
        raise _bad("versionCommand", "it may not hold any of ; & | < > ` $ or a line break")
    try:
        words = shlex.split(command)
    except ValueError:
        raise _bad("versionCommand", "its quotation marks do not match") from None
    if not words or words[0] not in (binary, os.path.basename(binary)):
        raise _bad("versionCommand", f"it must begin with {os.path.basename(binary)}")
    if len(words) < 2 or len(words) > 4 or not all(map(_VERSION_ARG.match, words[1:])):
        raise _bad("versionCommand", "after the program it may say --version, -v, -V or version, and nothing that does more")
    return tuple(words[1:])


def start_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments with which an agent is started. Raises BadRequest for those that give it code to run or set variables."""
    for argument in arguments:
        if len(argument) > 500 or _CONTROL.search(argument) or _SHELL.search(argument):
            raise _bad("spawnArgs", "an argument may not hold any of ; & | < > ` $ or control characters")
        if may_hand_code(argument) or _ASSIGNMENT.match(argument):
            raise _bad(
                "spawnArgs", f"{argument.partition('=')[0]} gives a program code to run or sets a variable, which is not allowed here"
            )
    return tuple(arguments)


def agent_id(text: str) -> str:
    """An id as the seed makes it: lower case, and ``-`` for what is not a letter or a digit. Raises BadRequest when nothing is left."""
    made = re.sub(r"[^a-z0-9-]", "-", text.strip().lower()).strip("-")
    if not made or len(made) > 64:
        raise _bad("id", "write up to 64 letters, digits and '-'")
    return made


def _bad(field: str, what: str) -> BadRequest:
    # The seed answers 400 with plain words here.
    words = f"{field}: {what}"
    return BadRequest(words, field=field, wire={"error": words})
