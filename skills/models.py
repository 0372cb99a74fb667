"""Models: what can be called, what it can do and what it costs."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from pydantic import Field

from hub.context import Context
from hub.errors import NotFound
from hub.providers.catalog import ModelRow, ProviderRow
from hub.resilience.health import State, standing
from hub.routing.combo import Combo, Step
from hub.skill import Audit, CostClass, Mcp, Names, Resource, Rest, skill
from hub.store.documents import Document
from hub.wire import Nothing, Wire, iso
from skills._shelf import in_order, leaves, may_use, provider_of

if TYPE_CHECKING:
    from hub.call import Hub

#: The catalogue's kinds of models under the seed's names of capabilities.
_CAPABILITY = {"stt": "audio", "tts": "audio", "music": "audio", "embeddings": "embedding", "images": "image"}


Status = Literal["available", "degraded", "unavailable"]
_STATUS: dict[State, Status] = {
    "CLOSED": "available",
    "HALF_OPEN": "degraded",
    "OPEN": "unavailable",
}


class ModelsAsk(Wire):
    """Which models to list."""

    provider: str | None = Field(default=None, description="Provider id or alias; without it those with a connection are listed.")
    capability: Literal["chat", "embedding", "image", "audio", "video", "rerank", "moderation"] | None = Field(
        default=None, description="Only models of this kind."
    )
    all_providers: bool = Field(default=False, description="List the whole catalogue, providers without a connection included.")


class ModelPrice(Wire):
    """US dollars per million tokens; null is unknown."""

    input_per_million: float | None
    output_per_million: float | None


class Model(Wire):
    """One model. ``id`` is what to write as ``model``; ``abilities`` are tools, vision, reasoning and the like."""

    id: str
    provider: str
    capabilities: list[str]
    abilities: list[str]
    status: Status
    context_window: int | None
    max_output_tokens: int | None
    pricing: ModelPrice | None
    deprecated: bool = False
    replaced_by: str | None = None


class ModelList(Wire):
    """Models and where the list is from."""

    models: list[Model]
    source: str = "local_catalog"
    warning: str | None = None


def _ids(found: ModelList) -> list[str]:
    return [model.id for model in found.models]


def _connections(hub: Hub) -> object:
    """What of the connections decides which models can be called."""
    connections = [(one.id, one.provider, one.active, one.rules.excluded_models) for one in hub.store.connections.all()]
    return connections, hub.directory.discovered(), hub.catalog.version


def _status(ctx: Context, provider: str) -> Status:
    """Whether a call would find a connection: all well, some in trouble, or none."""
    if provider not in ctx.hub.directory.connected():
        return "unavailable"
    found = standing(ctx.hub, provider)
    return _STATUS[found.state] if found else "available"


def kind_of(row: ModelRow) -> str:
    """What a model is for, in the seed's words."""
    return _CAPABILITY.get(row.kind, row.kind)


def _served(ctx: Context, row: ProviderRow) -> list[ModelRow]:
    """The models of a provider: the catalogue's, the owner's own, and those its connections name; without the hidden ones."""
    connections = ctx.hub.store.connections.of(row.id)
    there = {connection.id for connection in connections}
    models = {model.id: model for model in row.models if not model.only or not there.isdisjoint(model.only)}
    for connection in connections:
        for name in (*connection.models, connection.default_model):
            if name and name not in models:
                models[name] = ModelRow(id=name)
    return [model for model in models.values() if model.id not in row.hidden]


def callable_models(ctx: Context) -> list[tuple[ProviderRow, ModelRow]]:
    """Every model of every provider that can be used now and that this key may use."""
    allowed = ctx.caller.allowed_models
    found: list[tuple[ProviderRow, ModelRow]] = []
    for provider in sorted(ctx.hub.directory.connected()):
        row = ctx.hub.catalog.find(provider)
        if row is None:
            continue
        for model in _served(ctx, row):
            names = (f"{row.alias}/{model.id}", f"{row.id}/{model.id}", model.id)
            if not allowed or any(fnmatchcase(name, pattern) for name in names for pattern in allowed):
                found.append((row, model))
    return found


@skill(
    "models-list",
    scopes=["read:models"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_list_models_catalog"),
    resources=[
        Resource("hub://models", "Models that can be called now.", state=_connections, changes=("setup", "breaker", "connection")),
        Resource(
            "hub://models/{provider}",
            "Models of one provider.",
            kinds={"provider": "provider"},
            state=_connections,
            changes=("setup", "breaker", "connection"),
        ),
    ],
    names=Names("model", _ids),
    read_only=True,
    audit=Audit.NONE,
)
async def list_models(ctx: Context, ask: ModelsAsk) -> ModelList:
    """List models with abilities, status, context window and price."""
    if ask.provider:
        row = ctx.hub.catalog.get(ask.provider)
        pairs = [(row, model) for model in _served(ctx, row)]
    elif ask.all_providers:
        pairs = [(row, model) for row in ctx.hub.catalog.providers.values() for model in _served(ctx, row)]
    else:
        pairs = callable_models(ctx)
    statuses: dict[str, Status] = {row.id: _status(ctx, row.id) for row, _ in pairs}
    models = [
        await _model(ctx, row, model, statuses[row.id])
        for row, model in pairs
        if ask.capability is None or kind_of(model) == ask.capability
    ]
    warning = None if ctx.hub.store.connections.all() else "no provider is connected; the built-in demo answers until one is"
    return ModelList(models=models, warning=warning)


async def _model(ctx: Context, row: ProviderRow, model: ModelRow, status: Status) -> Model:
    price = model.price
    if price is not None or status != "unavailable":  # what the owner says comes before the catalogue
        priced = await ctx.hub.prices.lookup(row.id, model.id)
        price = priced.price if priced else None
    return Model(
        id=f"{row.alias}/{model.id}",
        provider=row.id,
        capabilities=[kind_of(model)],
        abilities=list(model.caps),
        status=status,
        context_window=model.context or row.default_context,
        max_output_tokens=model.max_output,
        pricing=ModelPrice(input_per_million=price.input, output_per_million=price.output) if price else None,
        deprecated=bool(model.successor),
        replaced_by=_successor(row, model),
    )


class OpenAiModel(Wire):
    """A model in OpenAI's shape, with the seed's further fields."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = Field(serialization_alias="owned_by")
    root: str
    parent: None = None
    permission: list[str] = Field(default=[])
    capabilities: dict[str, bool]
    context_length: int | None = Field(serialization_alias="context_length")
    max_output_tokens: int | None = Field(serialization_alias="max_output_tokens")
    type: str
    deprecated: bool = False
    replaced_by: str | None = Field(default=None, serialization_alias="replaced_by")


class OpenAiModels(Wire):
    """A list of models in OpenAI's shape."""

    object: str = "list"
    data: list[OpenAiModel]


def _openai(row: ProviderRow, model: ModelRow) -> OpenAiModel:
    return OpenAiModel(
        id=f"{row.alias}/{model.id}",
        owned_by=row.id,
        root=model.id,
        capabilities=_abilities(model),
        context_length=model.context or row.default_context,
        max_output_tokens=_most_output(row, model),
        type=kind_of(model),
        deprecated=bool(model.successor),
        replaced_by=_successor(row, model),
    )


def _successor(row: ProviderRow, model: ModelRow) -> str | None:
    """What takes the place of a model that is deprecated."""
    return f"{row.alias}/{model.successor}" if model.successor else None


def _abilities(model: ModelRow) -> dict[str, bool]:
    return {"tool_calling": "tools" in model.caps, "reasoning": "reasoning" in model.caps, "vision": "vision" in model.caps}


def _most_output(row: ProviderRow, model: ModelRow) -> int | None:
    """The most that a model may answer: its own limit, else its window, which no answer exceeds; None where neither is known."""
    return model.max_output or model.context or row.default_context


def _listed_combos(ctx: Context) -> list[Document[Combo]]:
    """The combos that this key may ask for, those apart that are switched off or hidden."""
    return [one for one in in_order(ctx) if one.body.is_active and not one.body.is_hidden and may_use(ctx, one.name)]


def _openai_combo(ctx: Context, document: Document[Combo]) -> OpenAiModel:
    """A combo as a model: it can do what all its targets can, and takes what the smallest of them takes."""
    rows = [_row_of(ctx, leaf.step) for leaf in leaves(ctx, document)]

    def able(name: str) -> bool:
        return bool(rows) and all(name in row.caps for row in rows)

    return OpenAiModel(
        id=document.name,
        created=document.created_at // 1000,
        owned_by="combo",
        root=document.name,
        capabilities={"tool_calling": able("tools"), "reasoning": able("reasoning"), "vision": able("vision")},
        context_length=document.body.context_length or min((row.context for row in rows if row.context), default=None),
        max_output_tokens=min((row.max_output for row in rows if row.max_output), default=None),
        type="chat",
    )


def _row_of(ctx: Context, step: Step) -> ModelRow:
    """What is known of a target's model; an empty row where nothing is."""
    provider, model = provider_of(ctx, step)
    row = ctx.hub.catalog.find(provider)
    if row is None:
        return ModelRow(id=model)
    listed = row.model(model) or ModelRow(id=model)
    return listed if listed.context else msgspec.structs.replace(listed, context=row.default_context)


def _anthropic(model: OpenAiModel) -> dict[str, Any]:
    """A model as Anthropic's list has it."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.root,
        "created_at": iso(model.created * 1000),
        "max_input_tokens": model.context_length,
        "max_tokens": model.max_output_tokens,
    }


def _anthropic_list(found: OpenAiModels) -> dict[str, Any]:
    """All models as one page of Anthropic's list."""
    data = [_anthropic(model) for model in found.data]
    ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": ends[0], "last_id": ends[1]}


#: Clients of the Messages API say its version with every request.
_VERSION = "anthropic-version"


@skill(
    "openai-models",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[
        Rest("GET", "/v1/models", views=((_VERSION, _anthropic_list),)),
        Rest("GET", "/v1beta/models", door="gemini"),
        Rest("GET", "/v1/providers/{provider}/models", door="openai"),
        *(Rest("GET", f"{base}/api/tags", door="ollama") for base in ("", "/v1")),
    ],
    read_only=True,
    audit=Audit.NONE,
)
async def openai_models(ctx: Context, ask: Nothing) -> OpenAiModels:
    """List the combos and models this key can call, in OpenAI's shape, or Anthropic's for its clients."""
    combos = [_openai_combo(ctx, one) for one in _listed_combos(ctx)]
    taken = {one.id for one in combos}
    models = [_openai(row, model) for row, model in callable_models(ctx)]
    return OpenAiModels(data=combos + [one for one in models if one.id not in taken])


class ModelName(Wire):
    """Names one model."""

    model: str = Field(description="Model id as the list shows it.")


@skill(
    "openai-model",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[
        Rest("GET", "/v1/models/{model:path}", views=((_VERSION, _anthropic),)),
        Rest("GET", "/v1beta/models/{model:path}", door="gemini"),
        *(Rest("POST", f"{base}/api/show", door="ollama") for base in ("", "/v1")),
    ],
    read_only=True,
    audit=Audit.NONE,
)
async def openai_model(ctx: Context, ask: ModelName) -> OpenAiModel:
    """Show one model or combo this key can call, in OpenAI's shape."""
    combo = ctx.hub.combos.find(ask.model)
    if combo is not None and combo.body.is_active and may_use(ctx, combo.name):
        return _openai_combo(ctx, combo)
    for row, model in callable_models(ctx):
        if ask.model in (f"{row.alias}/{model.id}", f"{row.id}/{model.id}", model.id):
            return _openai(row, model)
    raise NotFound(f"no model {ask.model!r} can be called with this key; GET /v1/models lists them", field="model", code="model_not_found")


def _listed(row: ProviderRow, model: ModelRow) -> dict[str, Any]:
    """A model in the catalogue; ``custom`` ones are the owner's own."""
    return {
        "id": f"{row.alias}/{model.id}",
        "name": model.name or model.id,
        "type": kind_of(model),
        "custom": model.custom,
        "capabilities": _abilities(model),
        "max_output_tokens": _most_output(row, model),
    }


class Catalogue(Wire):
    """Models grouped by provider; ``catalog_version`` changes when the list does."""

    catalog: dict[str, Any]
    catalog_version: str


@skill(
    "models-catalog",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/models/catalog")],
    read_only=True,
    audit=Audit.NONE,
)
async def catalog(ctx: Context, ask: Nothing) -> Catalogue:
    """Show the whole catalogue, grouped by provider."""
    connected = ctx.hub.directory.connected()
    grouped = {
        row.alias: {
            "provider": row.id,
            "active": row.id in connected,
            "models": [_listed(row, model) for model in row.shown],
        }
        for row in ctx.hub.catalog.providers.values()
        if not row.builtin
    }
    return Catalogue(catalog=grouped, catalog_version=ctx.hub.catalog.version)
