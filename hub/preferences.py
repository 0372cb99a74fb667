"""What the owner sets while the hub runs: one frozen model, stored as a whole, read on every request (routing.md 7).

Names on the wire are the seed's. Each change is validated as a whole before anything is stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from hub.compression.settings import CompressionSettings
from hub.content.settings import RequestContent
from hub.errors import InvalidInput
from hub.memory.settings import MemorySettings
from hub.routing.combo import ComboConfig
from hub.skill import details_of
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic.config import JsonDict

    from hub.store.values import Values

PREFERENCES = "preferences"
Profile = Literal["oauth", "apikey", "local"]


class RequestQueue(Body):
    """Requests to one connection wait in line rather than run into its limit. Used where a connection has ``rateLimitProtection``."""

    auto_enable_api_key_providers: bool = Field(default=False, description="Protect every API-key connection.")
    requests_per_minute: int = Field(default=100, ge=1, le=1_000_000, description="Calls a minute, until the provider states its limit.")
    min_time_between_requests_ms: int = Field(default=200, ge=0, le=3_600_000, description="Least time between two calls.")
    concurrent_requests: int = Field(default=10, ge=1, le=10_000, description="Calls at once.")
    max_wait_ms: int = Field(default=15_000, ge=0, le=86_400_000, description="Longest wait in line; it does not limit the call itself.")


class Cooldown(Body):
    """How long a connection is left alone: ``base * 2 ** level``, or what the provider asks for."""

    base_cooldown_ms: int = Field(ge=0, le=86_400_000, description="Wait after the first failure.")
    use_upstream_retry_hints: bool = Field(default=True, description="Believe Retry-After and its kin, within an hour.")
    max_backoff_steps: int = Field(ge=0, le=32, description="Doublings at most.")


class Cooldowns(Body):
    """Connection cooldown by profile."""

    oauth: Cooldown = Cooldown(base_cooldown_ms=5000, max_backoff_steps=8)
    apikey: Cooldown = Cooldown(base_cooldown_ms=3000, max_backoff_steps=5)


class Breaker(Body):
    """When a provider as a whole is left alone, and for how long."""

    failure_threshold: int = Field(ge=1, le=1000, description="Consecutive failed requests that open it.")
    reset_timeout_ms: int = Field(ge=1000, le=86_400_000, description="Time until one request may probe it.")


class Breakers(Body):
    """Provider breaker by profile."""

    oauth: Breaker = Breaker(failure_threshold=8, reset_timeout_ms=60_000)
    apikey: Breaker = Breaker(failure_threshold=12, reset_timeout_ms=30_000)


class WaitForCooldown(Body):
    """When every connection of a model cools, a request may wait for the first to come back instead of failing."""

    enabled: bool = Field(default=True, description="Whether requests wait.")
    max_retries: int = Field(default=3, ge=0, le=10, description="Waits for one request at most.")
    max_retry_wait_sec: int = Field(default=30, ge=0, le=300, description="Longest wait of one request, all its waits together.")
    max_waiting: int = Field(default=32, ge=0, le=10_000, description="Requests that may wait for one model; more fail at once.")


class ResilienceSettings(Body):
    """Queue, cooldown, breaker and waiting (routing.md 3.1)."""

    request_queue: RequestQueue = RequestQueue()
    connection_cooldown: Cooldowns = Cooldowns()
    provider_breaker: Breakers = Breakers()
    wait_for_cooldown: WaitForCooldown = WaitForCooldown()


class SemanticCache(Body):
    """Answers to questions that mean the same. Off until an embedding model is named."""

    enabled: bool = Field(default=False, description="Whether to look for answers to similar questions.")
    embedding_model: str = Field(
        default="", max_length=200, description="provider/model of the embeddings, e.g. openai/text-embedding-3-small."
    )
    threshold: float = Field(default=0.95, ge=0.5, le=1.0, description="Least cosine similarity that counts as the same question.")
    lexical: bool = Field(default=False, description="Compare words where no embedding model is named. This is not semantic.")
    max_entries: int = Field(default=2000, ge=1, le=100_000, description="Answers kept per process.")

    @model_validator(mode="after")
    def _has_a_measure(self) -> Self:
        if self.enabled and not (self.embedding_model or self.lexical):
            raise ValueError(
                "name an embeddingModel (provider/model, e.g. openai/text-embedding-3-small) to switch this on,"
                " or set lexical to compare spelling instead of meaning"
            )
        return self


class ResponseCache(Body):
    """Answers to the very same request, with temperature 0 only."""

    scope: Literal["key", "hub"] = Field(default="key", description="Who may see an answer again: the same key, or every key of this hub.")
    memory_entries: int = Field(default=500, ge=0, le=100_000, description="Answers in memory.")
    memory_bytes: int = Field(default=16 * 1024 * 1024, ge=0, le=2**32, description="Bytes of answers in memory.")
    ttl_ms: int = Field(default=3_600_000, ge=1000, le=30 * 86_400_000, description="How long an answer is kept.")
    disk: bool = Field(default=True, description="Keep answers over a restart, and share them between processes.")
    semantic: SemanticCache = SemanticCache()


class ThinkingBudget(Body):
    """How much models think, for every chat."""

    mode: Literal["passthrough", "auto", "custom", "adaptive"] = Field(
        default="passthrough",
        description="`passthrough` leaves it to the client, `auto` to the model; `custom` sets one budget, `adaptive` one a request.",
    )
    custom_budget: int = Field(default=10_240, ge=0, le=131_072, description="Tokens of thinking with `custom`; 0 none.")
    effort_level: Literal["none", "low", "medium", "high"] = Field(default="medium", description="What `adaptive` begins with.")
    base_budget: int = Field(
        default=0, ge=0, le=131_072, description="Tokens that `adaptive` begins with in its place; 0 those of the level."
    )
    complexity_multiplier: float = Field(
        default=1.0, ge=0, le=100, description="How much long conversations, many tools and long questions add with `adaptive`."
    )


class SystemPrompt(Body):
    """The owner's own words before those of every chat."""

    enabled: bool = Field(default=False, description="Whether they are said.")
    prompt: str = Field(default="", max_length=50_000, description="The words; they come before the client's own instructions.")


class Retention(Body):
    """How long rows are kept, in days; sums by the hour stay longer."""

    usage_days: int = Field(default=90, ge=1, le=3650, description="Usage rows, one a request.")
    decision_days: int = Field(default=30, ge=1, le=3650, description="Decision records.")
    sum_days: int = Field(default=730, ge=1, le=36500, description="Sums by the hour.")
    response_days: int = Field(default=30, ge=1, le=3650, description="Answers of /v1/responses that their clients asked to be kept.")
    delivery_days: int = Field(default=14, ge=1, le=3650, description="What webhooks were sent.")
    execution_days: int = Field(default=30, ge=1, le=3650, description="Runs of installed skills, with their inputs and outputs.")


class BackupSchedule(Body):
    """Backups that the hub makes by itself, once however many processes share the database."""

    every_hours: int = Field(default=24, ge=0, le=8760, description="Hours from one to the next; 0: none.")
    keep: int = Field(default=7, ge=1, le=1000, description="How many of them stay; those made by hand all do.")


class AssessmentRouting(Body):
    """What routing makes of models that did not work when they were assessed."""

    mode: Literal["off", "explain", "demote"] = Field(
        default="explain", description="`explain` notes it in decisions, `demote` also tries such models last, `off` neither."
    )
    max_age_hours: int = Field(default=24, ge=1, le=720, description="Older assessments count for nothing.")


#: What the plain preferences are about; pages show those of one topic together.
_ROUTING: JsonDict = {"x-topic": "routing"}
_REPEATS: JsonDict = {"x-topic": "caching and repeats"}
_MONEY: JsonDict = {"x-topic": "budgets"}
_DOORS: JsonDict = {"x-topic": "doors"}
_SKILLS: JsonDict = {"x-topic": "installed skills"}


class Preferences(Body):
    """Everything that can be set while the hub runs."""

    fallback_strategy: str = Field(
        default="fill-first", description="How the connections of a provider take turns.", json_schema_extra=_ROUTING
    )
    provider_strategies: dict[str, str] = Field(default={}, description="The same for single providers.", json_schema_extra=_ROUTING)
    sticky_round_robin_limit: int = Field(
        default=3, ge=0, le=1000, description="Calls that round-robin stays on one connection.", json_schema_extra=_ROUTING
    )
    session_affinity_ttl_ms: int = Field(
        default=1_800_000,
        ge=0,
        le=30 * 86_400_000,
        description="How long a session prefers the connection it used; 0 never.",
        json_schema_extra=_ROUTING,
    )
    strip_model_prefix: bool = Field(default=False, description="Ignore the provider in provider/model.", json_schema_extra=_ROUTING)
    model_alias_compat_enabled: bool = Field(
        default=True, description="Find models by other spellings of their names.", json_schema_extra=_ROUTING
    )
    global_fallback_model: str = Field(
        default="", max_length=200, description="Model tried once when a combo has failed as a whole.", json_schema_extra=_ROUTING
    )
    blocked_providers: tuple[str, ...] = Field(default=(), description="Providers that are never used.", json_schema_extra=_ROUTING)
    combo_defaults: ComboConfig = Field(default=ComboConfig(), description="Configuration of combos that do not say otherwise.")
    provider_overrides: dict[str, ComboConfig] = Field(
        default={}, description="Configuration for the targets of single providers.", json_schema_extra=_ROUTING
    )
    semantic_cache_enabled: bool = Field(
        default=True, description="Keep answers to requests with temperature 0.", json_schema_extra=_REPEATS
    )
    response_cache: ResponseCache = ResponseCache()
    idempotency_window_ms: int = Field(
        default=5000, ge=0, le=600_000, description="How long X-Request-Id tells a repeated request.", json_schema_extra=_REPEATS
    )
    idempotency_hours: int = Field(
        default=24, ge=1, le=720, description="How long an answer is kept for its Idempotency-Key.", json_schema_extra=_REPEATS
    )
    emergency_fallback_model: str = Field(
        default="",
        max_length=200,
        description="Model tried once when a request without tools fails for want of credit; empty: none.",
        json_schema_extra=_ROUTING,
    )
    always_preserve_client_cache: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Clients' prompt-cache markers: `auto` where a format has a place for them, `always` in OpenAI's too, `never` none.",
        json_schema_extra=_REPEATS,
    )
    thinking_budget: ThinkingBudget = ThinkingBudget()
    system_prompt: SystemPrompt = SystemPrompt()
    compression: CompressionSettings = CompressionSettings()
    memory: MemorySettings = MemorySettings()
    budget_zone: str = Field(default="UTC", max_length=64, description="Time zone of budgets that name none.", json_schema_extra=_MONEY)
    budget_wait_ms: int = Field(
        default=30_000, ge=0, le=600_000, description="Longest wait of a call for money that others hold.", json_schema_extra=_MONEY
    )
    resilience_settings: ResilienceSettings = ResilienceSettings()
    retention: Retention = Retention()
    request_content: RequestContent = RequestContent()
    require_login: bool = Field(
        default=True,
        description="False opens the dashboard and `/api` to browsers of this machine without a login; on loopback only.",
        json_schema_extra=_DOORS,
    )
    backup_schedule: BackupSchedule = BackupSchedule()
    assessments: AssessmentRouting = AssessmentRouting()
    mcp_enabled: bool = Field(default=True, description="Whether the MCP door is open.", json_schema_extra=_DOORS)
    mcp_transport: Literal["all", "stdio", "sse", "streamable-http"] = Field(
        default="all", description="Over which transports.", json_schema_extra=_DOORS
    )
    mcp_profile: str = Field(
        default="core", max_length=2000, description="Tools that tools/list shows: core, all, or names with *.", json_schema_extra=_DOORS
    )
    a2a_enabled: bool = Field(default=True, alias="a2aEnabled", description="Whether the A2A door is open.", json_schema_extra=_DOORS)
    skills_enabled: bool = Field(
        default=False,
        description="Whether installed skills are used at all: in chats, over MCP, A2A and REST.",
        json_schema_extra=_SKILLS,
    )
    skills_provider: Literal["skillsmp", "skillssh"] = Field(
        default="skillsmp", description="The marketplace that skills are installed from.", json_schema_extra=_SKILLS
    )
    skills_max_rounds: int = Field(
        default=5,
        ge=1,
        le=20,
        description="Calls of the model that one chat may take while it calls installed skills.",
        json_schema_extra=_SKILLS,
    )
    oauth_blocked: tuple[str, ...] = Field(
        default=(),
        max_length=10_000,
        alias="oauthBlocked",
        description="Ids of principals (oauth_…) whose access tokens are refused.",
        json_schema_extra=_DOORS,
    )


class PreferenceStore:
    """The preferences in force. ``current`` is replaced as a whole when one changes, here or in another process."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._changes = asyncio.Lock()
        self._seen: object = None
        self.current = Preferences()

    def refresh(self) -> None:
        """Take over what is stored; called after every change."""
        stored = self._values.get(PREFERENCES)
        if stored is not self._seen:
            self._seen = stored
            self.current = Preferences.model_validate(stored or {})

    async def change(self, patch: Mapping[str, Any], *, check: Callable[[Preferences], None] | None = None) -> Preferences:
        """Merge a patch of wire names into what is set; nested objects are merged, None resets a field.

        ``check`` looks at the outcome before it is stored. Raises InvalidInput naming every field at fault, and what
        ``check`` raises; nothing is stored then.
        """
        async with self._changes:
            now = Preferences.model_validate(self._values.get(PREFERENCES) or {})
            merged = _merged(now.model_dump(mode="json", by_alias=True), patch, _DEFAULTS)
            try:
                made = Preferences.model_validate(merged)
            except ValidationError as error:
                raise InvalidInput(details_of(error)) from None
            if check is not None:
                check(made)
            await self._values.set(PREFERENCES, made.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        self.refresh()
        return self.current

    async def replace(self, wanted: Mapping[str, Any], *, keep: Iterable[str]) -> None:
        """Set everything anew from wire names; fields named in ``keep`` stay as they are. Raises InvalidInput; nothing is stored then."""
        async with self._changes:
            stored: dict[str, Any] = self._values.get(PREFERENCES) or {}
            kept = {name: stored[name] for name in keep if name in stored}
            try:
                made = Preferences.model_validate({**{name: value for name, value in wanted.items() if name not in set(keep)}, **kept})
            except ValidationError as error:
                raise InvalidInput(details_of(error)) from None
            await self._values.set(PREFERENCES, made.model_dump(mode="json", by_alias=True, exclude_defaults=True))
        self.refresh()


def check_stored(rows: Iterable[Mapping[str, Any]]) -> None:
    """Raise ValueError for rows of values among which the preferences cannot be read."""
    for row in rows:
        if row["name"] == PREFERENCES:
            Preferences.model_validate_json(row["value"])


_DEFAULTS: dict[str, Any] = Preferences().model_dump(mode="json", by_alias=True)


def _merged(old: Mapping[str, Any], patch: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in patch.items():
        kept, default = merged.get(name), defaults.get(name)
        if value is None:
            merged.pop(name, None)
            if name in defaults:
                merged[name] = default
        elif isinstance(value, dict) and isinstance(kept, dict):
            merged[name] = _merged(kept, value, default if isinstance(default, dict) else {})  # pyright: ignore[reportUnknownArgumentType] - JSON edge
        else:
            merged[name] = value
    return merged
