"""What every command does first and last: settings from its flags, a hub to talk to, one clear line when it fails."""

from __future__ import annotations

import asyncio
import os
import sys
import tomllib
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from hub import log as logs
from hub.errors import HubError, Internal
from hub.process.reach import reach
from hub.settings import Settings
from hub.skill import details_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.process.reach import Reach

T = TypeVar("T")

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

#: Shared by every command that prints data.
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


class WrongUse(Exception):
    """The command was called wrongly, or a setting is wrong. The message says what and how to mend it; exit code 2."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The options that every command takes, anywhere on its line."""

    data_dir: Path | None = None
    database_url: str | None = None
    config: Path | None = None


def settings_of(ctx: typer.Context, *, host: str | None = None, port: int | None = None) -> Settings:
    """The settings: flags over environment over TOML over defaults. Raises WrongUse naming what is wrong."""
    flags: Flags = ctx.obj
    if flags.config is not None:
        if not flags.config.is_file():
            raise WrongUse(f"--config {flags.config}: there is no such file")
        os.environ["HUBROUTE_CONFIG"] = str(flags.config)
    given = {"data_dir": flags.data_dir, "database_url": flags.database_url, "host": host, "port": port}
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType] - one type each
    except ValidationError as error:
        raise WrongUse("; ".join(_fault(item) for item in details_of(error))) from None
    except SettingsError as error:
        raise WrongUse(f"settings: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise WrongUse(f"the settings file is not valid TOML: {error}") from None


def _fault(item: dict[str, str]) -> str:
    name = item["field"]
    if not name:
        return f"settings: {item['message']}"
    return (
        f"setting {name}: {item['message']}; mend HUBROUTE_{name.upper().removeprefix('HUBROUTE_')}, its flag or its line in hubroute.toml"
    )


def run(ctx: typer.Context, work: Callable[[Reach], Awaitable[T]]) -> T:
    """Do ``work`` with the hub of the command's settings."""
    settings = settings_of(ctx)
    # A short command has no log to read afterwards: what matters is in its one error line.
    logs.set_up("debug" if settings.log_level == "debug" else "critical", style="text")

    async def inside() -> T:
        async with reach(settings) as hub:
            return await work(hub)

    return asyncio.run(inside())


def fail(error: BaseException) -> int:
    """Say on stderr what happened and what to do; the exit code."""
    if os.environ.get("HUBROUTE_LOG_LEVEL", "").lower() == "debug":
        print(logs.masked("".join(traceback.format_exception(error))), file=sys.stderr)
    if isinstance(error, WrongUse):
        return _say(str(error), WRONG_USE)
    if isinstance(error, Internal):
        return _say(f"{error.message}; HUBROUTE_LOG_LEVEL=debug shows it here", FAILED)
    if isinstance(error, HubError):
        return _say(error.message, FAILED)
    if isinstance(error, OSError):
        return _say(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}", FAILED)
    return _say(f"hubroute failed ({type(error).__name__}: {error}); HUBROUTE_LOG_LEVEL=debug shows where", FAILED)


def _say(words: str, code: int) -> int:
    print(f"error: {' '.join(logs.masked(words).split())}", file=sys.stderr)
    return code
