"""MCP servers and their tools: adding one, reading what it offers, allowing it, and seeing what has changed since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transports._dash.page import Done, Page

if TYPE_CHECKING:
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

_NEW = ("name", "transport", "url", "command", "args", "headers", "env", "allowPrivate", "timeoutSeconds", "costPerCall")
_CHANGED = ("enabled", "allowPrivate", "timeoutSeconds", "costPerCall", "sampling")
#: What servers offer, and what one of each is called.
KINDS = {"tools": "tool", "resources": "resource", "templates": "template", "prompts": "prompt"}


async def _load(view: View) -> dict[str, Any]:
    return {
        "servers": (await view.ask("mcp-servers-list")).servers,
        "fields": view.fields("mcp-servers-add", *_NEW),
        "status": await view.ask("mcp-status"),
    }


async def _add(view: View, form: Form) -> Outcome:
    made = await view.sent("mcp-servers-add", form, *_NEW)
    return Done(f"{made.name} is added. Its tools are offered once you allow them.", to=f"/dashboard/mcp/{made.id}")


async def _load_one(view: View) -> dict[str, Any]:
    server = await view.ask("mcp-servers-get", id=view.params["id"])
    changes = await view.ask("mcp-servers-diff", id=server.id)
    return {
        "server": server,
        "kinds": KINDS,
        "changes": {kind: {one.name: one for one in getattr(changes, kind)} for kind in KINDS},
        "fields": view.fields("mcp-servers-change", *_CHANGED),
        "stored": server.model_dump(mode="json", by_alias=True),
    }


async def _approve(view: View, form: Form) -> Outcome:
    chosen = {kind: form.chosen(f"{kind}:") for kind in KINDS}
    wanted = {kind: names for kind, names in chosen.items() if names}
    if not wanted:
        return Done("Nothing was chosen, and nothing is allowed anew.")
    await view.ask("mcp-servers-approve", id=view.params["id"], **{"tools": [], **wanted})
    return Done(f"{sum(map(len, wanted.values()))} are allowed as they are now. If one changes, it is hidden until you allow it again.")


async def _revoke(view: View, form: Form) -> Outcome:
    await view.ask("mcp-servers-revoke", id=view.params["id"], **{form.text("kind"): [form.text("name")]})
    return Done(f"{form.text('name')} is not offered any more.")


async def _sync(view: View, form: Form) -> Outcome:
    await view.ask("mcp-servers-sync", id=view.params["id"])
    return Done("What it offers was read anew.")


async def _change(view: View, form: Form) -> Outcome:
    server = await view.ask("mcp-servers-get", id=view.params["id"])
    await view.sent("mcp-servers-change", form, *_CHANGED, stored=server.model_dump(mode="json", by_alias=True), id=server.id)
    return Done("The server is changed.")


async def _remove(view: View, form: Form) -> Outcome:
    await view.ask("mcp-servers-remove", id=view.params["id"])
    return Done("The server is gone, and its tools with it.", to="/dashboard/mcp")


PAGES = (
    Page(
        "mcp",
        "MCP servers & tools",
        "mcp.html",
        _load,
        actions={"add": _add},
        group="Agents",
        order=0,
        keys="t",
        words="tools upstream approve quarantine federation",
    ),
    Page(
        "mcp/{id}",
        "MCP server",
        "mcp_server.html",
        _load_one,
        actions={"approve": _approve, "revoke": _revoke, "sync": _sync, "change": _change, "remove": _remove},
    ),
)
