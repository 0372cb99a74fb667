"""``hubroute doctor``: is everything there that a hub needs, and what to do where it is not."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hub import checkup, log
from hub.commands.session import FAILED, AsJson, settings_of
from hub.commands.show import print_json, show

if TYPE_CHECKING:
    from hub.checkup import Finding
    from hub.settings import Settings


def doctor(
    ctx: typer.Context,
    online: Annotated[bool, typer.Option("--online", help="Also call every connected provider; spends nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that all a hub needs is there.

    Python, SQLite, libraries, data folder, port, database, migrations, master key, clock, authorization servers and providers.
    """
    settings = settings_of(ctx)
    log.set_up("critical", style="text")
    findings = asyncio.run(_examine(settings, online=online))
    rows = [{"check": one.check, "state": one.state, "finding": one.words} for one in findings]
    failed = sum(one.state == "fail" for one in findings)
    if as_json:
        print_json({"ok": not failed, "checks": rows})
    else:
        show(rows, as_json=False)
    if failed:
        print(f"error: {failed} of {len(rows)} checks failed; the table says what to do", file=sys.stderr)
        raise typer.Exit(FAILED)


async def _examine(settings: Settings, *, online: bool) -> list[Finding]:
    found = [*checkup.program(), *checkup.machine(settings), *await checkup.store(settings)]
    return [*found, *await checkup.issuers(settings), *await checkup.providers(settings, online=online)]
