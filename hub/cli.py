"""The command line: every command, the options they share, and exit codes.

Exit codes: 0 done, 1 it failed (one line on stderr says what and what to do), 2 called wrongly or a setting
is wrong, 130 interrupted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hub.commands import (
    accounts,
    agents,
    audit,
    backup,
    batches,
    calling,
    chat,
    connect,
    doctor,
    evals,
    health,
    keys,
    mcp_servers,
    owner,
    providers,
    serving,
    setting,
)
from hub.commands.session import INTERRUPTED, WRONG_USE, Flags, fail
from hub.version import VERSION

#: Options of every command; they may stand anywhere on its line.
_SHARED = ("--data-dir", "--database-url", "--config")

app = typer.Typer(
    name="hubroute",
    help="One self-hosted agent hub: your model providers, quotas, prices and agents over MCP, A2A, OpenAI /v1 and REST.",
    epilog="These options may stand anywhere on a line. Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(serving.serve)
app.command()(serving.mcp)
app.command()(health.health)
providers.app.command()(accounts.login)
providers.app.command()(accounts.clients)
app.add_typer(providers.app, name="providers")
app.add_typer(keys.app, name="keys")
app.add_typer(owner.app, name="owner")
app.add_typer(mcp_servers.app, name="mcp-servers")
app.add_typer(agents.app, name="agents")
app.add_typer(batches.app, name="batches")
app.add_typer(audit.app, name="audit")
app.add_typer(backup.app, name="backup")
app.add_typer(evals.app, name="evals")
app.command()(connect.connect)
app.command()(connect.disconnect)
app.command()(calling.models)
app.command()(chat.chat)
app.command()(calling.call)
app.command()(calling.skills)
app.command()(doctor.doctor)
app.command()(setting.settings)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hubroute {VERSION}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the hub's data (HUBROUTE_DATA_DIR).")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="PostgreSQL instead of SQLite in the data folder (HUBROUTE_DATABASE_URL).")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings; hubroute.toml in the data folder by default.")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Options that every command shares."""
    ctx.obj = Flags(data_dir=data_dir, database_url=database_url, config=config)


def in_front(args: list[str]) -> list[str]:
    """The arguments with the shared options first, where the parser expects them; nothing after ``--`` is touched."""
    end = args.index("--") if "--" in args else len(args)
    shared: list[str] = []
    others: list[str] = []
    rest = iter(args[:end])
    for arg in rest:
        if arg in _SHARED:
            shared += [arg, *[value for value in [next(rest, None)] if value is not None]]
        elif arg.startswith(tuple(f"{name}=" for name in _SHARED)):
            shared.append(arg)
        else:
            others.append(arg)
    return [*shared, *others, *args[end:]]


def main() -> int:
    """Run the command line of this process and return its exit code."""
    try:
        return app(in_front(sys.argv[1:]), prog_name="hubroute", standalone_mode=False) or 0
    except typer.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has enough (`| head`); the interpreter must not complain about it at its end.
        sys.stdout = None
        return 0
    except Exception as error:  # noqa: BLE001 - the edge of the program: one clear line, never a traceback
        return _refused(error)


def _refused(error: Exception) -> int:
    """The exit code for an error; what the parser found wrong comes with the command's usage."""
    message = getattr(error, "format_message", None)
    if message is None:
        return fail(error)
    where = getattr(getattr(error, "ctx", None), "command_path", "hubroute")
    print(f"error: {' '.join(message().split()).rstrip('.')}; see `{where} --help`", file=sys.stderr)
    return WRONG_USE
