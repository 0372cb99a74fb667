"""``hubroute mcp-servers``: other MCP servers behind this hub, and what of theirs it offers."""

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
_THINGS = ("name", "address", "standing", "kind", "findings", "reason", "description")
_CHANGES = ("name", "kind", "standing", "path", "before", "after")
_KINDS = {"tools": "tool", "resources": "resource", "templates": "template", "prompts": "prompt"}
_EMPTY = "the server states no tools, resources or prompts"
Server = Annotated[str, typer.Argument(help="Id or name of the server.")]
Tools = Annotated[list[str] | None, typer.Argument(help="Names of tools; with nothing named, all of every kind.")]
Resource = Annotated[list[str] | None, typer.Option(help="The server's own URI of a resource.")]
Template = Annotated[list[str] | None, typer.Option(help="The server's own URI template.")]
Prompt = Annotated[list[str] | None, typer.Option(help="Name of a prompt.")]


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
    sampling: Annotated[str, typer.Option(help="Who answers when it asks for a model: off, client or hub.")] = "off",
    approve: Annotated[bool, typer.Option("--approve", help="Offer all of it at once, but for what the scan flags.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a server and read what it has; nobody can use it until you approve it."""
    remote = target[0].startswith(("http://", "https://"))
    ask: dict[str, Any] = {
        "name": name,
        **({"url": target[0], "transport": "sse" if sse else "http"} if remote else {"command": target[0], "args": target[1:]}),
        "headers": dict(fact(item, "--header") for item in header or []),
        "env": dict(fact(item, "--env") for item in env or []),
        "allowPrivate": allow_private,
        "costPerCall": cost,
        "sampling": sampling,
        "approve": approve,
    }
    view = run(ctx, lambda hub: hub.call("mcp-servers-add", ask))
    _show(view, as_json=as_json)


@app.command("list")
def list_servers(
    ctx: typer.Context, server: Annotated[str, typer.Argument(help="Show what this server offers.")] = "", as_json: AsJson = False
) -> None:
    """List the servers, or what one offers and where each thing stands."""
    if server:
        view = run(ctx, lambda hub: hub.call("mcp-servers-get", {"id": server}))
        _show(view, as_json=as_json)
        return
    found = run(ctx, lambda hub: hub.call("mcp-servers-list", {}))["servers"]
    rows = found if as_json else [_row(one) for one in found]
    show(rows, as_json=as_json, columns=_COLUMNS, empty="no MCP servers yet; `hubroute mcp-servers add NAME URL` adds one")


@app.command()
def sync(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Read a server's lists anew."""
    view = run(ctx, lambda hub: hub.call("mcp-servers-sync", {"id": server}))
    _show(view, as_json=as_json)


@app.command()
def approve(
    ctx: typer.Context,
    server: Server,
    tool: Tools = None,
    resource: Resource = None,
    template: Template = None,
    prompt: Prompt = None,
    as_json: AsJson = False,
) -> None:
    """Allow tools, resources and prompts as they are stated now; a later change hides them again."""
    chosen = _chosen(server, tool, resource, template, prompt)
    view = run(ctx, lambda hub: hub.call("mcp-servers-approve", chosen))
    _show(view, as_json=as_json)


@app.command()
def revoke(
    ctx: typer.Context,
    server: Server,
    tool: Tools = None,
    resource: Resource = None,
    template: Template = None,
    prompt: Prompt = None,
    as_json: AsJson = False,
) -> None:
    """Take the approval of tools, resources and prompts away again."""
    chosen = _chosen(server, tool, resource, template, prompt)
    view = run(ctx, lambda hub: hub.call("mcp-servers-revoke", chosen))
    _show(view, as_json=as_json)


@app.command()
def diff(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Show what changed at a server since you allowed it; exit code 1 when something did."""

    async def work(hub: Reach) -> Any:
        await hub.call("mcp-servers-sync", {"id": server})
        return await hub.call("mcp-servers-diff", {"id": server})

    found = run(ctx, work)
    waiting = [(kind, one) for field, kind in _KINDS.items() for one in found[field]]
    rows = [
        {"name": one["name"], "kind": kind, "standing": one["standing"], **change} for kind, one in waiting for change in one["differences"]
    ]
    show(found if as_json else rows, as_json=as_json, columns=_CHANGES, empty="nothing changed and nothing waits")
    if any(one["standing"] in ("changed", "gone") for _, one in waiting):
        raise typer.Exit(FAILED)


@app.command()
def remove(ctx: typer.Context, server: Server, as_json: AsJson = False) -> None:
    """Remove a server with all that it offers, its credentials and sessions."""
    show(run(ctx, lambda hub: hub.call("mcp-servers-remove", {"id": server})), as_json=as_json)


def _chosen(server: str, tools: list[str] | None, *others: list[str] | None) -> dict[str, Any]:
    resources, templates, prompts = (one or [] for one in others)
    return {"id": server, "tools": tools or [], "resources": resources, "templates": templates, "prompts": prompts}


def _show(view: dict[str, Any], *, as_json: bool) -> None:
    show(view if as_json else _things(view), as_json=as_json, columns=_THINGS, empty=_EMPTY)


def _things(server: dict[str, Any]) -> list[dict[str, Any]]:
    tools = [{**one, "kind": "tool", "address": one["tool"]} for one in server["tools"]]
    others = [{**one, "kind": kind, "name": one["own"]} for field, kind in _KINDS.items() if field != "tools" for one in server[field]]
    return tools + others


def _row(server: dict[str, Any]) -> dict[str, Any]:
    standings = [one["standing"] for one in _things(server)]
    approved = standings.count("approved")
    return {**server, "state": server["state"] if server["enabled"] else "off", "approved": approved, "waiting": len(standings) - approved}
