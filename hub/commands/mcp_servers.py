"""``hubroute mcp-servers``: other MCP servers behind this hub, and what of theirs it offers."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.providers import fact, piped
from hub.commands.session import FAILED, AsJson, run
from hub.commands.show import show
from hub.errors import NotConfigured, Unavailable
from hub.process.reach import Local

if TYPE_CHECKING:
    from hub.process.reach import Reach

app = typer.Typer(help="Upstream MCP servers: add, log in, approve, diff.", no_args_is_help=True)

_COLUMNS = ("name", "transport", "state", "title", "protocol", "approved", "waiting", "lastError")
_THINGS = ("name", "address", "standing", "kind", "findings", "reason", "description")
_CHANGES = ("name", "kind", "standing", "path", "before", "after")
_KINDS = {"tools": "tool", "resources": "resource", "templates": "template", "prompts": "prompt"}
_EMPTY = "the server states no tools, resources or prompts"
_LOGINS = ("name", "state", "scopes", "missingScopes", "expiresIn", "refreshes", "failingSince", "failure", "principal")
#: How often the command looks whether a login is done: for the ten minutes that it may take.
_POLL_SECONDS, _POLLS = 0.5, 1200
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
    oauth: Annotated[str, typer.Option(help="It wants logins by OAuth: `per-user`, or `shared` for one that all use.")] = "",
    client_id: Annotated[str, typer.Option(help="OAuth client that you registered there; one is registered without.")] = "",
    client_secret: Annotated[str, typer.Option(help="Its secret; '-' reads it from standard input.")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="OAuth scope to ask for; those that it names by default.")] = None,
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
        **_oauth(oauth, client_id, client_secret, scope),
    }
    view = run(ctx, lambda hub: hub.call("mcp-servers-add", ask))
    if oauth and not as_json:
        print(f"added; its lists are read after `hubroute mcp-servers login {name}`", file=sys.stderr)
        return
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
    return {name: value for name, value in (("clientId", client_id), ("clientSecret", piped(given))) if value}


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
