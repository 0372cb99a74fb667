"""Prompt compression: its settings, the rules and language packs, and a trial of what a conversation would become."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import Field

from hub.compression import deferred
from hub.compression.settings import CompressionSettings, Mode
from hub.context import Context
from hub.skill import Audit, CostClass, Rest, skill
from hub.tokens import estimate_prompt
from hub.wire import Body, Nothing, Wire
from skills._compression import change
from skills._compression import trial as with_config

if TYPE_CHECKING:
    from hub.compression.compressor import Compressed


class CompressionPatch(Wire):
    """What to change."""

    patch: dict[str, Any] = Field(
        min_length=1, description="Settings of compression by name; objects are merged, null takes one back to its default."
    )


class Rule(Wire):
    """A rule by which prose is shortened; ``context`` is whose words it is for."""

    name: str
    language: str
    context: str
    category: str
    min_intensity: str
    intensities: list[str]
    description: str


class Rules(Wire):
    """All rules."""

    rules: list[Rule]


class Pack(Wire):
    """The rules of a language."""

    language: str
    categories: list[str]
    rule_count: int


class Packs(Wire):
    """All language packs."""

    languages: list[str]
    packs: list[Pack]


class PreviewAsk(Body):
    """A conversation and the mode to try."""

    messages: list[dict[str, Any]] = Field(
        min_length=1, max_length=10_000, description="Messages with role and content: a text, or blocks of text and tool results."
    )
    mode: Mode = Field(description="off, lite, standard, aggressive, ultra, rtk or stacked.")
    config: dict[str, Any] = Field(default={}, description="Settings of compression to try instead of those in force, by name.")


class Said(Wire):
    """A message as it would be sent, its text alone."""

    role: str
    content: str


class Difference(Wire):
    """Words that are the same, were removed or added."""

    type: str
    text: str


class Kept(Wire):
    """Something that no rule touches: a ``block`` of lines or a ``span`` within prose, and how it begins."""

    kind: str
    preview: str


class Validation(Wire):
    """Whether every protected span survived; where one did not, its text stayed as it was."""

    valid: bool
    errors: list[str]
    warnings: list[str]
    fallback_applied: bool


class Preview(Wire):
    """What would be sent. ``engines`` is what each engine saved, in tokens; ``diff`` is empty for texts too long to compare."""

    original: str
    compressed: str
    messages: list[Said]
    original_tokens: int
    compressed_tokens: int
    tokens_saved: int
    savings_pct: int
    techniques_used: list[str]
    engines: dict[str, int]
    duration_ms: int
    mode: str
    intensity: str | None
    output_mode: str | None
    skipped_reasons: list[str]
    diff: list[Difference]
    preserved_blocks: list[Kept]
    rule_removals: list[str]
    rules_applied: list[str]
    validation: Validation
    validation_warnings: list[str]
    validation_errors: list[str]
    fallback_applied: bool


@skill(
    "compression-settings-get",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/settings/compression"), Rest("GET", "/api/context/caveman/config")],
    read_only=True,
    audit=Audit.NONE,
)
async def settings(ctx: Context, ask: Nothing) -> CompressionSettings:
    """Show everything that is set about prompt compression."""
    return ctx.hub.preferences.current.compression


@skill(
    "compression-settings-set",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    rest=[
        Rest(method, path, ask=lambda data: {"patch": data})
        for path in ("/api/settings/compression", "/api/context/caveman/config")
        for method in ("PUT", "PATCH")
    ],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_settings(ctx: Context, ask: CompressionPatch) -> CompressionSettings:
    """Change what is set about prompt compression, at once and at every door. Unknown names are refused, and then nothing is changed."""
    return await change(ctx, ask.patch)


@skill(
    "compression-rules",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/compression/rules")],
    read_only=True,
    audit=Audit.NONE,
)
async def rules(ctx: Context, ask: Nothing) -> Rules:
    """List the rules by which prose is shortened."""
    packs = deferred.workshop().packs
    found = [
        Rule(
            name=rule.name,
            language=row.language,
            context=rule.context,
            category=rule.category,
            min_intensity=rule.min_intensity,
            intensities=packs.intensities(rule),
            description=rule.description,
        )
        for row in packs.rows().values()
        for rule in row.rules
    ]
    return Rules(rules=found)


@skill(
    "compression-language-packs",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/compression/language-packs")],
    read_only=True,
    audit=Audit.NONE,
)
async def language_packs(ctx: Context, ask: Nothing) -> Packs:
    """List the languages that there are rules for."""
    rows = deferred.workshop().packs.rows()
    found = [
        Pack(language=row.language, categories=sorted({rule.category for rule in row.rules}), rule_count=len(row.rules))
        for row in rows.values()
    ]
    return Packs(languages=list(rows), packs=found)


@skill(
    "compression-preview",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/compression/preview")],
    read_only=True,
    audit=Audit.NONE,
)
async def preview(ctx: Context, ask: PreviewAsk) -> Preview:
    """Compress a conversation without sending it: exactly what would go out, what was saved by what, and why no more."""
    tools = deferred.workshop()
    choice, trial = tools.choice, tools.trial
    request = trial.request_of(ask.messages)
    tried = with_config(ctx, {**ask.config, "enabled": True})
    facts = choice.Facts(
        tokens=lambda: estimate_prompt(request), marked=lambda: tools.conversation.locked(request) != (0, 0), wish=ask.mode
    )
    chosen = choice.choose(tried, ctx.hub.compression_combos, facts)
    made = await ctx.hub.compressor.preview(request, tried, chosen)
    patterns = [tools.expressions.safe(pattern, "preservePatterns") for pattern in tried.caveman_config.preserve_patterns]
    before, after = ("\n\n".join(text for _, text in trial.texts(one)) for one in (request, made.outcome.request))
    difference = await asyncio.to_thread(trial.difference, before, after)
    return _shown(
        made,
        original=before,
        compressed=after,
        messages=[Said(role=role, content=text) for role, text in trial.texts(made.outcome.request)],
        diff=[Difference(**one) for one in difference],
        preserved_blocks=[Kept(**one) for one in trial.kept(request, patterns)],
    )


def _shown(made: Compressed, *, diff: list[Difference], **texts: Any) -> Preview:
    """The outcome of a trial with its texts."""
    outcome, chosen = made.outcome, made.choice
    warnings = ["a text stayed as it was: its short form had lost something that must stay"] if outcome.fallback else []
    return Preview(
        **texts,
        diff=diff,
        original_tokens=outcome.original,
        compressed_tokens=outcome.original - outcome.saved,
        tokens_saved=outcome.saved,
        savings_pct=round(100 * outcome.saved / max(1, outcome.original)),
        techniques_used=list(outcome.engines),
        engines=outcome.engines,
        duration_ms=round(made.micros / 1000),
        mode=chosen.mode,
        intensity=next((step.intensity for step in chosen.steps if step.intensity), None),
        output_mode=chosen.terse if made.terse else None,
        skipped_reasons=[note for note in (chosen.note, *outcome.skipped) if note],
        rule_removals=[one.text.strip() for one in diff if one.type == "removed"][:200],
        rules_applied=outcome.rules,
        validation=Validation(valid=True, errors=[], warnings=warnings, fallback_applied=outcome.fallback),
        validation_warnings=warnings,
        validation_errors=[],
        fallback_applied=outcome.fallback,
    )
