"""``hubroute owner``: the owner's way into the dashboard, from the hub's own machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.session import AsJson, WrongUse, run
from hub.commands.show import print_json, show

if TYPE_CHECKING:
    from hub.process.reach import Reach

app = typer.Typer(help="Set the dashboard's password, see who is logged in, unlock.", no_args_is_help=True)

_COLUMNS = ("id", "address", "agent", "createdAt", "lastSeen", "expiresAt")


@app.command()
def link(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Make a link that sets the password once and logs in; an older link ends."""
    made = run(ctx, lambda hub: hub.call("owner-link", {}))
    if as_json:
        print_json(made)
        return
    print(made["url"])
    print(f"opens the dashboard and sets its password, within {made['hours']} hours", file=sys.stderr)


@app.command()
def password(
    ctx: typer.Context,
    value: Annotated[
        str, typer.Argument(metavar="[-]", help="`-` reads the password from standard input; otherwise it is asked for.")
    ] = "",
) -> None:
    """Set the password; every browser is logged out."""
    if value not in ("", "-"):
        raise WrongUse("a password does not belong on a command line; leave it out to be asked, or give `-` and pipe it in")
    text = sys.stdin.readline().rstrip("\r\n") if value else typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    run(ctx, lambda hub: hub.call("login-update", {"password": text}))
    print("the password is set; every browser is logged out", file=sys.stderr)


@app.command()
def sessions(
    ctx: typer.Context,
    end: Annotated[str, typer.Option(help="Log out the browser with this session id, or `all`.")] = "",
    as_json: AsJson = False,
) -> None:
    """List the browsers that are logged in, or log one or all of them out."""

    async def work(hub: Reach) -> Any:
        if end:
            return await (hub.call("login-sessions-end-all", {}) if end == "all" else hub.call("login-sessions-end", {"id": end}))
        return (await hub.call("login-sessions", {}))["sessions"]

    show(run(ctx, work), as_json=as_json, columns=() if end else _COLUMNS, empty="no browser is logged in")


@app.command()
def unlock(ctx: typer.Context) -> None:
    """Let everybody try to log in again at once, who failed too often."""
    run(ctx, lambda hub: hub.call("login-unlock", {}))
    print("failed logins are forgotten", file=sys.stderr)


@app.command("forget-totp")
def forget_totp(ctx: typer.Context) -> None:
    """Switch the second factor off, for the day the phone and its recovery codes are gone."""
    run(ctx, lambda hub: hub.call("login-totp-disable", {}))
    print("a login needs the password alone now", file=sys.stderr)
