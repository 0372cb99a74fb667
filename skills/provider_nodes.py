"""Provider nodes: endpoints of the owner's own that speak a known format, and behave like any provider of the catalogue."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr

from hub.context import Context
from hub.errors import BadRequest, Conflict
from hub.nodes import MOST_NODES, Node, Prefix, tidy
from hub.records import Connection
from hub.resilience.probe import probe
from hub.secret import Secret
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.documents import Document
from hub.wire import Body, Nothing, Wire, iso
from skills._shelf import by_name

_TYPE = "openai-compatible"
_API_TYPE = "What an openai-compatible node is for: chat, responses, embeddings, audio-transcriptions, audio-speech or images-generations."
_KIND = "Format it speaks: openai-compatible, anthropic-compatible, gemini-compatible or ollama-compatible."
_CHAT_PATH = "Path of its main endpoint under the base URL; empty for the format's usual one."
_MODELS_PATH = "Path of its list of models under the base URL; empty for the format's usual one."
_MODE = "cc of the seed makes the hub pass for a vendor's own client; it is refused here."


class NodeView(Wire):
    """A node. ``services`` is what it offers, ``connections`` how many there are to it."""

    id: str
    type: str
    name: str
    prefix: str
    api_type: str | None
    base_url: str
    chat_path: str | None
    models_path: str | None
    services: list[str]
    connections: int
    created_at: str | None
    updated_at: str | None


class NodeList(Wire):
    """All nodes. ``types`` maps what a node can be made of to the values of apiType there."""

    nodes: list[NodeView]
    cc_compatible_provider_enabled: bool = False
    types: dict[str, list[str]]


class NewNode(Body):
    """What to make a node of."""

    name: str = Field(min_length=1, max_length=200, description="Its name, for people.")
    prefix: str = Prefix
    type: str = Field(default=_TYPE, description=_KIND)
    api_type: str | None = Field(default=None, description=_API_TYPE)
    base_url: str = Field(default="", max_length=2000, description="Where it is; empty leaves it to each connection.")
    chat_path: str | None = Field(default=None, max_length=500, description=_CHAT_PATH)
    models_path: str | None = Field(default=None, max_length=500, description=_MODELS_PATH)
    compat_mode: Literal["cc"] | None = Field(default=None, description=_MODE)


class NodeChange(Body):
    """A node as it is to be; apiType and the paths stay as they are where they are left out."""

    id: str = Field(description="Id of the node.")
    name: str = Field(min_length=1, max_length=200, description="Its name, for people.")
    prefix: str = Prefix
    base_url: str = Field(min_length=1, max_length=2000, description="Where it is.")
    api_type: str | None = Field(default=None, description=_API_TYPE)
    chat_path: str | None = Field(default=None, max_length=500, description=f"{_CHAT_PATH} Null ends it.")
    models_path: str | None = Field(default=None, max_length=500, description=f"{_MODELS_PATH} Null ends it.")


class NodeId(Wire):
    """Names one node."""

    id: str = Field(description="Id of the node, as nodes-list shows it.")
    force: bool = Field(default=False, description="Delete it although combos or aliases name it; they lead nowhere then.")


class NodeGone(Wire):
    """It is gone, with these connections. ``used_by`` are the combos and aliases that lead nowhere now."""

    success: bool = True
    connections: list[str]
    used_by: list[str]


class NodeTrial(Body):
    """A node to try without saving it."""

    base_url: str = Field(min_length=1, max_length=2000, description="Base URL to try.")
    api_key: SecretStr = Field(default=SecretStr(""), max_length=10_000, description="The key to try it with.")
    type: str = Field(default=_TYPE, description=_KIND)
    api_type: str | None = Field(default=None, description=_API_TYPE)
    compat_mode: Literal["cc"] | None = Field(default=None, description=_MODE)
    chat_path: str | None = Field(default=None, max_length=500, description=_CHAT_PATH)
    models_path: str | None = Field(default=None, max_length=500, description=_MODELS_PATH)
    model_id: str | None = Field(default=None, max_length=200, description="Ask this model for a word, too; that may cost a few tokens.")
    allow_private: bool = Field(default=False, description="Let the trial reach private and loopback addresses.")


class NodeVerdict(Wire):
    """What a trial found. ``error`` is in the server's own words, ``reached`` the address without its query, ``remedy`` what to do."""

    valid: bool
    error: str | None
    warning: str | None
    method: str
    reached: str
    status_code: int | None
    latency_ms: int
    models: list[str] | None
    remedy: str | None


def _view(ctx: Context, one: Document[Node]) -> NodeView:
    body = one.body
    row = ctx.hub.catalog.find(one.id)
    return NodeView(
        id=one.id,
        type=body.type,
        name=body.name,
        prefix=one.name,
        api_type=body.api_type or None,
        base_url=body.base_url,
        chat_path=body.chat_path or None,
        models_path=body.models_path or None,
        services=list(row.services) if row is not None else [],
        connections=len(ctx.hub.store.connections.of(one.id)),
        created_at=iso(one.created_at),
        updated_at=iso(one.updated_at),
    )


def _wrapped(output: NodeView) -> dict[str, Any]:
    return {"node": output.model_dump(mode="json", by_alias=True)}


def _no_disguise(mode: str | None) -> None:
    if mode is not None:
        raise BadRequest(
            "compatMode 'cc' would make the hub pass for a vendor's own client, which it never does; leave it out", field="compatMode"
        )


@skill("nodes-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/provider-nodes")], read_only=True)
async def list_nodes(ctx: Context, ask: Nothing) -> NodeList:
    """List the provider nodes, and what a node can be made of."""
    types = {kind: list(node.api_types) for kind in ctx.hub.nodes.kinds() if (node := ctx.hub.catalog.shipped[kind].node) is not None}
    return NodeList(nodes=[_view(ctx, one) for one in ctx.hub.nodes.documents.all()], types=types)


@skill(
    "nodes-create",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/provider-nodes", status=201, view=_wrapped)],
    audit=Audit.FULL,
)
async def create(ctx: Context, ask: NewNode) -> NodeView:
    """Add an endpoint of your own as a provider; connect it with its id as the provider, and call its models as prefix/model."""
    _no_disguise(ask.compat_mode)
    nodes = ctx.hub.nodes
    node = Node(
        type=ask.type,
        name=ask.name.strip(),
        api_type=ask.api_type or "",
        base_url=tidy(ask.base_url),
        chat_path=ask.chat_path or "",
        models_path=ask.models_path or "",
    )
    nodes.row(node)
    async with ctx.hub.combo_changes:
        if len(nodes.documents.all()) >= MOST_NODES:
            raise Conflict(f"there are {MOST_NODES} nodes already; delete one first")
        nodes.require_prefix(ask.prefix)
        made = await nodes.documents.create(ask.prefix, node, document_id=ctx.hub.clock.new_id(f"{node.type}-"))
    return _view(ctx, made)


@skill(
    "nodes-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/provider-nodes/{id}", view=_wrapped)],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: NodeChange) -> NodeView:
    """Change a node; takes effect at once. Its type stays, and its prefix while combos or aliases name it."""
    nodes = ctx.hub.nodes
    async with ctx.hub.combo_changes:
        kept = nodes.documents.get(ask.id)
        changes: dict[str, Any] = {"name": ask.name.strip(), "base_url": tidy(ask.base_url)}
        changes |= {name: getattr(ask, name) or "" for name in ("chat_path", "models_path") if name in ask.model_fields_set}
        if ask.api_type is not None:
            changes["api_type"] = ask.api_type
        node = kept.body.model_copy(update=changes)
        nodes.row(node)
        if ask.prefix != kept.name:
            nodes.require_prefix(ask.prefix, but=kept.id)
            _unused(nodes.used_by(kept, by_name(ctx)), f"the prefix {kept.name!r} is named by", "prefix")
        made = await nodes.documents.update(ask.id, node, name=ask.prefix)
    return _view(ctx, made)


def _unused(used: list[str], words: str, field: str) -> None:
    if used:
        more = f" and {len(used) - 5} more" if len(used) > 5 else ""
        raise Conflict(f"{words} {', '.join(used[:5])}{more}; change these first", field=field, code="in_use", data={"usedBy": used})


@skill(
    "nodes-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/provider-nodes/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: NodeId) -> NodeGone:
    """Delete a node with its connections and what was said of its models; refused while combos or aliases name it, unless forced."""
    nodes = ctx.hub.nodes
    async with ctx.hub.combo_changes:
        kept = nodes.documents.get(ask.id)
        used = nodes.used_by(kept, by_name(ctx))
        if not ask.force:
            _unused(used, f"the node {kept.body.name!r} is named by", "id")
        gone = await nodes.delete(ask.id)
        if ask.id in ctx.hub.pricebook.set_by_hand():
            await ctx.hub.pricebook.drop(ask.id)
    return NodeGone(connections=gone, used_by=used)


@skill(
    "nodes-validate",
    scopes=["manage"],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/provider-nodes/validate")],
    idempotent=True,
)
async def validate(ctx: Context, ask: NodeTrial) -> NodeVerdict:
    """Try a base URL without saving it: its list of models, and a word of one model where one is named."""
    _no_disguise(ask.compat_mode)
    node = ctx.hub.nodes.template(ask.type).node
    types = list(node.api_types) if node is not None else []
    row = ctx.hub.nodes.row(
        Node(
            type=ask.type,
            name="the server",
            api_type=ask.api_type or (types[0] if types else ""),
            base_url=tidy(ask.base_url),
            chat_path=ask.chat_path or "",
            models_path=ask.models_path or "",
        )
    )
    if ask.model_id and "chat" not in row.services:
        raise BadRequest("modelId: only chats are tried with a model; leave it out for this apiType", field="modelId")
    secret = Secret(ask.api_key.get_secret_value().strip())
    draft = Connection(id="draft", provider=row.id, name="draft", secret=secret, allow_private=ask.allow_private)
    found = await probe(ctx.hub, draft, row=row, model=ask.model_id or "")
    return NodeVerdict(
        valid=found.valid,
        error=found.error,
        warning=found.warning,
        method=found.method,
        reached=found.reached,
        status_code=found.status,
        latency_ms=found.latency_ms,
        models=found.models[:200] if found.models is not None else None,
        remedy=found.remedy,
    )
