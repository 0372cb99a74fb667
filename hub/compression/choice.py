"""Which mode a request gets, and the stages of that mode (routing.md 5.1, 5.5). Pure: settings and facts in, a choice out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hub.compression.settings import MODES, Aggressive, Caveman, CompressionSettings, Engine, Mode, Rtk, Step, Ultra
from hub.errors import BadRequest, InvalidInput
from hub.skill import details_of
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.compression.combos import CompressionCombo, CompressionCombos
    from hub.store.documents import Document

HEADER = "X-OmniRoute-Compression"
_ENGINES: dict[str, Engine] = {"lite": "lite", "standard": "caveman", "aggressive": "aggressive", "ultra": "ultra", "rtk": "rtk"}
#: Which of the settings an engine goes by, and their model. lite has none of its own.
_CONFIGS: dict[Engine, tuple[str, type[Body]]] = {
    "caveman": ("caveman_config", Caveman),
    "rtk": ("rtk_config", Rtk),
    "aggressive": ("aggressive", Aggressive),
    "ultra": ("ultra", Ultra),
}
#: They rewrite what providers may have in their prompt caches.
_REWRITING = frozenset({"aggressive", "ultra"})
_LOWERED: dict[Mode, Mode] = {"aggressive": "standard", "ultra": "standard"}
_BUILT_IN_PIPELINE = CompressionSettings().stacked_pipeline


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides beside the settings: the client's wish, the routing combo's id, name and mode, the prompt's tokens, cache markers."""

    tokens: Callable[[], int]
    marked: Callable[[], bool]
    wish: str = ""
    combo_id: str = ""
    combo_name: str = ""
    combo_mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A mode, who chose it (``source``), its steps and those that are tried too where they save little; ``combo`` is the compression
    combo's id. ``terse`` is the intensity of the instruction to answer briefly, empty for none."""

    mode: Mode
    source: str
    steps: tuple[Step, ...] = ()
    also: tuple[Step, ...] = ()
    packs: tuple[str, ...] = ()
    terse: str = ""
    combo: str = ""
    note: str = ""


def choose(settings: CompressionSettings, combos: CompressionCombos, facts: Facts) -> Choice:
    """The mode of a request. Raises BadRequest for a wish that names no mode and no compression combo."""
    if not settings.enabled:
        return Choice("off", "disabled")
    mode, source, combo = _mode(settings, combos, facts)
    if mode == "stacked":
        combo = combo or _stacked(settings, combos)
    terse = _terse(settings, combo)
    if mode == "off":
        # A client that wants nothing done to its request gets nothing done to it.
        return Choice("off", source, terse="" if source == "header" else terse)
    steps = combo.body.pipeline if combo is not None else _steps(settings, mode)
    mode, steps, note = _lowered(mode, steps, facts)
    named = combo.id if combo is not None else ""
    return Choice(mode, source, steps=steps, also=_also(settings, mode), packs=packs(settings, combo), terse=terse, combo=named, note=note)


def _terse(settings: CompressionSettings, combo: Document[CompressionCombo] | None) -> str:
    """The intensity of the instruction to be brief, empty for none."""
    if combo is not None and combo.body.output_mode:
        return combo.body.output_mode_intensity
    return settings.caveman_output_mode.intensity if settings.caveman_output_mode.enabled else ""


def _lowered(mode: Mode, steps: tuple[Step, ...], facts: Facts) -> tuple[Mode, tuple[Step, ...], str]:
    """The mode and its steps without those that rewrite what a provider may cache, where the client marked that; and what to say of it."""
    if not any(step.engine in _REWRITING for step in steps) or not facts.marked():
        return mode, steps, ""
    kept = tuple(step for step in steps if step.engine not in _REWRITING) or (Step(engine="caveman"),)
    return _LOWERED.get(mode, mode), kept, f"{mode} lowered: the request has prompt-cache markers"


def packs(settings: CompressionSettings, combo: Document[CompressionCombo] | None = None) -> tuple[str, ...]:
    """The languages in which prose is shortened."""
    if combo is not None and combo.body.language_packs:
        return combo.body.language_packs
    languages = settings.language_config
    return languages.enabled_packs if languages.enabled and languages.auto_detect else (languages.default_language,)


def _mode(settings: CompressionSettings, combos: CompressionCombos, facts: Facts) -> tuple[Mode, str, Document[CompressionCombo] | None]:
    if facts.wish:
        return _wished(combos, facts.wish)
    if facts.combo_mode is not None:
        return facts.combo_mode, "combo", None
    if facts.combo_id and (given := combos.of_routing(facts.combo_id)) is not None:
        return "stacked", "assignment", given
    overrides = settings.combo_overrides
    override = overrides.get(facts.combo_id) or overrides.get(facts.combo_name)
    if override is not None:
        return override, "override", None
    if settings.auto_trigger_tokens and facts.tokens() >= settings.auto_trigger_tokens:
        return settings.auto_trigger_mode, "length", None
    return settings.default_mode, "default", None


def _wished(combos: CompressionCombos, wish: str) -> tuple[Mode, str, Document[CompressionCombo] | None]:
    for mode in MODES:
        if mode == wish.lower():
            return mode, "header", None
    combo = combos.peek(wish)
    if combo is None:
        raise BadRequest(f"{HEADER}: is one of {', '.join(MODES)}, or names a compression combo", field=HEADER)
    return "stacked", "header", combo


def _stacked(settings: CompressionSettings, combos: CompressionCombos) -> Document[CompressionCombo] | None:
    """The compression combo that ``stacked`` stands for, unless the owner wrote a pipeline."""
    if settings.compression_combo_id and (named := combos.peek(settings.compression_combo_id)) is not None:
        return named
    return combos.default() if settings.stacked_pipeline == _BUILT_IN_PIPELINE else None


def _steps(settings: CompressionSettings, mode: Mode) -> tuple[Step, ...]:
    return settings.stacked_pipeline if mode == "stacked" else (Step(engine=_ENGINES[mode]),)


def _also(settings: CompressionSettings, mode: Mode) -> tuple[Step, ...]:
    """What is tried, too, where a mode saves less than its least saving."""
    if mode == "aggressive":
        return (Step(engine="caveman"), Step(engine="lite"))
    return (Step(engine="aggressive"),) if mode == "ultra" and settings.ultra.slm_fallback_to_aggressive else ()


def settings_of(settings: CompressionSettings, step: Step, *, field: str = "pipeline") -> CompressionSettings:
    """The settings that a step goes by. Raises InvalidInput naming what is wrong with its intensity or its own settings."""
    own: dict[str, Any] = dict(step.config)
    if step.intensity:
        own["intensity"] = step.intensity
    if not own:
        return settings
    if step.engine not in _CONFIGS or (step.intensity and step.engine not in ("caveman", "rtk")):
        what = "intensity" if step.intensity else "config"
        raise InvalidInput([{"field": f"{field}.{what}", "message": f"{step.engine} has none"}])
    name, model = _CONFIGS[step.engine]
    kept: Body = getattr(settings, name)
    try:
        made = model.model_validate({**kept.model_dump(mode="json", by_alias=True), **own})
    except ValidationError as error:
        raise InvalidInput([{**fault, "field": f"{field}.{fault['field']}"} for fault in details_of(error)]) from None
    return settings.model_copy(update={name: made})
