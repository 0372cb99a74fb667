"""The rows of known agents, read once from ``agents.json``, and what an owner stores of an agent of their own (D25)."""

from __future__ import annotations

import importlib.resources
from typing import Literal

import msgspec
from pydantic import Field

from hub.wire import Body


class AcpStart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an agent is started so that it speaks ACP: the first of ``binaries`` that is found, with ``args``.

    ``verified`` is ``documented`` where its vendor says so, ``unverified`` where others do.
    """

    binaries: tuple[str, ...]
    args: tuple[str, ...] = ()
    verified: str = "unverified"
    note: str = ""


class AgentRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One agent. ``env`` names variables of the hub's environment that it is given when it works; ``acp`` None: it cannot be driven.

    ``path`` and ``digest`` (SHA-256, hex) are set for agents of the owner's own: the very file that was allowed.
    """

    id: str
    name: str
    binary: str
    alias: str
    spawn_args: tuple[str, ...] = ()
    version_args: tuple[str, ...] = ("--version",)
    protocol: str = "stdio"
    acp: AcpStart | None = None
    env: tuple[str, ...] = ()
    note: str = ""
    custom: bool = False
    path: str = ""
    digest: str = ""

    @property
    def version_command(self) -> str:
        """How its version is asked for, as people write it."""
        return " ".join((self.binary, *self.version_args))


class AgentList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shipped rows, and the folders in which such programs are usually installed (``~`` is the owner's home)."""

    folders: tuple[str, ...]
    agents: tuple[AgentRow, ...]

    @classmethod
    def load(cls) -> AgentList:
        """Read the shipped file. Raises msgspec.ValidationError when a row does not fit."""
        return msgspec.json.decode(importlib.resources.files("hub.acp").joinpath("agents.json").read_bytes(), type=cls)


class CustomAgent(Body):
    """An agent of the owner's own, as it is stored. ``path`` and ``digest`` are those of the file when it was allowed."""

    title: str = Field(description="Its name for people.")
    binary: str = Field(description="What the owner wrote: a name or an absolute path.")
    version_command: str = Field(description="How its version is asked for.")
    version_args: tuple[str, ...] = Field(description="The same without the program.")
    alias: str = Field(description="Provider that it stands for.")
    spawn_args: tuple[str, ...] = Field(default=(), description="Arguments with which it speaks ACP.")
    protocol: Literal["stdio", "http"] = Field(default="stdio", description="How it is spoken to.")
    path: str = Field(description="Absolute path of the file.")
    digest: str = Field(description="SHA-256 of the file, hex.")

    def row(self, agent_id: str) -> AgentRow:
        """The same as a row."""
        start = AcpStart((self.binary,), self.spawn_args, "owner") if self.protocol == "stdio" else None
        return AgentRow(
            id=agent_id,
            name=self.title,
            binary=self.binary,
            alias=self.alias,
            spawn_args=self.spawn_args,
            version_args=self.version_args,
            protocol=self.protocol,
            acp=start,
            note="" if start else "Only agents that speak on stdio can be driven.",
            custom=True,
            path=self.path,
            digest=self.digest,
        )
