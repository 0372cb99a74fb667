"""What the skills about compression share: the check of its settings, changing them, running a text or a conversation through them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hub.compression import deferred
from hub.compression.settings import CompressionSettings
from hub.errors import BadRequest, InvalidInput
from hub.skill import details_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hub.compression.filters import Filters
    from hub.compression.settings import Step
    from hub.context import Context

_PREFIX = "compression."


async def change(ctx: Context, patch: Mapping[str, Any], *, under: str = "") -> CompressionSettings:
    """Merge a patch into the settings; ``under`` is the object that it is a patch of. Raises InvalidInput naming the fields as given."""
    if not patch:
        raise BadRequest("nothing to change: name at least one setting")
    filters = await ctx.hub.compressor.filters(ctx.hub.preferences.current.compression)
    whole = {under: dict(patch)} if under else dict(patch)

    def check(wanted: Any) -> None:
        if found := list(faults(ctx, wanted.compression, filters)):
            raise InvalidInput(found)

    try:
        made = await ctx.hub.preferences.change({"compression": whole}, check=check)
    except InvalidInput as error:
        prefix = f"{_PREFIX}{under}." if under else _PREFIX
        raise InvalidInput([{**one, "field": one["field"].removeprefix(prefix)} for one in error.details]) from None
    return made.compression


def faults(ctx: Context, wanted: CompressionSettings, filters: Filters | None = None) -> Iterator[dict[str, str]]:
    """What only the hub knows to be wrong in settings: names of rules, packs, filters and combos, expressions, steps."""
    if wanted == ctx.hub.preferences.current.compression:
        return
    yield from _names(wanted, filters)
    for at, pattern in enumerate(wanted.caveman_config.preserve_patterns):
        yield from _refused(f"{_PREFIX}cavemanConfig.preservePatterns.{at}", pattern)
    yield from step_faults(wanted.stacked_pipeline, f"{_PREFIX}stackedPipeline", wanted)
    chosen = wanted.compression_combo_id
    if chosen is not None and ctx.hub.compression_combos.peek(chosen) is None:
        yield {"field": f"{_PREFIX}compressionComboId", "message": f"there is no compression combo {chosen!r}"}
    before = ctx.hub.preferences.current.compression.combo_overrides
    for name in wanted.combo_overrides.keys() - before.keys():
        if (ctx.hub.combos.peek(name) or ctx.hub.combos.find(name)) is None:
            yield {"field": f"{_PREFIX}comboOverrides.{name}", "message": f"there is no combo {name!r}"}


def _names(wanted: CompressionSettings, filters: Filters | None) -> Iterator[dict[str, str]]:
    """Names of rules, packs and filters that are none."""
    packs = deferred.workshop().packs
    languages, known = packs.rows(), wanted.language_config
    yield from _unknown(
        "cavemanConfig.skipRules", wanted.caveman_config.skip_rules, packs.names(), "rule; /api/compression/rules lists them"
    )
    yield from _unknown("languageConfig.enabledPacks", known.enabled_packs, languages, "language pack")
    yield from _unknown("languageConfig.defaultLanguage", [known.default_language], languages, "language pack")
    if filters is not None:
        ids, rtk = {one.id for one in filters.all}, wanted.rtk_config
        for name, given in (("enabledFilters", rtk.enabled_filters), ("disabledFilters", rtk.disabled_filters)):
            yield from _unknown(f"rtkConfig.{name}", given, ids, "filter; /api/context/rtk/filters lists them")


def _unknown(field: str, given: Sequence[str], known: Any, what: str) -> Iterator[dict[str, str]]:
    for name in given:
        if name not in known:
            yield {"field": f"{_PREFIX}{field}", "message": f"{name!r} is no {what}"}


def _refused(field: str, pattern: str) -> Iterator[dict[str, str]]:
    try:
        deferred.workshop().expressions.safe(pattern, "it")
    except BadRequest as error:
        yield {"field": field, "message": error.message}


def step_faults(steps: Sequence[Step], field: str, settings: CompressionSettings) -> Iterator[dict[str, str]]:
    """What is wrong with the steps of a pipeline."""
    for at, step in enumerate(steps):
        try:
            deferred.workshop().choice.settings_of(settings, step, field=f"{field}.{at}")
        except InvalidInput as error:
            yield from error.details


def trial(ctx: Context, config: Mapping[str, Any], *, under: str = "") -> CompressionSettings:
    """The settings in force with some changed for a trial. Raises InvalidInput naming the fields at fault."""
    settings = ctx.hub.preferences.current.compression
    whole = settings.model_dump(mode="json", by_alias=True)
    at = whole[under] if under else whole
    for name, value in config.items():
        kept = at.get(name)
        at[name] = {**kept, **value} if isinstance(kept, dict) and isinstance(value, dict) else value
    try:
        made = CompressionSettings.model_validate(whole)
    except ValidationError as error:
        prefix = f"{under}." if under else ""
        raise InvalidInput([{**one, "field": f"config.{one['field'].removeprefix(prefix)}"} for one in details_of(error)]) from None
    if found := list(faults(ctx, made)):
        raise InvalidInput([{**one, "field": f"config.{one['field'].removeprefix(_PREFIX)}"} for one in found])
    return made
