"""``hubroute mcp-servers``: other MCP servers behind this hub, and which of their tools it offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.providers import fact
from hub.commands.session import FAILED, AsJson, run
from hub.commands.show import show

if TYPE_CHECKING:
    from hub.reach import Reach

app = typer.Typer(help="Upstream MCP servers: add, list, approve, diff, remove.", no_args_is_help=True)

_COLUMNS = ("name", "transport", "state", "title", "protocol", "approved", "waiting", "lastError")
_TOOLS = ("name", "tool", "standing", "findings", "reason", "description")
_CHANGES = ("tool", "standing", "path", "before", "after")
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
    }
    view = run(ctx, lambda hub: hub.call("mcp-servers-add", ask))
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


def _row(server: dict[str, Any]) -> dict[str, Any]:
    standings = [tool["standing"] for tool in server["tools"]]
    approved = standings.count("approved")
    return {**server, "state": server["state"] if server["enabled"] else "off", "approved": approved, "waiting": len(standings) - approved}
