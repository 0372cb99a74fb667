"""Compression as chats go through it: which mode a request gets, its short form, and what is recorded of that.

The one place where it meets the hub. A fault in compression sends the request as it came and says so. While it is off nobody comes here.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hub.compression import deferred
from hub.compression.memory import ShortForms
from hub.errors import BadRequest
from hub.log import logger, masked
from hub.store.compression import CompressionRow
from hub.tokens import estimate_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.chat import ChatRequest
    from hub.clock import Clock
    from hub.compression.choice import Choice
    from hub.compression.combos import CompressionCombos
    from hub.compression.conversation import Outcome, Stage
    from hub.compression.filters import Filters
    from hub.compression.settings import CompressionSettings, Step
    from hub.context import Context
    from hub.engine.ask import ChatAsk
    from hub.engine.attempts import Run
    from hub.money.prices import Prices
    from hub.planning.query import Plan
    from hub.records import UsageRow
    from hub.store import Store

log = logger("hub.compression")
#: Requests with more characters are worked on in a thread, so that the event loop is free meanwhile (REL-23).
INLINE = 16_384
#: So many at once: more would only take the processor from one another.
_AT_ONCE = 2
#: How long output is kept in its long form, in hours, and for whom it is sealed.
_KEPT_HOURS, _PLACE = 24, "compression:"
_FILTERS = Path("compression") / "filters"
_LOOK_SECONDS = 2.0
_MOST_STAGES = 500
#: Where a project has filters of its own, below the folder that the hub was started in.
_PROJECT_FILTERS = Path(".hubroute") / "filters"


@dataclass(slots=True)
class Compressed:
    """What came of one request: the choice, the outcome, why the instruction is not given; raw outputs by the id they are kept under."""

    choice: Choice
    outcome: Outcome
    terse: bool = False
    micros: int = 0
    raw: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def words(self) -> str:
        """In a header: the mode, who chose it, what was saved."""
        chosen = f"{self.choice.mode}; source={self.choice.source}; saved={self.outcome.saved}"
        return f"{chosen}; terse" if self.terse else chosen

    @property
    def told(self) -> str:
        """In a decision."""
        outcome = self.outcome
        by = ", ".join(f"{name} {tokens}" for name, tokens in outcome.engines.items())
        saved = f"{outcome.saved} of {outcome.original} prompt tokens saved" + (f" ({by})" if by and outcome.saved else "")
        why = "" if outcome.saved or not outcome.skipped else f": {outcome.skipped[-1]}"
        note = f"; {self.choice.note}" if self.choice.note else ""
        return f"compression {self.choice.mode} ({self.choice.source}): {saved}{why}{note}"


class Compressor:
    """One per process. ``settings`` gives those in force, ``combo_id`` the id of a routing combo, ``texts`` are dialects of texts that go
    on, which have no turns to shorten."""

    def __init__(
        self,
        *,
        settings: Callable[[], CompressionSettings],
        combos: CompressionCombos,
        combo_id: Callable[[str], str],
        store: Store,
        clock: Clock,
        prices: Prices,
        texts: frozenset[str],
        sees: Callable[[Plan], bool | None],
        folder: Path,
    ) -> None:
        self._settings = settings
        self.combos = combos
        self._combo_id = combo_id
        self._store = store
        self._clock = clock
        self._prices = prices
        self._texts = texts
        self._sees = sees
        self._folder = folder
        self.memory = ShortForms(clock, lambda: settings().cache_minutes)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._filters: tuple[tuple[str, ...], object, Filters] | None = None
        self._looked_at = 0.0
        self._loaded = False
        self._stages: dict[str, Stage] = {}
        self._stages_of: object = None
        #: What was saved of requests under way, by their usage row, which is kept with it so that its id stays its own.
        self._waiting: dict[int, tuple[UsageRow, Compressed]] = {}

    @property
    def on(self) -> bool:
        """Whether compression is switched on at all."""
        return self._settings().enabled

    def mark(self, wish: str) -> str:
        """What tells answers to compressed requests from others in caches; empty while compression is off."""
        settings = self._settings()
        if not settings.enabled:
            return ""
        # By what is stored and not by a count of changes, so that every process on a database, and the next one, gives the same.
        combos = "".join(f"{one.id}{one.updated_at}" for one in self.combos.documents.all())
        text = f"{settings.model_dump_json()}{combos}{wish}"
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    async def applied(self, ask: ChatAsk, plan: Plan, run: Run, ctx: Context) -> ChatAsk:
        """The ask as it is sent. Raises BadRequest for a header that names no mode and no compression combo; no other fault of this is
        the client's concern."""
        if ask.bare or (ask.raw is not None and ask.raw.dialect in self._texts):
            return ask
        try:
            request = ask.request()
        except BadRequest:
            # Bytes that pass need not be what our decoder takes.
            run.changed("compression: the request cannot be read here, and passes as it came")
            return ask
        await self._ready()
        chosen = self._chosen(ask, request, plan)
        if chosen.mode == "off" and not chosen.terse:
            return ask
        try:
            made = await self._made(request, chosen, key_id="" if ctx.caller.no_log else ctx.caller.key_id, sees=self._sees(plan))
        except Exception as error:  # the request is good whatever our reading of it makes
            log.error("compression failed; the request goes as it came", request_id=ctx.request_id, exc_info=error)
            run.changed(f"compression {chosen.mode} failed; the request goes as it came")
            return ask
        return self._noted(ask, request, made, run, ctx)

    async def _ready(self) -> None:
        """Load what shortens, before the first request is."""
        if not self._loaded:
            languages = self._settings().language_config
            await asyncio.to_thread(lambda: deferred.workshop().warm((languages.default_language, *languages.enabled_packs)))
            self._loaded = True

    def _chosen(self, ask: ChatAsk, request: ChatRequest, plan: Plan) -> Choice:
        tools = deferred.workshop()
        name = plan.name if plan.combo is not None else ""
        facts = tools.choice.Facts(
            tokens=lambda: estimate_prompt(request),
            marked=lambda: tools.conversation.locked(request) != (0, 0),
            wish=ask.hints.compression,
            combo_id=self._combo_id(name) if name else "",
            combo_name=name,
            combo_mode=plan.config.compression_mode if plan.config is not None else None,
        )
        return tools.choice.choose(self._settings(), self.combos, facts)

    def _noted(self, ask: ChatAsk, request: ChatRequest, made: Compressed, run: Run, ctx: Context) -> ChatAsk:
        """The ask with its short form; what was saved waits for the end of the run."""
        if made.choice.mode != "off":
            run.changed(made.told)
        if made.terse:
            run.changed(f"told to answer in few words ({made.choice.terse})")
        for output_id, text in made.raw.items():
            key_id = ctx.caller.key_id
            self._store.compression.keep(output_id, key_id, self._store.seal(masked(text), _PLACE + output_id), hours=_KEPT_HOURS)
        run.row.compressed = made.outcome.saved
        self._waiting[id(run.row)] = (run.row, made)
        return ask if made.outcome.request is request else ask.shortened(made.outcome.request, made.words)

    def ended(self, row: UsageRow) -> None:
        """A routed call ended: record what compression did for it."""
        if not self._waiting or (found := self._waiting.pop(id(row), None)) is None:
            return
        made, used = found[1], row.usage
        outcome, chosen = made.outcome, made.choice
        receipt = row.outcome == "ok" and not used.estimated
        self._store.compression.add(
            CompressionRow(
                at=row.at,
                request_id=row.request_id,
                key_id=row.key_id,
                key_name=row.key_name,
                provider=row.provider,
                model=row.model,
                combo=row.combo,
                mode=chosen.mode,
                source=chosen.source,
                compression_combo=chosen.combo,
                original=outcome.original,
                compressed=outcome.original - outcome.saved,
                duration_us=made.micros,
                usd_saved=self._worth(row, outcome.saved) if outcome.saved else 0.0,
                fallback=outcome.fallback,
                terse=made.terse,
                prompt=used.prompt,
                output=used.output,
                cache_read=used.cache_read,
                cache_write=used.cache_write,
                receipt=receipt,
                engines=dict(outcome.engines) if outcome.saved else {},
            )
        )

    def _worth(self, row: UsageRow, tokens: int) -> float | None:
        """What the tokens would have cost as prompt; None where nobody knows (D17)."""
        priced = self._prices.kept(row.provider, row.model)
        line = self._prices.line(priced.price, tokens) if priced is not None else None
        return line[0] if line is not None else None

    async def preview(self, request: ChatRequest, settings: CompressionSettings, chosen: Choice) -> Compressed:
        """What would be sent, exactly as a request would go; nothing is kept or recorded."""
        return await self._made(request, chosen, settings=settings)

    async def _made(
        self,
        request: ChatRequest,
        chosen: Choice,
        *,
        settings: CompressionSettings | None = None,
        key_id: str = "",
        sees: bool | None = None,
    ) -> Compressed:
        await self._ready()
        compress = deferred.workshop().conversation.compress
        raw: dict[str, str] = {}
        # With a trial's settings nothing is remembered: their like may never come again.
        own = self._settings() if settings is None else settings
        filters = await self.filters(own)
        pointer = self._pointer(own, key_id, raw) if key_id and settings is None else None
        stages = self._staged(own, chosen, chosen.steps, filters, pointer, key_id if pointer else "", sees)
        also = self._staged(own, chosen, chosen.also, filters, pointer, key_id if pointer else "", sees)
        memory = self.memory if settings is None else None
        began = self._clock.monotonic()

        def work() -> Outcome:
            outcome = compress(request, stages, memory)
            if also and outcome.saved < own.aggressive.min_savings_threshold * outcome.original:
                # Only what is left to be done is done again.
                again = compress(request, (*stages, *also), memory)
                outcome = again if again.compressed <= outcome.compressed else outcome
            return outcome

        if estimate_prompt(request) * 4 <= INLINE:
            outcome = work()
        else:
            async with self._slots:
                outcome = await asyncio.to_thread(work)
        made = Compressed(chosen, outcome, raw=raw)
        if chosen.terse:
            self._instruct(made, own, request)
        made.micros = round((self._clock.monotonic() - began) * 1_000_000)
        return made

    def _instruct(self, made: Compressed, settings: CompressionSettings, request: ChatRequest) -> None:
        outcome = made.outcome
        tools = deferred.workshop()
        if settings.preserve_cached_prefix and tools.conversation.locked(request) != (0, 0):
            outcome.skipped.append("no instruction to be brief: the request has prompt-cache markers (preserveCachedPrefix)")
            return
        clarity = settings.caveman_output_mode.auto_clarity
        told, why = tools.terse.instructed(outcome.request, made.choice.terse, auto_clarity=clarity)
        if why:
            outcome.skipped.append(f"no instruction to be brief: {why}")
        else:
            made.terse = True
            outcome.compressed = min(outcome.original, outcome.compressed)
            outcome.request = told

    def _staged(
        self,
        settings: CompressionSettings,
        chosen: Choice,
        steps: Sequence[Step],
        filters: Filters,
        pointer: Callable[[str, bool], str] | None,
        place: str,
        sees: bool | None,
    ) -> list[Stage]:
        made = [self._stage(settings, step, chosen.packs, filters) for step in steps]
        if pointer is None and sees is None:
            return made
        # What depends on the caller and the model is the request's own.
        return [
            deferred.workshop().conversation.Stage(one.engine, replace(one.options, pointer=pointer, sees=sees), one.mark + place)
            for one in made
        ]

    def _stage(self, settings: CompressionSettings, step: Step, packs: tuple[str, ...], filters: Filters) -> Stage:
        """A step made ready; kept for as long as the settings are in force."""
        tools = deferred.workshop()
        kept = settings is self._settings()
        if kept and self._stages_of is not settings:
            self._stages, self._stages_of = {}, settings
        key = f"{step.model_dump_json()}{packs}"
        stage = self._stages.get(key) if kept else None
        if stage is None or stage.options.filters is not filters:
            own = tools.choice.settings_of(settings, step)
            mark = hashlib.blake2b(f"{key}{own.model_dump_json()}{id(filters)}".encode(), digest_size=16).hexdigest()
            stage = tools.conversation.Stage(step.engine, tools.technique.Options(own, filters, packs=packs), mark)
            if kept and len(self._stages) < _MOST_STAGES:
                self._stages[key] = stage
        return stage

    def _pointer(self, settings: CompressionSettings, key_id: str, raw: dict[str, str]) -> Callable[[str, bool], str] | None:
        """Names outputs that are kept: the same output of the same key has the same name, which nobody else can work out."""
        rtk = settings.rtk_config
        if rtk.raw_output_retention == "never":
            return None
        secret = self._store.derive("compression outputs")

        def pointer(text: str, failed: bool) -> str:
            if rtk.raw_output_retention == "failures" and not failed:
                return ""
            data = text.encode(errors="replace")
            if len(data) > rtk.raw_output_max_bytes:
                return ""
            name = hashlib.blake2b(f"{key_id}\n".encode() + data, key=secret, digest_size=12).hexdigest()
            raw[name] = text
            return name

        return pointer

    async def output(self, output_id: str) -> tuple[str, str] | None:
        """Whose a kept output is, and the output; None for one that is not kept. Raises Unreadable where its seal does not fit."""
        found = await self._store.compression.output(output_id)
        return None if found is None else (found[0], self._store.unseal(found[1], _PLACE + output_id).reveal())

    async def filters(self, settings: CompressionSettings) -> Filters:
        """The filters in force. Files of the owner are looked at again every few seconds, and read when one was changed."""
        rtk = settings.rtk_config
        folders = [self._folder / _FILTERS] if rtk.custom_filters_enabled else []
        folders += [Path.cwd() / _PROJECT_FILTERS] if rtk.trust_project_filters else []
        names = tuple(map(str, folders))
        now, known = self._clock.monotonic(), self._filters
        if known is not None and known[0] == names and now - self._looked_at < _LOOK_SECONDS:
            return known[2]
        state = await asyncio.to_thread(_state, folders)
        if known is None or known[:2] != (names, state):
            known = (names, state, await asyncio.to_thread(lambda: deferred.workshop().filters.with_own(folders)))
        self._filters, self._looked_at = known, now
        return known[2]


def _state(folders: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """The files of some folders, and when they were changed."""
    found: list[tuple[str, int, int]] = []
    for path in (path for folder in folders for path in sorted(folder.glob("*.json"))):
        try:
            stat = path.stat()
        except OSError:
            continue
        found.append((str(path), stat.st_mtime_ns, stat.st_size))
    return tuple(found)
