"""Combos: named lists of targets with a strategy, as they are stored and shown (routing.md 2.1). Ranges are the wire's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hub.compression.settings import Mode
from hub.wire import Body

Word = Annotated[str, Field(min_length=1, max_length=100)]
Kind = Literal["model", "combo-ref"]
RouterVariant = Literal["rules", "cost", "eco", "latency", "fast", "lkgp"]


class Step(Body):
    """One target of a combo: a model (at one connection, or at those with one of ``tags``), or another combo by name.

    ``id`` is unique within its combo. ``model`` is ``provider/model`` as a client would write it.
    """

    id: str = Field(max_length=200)
    kind: Kind = "model"
    model: str = Field(default="", max_length=300)
    provider_id: str = Field(default="", max_length=120)
    combo_name: str = Field(default="", max_length=100)
    connection_id: str | None = Field(default=None, max_length=200)
    weight: float = Field(default=0, ge=0, le=100)
    label: str = Field(default="", max_length=200)
    tags: tuple[Word, ...] = Field(default=(), max_length=20)


class Tier(Body):
    """One tier of a composite: the step it stands for, and the tier that takes over when it fails."""

    step_id: str = Field(min_length=1, max_length=200)
    fallback_tier: str | None = Field(default=None, min_length=1, max_length=100)
    label: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, min_length=1, max_length=500)


class CompositeTiers(Body):
    """Puts steps in order by walking from ``default_tier`` along the fallbacks; the other steps follow."""

    default_tier: str = Field(min_length=1, max_length=100)
    tiers: dict[str, Tier]


class ScoringWeights(Body):
    """How much each factor of ``auto`` counts; a set that does not sum to 1 within 0.01 gives way to the pack's own."""

    quota: float = Field(ge=0, le=1)
    health: float = Field(ge=0, le=1)
    cost_inv: float = Field(ge=0, le=1)
    latency_inv: float = Field(ge=0, le=1)
    task_fit: float = Field(ge=0, le=1)
    stability: float = Field(ge=0, le=1)
    tier_priority: float = Field(default=0.05, ge=0, le=1)


class ComboConfig(Body):
    """How a combo runs. A field that is not set takes the value of the layer below; :data:`BUILT_IN` is the lowest.

    ``strategy`` here gives way to the combo's own.
    """

    strategy: str | None = Field(default=None, description="Strategy, where the combo names none.")
    max_retries: int | None = Field(default=None, ge=0, le=10, description="Tries more at the same target after a passing failure.")
    retry_delay_ms: int | None = Field(default=None, ge=0, le=60_000, description="Wait before such a try.")
    timeout_ms: int | None = Field(default=None, ge=1000, description="Longest wait for a target's first byte.")
    concurrency_per_model: int | None = Field(default=None, ge=1, le=20, description="Calls at once per target (round-robin).")
    queue_timeout_ms: int | None = Field(default=None, ge=1000, le=120_000, description="Longest wait for a free place (round-robin).")
    health_check_enabled: bool | None = Field(default=None, description="Put targets in trouble behind the healthy ones.")
    health_check_timeout_ms: int | None = Field(default=None, ge=100, le=30_000, description="Longest wait in a test of the combo.")
    handoff_threshold: float | None = Field(
        default=None, ge=0.5, le=0.94, description="Share of quota used from which a hand-over is kept."
    )
    handoff_model: str | None = Field(default=None, max_length=200, description="Model that writes hand-overs; empty: the same model.")
    handoff_providers: tuple[Word, ...] | None = Field(default=None, max_length=10, description="Providers whose accounts hand over.")
    max_messages_for_summary: int | None = Field(default=None, ge=5, le=100, description="Messages that a hand-over sums up.")
    max_combo_depth: int | None = Field(default=None, ge=1, le=10, description="How deep combos may be nested.")
    track_metrics: bool | None = Field(default=None, description="Count calls and results per target.")
    compression_mode: Mode | None = Field(default=None, description="Prompt compression of its requests, whatever else is set.")
    candidate_pool: tuple[Word, ...] | None = Field(default=None, description="Providers that 'auto' may choose from.")
    weights: ScoringWeights | None = Field(default=None, description="Weights of the factors of 'auto'.")
    mode_pack: str | None = Field(default=None, max_length=100, description="Named weights: ship-fast, cost-saver, quality-first, ...")
    budget_cap: float | None = Field(default=None, gt=0, description="Most US dollars per 1,000 tokens that 'auto' may choose.")
    exploration_rate: float | None = Field(default=None, ge=0, le=1, description="How often 'auto' tries a random candidate.")
    router_strategy: RouterVariant | None = Field(default=None, description="Variant of 'auto'.")
    composite_tiers: CompositeTiers | None = Field(default=None, description="Order of the steps by tiers.")
    judge_model: str | None = Field(default=None, max_length=200, description="Model that judges a fusion; empty: the first target.")
    panel_size: int | None = Field(default=None, ge=2, le=8, description="Targets that answer at once in a fusion.")


BUILT_IN = ComboConfig(
    strategy="priority",
    max_retries=1,
    retry_delay_ms=2000,
    concurrency_per_model=3,
    queue_timeout_ms=30_000,
    health_check_enabled=False,
    health_check_timeout_ms=5000,
    handoff_threshold=0.85,
    handoff_model="",
    handoff_providers=("codex",),
    max_messages_for_summary=30,
    max_combo_depth=3,
    track_metrics=True,
    exploration_rate=0.05,
    router_strategy="rules",
    judge_model="",
    panel_size=3,
)


class Combo(Body):
    """A combo as it is stored, without its name: its document has that. ``models`` are its steps."""

    strategy: str = "priority"
    models: tuple[Step, ...] = ()
    config: ComboConfig = ComboConfig()
    allowed_providers: tuple[str, ...] = ()
    system_message: str = Field(default="", max_length=50_000, alias="system_message")
    tool_filter_regex: str = Field(default="", max_length=1000, alias="tool_filter_regex")
    context_cache_protection: bool = Field(default=False, alias="context_cache_protection")
    context_length: int | None = Field(default=None, ge=1000, le=2_000_000, alias="context_length")
    is_active: bool = True
    is_hidden: bool = False
    sort_order: int = 0


class Mapping(Body):
    """Requests whose model fits ``pattern`` (``*`` and ``?``, any case, the whole name) go to a combo. Higher priority first."""

    pattern: str = Field(min_length=1, max_length=500)
    combo_id: str
    priority: int = 0
    enabled: bool = True
    description: str = Field(default="", max_length=1000)


def effective(*layers: ComboConfig) -> ComboConfig:
    """One configuration of several layers, later ones over earlier ones: built-in, defaults, the provider's, the combo's own."""
    merged: dict[str, object] = {}
    for layer in layers:
        merged.update({name: value for name in ComboConfig.model_fields if (value := getattr(layer, name)) is not None})
    return ComboConfig.model_construct(**merged)  # pyright: ignore[reportArgumentType] - the fields' own values
