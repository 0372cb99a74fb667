"""``hubroute mcp-servers``: other MCP servers behind this hub, and which of their tools it offers."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.providers import fact
from hub.commands.session import FAILED, AsJson, run
from hub.commands.show import show
from hub.errors import NotConfigured, Unavailable
from hub.reach import Local

if TYPE_CHECKING:
    from hub.reach import Reach

app = typer.Typer(help="Upstream MCP servers: add, log in, approve, diff.", no_args_is_help=True)

_COLUMNS = ("name", "transport", "state", "title", "protocol", "approved", "waiting", "lastError")
_TOOLS = ("name", "tool", "standing", "findings", "reason", "description")
_CHANGES = ("tool", "standing", "path", "before", "after")
_LOGINS = ("name", "state", "scopes", "missingScopes", "expiresIn", "refreshes", "failingSince", "failure", "principal")
#: How often the command looks whether a login is done: for the ten minutes that it may take.
_POLL_SECONDS, _POLLS = 0.5, 1200
Server = Annotated[str, typer.Argument(help="Id or name of the server.")]


@app.command(context_settings={"ignore_unknown_options": True})
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Namespace of its tools, such as `github`.")],
    target: Annotated[list[str], typer.Argument(help="The server's URL, or `--` and the program with its arguments.")],
    header: Annotated[list[str] | None, typer.Option(help="A request header as name=value; kept encrypted.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="A variable of the program as name=value; kept encrypted.")] = None,
    sse: Annotated[bool, typer.Option("--sse", help="The URL speaks the older HTTP+SSE transport.")] = False,
    allow_private: Annotated[bool, typer.Option("--allow-private", help="Let it be on a private or loopback address.")] = False,
    cost: Annotated[float | None, typer.Option(help="US dollars that one call costs.")] = None,
    oauth: Annotated[str, typer.Option(help="It wants logins by OAuth: `per-user`, or `shared` for one that all use.")] = "",
    client_id: Annotated[str, typer.Option(help="OAuth client that you registered there; one is registered without.")] = "",
    client_secret: Annotated[str, typer.Option(help="Its secret; '-' reads it from standard input.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="OAuth scope to ask for; those that it names by default.")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Offer its tools at once, but for those that the scan flags.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a server and read its tools; nobody can call them until you approve them."""
    remote = target[0].startswith(("http://", "https://"))
    ask: dict[str, Any] = {
        "name": name,
        **({"url": target[0], "transport": "sse" if sse else "http"} if remote else {"command": target[0], "args": target[1:]}),
        "headers": dict(fact(item, "--header") for item in header or []),
        "env": dict(fact(item, "--env") for item in env or []),
        "allowPrivate": allow_private,
        "costPerCall": cost,
        "approve": approve,
        **_oauth(oauth, client_id, client_secret, scope),
    }
    view = run(ctx, lambda hub: hub.call("mcp-servers-add", ask))
    if oauth and not as_json:
        print(f"added; its tools are read after `hubroute mcp-servers login {name}`", file=sys.stderr)
        return
    show(view if as_json else view["tools"], as_json=as_json, columns=_TOOLS, empty="the server states no tools")


@app.command("list")
def list_servers(
    ctx: typer.Context, server: Annotated[str, typer.Argument(help="Show the tools of this server.")] = "", as_json: AsJson = False
) -> None:
    """List the servers, or the tools of one and where each stands."""
    if server:
        view = run(ctx, lambda hub: hub.call("mcp-servers-get", {"id": server}))
        show(view if as_json else view["tools"], as_json=as_json, columns=_TOOLS, empty="the server states no tools")
        return
    found = run(ctx, lambda hub: hub.call("mcp-servers-list", {}))["servers"]
    rows = found if as_json else [_row(one) for one in found]
    show(rows, as_json=as_json, columns=_COLUMNS, empty="no MCP servers yet; `hubroute mcp-servers add NAME URL` adds one")


@app.command()
def sync(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Read a server's tools anew."""
    view = run(ctx, lambda hub: hub.call("mcp-servers-sync", {"id": server}))
    show(view if as_json else view["tools"], as_json=as_json, columns=_TOOLS, empty="the server states no tools")


@app.command()
def approve(
    ctx: typer.Context,
    server: Server,
    tool: Annotated[list[str] | None, typer.Argument(help="Names of tools; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Allow tools as they are stated now; a later change hides them again."""
    view = run(ctx, lambda hub: hub.call("mcp-servers-approve", {"id": server, "tools": tool or []}))
    show(view if as_json else view["tools"], as_json=as_json, columns=_TOOLS, empty="the server states no tools")


@app.command()
def revoke(
    ctx: typer.Context,
    server: Server,
    tool: Annotated[list[str] | None, typer.Argument(help="Names of tools; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take the approval of tools away again."""
    view = run(ctx, lambda hub: hub.call("mcp-servers-revoke", {"id": server, "tools": tool or []}))
    show(view if as_json else view["tools"], as_json=as_json, columns=_TOOLS, empty="the server states no tools")


@app.command()
def diff(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Show what changed in a server's tools since you allowed them; exit code 1 when something did."""

    async def work(hub: Reach) -> Any:
        await hub.call("mcp-servers-sync", {"id": server})
        return await hub.call("mcp-servers-diff", {"id": server})

    found = run(ctx, work)
    rows = [{"tool": one["name"], "standing": one["standing"], **change} for one in found["tools"] for change in one["differences"]]
    show(found if as_json else rows, as_json=as_json, columns=_CHANGES, empty="nothing changed and nothing waits")
    if any(one["standing"] in ("changed", "gone") for one in found["tools"]):
        raise typer.Exit(FAILED)


@app.command()
def remove(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Remove a server with its tools, credentials and sessions."""
    show(run(ctx, lambda hub: hub.call("mcp-servers-remove", {"id": server})), as_json=as_json)


@app.command()
def login(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Log in to a server that wants it: open the address that is shown in your browser; waits until that is done."""

    async def work(hub: Reach) -> Any:
        if isinstance(hub, Local) and not hub.hub.settings.postgres:
            raise NotConfigured("start the hub first (`hubroute serve`), so that it is there when your browser comes back")
        begun = await hub.call("mcp-servers-login", {"id": server})
        print(f"open {begun['url']} to log in at {begun['issuer']}", file=sys.stderr, flush=True)
        for _ in range(_POLLS):
            came = await hub.call("mcp-servers-login-outcome", {"id": server, "ticket": begun["ticket"]})
            if came["state"] == "connected":
                return await hub.call("mcp-servers-logins", {"id": server})
            if came["state"] == "failed":
                raise Unavailable(came["reason"])
            await asyncio.sleep(_POLL_SECONDS)
        raise Unavailable("nobody came back from the login within ten minutes; run the command again")

    show(run(ctx, work), as_json=as_json, columns=_LOGINS)


@app.command()
def logins(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """List who is logged in at a server, until when, and what fails."""
    found = run(ctx, lambda hub: hub.call("mcp-servers-logins", {"id": server}))
    show(found, as_json=as_json, columns=_LOGINS, empty=f"nobody is logged in; `hubroute mcp-servers login {server}` begins")


@app.command()
def logout(
    ctx: typer.Context,
    server: Server,
    principal: Annotated[str, typer.Option(help="Whose login to end; your own, or the shared one, by default.")] = "",
    as_json: AsJson = False,
) -> None:
    """End a login: forget its tokens, and take them back at the server where it offers that."""
    show(run(ctx, lambda hub: hub.call("mcp-servers-logout", {"id": server, "principal": principal})), as_json=as_json)


@app.command()
def set_client(
    ctx: typer.Context,
    server: Server,
    client_id: Annotated[str, typer.Argument(help="Id of the OAuth client that you registered at its authorization server.")],
    client_secret: Annotated[str, typer.Option(help="Its secret; '-' reads it from standard input.")] = "",
) -> None:
    """Log in with a client of your own from now on; logins that are there keep theirs."""
    ask = {"id": server, "oauth": _client(client_id, client_secret)}
    view = run(ctx, lambda hub: hub.call("mcp-servers-change", ask))
    show(view["oauth"], as_json=False)


def _oauth(share: str, client_id: str, given: str, scopes: list[str] | None) -> dict[str, Any]:
    """How a server's callers log in; nothing for one that takes no logins."""
    return {"oauth": {"share": share, **_client(client_id, given), "scopes": scopes or []}} if share else {}


def _client(client_id: str, given: str) -> dict[str, str]:
    secret = sys.stdin.readline().strip() if given == "-" else given
    return {name: value for name, value in (("clientId", client_id), ("clientSecret", secret)) if value}


def _row(server: dict[str, Any]) -> dict[str, Any]:
    standings = [tool["standing"] for tool in server["tools"]]
    approved = standings.count("approved")
    return {**server, "state": server["state"] if server["enabled"] else "off", "approved": approved, "waiting": len(standings) - approved}
