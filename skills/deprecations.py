"""Models out of use: what the catalogue knows to be retired, what the owner puts out of use, and what takes the place of each."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, Conflict, HubError, NotFound
from hub.planning.directory import REPLACED
from hub.skill import Audit, CostClass, Rest, skill
from hub.store.inputs import words
from hub.wire import Body, Nothing, Wire
from skills._shelf import leads

_MOST = 1000
_PATH = "/api/settings/model-aliases"


class Replacements(Wire):
    """Old model -> the one in its place. ``built_in`` are the catalogue's, ``custom`` the owner's, which win; ``all`` are both."""

    built_in: dict[str, str]
    custom: dict[str, str]
    all: dict[str, str]


class Replaced(Wire):
    """The owner's own after the change."""

    success: bool = True
    custom: dict[str, str]


class NewReplacements(Body):
    """The owner's own, all of them."""

    aliases: dict[str, str] = Field(max_length=_MOST, description="Old model -> new model; what is not named is dropped.")


class NewReplacement(Body):
    """One of the owner's own."""

    old: str = Field(alias="from", min_length=1, max_length=200, description="The model out of use, as an id or provider/model.")
    new: str = Field(
        alias="to", min_length=1, max_length=200, description="The model in its place; the same keeps one that the catalogue calls retired."
    )


class OldModel(Body):
    """Names one of the owner's own."""

    old: str = Field(alias="from", min_length=1, max_length=200, description="The model that was put out of use.")


@skill("deprecations-list", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", _PATH)], read_only=True, audit=Audit.NONE)
async def list_replacements(ctx: Context, ask: Nothing) -> Replacements:
    """List the models that are out of use, and what takes the place of each."""
    known = _known(ctx)
    custom = ctx.hub.directory.replaced()
    return Replacements(built_in=known, custom=custom, all={**known, **custom})


@skill("deprecations-replace", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("PUT", _PATH)], idempotent=True, audit=Audit.FULL)
async def replace_all(ctx: Context, ask: NewReplacements) -> Replaced:
    """Put these models out of use and no others; takes effect at once."""
    async with ctx.hub.combo_changes:
        return await _store(ctx, ask.aliases)


@skill("deprecations-add", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("POST", _PATH)], idempotent=True, audit=Audit.FULL)
async def add(ctx: Context, ask: NewReplacement) -> Replaced:
    """Put a model out of use and another in its place; requests for it still run, and say so."""
    async with ctx.hub.combo_changes:
        return await _store(ctx, {**ctx.hub.directory.replaced(), ask.old: ask.new})


@skill("deprecations-remove", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("DELETE", _PATH)], destructive=True, audit=Audit.FULL)
async def remove(ctx: Context, ask: OldModel) -> Replaced:
    """Put a model back into use that the owner had put out of it."""
    async with ctx.hub.combo_changes:
        custom = ctx.hub.directory.replaced()
        if ask.old not in custom:
            raise NotFound(f"{ask.old!r} was not put out of use; GET {_PATH} lists what was", field="from")
        await ctx.hub.store.values.set(REPLACED, {old: new for old, new in custom.items() if old != ask.old})
    return Replaced(custom=ctx.hub.directory.replaced())


def _known(ctx: Context) -> dict[str, str]:
    """What the catalogue knows to be retired."""
    return {f"{row.id}/{old}": f"{row.id}/{new}" for row in ctx.hub.catalog.providers.values() for old, new in row.retired.items()}


async def _store(ctx: Context, wanted: dict[str, str]) -> Replaced:
    """Check and store the owner's own as a whole. Raises BadRequest naming the one at fault, Conflict for too many."""
    pairs = {words("from", old.strip(), limit=200): words("to", new.strip(), limit=200) for old, new in wanted.items()}
    if len(pairs) > _MOST:
        raise Conflict(f"there are {_MOST} models out of use already; put one back first")
    for old, new in pairs.items():
        _check(ctx, old, new, pairs)
    await ctx.hub.store.values.set(REPLACED, pairs)
    return Replaced(custom=ctx.hub.directory.replaced())


def _check(ctx: Context, old: str, new: str, pairs: dict[str, Any]) -> None:
    """Raise BadRequest for a model in whose place there would be none."""
    if not old or not new:
        raise BadRequest("a model is missing; name both the old one and the new one", field="from" if new else "to")
    if old == new:
        return
    if pairs.get(new, new) != new:
        raise BadRequest(f"{new!r} cannot take the place of {old!r}: it is out of use itself", field="to")
    if any(new in (gone, gone.partition("/")[2]) for gone in _known(ctx)):
        raise BadRequest(f"{new!r} cannot take the place of {old!r}: its provider has retired it", field="to")
    if ctx.hub.combos.find(new) is not None:
        raise BadRequest(f"{new!r} is a combo; POST /api/model-combo-mappings makes names that lead to one", field="to")
    try:
        leads(ctx, new)
    except HubError as error:
        raise BadRequest(f"{new!r} cannot take the place of {old!r}: {error.message}", field="to") from None
