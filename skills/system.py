"""The process itself: whether it is set up, what it is, restart, shutdown, and mending what it stands on."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.errors import NotFound
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire


class Initialized(Wire):
    """Whether the hub is set up: a key or a connection exists."""

    initialized: bool


class Restarting(Wire):
    """The hub starts anew once running answers have ended."""

    status: Literal["restarting"] = "restarting"


class Stopping(Wire):
    """The hub stops once running answers have ended."""

    success: bool = True
    message: str


class RepairAsk(Body):
    """What to mend."""

    provider: str | None = Field(default=None, max_length=100, description="Only settings that concern this provider are named as missing.")


class Mended(Wire):
    """One thing that was looked at."""

    check: str
    state: Literal["ok", "repaired", "failed"]
    finding: str


class Repair(Wire):
    """What was mended. The first six fields are the seed's: three tell of an environment file, and this hub writes none."""

    success: bool
    backup_path: None = None
    created: bool = False
    added: int = 0
    missing_count: int
    missing_keys: list[str]
    repaired: list[str]
    checks: list[Mended]


class Diagnosis(Wire):
    """The diagnostics report, without secrets: fit to be sent to somebody who helps."""

    versions: dict[str, str]
    platform: dict[str, Any]
    process: dict[str, Any]
    database: dict[str, Any]
    counts: dict[str, int]
    settings: dict[str, Any] = Field(description="Settings that differ from their defaults; secrets only as being set.")
    preferences: dict[str, Any]
    doors: dict[str, Any]
    audit: dict[str, Any]
    webhooks: dict[str, Any]
    checks: list[dict[str, str]]


@skill(
    "init-status",
    scopes=[],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/init", public=True)],
    read_only=True,
    audit=Audit.NONE,
)
async def init(ctx: Context, ask: Nothing) -> Initialized:
    """Say whether the hub is set up, and nothing else."""
    store = ctx.hub.store
    return Initialized(initialized=bool(store.keys.all() or store.connections.all()))


@skill("system-info", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/system-info")], read_only=True)
async def info(ctx: Context, ask: Nothing) -> Diagnosis:
    """Make a diagnostics report: versions, platform, database, counts, settings that differ, and what `hubroute doctor` finds."""
    # What the report needs is not needed to start.
    from hub.process.diagnostics import report  # noqa: PLC0415 - see above

    return Diagnosis.model_validate(await report(ctx.hub))


@skill(
    "system-restart",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/restart")],
    destructive=True,
    audit=Audit.FULL,
)
async def restart(ctx: Context, ask: Nothing) -> Restarting:
    """Start the hub anew with the same arguments; running answers end first, new calls wait meanwhile."""
    ctx.hub.lifecycle.end(again=True)
    return Restarting()


@skill(
    "system-shutdown",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/shutdown")],
    destructive=True,
    audit=Audit.FULL,
)
async def shutdown(ctx: Context, ask: Nothing) -> Stopping:
    """Stop the hub; running answers end first."""
    ctx.hub.lifecycle.end(again=False)
    return Stopping(message=f"the hub stops; running answers have {ctx.hub.settings.shutdown_seconds:g} s to end")


@skill(
    "system-repair",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/system/env/repair")],
    idempotent=True,
    audit=Audit.FULL,
)
async def repair(ctx: Context, ask: RepairAsk) -> Repair:
    """Mend what the hub stands on: modes of its files, leftovers of dead processes; and say what only a person can."""
    from hub.process import mending  # noqa: PLC0415 - not needed to start

    hub = ctx.hub
    if ask.provider is not None and hub.catalog.find(ask.provider) is None:
        raise NotFound(f"there is no provider {ask.provider!r}", field="provider")
    found = await asyncio.to_thread(mending.mend, hub.settings, serving=True)
    missing = [] if ask.provider else mending.missing(hub.settings)
    return Repair(
        success=all(one.state != "failed" for one in found),
        missing_count=len(missing),
        missing_keys=missing,
        repaired=[one.words for one in found if one.state == "repaired"],
        checks=[Mended(check=one.check, state=one.state, finding=one.words) for one in found],
    )
