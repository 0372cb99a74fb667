"""What is known of models from their last assessments: in memory for routing and lists, stored with the runs that found it out."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import Field

from hub.assess.probes import Status
from hub.log import logger
from hub.process.background import Regularly
from hub.wire import Wire, iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.clock import Clock
    from hub.preferences import AssessmentRouting
    from hub.records import UsageRow
    from hub.store import Store

log = logger("hub.assess")

#: How often the assessments of other processes are looked for, and how far their clocks may be apart.
_POLL_SECONDS, _SKEW_MS = 5.0, 60_000
_HOUR_MS = 3_600_000
#: What doubts of routing rest on. A limit that was reached says nothing of the next hour.
_DOUBTFUL = frozenset({"broken", "auth_error", "timeout"})


class Assessment(Wire):
    """A model as its last assessment found it. Latencies in milliseconds; null is unknown or not tried."""

    id: str
    model_id: str
    provider_id: str
    status: Status
    latency_p50: int | None = Field(default=None, validation_alias="latencyP50", serialization_alias="latencyP50")
    latency_p95: int | None = Field(default=None, validation_alias="latencyP95", serialization_alias="latencyP95")
    success_rate: float = 0.0
    supports_vision: bool | None = None
    supports_tool_call: bool | None = None
    supports_streaming: bool | None = None
    supports_structured_output: bool | None = None
    max_context_window: int | None = None
    max_output_tokens: int | None = None
    categories: list[str] = Field(default=[])
    fitness_scores: dict[str, float] = Field(default={})
    tier: str = "balanced"
    last_tested: str | None = None
    last_error: str | None = None
    consecutive_fails: int = 0
    probe_count: int = 0
    created_at: str | None = None
    updated_at: str | None = None

    @property
    def model(self) -> str:
        """The provider's own id of the model."""
        return self.model_id.removeprefix(f"{self.provider_id}/")


class Assessments:
    """Every model that was assessed. Used on the event loop; ``routing`` gives what owners want routing to make of it."""

    def __init__(self, store: Store, clock: Clock, routing: Callable[[], AssessmentRouting]) -> None:
        self._store = store
        self._clock = clock
        self._routing = routing
        self._known: dict[str, tuple[Assessment, int]] = {}
        self._doubts: dict[tuple[str, str], tuple[str, int]] = {}
        self._newest = 0
        self._follows = Regularly("reading assessments of other processes", self._look, every=_POLL_SECONDS)

    async def open(self) -> None:
        """Take over what is stored, and follow other processes where there may be some."""
        await self._look()
        if self._store.postgres:
            self._follows.start()

    async def close(self) -> None:
        """Follow no more."""
        await self._follows.close()

    def all(self) -> list[Assessment]:
        """Every assessment, by model id."""
        return [self._known[name][0] for name in sorted(self._known)]

    def of(self, provider: str, model: str) -> Assessment | None:
        """What is known of a provider's model."""
        found = self._known.get(f"{provider}/{model}")
        return found[0] if found is not None else None

    def learn(self, one: Assessment, tested_at: int) -> None:
        """A model was assessed."""
        kept = self._known.get(one.model_id)
        if kept is not None and kept[1] >= tested_at:
            return
        self._known[one.model_id] = (one, tested_at)
        place = (one.provider_id, one.model)
        if one.status in _DOUBTFUL:
            self._doubts[place] = (f"assessed as {one.status} at {iso(tested_at)}", tested_at)
        else:
            self._doubts.pop(place, None)

    def heard(self, row: UsageRow) -> None:
        """A routed call ended: a model that answers again is in doubt no more."""
        if self._doubts and row.outcome == "ok":
            self._doubts.pop((row.provider, row.model), None)

    def doubts(self) -> Mapping[tuple[str, str], str]:
        """What routing is to know of models that did not work when they were assessed last; nothing where its owner does not want that."""
        if not self._doubts or (wanted := self._routing()).mode == "off":
            return {}
        oldest = self._clock.now_ms() - wanted.max_age_hours * _HOUR_MS
        return {place: words for place, (words, at) in self._doubts.items() if at >= oldest}

    @property
    def demotes(self) -> bool:
        """Whether models in doubt are tried last."""
        return self._routing().mode == "demote"

    async def _look(self) -> None:
        for text, tested_at in await self._store.runs.assessments(max(0, self._newest - _SKEW_MS)):
            self._newest = max(self._newest, tested_at)
            with suppress(ValueError):  # written by a newer version
                self.learn(Assessment.model_validate_json(text), tested_at)
