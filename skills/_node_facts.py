"""``providerSpecificData`` of a connection to a node: what the node says is shown with it, and not stored again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub import accounts, nodes
from hub.errors import BadRequest

if TYPE_CHECKING:
    from hub.context import Context
    from hub.records import Connection, ConnectionRules


def shown(ctx: Context, connection: Connection) -> dict[str, Any]:
    """A connection's facts; one of a node has the node's beside its own, as the seed's clients expect."""
    own = accounts.shown(connection)
    node = ctx.hub.nodes.documents.peek(connection.provider)
    return own if node is None else {**own, **nodes.facts_of(node), "baseUrl": connection.base_url or node.body.base_url}


def read(ctx: Context, provider: str, data: dict[str, Any], rules: ConnectionRules) -> accounts.AccountFacts:
    """``providerSpecificData`` as it is stored: without what its node says, so that the connection follows the node."""
    node = ctx.hub.nodes.documents.peek(provider)
    facts = nodes.facts_of(node) if node is not None else {}
    for name, value in facts.items():
        if data.get(name, value) != value:
            raise BadRequest(
                f"{name} is the node's: change it with PUT /api/provider-nodes/{provider}", field=f"providerSpecificData.{name}"
            )
    found = accounts.read({name: value for name, value in data.items() if name not in facts}, rules=rules)
    prefix = found.facts.get("prefix", "")
    if prefix and ctx.hub.nodes.documents.find(prefix) is not None:
        raise BadRequest(f"prefix: {prefix!r} is the prefix of a node; choose another", field="providerSpecificData.prefix")
    return found


def own_url(ctx: Context, provider: str, base_url: str) -> str:
    """A connection's base URL, empty where it is its node's anyway."""
    node = ctx.hub.nodes.documents.peek(provider)
    return "" if node is not None and nodes.tidy(base_url) == node.body.base_url else base_url
