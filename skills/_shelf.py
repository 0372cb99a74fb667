"""What the skills about combos share: what a name may mean, finding a combo, checking a changed one, and how one is shown."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hub.errors import Conflict, HubError, NotFound, UnknownModel
from hub.routing.combo import BUILT_IN, Combo, Step, effective
from hub.routing.combos import Known, Leaf, check, check_nesting, expand, is_auto, reaching
from hub.wire import Wire, iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.context import Context
    from hub.store.documents import Document

MOST_COMBOS = 1000
#: The rule by which the built-in provider answers any name while nothing is connected: it proves nothing of the name.
_FALLBACK = "demo-fallback"


def known(ctx: Context) -> Known:
    """What steps may name now."""
    connections = {one.id: one.provider for one in ctx.hub.store.connections.all()}
    return Known(
        provider=providers(ctx),
        connection=lambda identity: connections.get(identity, ""),
        model=lambda name: leads(ctx, name),
        combos={one.name for one in ctx.hub.combos.all()},
    )


def providers(ctx: Context) -> Callable[[str], str]:
    """The provider id behind an id, an alias, or the prefix of a compatible node; empty when there is none."""
    nodes = {prefix: one.provider for one in ctx.hub.store.connections.all() if (prefix := one.data.get("prefix", ""))}

    def provider(name: str) -> str:
        row = None if name in nodes else ctx.hub.catalog.find(name)
        return row.id if row is not None else nodes.get(name, "")

    return provider


def leads(ctx: Context, name: str) -> str:
    """The provider that a model's name leads to now, empty where that is open. Raises HubError for a name that leads nowhere."""
    listed = name in ctx.hub.catalog.serving
    try:
        found = ctx.hub.resolver.resolve(name)
    except UnknownModel:
        if listed:  # by several providers, none of them connected yet
            return ""
        raise
    if found.rule == _FALLBACK:
        if not listed:
            raise UnknownModel(f"no provider is called {name.partition('/')[0]!r} and none lists {name!r}", field="model")
        return ""
    return found.provider


def by_name(ctx: Context) -> dict[str, Combo]:
    """Every combo by its name."""
    return {one.name: one.body for one in ctx.hub.combos.all()}


def in_order(ctx: Context) -> list[Document[Combo]]:
    """Every combo, as its owner put them in order."""
    return sorted(ctx.hub.combos.all(), key=lambda one: (one.body.sort_order, one.created_at, one.id))


def found(ctx: Context, name: str, *, field: str = "id") -> Document[Combo]:
    """The combo of this id or name. Raises NotFound."""
    one = ctx.hub.combos.peek(name) or ctx.hub.combos.find(name)
    if one is None:
        raise NotFound(f"there is no combo {name!r}; GET /api/combos lists them", field=field)
    return one


def may_use(ctx: Context, name: str) -> bool:
    """Whether the caller's list of models lets it ask for a combo by its name."""
    allowed = ctx.caller.allowed_models
    return not allowed or any(fnmatchcase(name, pattern) for pattern in allowed)


def depth_of(ctx: Context, combo: Combo) -> int:
    """How deep a combo may be nested."""
    return effective(BUILT_IN, ctx.hub.preferences.current.combo_defaults, combo.config).max_combo_depth or 3


def leaves(ctx: Context, document: Document[Combo]) -> list[Leaf]:
    """The targets that a combo comes down to."""
    return expand(document.name, document.body, by_name(ctx).get, depth=depth_of(ctx, document.body))


def checked(ctx: Context, name: str, combo: Combo, others: dict[str, Combo]) -> Combo:
    """A new or changed combo with all its names in order, by itself and among the ``others``. Raises BadRequest."""
    combo = check(combo, ctx.hub.strategies, providers(ctx))
    after = {**others, name: combo}
    for one in (name, *reaching(name, after)):
        check_nesting(one, after[one], after.get, depth=depth_of(ctx, after[one]))
    return combo


def require_free(ctx: Context, name: str) -> None:
    """Raise Conflict for a combo's name that is taken."""
    if ctx.hub.combos.find(name) is not None:
        raise Conflict(f"there is a combo {name!r} already", field="name")


class ComboView(Wire):
    """A combo. ``models`` are its steps in stored order."""

    id: str
    name: str
    version: int = 2
    strategy: str
    models: list[dict[str, Any]]
    config: dict[str, Any]
    allowed_providers: list[str]
    system_message: str = Field(alias="system_message")
    tool_filter_regex: str = Field(alias="tool_filter_regex")
    context_cache_protection: bool = Field(alias="context_cache_protection")
    context_length: int | None = Field(alias="context_length")
    is_active: bool
    is_hidden: bool
    sort_order: int
    created_at: str | None
    updated_at: str | None


def view(document: Document[Combo]) -> ComboView:
    """A combo as callers see it."""
    body = document.body
    return ComboView(
        id=document.id,
        name=document.name,
        strategy=body.strategy,
        models=[step_view(step) for step in body.models],
        config=body.config.model_dump(mode="json", by_alias=True, exclude_none=True),
        allowed_providers=list(body.allowed_providers),
        system_message=body.system_message,
        tool_filter_regex=body.tool_filter_regex,
        context_cache_protection=body.context_cache_protection,
        context_length=body.context_length,
        is_active=body.is_active,
        is_hidden=body.is_hidden,
        sort_order=body.sort_order,
        created_at=iso(document.created_at),
        updated_at=iso(document.updated_at),
    )


def step_view(step: Step) -> dict[str, Any]:
    """A step as callers see it, and may send it back."""
    weight = int(step.weight) if step.weight == int(step.weight) else step.weight
    shown: dict[str, Any] = {"id": step.id, "kind": step.kind}
    if step.kind == "combo-ref":
        shown["comboName"] = step.combo_name
    else:
        shown |= {"model": step.model, "providerId": step.provider_id}
    shown["weight"] = weight
    if step.connection_id:
        shown["connectionId"] = step.connection_id
    if step.label:
        shown["label"] = step.label
    if step.tags:
        shown["tags"] = list(step.tags)
    return shown


def provider_of(ctx: Context, step: Step) -> tuple[str, str]:
    """Provider id and its id of the model that a step leads to now; empty and the model's name where that is open."""
    if is_auto(step.model):
        return "", step.model
    try:
        resolved = ctx.hub.resolver.resolve(step.model)
    except HubError:
        return step.provider_id, step.model.partition("/")[2] or step.model
    if resolved.rule == _FALLBACK:
        return step.provider_id, step.model.partition("/")[2] or step.model
    return resolved.provider, resolved.model
