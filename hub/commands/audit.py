"""``hubroute audit``: is the record of what was done whole?"""

from __future__ import annotations

import sys

import typer

from hub.commands.session import FAILED, AsJson, run
from hub.commands.show import print_json

app = typer.Typer(help="Audit log: verify.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Audit log: verify."""


@app.command()
def verify(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Walk the whole audit log and its anchors; exit code 1 when rows were changed or removed, or an older state was put back."""
    found = run(ctx, lambda hub: hub.call("audit-log-verify", {}))
    if as_json:
        print_json(found)
    elif found["ok"]:
        print(f"the audit log is whole: {found['rows']} rows, {found['anchors']} anchors, head {found['headHash'][:16]}")
    if not found["ok"]:
        print(f"error: the audit log is not what it was: {found['reason']}", file=sys.stderr)
        raise typer.Exit(FAILED)
