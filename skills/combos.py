"""Combos: named lists of targets that a client asks for like a model. Create, list, change, put in order, delete."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.compression.settings import Mode
from hub.context import Context
from hub.errors import BadRequest, Conflict, InvalidInput
from hub.routing.combo import Combo, ComboConfig, RouterVariant
from hub.routing.combos import combo_name, normalise, references, renamed, used_by
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.store.documents import Document
from hub.wire import Body, Nothing, Wire
from skills._shelf import MOST_COMBOS, ComboView, by_name, checked, found, in_order, known, require_free, view

_STEPS = "Targets in order: 'provider/model', the name of a combo, or {kind, provider, model, connectionId, tags, weight, label}."


class ComboId(Body):
    """Names one combo."""

    id: str = Field(min_length=1, max_length=200, description="Id or name of the combo.")


class NewCombo(Body):
    """What to make a combo of."""

    name: str = Field(min_length=1, max_length=100, description="What clients send as the model.")
    models: list[str | dict[str, Any]] = Field(default=[], description=_STEPS)
    strategy: str | None = Field(default=None, max_length=100, description="How targets are chosen; priority when nothing is said.")
    config: ComboConfig = Field(default=ComboConfig(), description="How the combo runs; what is left out is as the defaults have it.")
    allowed_providers: list[str] = Field(default=[], max_length=500, description="Only these providers may serve it; empty allows all.")
    system_message: str = Field(
        default="", max_length=50_000, alias="system_message", description="Takes the place of the client's system messages."
    )
    tool_filter_regex: str = Field(
        default="", max_length=1000, alias="tool_filter_regex", description="Only tools with a name in which this is found are offered."
    )
    context_cache_protection: bool = Field(
        default=False, alias="context_cache_protection", description="Keep a conversation at the model that first answered it."
    )
    context_length: int | None = Field(
        default=None, ge=1000, le=2_000_000, alias="context_length", description="Context window to tell clients."
    )
    is_active: bool = Field(default=True, description="False: the combo is kept and not used.")
    is_hidden: bool = Field(default=False, description="True: it can be used and is not listed among the models.")
    sort_order: int | None = Field(default=None, ge=0, le=1_000_000, description="Place in lists; last when left out.")


class ComboChange(Body):
    """What to change about a combo; fields left out stay as they are, null resets one."""

    id: str = Field(min_length=1, max_length=200, description="Id or name of the combo.")
    name: str | None = Field(default=None, min_length=1, max_length=100, description="New name; combos that refer to it follow.")
    models: list[str | dict[str, Any]] | None = Field(default=None, description=_STEPS)
    strategy: str | None = Field(default=None, max_length=100, description="How targets are chosen.")
    config: ComboConfig | None = Field(default=None, description="How the combo runs, as a whole.")
    allowed_providers: list[str] | None = Field(default=None, max_length=500, description="Only these providers may serve it.")
    system_message: str | None = Field(
        default=None, max_length=50_000, alias="system_message", description="Takes the place of the client's system messages."
    )
    tool_filter_regex: str | None = Field(
        default=None, max_length=1000, alias="tool_filter_regex", description="Only tools with a name in which this is found are offered."
    )
    context_cache_protection: bool | None = Field(
        default=None, alias="context_cache_protection", description="Keep a conversation at the model that first answered it."
    )
    context_length: int | None = Field(
        default=None, ge=1000, le=2_000_000, alias="context_length", description="Context window to tell clients."
    )
    is_active: bool | None = Field(default=None, description="False: the combo is kept and not used.")
    is_hidden: bool | None = Field(default=None, description="True: it can be used and is not listed among the models.")
    sort_order: int | None = Field(default=None, ge=0, le=1_000_000, description="Place in lists.")
    compression_override: Mode | None = Field(
        default=None, description="Prompt compression of its requests: the same as config.compressionMode, changed alone."
    )


class Order(Body):
    """The order to show combos in."""

    combo_ids: list[str] = Field(min_length=1, max_length=1000, description="Ids, first to last; combos left out follow as they were.")


class Combos(Wire):
    """Combos in their order."""

    combos: list[ComboView]


class Deleted(Wire):
    """It is gone."""

    success: bool = True


class Switch(Body):
    """Which combo to turn on or off."""

    combo_id: str = Field(min_length=1, max_length=200, description="Id or name of the combo.")
    active: bool = Field(description="Whether requests may use it.")


class Switched(Wire):
    """A combo and whether requests may use it."""

    id: str
    name: str
    enabled: bool


class SwitchReport(Wire):
    """What was switched."""

    success: bool = True
    combo: Switched


class StrategyAsk(Body):
    """Which strategy a combo shall have."""

    combo_id: str = Field(min_length=1, max_length=200, description="Id or name of the combo.")
    strategy: str = Field(min_length=1, max_length=100, description="Name of the strategy, such as priority, round-robin or auto.")
    auto_routing_strategy: RouterVariant | None = Field(default=None, description="Variant of 'auto'; only with it.")


class Steered(Wire):
    """A combo and how its targets are chosen."""

    id: str
    name: str
    strategy: str
    auto_routing_strategy: str | None


class StrategyReport(Wire):
    """What was set."""

    success: bool = True
    combo: Steered


@skill(
    "combos-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/combos")], read_only=True, audit=Audit.NONE
)  # fmt: skip
async def list_combos(ctx: Context, ask: Nothing) -> Combos:
    """List every combo with its steps, in the owner's order."""
    return Combos(combos=[view(one) for one in in_order(ctx)])


@skill(
    "combos-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/combos/{id}")], read_only=True, audit=Audit.NONE
)  # fmt: skip
async def get(ctx: Context, ask: ComboId) -> ComboView:
    """Show one combo."""
    return view(found(ctx, ask.id))


@skill("combos-create", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/combos", status=201)], audit=Audit.FULL)
async def create(ctx: Context, ask: NewCombo) -> ComboView:
    """Make a combo; clients can ask for it by its name at once."""
    name = combo_name(ask.name)
    async with ctx.hub.combo_changes:
        existing = ctx.hub.combos.all()
        if len(existing) >= MOST_COMBOS:
            raise Conflict(f"there are {MOST_COMBOS} combos already; delete one first")
        require_free(ctx, name)
        last = max((one.body.sort_order for one in existing), default=0)
        combo = Combo(
            strategy=ask.strategy or ask.config.strategy or "priority",
            models=normalise(name, ask.models, known(ctx)),
            config=ask.config,
            allowed_providers=tuple(ask.allowed_providers),
            system_message=ask.system_message,
            tool_filter_regex=ask.tool_filter_regex,
            context_cache_protection=ask.context_cache_protection,
            context_length=ask.context_length,
            is_active=ask.is_active,
            is_hidden=ask.is_hidden,
            sort_order=last + 1 if ask.sort_order is None else ask.sort_order,
        )
        return view(await ctx.hub.combos.create(name, checked(ctx, name, combo, by_name(ctx))))


@skill(
    "combos-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/combos/{id}"), Rest("PATCH", "/api/combos/{id}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: ComboChange) -> ComboView:
    """Change a combo; a new name is taken over by the combos that refer to it."""
    given = ask.model_fields_set - {"id"}
    if not given:
        raise InvalidInput([{"field": "", "message": "nothing to change; send at least one field"}])
    async with ctx.hub.combo_changes:
        kept = found(ctx, ask.id)
        name = combo_name(ask.name) if ask.name is not None else kept.name
        if name != kept.name:
            require_free(ctx, name)
        return view(await save(ctx, kept, name, _changed(ctx, kept, name, ask, given)))


def _changed(ctx: Context, kept: Document[Combo], name: str, ask: ComboChange, given: set[str]) -> Combo:
    """The combo as it shall be."""
    changes: dict[str, Any] = {}
    for field in given & Combo.model_fields.keys():
        value = getattr(ask, field)
        changes[field] = Combo.model_fields[field].default if value is None else value
    if ask.models is not None:
        changes["models"] = normalise(name, ask.models, known(ctx))
    if ask.allowed_providers is not None:
        changes["allowed_providers"] = tuple(ask.allowed_providers)
    if "compression_override" in given:
        config: ComboConfig = changes.get("config", kept.body.config)
        changes["config"] = config.model_copy(update={"compression_mode": ask.compression_override})
    return kept.body.model_copy(update=changes)


async def save(ctx: Context, kept: Document[Combo], name: str, combo: Combo) -> Document[Combo]:
    """Check and store a changed combo, and with a new name those that refer to it, all or nothing.

    The caller holds ``hub.combo_changes``. Raises BadRequest, Conflict.
    """
    hub = ctx.hub
    others = [one for one in hub.combos.all() if one.id != kept.id]
    moved = {one.id: renamed(one.body, kept.name, name) for one in others if name != kept.name and kept.name in references(one.body)}
    combo = checked(ctx, name, combo, {one.name: moved.get(one.id, one.body) for one in others})
    if name == kept.name:
        return await hub.combos.update(kept.id, combo)
    await hub.combos.replace_all({kept.id: combo, **moved}, names={kept.id: name})
    hub.board.rename(kept.name, name)
    return hub.combos.get(kept.id)


@skill(
    "combos-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/combos/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: ComboId) -> Deleted:
    """Delete a combo that nothing leads to; refused with the names of what does."""
    async with ctx.hub.combo_changes:
        kept = found(ctx, ask.id)
        users = used_by(kept.name, kept.id, by_name(ctx), [one.body for one in ctx.hub.mappings.all()])
        if users:
            words = f"combo {kept.name!r} is used by {', '.join(users[:10])}"
            raise Conflict(f"{words}; take it out there first", data={"usedBy": users})
        await ctx.hub.combos.delete(kept.id)
        await ctx.hub.proxies.clear("combo", kept.id)
        ctx.hub.board.forget(kept.name)
    return Deleted()


@skill("combos-reorder", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", "/api/combos/reorder")], audit=Audit.FULL)
async def reorder(ctx: Context, ask: Order) -> Combos:
    """Put combos in an order for lists; those left out follow as they were."""
    async with ctx.hub.combo_changes:
        there = {one.id: one for one in in_order(ctx)}
        faults = [
            {"field": f"comboIds[{at}]", "message": f"{one!r} stands here twice" if one in there else f"there is no combo {one!r}"}
            for at, one in enumerate(ask.combo_ids)
            if one not in there or one in ask.combo_ids[:at]
        ]
        if faults:
            raise InvalidInput(faults)
        order = [*ask.combo_ids, *(one for one in there if one not in ask.combo_ids)]
        moved = {
            one: there[one].body.model_copy(update={"sort_order": place})
            for place, one in enumerate(order, 1)
            if there[one].body.sort_order != place
        }
        if moved:
            await ctx.hub.combos.replace_all(moved)
    return Combos(combos=[view(one) for one in in_order(ctx)])


@skill("combos-switch", scopes=["write:combos"], cost=CostClass.FREE, mcp=Mcp("omniroute_switch_combo"), idempotent=True, audit=Audit.FULL)
async def switch(ctx: Context, ask: Switch) -> SwitchReport:
    """Turn one combo on or off."""
    async with ctx.hub.combo_changes:
        kept = found(ctx, ask.combo_id, field="comboId")
        # What was stored stays as it is, so a combo can be switched off whatever has become of what it names.
        made = await ctx.hub.combos.update(kept.id, kept.body.model_copy(update={"is_active": ask.active}))
    return SwitchReport(combo=Switched(id=made.id, name=made.name, enabled=made.body.is_active))


@skill(
    "combos-strategy",
    scopes=["write:combos"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_set_routing_strategy"),
    idempotent=True,
    audit=Audit.FULL,
)
async def set_strategy(ctx: Context, ask: StrategyAsk) -> StrategyReport:
    """Change how a combo's targets are chosen; takes effect at once."""
    if ask.auto_routing_strategy is not None and ask.strategy != "auto":
        raise BadRequest("autoRoutingStrategy goes with strategy 'auto' only", field="autoRoutingStrategy")
    async with ctx.hub.combo_changes:
        made = await steer(ctx, found(ctx, ask.combo_id, field="comboId"), ask.strategy, ask.auto_routing_strategy)
    config = made.body.config
    variant = (config.router_strategy or "rules") if made.body.strategy == "auto" else None
    return StrategyReport(combo=Steered(id=made.id, name=made.name, strategy=made.body.strategy, auto_routing_strategy=variant))


async def steer(ctx: Context, kept: Document[Combo], strategy: str, variant: RouterVariant | None) -> Document[Combo]:
    """Give a combo a strategy, and ``auto`` a variant. The caller holds ``hub.combo_changes``."""
    changes: dict[str, Any] = {"strategy": strategy}
    if variant is not None:
        changes["config"] = kept.body.config.model_copy(update={"router_strategy": variant})
    return await save(ctx, kept, kept.name, kept.body.model_copy(update=changes))
