"""What the owner sets for every chat: how much models think, and the words that come before all others."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest
from hub.preferences import SystemPrompt, ThinkingBudget
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing


class ThinkingBudgetPatch(Body):
    """What to change about thinking; what is left out stays, null goes back to the default."""

    mode: Literal["passthrough", "auto", "custom", "adaptive"] | None = Field(
        default=None,
        description="passthrough leaves thinking to the client, auto to the model, custom sets one budget, adaptive one for each request.",
    )
    custom_budget: int | None = Field(default=None, ge=0, le=131_072, description="Tokens of thinking with custom; 0 none.")
    effort_level: Literal["none", "low", "medium", "high"] | None = Field(default=None, description="What adaptive begins with.")
    base_budget: int | None = Field(default=None, ge=0, le=131_072, description="Tokens that adaptive begins with instead; 0 the level's.")
    complexity_multiplier: float | None = Field(
        default=None, ge=0, le=100, description="How much long conversations, many tools and long questions add with adaptive; 0 nothing."
    )


class SystemPromptPatch(Body):
    """What to change about the prompt; what is left out stays, null goes back to the default."""

    enabled: bool | None = Field(default=None, description="Whether the words are put before every chat.")
    prompt: str | None = Field(default=None, max_length=50_000, description="The words; they come before the client's own instructions.")


def _patch(ask: Body) -> dict[str, Any]:
    """What a patch names. Raises BadRequest for one that names nothing."""
    patch = ask.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if not patch:
        names = ", ".join(field.alias or name for name, field in type(ask).model_fields.items())
        raise BadRequest(f"nothing to change: name at least one of {names}")
    return patch


@skill("thinking-budget-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/settings/thinking-budget")], read_only=True)
async def thinking_budget(ctx: Context, ask: Nothing) -> ThinkingBudget:
    """Show how much models think: what the client asks for, or what is set for every chat."""
    return ctx.hub.preferences.current.thinking_budget


@skill(
    "thinking-budget-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/settings/thinking-budget"), Rest("PATCH", "/api/settings/thinking-budget")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_thinking_budget(ctx: Context, ask: ThinkingBudgetPatch) -> ThinkingBudget:
    """Change how much models think, at once and at every door."""
    return (await ctx.hub.preferences.change({"thinkingBudget": _patch(ask)})).thinking_budget


@skill("system-prompt-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/settings/system-prompt")], read_only=True)
async def system_prompt(ctx: Context, ask: Nothing) -> SystemPrompt:
    """Show the words that come before every chat."""
    return ctx.hub.preferences.current.system_prompt


@skill(
    "system-prompt-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/settings/system-prompt"), Rest("PATCH", "/api/settings/system-prompt")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_system_prompt(ctx: Context, ask: SystemPromptPatch) -> SystemPrompt:
    """Change the words that come before every chat, at once and at every door; the hub's own questions go without."""
    return (await ctx.hub.preferences.change({"systemPrompt": _patch(ask)})).system_prompt
