"""Tunnels: make the hub reachable from outside through a program that the owner installed, and stop it again (SEC-30)."""

from __future__ import annotations

import asyncio
import sys
from typing import Literal

from pydantic import Field, SecretStr

from hub.context import Context
from hub.skill import Audit, CostClass, Rest, skill
from hub.tunnels.rows import TunnelRow
from hub.wire import Body, Nothing, Wire

_KIND = "Which program: cloudflared, ngrok or tailscale."


class TunnelId(Body):
    """Names one tunnel."""

    kind: str = Field(max_length=60, description=_KIND)


class TunnelChange(Body):
    """Open or close a tunnel."""

    kind: str = Field(max_length=60, description=_KIND)
    action: Literal["enable", "disable"] = Field(description="enable opens it and waits for its address; disable ends the program.")
    auth_token: SecretStr = Field(
        default=SecretStr(""), description="Token for the program, where it is not logged in. It is given to the program and not stored."
    )
    hostname: str = Field(default="", max_length=253, description="Name of your own that leads to the tunnel, where the program takes one.")


class Reachable(Wire):
    """What can be reached through a tunnel: addresses that answer without a key, and the doors that want one."""

    without_key: list[str]
    with_key: list[str]


class TunnelStatus(Wire):
    """A tunnel. ``phase`` is unsupported, not_installed, stopped, starting, running, needs_auth or error.

    ``blockers`` say why it may not be opened now, ``takes`` which fields of tunnels-set the program has a use for. No program is ever
    downloaded, so ``managedInstall`` is false; what the program said last is in ``log``, and in no file.
    """

    kind: str
    name: str
    supported: bool
    installed: bool
    managed_install: bool = False
    install_source: str | None
    install_help: str
    binary_path: str | None
    running: bool
    pid: int | None
    public_url: str | None
    api_url: str | None
    target_url: str
    phase: str
    last_error: str | None
    log_path: str = ""
    log: list[str]
    blockers: list[str]
    takes: list[str]
    reachable: Reachable


class TunnelList(Wire):
    """Every tunnel that is known."""

    tunnels: list[TunnelStatus]


class TunnelChanged(Wire):
    """What was done."""

    success: bool = True
    action: str
    status: TunnelStatus


@skill("tunnels-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/tunnels")], read_only=True)
async def listed(ctx: Context, ask: Nothing) -> TunnelList:
    """List the programs that can make this hub reachable from outside, and which of them are installed and running."""
    return TunnelList(tunnels=[await _status(ctx, row) for row in ctx.hub.tunnels.rows.values()])


@skill("tunnels-status", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/tunnels/{kind}")], read_only=True)
async def shown(ctx: Context, ask: TunnelId) -> TunnelStatus:
    """Show one tunnel: whether it can be opened, what would be reachable through it, and where."""
    return await _status(ctx, ctx.hub.tunnels.row(ask.kind))


@skill(
    "tunnels-set",
    scopes=["manage", "process"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/tunnels/{kind}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def changed(ctx: Context, ask: TunnelChange) -> TunnelChanged:
    """Open a tunnel through an installed program, or close it.

    It is not opened while the hub lets anybody in without a key. The program ends with the hub.
    """
    tunnels = ctx.hub.tunnels
    row = tunnels.row(ask.kind)
    if ask.action == "enable":
        await tunnels.enable(ask.kind, token=ask.auth_token.get_secret_value(), hostname=ask.hostname)
    else:
        await tunnels.disable(ask.kind)
    return TunnelChanged(action=ask.action, status=await _status(ctx, row))


async def _status(ctx: Context, row: TunnelRow) -> TunnelStatus:
    tunnels = ctx.hub.tunnels
    tunnel = tunnels.tunnel(row.id)
    found, source = await asyncio.to_thread(tunnels.find, row)
    supported, installed = sys.platform != "win32", not found.reason
    phase = tunnel.phase if tunnel.phase != "stopped" else "stopped" if installed else "not_installed" if supported else "unsupported"
    return TunnelStatus(
        kind=row.id,
        name=row.name,
        supported=supported,
        installed=installed,
        install_source=source or None,
        install_help="" if installed else f"{found.reason}; {row.help}",
        binary_path=found.path or None,
        running=bool(tunnel.url),
        pid=tunnel.pid,
        public_url=tunnel.url or None,
        api_url=f"{tunnel.url}/v1" if tunnel.url else None,
        target_url=tunnels.target,
        phase=phase,
        last_error=tunnel.error or None,
        log=list(tunnel.lines),
        blockers=tunnels.blockers(),
        takes=row.takes,
        reachable=_reachable(ctx),
    )


def _reachable(ctx: Context) -> Reachable:
    """From the routes that are served, so that nothing that is reachable is left out."""
    routes = ctx.hub.kept.get("routes", ())
    return Reachable(
        without_key=sorted({route.path for route in routes if route.public}),
        with_key=sorted({route.door.name for route in routes if not route.public}),
    )
