"""``hubroute keys``: the keys that programs connect with."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.commands.session import AsJson, run
from hub.commands.show import print_json, show
from hub.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from hub.process.reach import Reach

app = typer.Typer(help="Create, list and revoke API keys.", no_args_is_help=True)

_COLUMNS = ("id", "name", "keyPrefix", "scopes", "isActive", "createdAt", "expiresAt", "lastUsedAt")


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scopes: Annotated[
        str, typer.Option(help="Comma list of scopes, bundles (read-only, operator, owner) or wildcards; '*' is everything.")
    ] = "operator",
    expires_in_days: Annotated[float | None, typer.Option(help="Days until it stops working; never by default.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="A model or pattern it may use; all by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print it, this once."""
    ask: dict[str, Any] = {"name": name, "scopes": _listed(scopes), "expiresInDays": expires_in_days, "allowedModels": model or []}
    made = run(ctx, lambda hub: hub.call("keys-create", ask))
    if as_json:
        print_json(made)
        return
    print(made["key"])
    print(f"key {made['name']!r} (id {made['id']}) is shown this once; its scopes: {', '.join(made['scopes'])}", file=sys.stderr)


@app.command("list")
def list_keys(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List keys, without their secrets."""
    show(run(ctx, lambda hub: hub.call("keys-list", {"limit": 1000})), as_json=as_json, columns=_COLUMNS, empty="no keys yet")


@app.command()
def revoke(ctx: typer.Context, key: Annotated[str, typer.Argument(help="Id, prefix or name of the key.")], as_json: AsJson = False) -> None:
    """Revoke a key: it stops working at once and for good."""

    async def work(hub: Reach) -> Any:
        found = await hub.call("keys-list", {"limit": 1000})
        return await hub.call("keys-revoke", {"id": named(found["keys"], key, kind="key")["id"]})

    show(run(ctx, work), as_json=as_json)


def named(items: list[dict[str, Any]], wanted: str, *, kind: str) -> dict[str, Any]:
    """The one item with this id, public prefix or name. Raises NotFound, or BadRequest when a name is not unique."""
    for item in items:
        if wanted in (item["id"], item.get("keyPrefix")):
            return item
    found = [item for item in items if item["name"] == wanted]
    if not found:
        raise NotFound(f"no {kind} has the id or name {wanted!r}; the list command shows what there is")
    if len(found) > 1:
        raise BadRequest(f"{len(found)} {kind}s are named {wanted!r}; give the id: {', '.join(item['id'] for item in found)}")
    return found[0]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
