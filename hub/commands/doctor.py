"""``hubroute doctor``: is everything there that a hub needs, and what to do where it is not."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hub import log
from hub.commands.session import FAILED, AsJson, settings_of
from hub.commands.show import print_json, show
from hub.process import checkup, mending
from hub.process.control import Remote

if TYPE_CHECKING:
    from hub.process.checkup import Finding
    from hub.settings import Settings


def doctor(
    ctx: typer.Context,
    online: Annotated[bool, typer.Option("--online", help="Also call every connected provider; spends nothing.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="First mend what can be: modes of files, leftovers of dead processes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check that all a hub needs is there.

    Python, SQLite, libraries, data folder, port, database, migrations, master key, clock, authorization servers and providers.
    """
    settings = settings_of(ctx)
    log.set_up("critical", style="text")
    mended = asyncio.run(_mended(settings)) if repair else []
    findings = asyncio.run(_examine(settings, online=online))
    rows = [*mended, *({"check": one.check, "state": one.state, "finding": one.words} for one in findings)]
    failed = sum(row["state"] in ("fail", "failed") for row in rows)
    if as_json:
        print_json({"ok": not failed, "checks": rows})
    else:
        show(rows, as_json=False)
    if failed:
        print(f"error: {failed} of {len(rows)} checks failed; the table says what to do", file=sys.stderr)
        raise typer.Exit(FAILED)


async def _mended(settings: Settings) -> list[dict[str, str]]:
    """What was mended, by the hub where one runs; what was well is not told."""
    remote = None if settings.postgres else await Remote.connect(settings.data_dir)
    if remote is None:
        # On PostgreSQL a process may serve without holding the folder.
        found = mending.mend(settings, serving=settings.postgres)
        rows = [{"check": one.check, "state": one.state, "finding": one.words} for one in found]
    else:
        try:
            rows = (await remote.call("system-repair", {}))["checks"]
        finally:
            await remote.close()
    return [{**row, "check": f"repair: {row['check']}"} for row in rows if row["state"] != "ok"]


async def _examine(settings: Settings, *, online: bool) -> list[Finding]:
    found = [*checkup.program(), *checkup.machine(settings), *await checkup.store(settings)]
    return [*found, *await checkup.issuers(settings), *await checkup.providers(settings, online=online)]
