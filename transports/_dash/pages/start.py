"""The first steps: a provider, a key, a client, the first request.

What is done is seen in the hub itself, so that the steps can be left and taken up again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.connect.catalog import clients
from hub.connect.entries import NO_KEY, Wanted, snippets
from hub.process.welcome import mcp_http, mcp_stdio
from transports._dash.page import Page, Shown

if TYPE_CHECKING:
    from hub.connect.catalog import Client
    from transports._dash.forms import Form
    from transports._dash.page import Outcome
    from transports._dash.view import View

#: What a client that a person uses may do: the model API, and the hub's tools.
_SCOPES = ["operator"]


async def _load(view: View) -> dict[str, Any]:
    chosen = view.values.get("client") or view.choice("client", clients(), "claude")
    connections = (await view.ask("connections-list")).connections
    keys = await view.ask("keys-list", limit=1)
    first = await view.ask("usage-logs", format="json", limit=1)
    return {
        "clients": clients(),
        "chosen": chosen,
        "client": clients()[chosen],
        "connections": connections,
        "working": [one for one in connections if one.test_status == "active"],
        "keys": keys.total,
        "first": first.rows[0] if first.rows else None,
        "made": None,
        "snippets": _snippets(view, clients()[chosen], NO_KEY),
        "base": view.hub.settings.base_url,
        "key": NO_KEY,
    }


def _snippets(view: View, client: Client, key: str) -> list[tuple[str, str]]:
    """What to paste into which file of a client, with a key."""
    settings = view.hub.settings
    stdio = mcp_stdio(settings)
    wanted = Wanted(
        url=mcp_http(settings, key)["url"],
        base=settings.base_url,
        command=(stdio["command"], *stdio["args"]),
        folder=stdio["env"]["HUBROUTE_DATA_DIR"],
        transport="http" if "http" in client.transports else "stdio",
        parts=client.parts,
        model="auto",
        key=key,
    )
    return [(edit.file.any or edit.file.linux, text) for edit, text in snippets(client, wanted)]


async def _key(view: View, form: Form) -> Outcome:
    name = form.text("client")
    client = clients().get(name) or clients()["claude"]
    made = await view.ask("keys-create", name=form.text("name") or client.title, scopes=_SCOPES)
    return Shown({"made": made, "key": made.key, "snippets": _snippets(view, client, made.key)})


PAGES = (
    Page(
        "start",
        "First steps",
        "start.html",
        _load,
        actions={"key": _key},
        group="Observe",
        order=9,
        words="welcome setup connect client snippet",
    ),
)
