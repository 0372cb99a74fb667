"""Model-combo mappings: requests for models that fit a pattern go to a combo, without their clients knowing."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import Conflict, InvalidInput
from hub.routing.combo import Mapping
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.documents import Document
from hub.wire import Body, Nothing, Wire, iso
from skills._shelf import found

_MOST = 1000


class MappingId(Body):
    """Names one mapping."""

    id: str = Field(min_length=1, max_length=200, description="Id of the mapping.")


class NewMapping(Body):
    """What to make a mapping of."""

    pattern: str = Field(min_length=1, max_length=500, description="Model names it is for: '*' any characters, '?' one, in any case.")
    combo_id: str = Field(min_length=1, max_length=200, description="Id or name of the combo.")
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000, description="Higher is looked at first.")
    enabled: bool = Field(default=True, description="Whether it is looked at.")
    description: str = Field(default="", max_length=1000, description="What it is for, in your words.")


class MappingChange(Body):
    """What to change about a mapping; fields left out stay as they are."""

    id: str = Field(min_length=1, max_length=200, description="Id of the mapping.")
    pattern: str | None = Field(default=None, min_length=1, max_length=500, description="Model names it is for.")
    combo_id: str | None = Field(default=None, min_length=1, max_length=200, description="Id or name of the combo.")
    priority: int | None = Field(default=None, ge=-1_000_000, le=1_000_000, description="Higher is looked at first.")
    enabled: bool | None = Field(default=None, description="Whether it is looked at.")
    description: str | None = Field(default=None, max_length=1000, description="What it is for, in your words.")


class MappingView(Wire):
    """A mapping. ``combo_name`` is the combo's name now."""

    id: str
    pattern: str
    combo_id: str
    combo_name: str
    priority: int
    enabled: bool
    description: str
    created_at: str | None
    updated_at: str | None


class Mappings(Wire):
    """Mappings in the order in which they are looked at."""

    mappings: list[MappingView]


class Deleted(Wire):
    """It is gone."""

    success: bool = True


def _view(ctx: Context, document: Document[Mapping]) -> MappingView:
    body = document.body
    combo = ctx.hub.combos.peek(body.combo_id)
    return MappingView(
        id=document.id,
        pattern=body.pattern,
        combo_id=body.combo_id,
        combo_name=combo.name if combo else "",
        priority=body.priority,
        enabled=body.enabled,
        description=body.description,
        created_at=iso(document.created_at),
        updated_at=iso(document.updated_at),
    )


def _wrapped(output: MappingView) -> dict[str, Any]:
    return {"mapping": output.model_dump(mode="json", by_alias=True)}


@skill(
    "mappings-list",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/model-combo-mappings")],
    read_only=True,
    audit=Audit.NONE,
)
async def list_mappings(ctx: Context, ask: Nothing) -> Mappings:
    """List the mappings from models to combos, in the order in which they are looked at."""
    rows = sorted(ctx.hub.mappings.all(), key=lambda one: -one.body.priority)
    return Mappings(mappings=[_view(ctx, one) for one in rows])


@skill(
    "mappings-get",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/model-combo-mappings/{id}", view=_wrapped)],
    read_only=True,
    audit=Audit.NONE,
)
async def get(ctx: Context, ask: MappingId) -> MappingView:
    """Show one mapping."""
    return _view(ctx, ctx.hub.mappings.get(ask.id))


@skill(
    "mappings-create",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/model-combo-mappings", status=201, view=_wrapped)],
    audit=Audit.FULL,
)
async def create(ctx: Context, ask: NewMapping) -> MappingView:
    """Send requests for models that fit a pattern to a combo; takes effect at once."""
    async with ctx.hub.combo_changes:
        if len(ctx.hub.mappings.all()) >= _MOST:
            raise Conflict(f"there are {_MOST} mappings already; delete one first")
        body = Mapping(
            pattern=ask.pattern,
            combo_id=found(ctx, ask.combo_id, field="comboId").id,
            priority=ask.priority,
            enabled=ask.enabled,
            description=ask.description,
        )
        # Two mappings may have one pattern, such as one that waits switched off: the id is the unique name.
        identity = ctx.hub.clock.new_id("map_")
        return _view(ctx, await ctx.hub.mappings.create(identity, body, document_id=identity))


@skill(
    "mappings-update",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/model-combo-mappings/{id}", view=_wrapped), Rest("PATCH", "/api/model-combo-mappings/{id}", view=_wrapped)],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: MappingChange) -> MappingView:
    """Change a mapping; takes effect at once."""
    changes: dict[str, Any] = {name: value for name in ask.model_fields_set - {"id"} if (value := getattr(ask, name)) is not None}
    if not changes:
        raise InvalidInput([{"field": "", "message": "nothing to change; send at least one field"}])
    async with ctx.hub.combo_changes:
        kept = ctx.hub.mappings.get(ask.id)
        if ask.combo_id is not None:
            changes["combo_id"] = found(ctx, ask.combo_id, field="comboId").id
        return _view(ctx, await ctx.hub.mappings.update(kept.id, kept.body.model_copy(update=changes)))


@skill(
    "mappings-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/model-combo-mappings/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: MappingId) -> Deleted:
    """Delete a mapping."""
    async with ctx.hub.combo_changes:
        await ctx.hub.mappings.delete(ask.id)
    return Deleted()
