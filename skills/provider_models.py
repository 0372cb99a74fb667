"""Models of the owner's own at any provider, models that nobody is shown, and what is changed of requests to one model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hub.context import Context
from hub.custom_models import (
    API_FORMATS,
    COMPAT_FIELDS,
    ApiFormat,
    CompatRules,
    CustomModel,
    Endpoint,
    ModelPricing,
    ModelRules,
    ProviderModels,
    priced,
)
from hub.errors import BadRequest, Conflict, NotFound
from hub.providers.catalog import CHAT, KINDS, ModelRow, ProviderRow
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.inputs import words
from hub.wire import Body, Wire

if TYPE_CHECKING:
    from hub.call import Hub

_PROVIDER = "Provider id or alias, or a node's id or prefix."
_ENDPOINTS = "What it serves: chat, embeddings, images, audio, audio-transcriptions, audio-speech, images-generations."


class ModelsAsk(Wire):
    """Whose models to list."""

    provider: str | None = Field(default=None, description=f"{_PROVIDER} With it a list, without it a map of lists.")


class ModelFacts(CompatRules):
    """A model as an owner writes it down."""

    provider: str = Field(min_length=1, max_length=120, description=_PROVIDER)
    model_id: str = Field(min_length=1, max_length=240, description="The provider's id of the model.")
    model_name: str | None = Field(default=None, max_length=240, description="Its name, for people.")
    source: str = Field(default="manual", max_length=80, description="Where it is from: a word of yours.")
    api_format: ApiFormat = Field(default="chat-completions", description="The format in which it is called.")
    supported_endpoints: tuple[Endpoint, ...] | None = Field(default=None, max_length=7, description=_ENDPOINTS)
    context_length: int | None = Field(default=None, ge=1, le=100_000_000, description="Tokens of its context window.")
    max_output_tokens: int | None = Field(default=None, ge=1, le=100_000_000, description="Most tokens of an answer.")
    dimensions: int | None = Field(default=None, ge=1, le=1_000_000, description="Length of an embedding model's vectors.")
    capabilities: tuple[str, ...] | None = Field(
        default=None, max_length=30, description="What it can do, in words of the catalogue: tools, vision, reasoning, json_schema, pdf ..."
    )
    pricing: ModelPricing | None = Field(default=None, description="US dollars per million tokens; prices set by hand win over it.")
    connection_id: str | None = Field(default=None, max_length=200, description="The one connection that has the model; all without it.")


class ModelView(Wire):
    """A model with what is known of it, and what is changed of requests to it."""

    id: str
    name: str
    source: str
    api_format: str
    supported_endpoints: list[str]
    custom: bool
    context_length: int | None
    max_output_tokens: int | None
    dimensions: int | None
    capabilities: list[str]
    pricing: dict[str, float] | None
    connection_id: str | None
    is_hidden: bool
    compat: dict[str, Any]


class ModelRulesView(Wire):
    """What is said of one model beside its facts."""

    id: str
    is_hidden: bool
    compat: dict[str, Any]


class ModelLists(Wire):
    """Own models of one provider, or of each; and what is said of models beside their facts."""

    models: list[ModelView] | dict[str, list[ModelView]]
    model_compat_overrides: list[ModelRulesView]


def _flat(shown: ModelView | ModelRulesView) -> dict[str, Any]:
    """As the seed writes it: what is changed of requests stands among the other fields."""
    data = shown.model_dump(mode="json", by_alias=True)
    rules = data.pop("compat")
    return {**data, **rules}


def _lists(output: ModelLists) -> dict[str, Any]:
    found = output.models
    models = (
        [_flat(one) for one in found] if isinstance(found, list) else {name: [_flat(one) for one in some] for name, some in found.items()}
    )
    return {"models": models, "modelCompatOverrides": [_flat(one) for one in output.model_compat_overrides]}


def _wrapped(output: ModelView) -> dict[str, Any]:
    return {"model": _flat(output)}


def _compat(rules: CompatRules) -> dict[str, Any]:
    return rules.model_dump(mode="json", by_alias=True, include=set(COMPAT_FIELDS), exclude_none=True)


def _rules_view(rules: ModelRules) -> ModelRulesView:
    return ModelRulesView(id=rules.id, is_hidden=rules.is_hidden, compat=_compat(rules))


def _view(row: ProviderRow, model_id: str, said: ProviderModels) -> ModelView:
    own, rules = said.model(model_id), said.rules_of(model_id)
    known = row.model(model_id) or ModelRow(id=model_id)
    main = next((service for service, kind in KINDS.items() if kind == known.kind), known.kind)
    called = next((name for name, place in API_FORMATS.items() if place[0] == main), main)
    usual = CustomModel.model_construct(id=model_id, source="catalogue", api_format=called)
    as_written = own or usual
    return ModelView(
        id=model_id,
        name=known.name or model_id,
        source=as_written.source,
        api_format=as_written.api_format,
        supported_endpoints=list(as_written.supported_endpoints) or [main, *known.serves],
        custom=own is not None,
        context_length=known.context or row.default_context,
        max_output_tokens=known.max_output,
        dimensions=known.dimensions,
        capabilities=list(known.caps),
        pricing=priced(known),
        connection_id=as_written.connection_id or None,
        is_hidden=rules.is_hidden,
        compat=_compat(rules),
    )


@skill(
    "provider-models-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/provider-models", view=_lists)], read_only=True
)
async def list_models(ctx: Context, ask: ModelsAsk) -> ModelLists:
    """List the models of your own, and what you set for models: hidden ones, and what is changed of requests."""
    hub = ctx.hub
    if ask.provider is not None:
        row = hub.catalog.get(ask.provider)
        said = hub.custom_models.of(row.id)
        shown = [_view(row, one.id, said) for one in said.models]
        return ModelLists(models=shown, model_compat_overrides=[_rules_view(one) for one in said.rules])
    found: dict[str, list[ModelView]] = {}
    rules: list[ModelRulesView] = []
    for one in hub.custom_models.documents.all():
        row = hub.catalog.find(one.name)
        if row is not None and one.body.models:
            found[row.id] = [_view(row, model.id, one.body) for model in one.body.models]
        rules += [_rules_view(rule) for rule in one.body.rules]
    return ModelLists(models=found, model_compat_overrides=rules)


@skill(
    "provider-models-add",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/provider-models", status=201, view=_wrapped)],
    audit=Audit.FULL,
)
async def add(ctx: Context, ask: ModelFacts) -> ModelView:
    """Write down a model that a provider has; it is listed, routed and priced like the catalogue's, whose facts it overrides."""
    row = ctx.hub.catalog.get(ask.provider)
    made = CustomModel(id=_model_id(ask.model_id), **_facts(ask))
    _check(ctx.hub, row, made)

    def edit(said: ProviderModels) -> ProviderModels:
        if said.model(made.id) is not None:
            raise Conflict(f"{row.name} has a model {made.id!r} of yours already; change it with PUT", field="modelId")
        return said.with_model(made).with_rules(_ruled(said.rules_of(made.id), ask))

    said = await ctx.hub.custom_models.change(row.id, edit)
    return _view(ctx.hub.catalog.get(row.id), made.id, said)


@skill(
    "provider-models-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/provider-models", view=_wrapped)],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: ModelFacts) -> ModelView:
    """Change a model of your own, or what is changed of requests to any model; fields left out stay as they are."""
    row = ctx.hub.catalog.get(ask.provider)
    model_id, facts = _model_id(ask.model_id), _facts(ask)

    def edit(said: ProviderModels) -> ProviderModels:
        own = said.model(model_id)
        if own is None and (facts or not _known(ctx.hub, row, model_id)):
            raise NotFound(f"{row.name} has no model {model_id!r} of yours; POST /api/provider-models adds one", field="modelId")
        if own is not None and facts:
            changed = own.model_copy(update=facts)
            _check(ctx.hub, row, changed)
            said = said.with_model(changed)
        return said.with_rules(_ruled(said.rules_of(model_id), ask))

    said = await ctx.hub.custom_models.change(row.id, edit)
    return _view(ctx.hub.catalog.get(row.id), model_id, said)


def _model_id(given: str) -> str:
    model_id = words("modelId", given.strip(), limit=240)
    if "../" in model_id or model_id.startswith("/") or model_id.endswith("/"):
        raise BadRequest("modelId must not start or end with '/', nor hold '../'", field="modelId")
    return model_id


def _facts(ask: ModelFacts) -> dict[str, Any]:
    """The model's facts that were sent, in the names in which they are stored."""
    names = {"model_name": "name"}
    facts = {names.get(name, name): getattr(ask, name) for name in ask.model_fields_set - COMPAT_FIELDS - {"provider", "model_id"}}
    nothing: dict[str, Any] = {"name": "", "supported_endpoints": (), "connection_id": ""}
    return {name: nothing.get(name) if value is None else value for name, value in facts.items()}


def _ruled(kept: ModelRules, ask: CompatRules) -> ModelRules:
    """The rules with those that were sent; null and an empty object end one."""
    return kept.model_copy(update={name: getattr(ask, name) or _no(getattr(ask, name)) for name in ask.model_fields_set & COMPAT_FIELDS})


def _no(value: object) -> Literal[False] | None:
    return False if value is False else None


def _known(hub: Hub, row: ProviderRow, model_id: str) -> bool:
    """Whether a provider may have a model of this id: it is listed, a connection names it, or any is passed on."""
    named = any(model_id in (*one.models, one.default_model) for one in hub.store.connections.of(row.id))
    return named or row.passthrough_models or row.model(model_id) is not None


def _check(hub: Hub, row: ProviderRow, model: CustomModel) -> None:
    """Raise BadRequest for a model that could never be called as it says, naming the field."""
    abilities = {cap for one in hub.catalog.shipped.values() for listed in one.models for cap in listed.caps}
    unknown = sorted(set(model.capabilities or ()) - abilities)
    if unknown:
        raise BadRequest(f"capabilities: {unknown[0][:60]!r} is none; these are: {', '.join(sorted(abilities))}", field="capabilities")
    if model.connection_id:
        connection = hub.store.connections.peek(model.connection_id)
        if connection is None or connection.provider != row.id:
            raise BadRequest(f"connectionId: {row.name} has no connection {model.connection_id[:80]!r}", field="connectionId")
    _check_services(hub, row, model)


def _check_services(hub: Hub, row: ProviderRow, model: CustomModel) -> None:
    wire = model.row(row.model(model.id)).wire
    main = model.services[0]
    missing = [service for service in model.services if not _spoken(hub, row, service, wire if service == main else "")]
    if "audio" in model.supported_endpoints and len(missing) == 1 and missing[0] in ("tts", "stt"):
        return  # the word says one or the other
    if missing:
        raise BadRequest(f"{row.name} does not offer {missing[0]}, so it cannot have a model for it", field="supportedEndpoints")


def _spoken(hub: Hub, row: ProviderRow, service: str, wire: str) -> bool:
    """Whether a provider offers a service, in a format that this version speaks."""
    wire = wire or row.speaks(service, "")
    return wire in hub.adapters if service == CHAT else (service, wire) in hub.media_formats.names()


class HideAsk(Body):
    """Which models to hide or show."""

    provider: str = Field(min_length=1, description=_PROVIDER)
    model_id: str | None = Field(default=None, min_length=1, max_length=240, description="One model.")
    model_ids: tuple[str, ...] | None = Field(default=None, max_length=1000, description="Several models.")
    is_hidden: bool = Field(description="True hides them from every list and from auto; they stay callable by name. False shows them.")


class Hidden(Wire):
    """What is so now. ``updated`` counts the models that were not so before."""

    ok: bool = True
    updated: int
    models: list[ModelView]
    model_compat_overrides: list[ModelRulesView]


def _hidden(output: Hidden) -> dict[str, Any]:
    return {
        "ok": output.ok,
        "updated": output.updated,
        **_lists(ModelLists(models=output.models, model_compat_overrides=output.model_compat_overrides)),
    }


@skill(
    "provider-models-hide",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PATCH", "/api/provider-models", view=_hidden)],
    idempotent=True,
    audit=Audit.FULL,
)
async def hide(ctx: Context, ask: HideAsk) -> Hidden:
    """Hide models from every list and from auto, or show them again."""
    row = ctx.hub.catalog.get(ask.provider)
    names = list(dict.fromkeys(_model_id(name) for name in (*(ask.model_ids or ()), ask.model_id or "") if name.strip()))
    if not names:
        raise BadRequest("name the models: modelId in the query, or modelIds in the body", field="modelIds")
    changed: set[str] = set()

    def edit(said: ProviderModels) -> ProviderModels:
        changed.clear()
        changed.update(name for name in names if said.rules_of(name).is_hidden is not ask.is_hidden)
        return said.with_rules(*(said.rules_of(name).model_copy(update={"is_hidden": ask.is_hidden}) for name in changed))

    said = await ctx.hub.custom_models.change(row.id, edit)
    row = ctx.hub.catalog.get(row.id)
    return Hidden(
        updated=len(changed),
        models=[_view(row, one.id, said) for one in said.models],
        model_compat_overrides=[_rules_view(one) for one in said.rules],
    )


class RemoveAsk(Wire):
    """Which models to remove."""

    provider: str = Field(min_length=1, description=_PROVIDER)
    model: str | None = Field(default=None, max_length=240, description="Id of the model.")
    all: bool = Field(default=False, description="Remove all models of your own at this provider.")


class Removed(Wire):
    """Something was removed: so many models."""

    removed: bool = True
    count: int


@skill(
    "provider-models-remove",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/provider-models")],
    destructive=True,
    audit=Audit.FULL,
)
async def remove(ctx: Context, ask: RemoveAsk) -> Removed:
    """Remove a model of your own with what you set for it, or what you set for a model of the catalogue; or all of your own."""
    row = ctx.hub.catalog.get(ask.provider)
    if ask.all == bool(ask.model):
        raise BadRequest("name one model with 'model', or all with 'all=true'", field="model")
    gone: set[str] = set()

    def edit(said: ProviderModels) -> ProviderModels:
        gone.clear()
        own = {one.id for one in said.models}
        gone.update(own if ask.all else {ask.model or ""} & (own | {one.id for one in said.rules}))
        if not gone:
            what = "models" if ask.all else f"model {ask.model!r}"
            raise NotFound(f"{row.name} has no {what} of yours; GET /api/provider-models lists them", field="model")
        return said.without(*gone)

    await ctx.hub.custom_models.change(row.id, edit)
    return Removed(count=len(gone))
