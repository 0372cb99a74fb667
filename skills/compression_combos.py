"""Compression combos: named pipelines of compression, given to routing combos."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.compression import deferred
from hub.compression.combos import BUILT_IN, MOST, Assignment, CompressionCombo
from hub.compression.settings import CavemanIntensity, Step
from hub.context import Context
from hub.errors import Conflict, InvalidInput, NotFound
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.store.documents import Document
from hub.wire import Body, Nothing, Wire, iso
from skills._compression import step_faults

_PIPELINE = "Engines in order, each {engine, intensity, config}."


class ComboId(Body):
    """Names one compression combo."""

    id: str = Field(min_length=1, max_length=200, description="Id or name of the compression combo.")


class NewCompressionCombo(Body):
    """What to make a compression combo of."""

    name: str = Field(min_length=1, max_length=120, description="What people and the header X-OmniRoute-Compression call it.")
    id: str | None = Field(default=None, min_length=1, max_length=120, pattern=r"^[A-Za-z0-9_.-]+$", description="Id; made up if left out.")
    description: str = Field(default="", max_length=1000, description="What it is for.")
    pipeline: tuple[Step, ...] = Field(default=CompressionCombo().pipeline, min_length=1, max_length=10, description=_PIPELINE)
    language_packs: tuple[str, ...] = Field(default=("en",), max_length=50, description="Languages in which prose is shortened.")
    output_mode: bool = Field(default=False, description="Whether models are told to answer in few words, too.")
    output_mode_intensity: CavemanIntensity = Field(default="full", description="How few.")
    is_default: bool = Field(default=False, description="Whether the mode stacked means this one.")


class CompressionComboChange(Body):
    """What to change about a compression combo; fields left out stay as they are."""

    id: str = Field(min_length=1, max_length=200, description="Id or name of the compression combo.")
    name: str | None = Field(default=None, min_length=1, max_length=120, description="New name.")
    description: str | None = Field(default=None, max_length=1000, description="What it is for.")
    pipeline: tuple[Step, ...] | None = Field(default=None, min_length=1, max_length=10, description=_PIPELINE)
    language_packs: tuple[str, ...] | None = Field(default=None, max_length=50, description="Languages in which prose is shortened.")
    output_mode: bool | None = Field(default=None, description="Whether models are told to answer in few words, too.")
    output_mode_intensity: CavemanIntensity | None = Field(default=None, description="How few.")
    is_default: bool | None = Field(default=None, description="True: the mode stacked means this one.")


class CompressionComboView(Wire):
    """A compression combo."""

    id: str
    name: str
    description: str
    pipeline: list[dict[str, Any]]
    language_packs: list[str]
    output_mode: bool
    output_mode_intensity: str
    is_default: bool
    created_at: str
    updated_at: str


class CompressionComboList(Wire):
    """All compression combos, the built-in one first."""

    combos: list[CompressionComboView]


class Gone(Wire):
    """It is gone."""

    ok: bool = True


class AssignmentView(Wire):
    """A routing combo that uses a compression combo."""

    id: str
    compression_combo_id: str
    routing_combo_id: str
    created_at: str


class AssignmentList(Wire):
    """The routing combos that use a compression combo."""

    assignments: list[AssignmentView]


class AssignmentChange(Body):
    """Which routing combos shall use a compression combo, all of them."""

    id: str = Field(min_length=1, max_length=200, description="Id or name of the compression combo.")
    routing_combo_ids: list[str] = Field(max_length=1000, description="Ids or names of routing combos; each uses one compression combo.")


def view(one: Document[CompressionCombo]) -> CompressionComboView:
    """A compression combo as it is shown."""
    body = one.body
    return CompressionComboView(
        id=one.id,
        name=one.name,
        description=body.description,
        pipeline=[_step(step) for step in body.pipeline],
        language_packs=list(body.language_packs),
        output_mode=body.output_mode,
        output_mode_intensity=body.output_mode_intensity,
        is_default=body.is_default,
        created_at=iso(one.created_at) or "",
        updated_at=iso(one.updated_at) or "",
    )


def _step(step: Step) -> dict[str, Any]:
    shown: dict[str, Any] = {"engine": step.engine, "intensity": step.intensity}
    return {**shown, "config": step.config} if step.config else shown


def found(ctx: Context, name: str) -> Document[CompressionCombo]:
    """The compression combo of an id or a name. Raises NotFound."""
    one = ctx.hub.compression_combos.peek(name)
    if one is None:
        raise NotFound(f"there is no compression combo {name!r}", field="id")
    return one


def _checked(ctx: Context, body: CompressionCombo) -> CompressionCombo:
    """The body. Raises InvalidInput naming what is wrong with it."""
    faults = list(step_faults(body.pipeline, "pipeline", ctx.hub.preferences.current.compression))
    known = deferred.workshop().packs.rows()
    faults += [
        {"field": f"languagePacks.{at}", "message": f"{name!r} is no language pack; there are {', '.join(known)}"}
        for at, name in enumerate(body.language_packs)
        if name not in known
    ]
    if faults:
        raise InvalidInput(faults)
    return body


async def _stored(ctx: Context, one: Document[CompressionCombo]) -> Document[CompressionCombo]:
    """The compression combo as a document: the built-in one is written down when it is first changed."""
    combos = ctx.hub.compression_combos
    if one.id != BUILT_IN or combos.documents.peek(BUILT_IN) is not None:
        return one
    return await combos.documents.create(one.name, one.body, document_id=BUILT_IN)


async def _only_default(ctx: Context, kept: str) -> None:
    """Of several that call themselves the default only ``kept`` stays it."""
    documents = ctx.hub.compression_combos.documents
    others = {
        one.id: one.body.model_copy(update={"is_default": False}) for one in documents.all() if one.body.is_default and one.id != kept
    }
    if others:
        await documents.replace_all(others)


@skill(
    "compression-combos-list",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/combos")],
    mcp=Mcp("omniroute_list_compression_combos"),
    read_only=True,
    audit=Audit.NONE,
)
async def list_combos(ctx: Context, ask: Nothing) -> CompressionComboList:
    """List the compression combos: named pipelines of prompt compression."""
    return CompressionComboList(combos=[view(one) for one in ctx.hub.compression_combos.all()])


@skill(
    "compression-combos-get",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/combos/{id}")],
    read_only=True,
    audit=Audit.NONE,
)
async def get(ctx: Context, ask: ComboId) -> CompressionComboView:
    """Show one compression combo."""
    return view(found(ctx, ask.id))


@skill(
    "compression-combos-create",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/context/combos", status=201)],
    audit=Audit.FULL,
)
async def create(ctx: Context, ask: NewCompressionCombo) -> CompressionComboView:
    """Make a compression combo."""
    combos = ctx.hub.compression_combos
    body = _checked(ctx, CompressionCombo(**ask.model_dump(exclude={"name", "id", "pipeline"}), pipeline=ask.pipeline))
    async with ctx.hub.combo_changes:
        if len(combos.documents.all()) >= MOST:
            raise Conflict(f"there are {MOST} compression combos already; delete one first")
        for field, value in (("name", ask.name), ("id", ask.id or ask.name)):
            if combos.peek(value) is not None:
                raise Conflict(f"there is a compression combo {value!r} already", field=field)
        made = await combos.documents.create(ask.name, body, document_id=ask.id or "")
        if body.is_default:
            await _only_default(ctx, made.id)
    return view(found(ctx, made.id))


@skill(
    "compression-combos-update",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/context/combos/{id}"), Rest("PATCH", "/api/context/combos/{id}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def update(ctx: Context, ask: CompressionComboChange) -> CompressionComboView:
    """Change a compression combo; requests go by it at once."""
    given = ask.model_fields_set - {"id"}
    if not given:
        raise InvalidInput([{"field": "", "message": "nothing to change; send at least one field"}])
    fields = {name: getattr(ask, name) for name in given - {"name"}}
    changes = {name: CompressionCombo.model_fields[name].default if value is None else value for name, value in fields.items()}
    async with ctx.hub.combo_changes:
        kept = found(ctx, ask.id)
        if kept.body.is_default and changes.get("is_default") is False:
            raise InvalidInput([{"field": "isDefault", "message": "one has to be the default; make another one it instead"}])
        body = _checked(ctx, kept.body.model_copy(update=changes))
        kept = await _stored(ctx, kept)
        await ctx.hub.compression_combos.documents.update(kept.id, body, name=ask.name)
        if body.is_default:
            await _only_default(ctx, kept.id)
    return view(found(ctx, kept.id))


@skill(
    "compression-combos-delete",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/context/combos/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: ComboId) -> Gone:
    """Delete a compression combo; routing combos that use it go by the settings then. The default and the built-in one stay."""
    async with ctx.hub.combo_changes:
        kept = found(ctx, ask.id)
        if kept.id == BUILT_IN or kept.body.is_default:
            raise Conflict(f"{kept.name!r} is {'built in' if kept.id == BUILT_IN else 'the default'} and stays", field="id")
        if ctx.hub.preferences.current.compression.compression_combo_id in (kept.id, kept.name):
            raise Conflict(f"{kept.name!r} is the settings' compressionComboId; choose another there first", field="id")
        await ctx.hub.compression_combos.documents.delete(kept.id)
    return Gone()


def _assignments(ctx: Context, one: Document[CompressionCombo]) -> AssignmentList:
    """Those whose routing combo is still there."""
    shown = [
        AssignmentView(
            id=given.id, compression_combo_id=one.id, routing_combo_id=given.routing_combo_id, created_at=iso(given.created_at) or ""
        )
        for given in one.body.assigned
        if ctx.hub.combos.peek(given.routing_combo_id) is not None
    ]
    return AssignmentList(assignments=shown)


@skill(
    "compression-assignments-get",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/combos/{id}/assignments")],
    read_only=True,
    audit=Audit.NONE,
)
async def assignments(ctx: Context, ask: ComboId) -> AssignmentList:
    """List the routing combos that use a compression combo."""
    return _assignments(ctx, found(ctx, ask.id))


@skill(
    "compression-assignments-set",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/context/combos/{id}/assignments")],
    idempotent=True,
    audit=Audit.FULL,
)
async def assign(ctx: Context, ask: AssignmentChange) -> AssignmentList:
    """Say which routing combos use a compression combo; one that used another moves over."""
    hub = ctx.hub
    async with hub.combo_changes:
        wanted = _routing(ctx, ask.routing_combo_ids)
        kept = await _stored(ctx, found(ctx, ask.id))
        before = {given.routing_combo_id: given for given in kept.body.assigned}
        now = hub.clock.now_ms()
        made = [before.get(one) or Assignment(id=hub.clock.new_id("ca_"), routing_combo_id=one, created_at=now) for one in wanted]
        bodies = {kept.id: kept.body.model_copy(update={"assigned": tuple(made)})}
        bodies |= _without(ctx, kept.id, wanted)
        await hub.compression_combos.documents.replace_all(bodies)
    return _assignments(ctx, found(ctx, kept.id))


def _routing(ctx: Context, names: list[str]) -> list[str]:
    """The ids of routing combos, each once. Raises InvalidInput for one that is none."""
    wanted: dict[str, None] = {}
    for at, name in enumerate(names):
        combo = ctx.hub.combos.peek(name) or ctx.hub.combos.find(name)
        if combo is None:
            raise InvalidInput([{"field": f"routingComboIds.{at}", "message": f"there is no combo {name!r}"}])
        wanted[combo.id] = None
    return list(wanted)


def _without(ctx: Context, kept: str, gone: list[str]) -> dict[str, CompressionCombo]:
    """The other compression combos that these routing combos used, without them."""
    made: dict[str, CompressionCombo] = {}
    for other in ctx.hub.compression_combos.documents.all():
        left = tuple(given for given in other.body.assigned if given.routing_combo_id not in gone)
        if other.id != kept and left != other.body.assigned:
            made[other.id] = other.body.model_copy(update={"assigned": left})
    return made
