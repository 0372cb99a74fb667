"""The rows of known tunnel programs, read once from ``tunnels.toml`` (D25)."""

from __future__ import annotations

import importlib.resources
from functools import cache

import msgspec


class Choice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a variable of the hub's environment may choose; the first value unless it says another."""

    variable: str
    values: tuple[str, ...]


class TunnelRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One program; ``tunnels.toml`` says what each field means."""

    id: str
    name: str
    programs: tuple[str, ...]
    variable: str
    args: tuple[str, ...]
    url: str
    help: str
    named: tuple[str, ...] = ()
    hostname: bool = False
    choice: Choice | None = None
    token: str = ""
    ready: str = ""
    login: str = ""
    login_help: str = ""
    own_home: bool = False
    env: tuple[str, ...] = ()

    @property
    def takes(self) -> list[str]:
        """Which inputs for opening it the program has a use for, by their names on the wire."""
        return [name for name, usable in (("authToken", self.token), ("hostname", self.hostname)) if usable]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tunnels: tuple[TunnelRow, ...]


@cache
def rows() -> dict[str, TunnelRow]:
    """Every row by its id. Raises msgspec.ValidationError when one does not fit."""
    # Few hubs are ever asked for a tunnel, and none when it starts.
    import tomllib  # noqa: PLC0415 - see above

    text = importlib.resources.files("hub.tunnels").joinpath("tunnels.toml").read_text("utf-8")
    return {row.id: row for row in msgspec.convert(tomllib.loads(text), _File).tunnels}
