"""What is set about memory, whether its parts work, and making what is derived of it anew."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, HubError
from hub.memory.settings import MemorySettings
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Body, Nothing, Wire

#: Vectors that one call makes at most; the rest follows with retention's sweeps.
_MOST_VECTORS = 2000


class MemoryPatch(Body):
    """What to change; what is left out stays, null goes back to the default."""

    enabled: bool | None = Field(default=None, description="Whether chats are given memories, and give any, at all.")
    injection: bool | None = Field(default=None, description="Tell the model what is remembered and fits the question.")
    extraction: bool | None = Field(default=None, description="Remember what users say about themselves; nothing for keys with noLog.")
    max_tokens: int | None = Field(default=None, ge=0, le=16_000, description="Tokens of memory in one conversation at most; 0 none.")
    retention_days: int | None = Field(default=None, ge=1, le=365, description="Days after which what was not said again is forgotten.")
    strategy: Literal["recent", "semantic", "hybrid"] | None = Field(
        default=None, description="recent: the newest. semantic: by meaning, by words without an embeddingModel. hybrid: by both together."
    )
    scope: Literal["key", "session"] | None = Field(
        default=None, description="Whether a conversation is told all that its key said, or only what was said in it or in none."
    )
    sealed: bool | None = Field(default=None, description="Encrypt contents at rest; what is there already as well.")
    embedding_model: str | None = Field(
        default=None, max_length=200, description="provider/model of embeddings, e.g. openai/text-embedding-3-small; empty: none are made."
    )
    min_similarity: float | None = Field(
        default=None, ge=0.0, le=1.0, description="Least cosine similarity that counts as the same subject."
    )
    skills_enabled: bool | None = Field(default=None, description="Whether installed skills are used; the seed has that switch here, too.")


class MemoryView(MemorySettings):
    """What is set about memory, and whether installed skills are used, which the seed shows here as well."""

    skills_enabled: bool


class DatabasePart(Wire):
    """Where memories are. ``state`` is ok or failed."""

    state: str
    dialect: str
    memories: int | None
    error: str


class TextPart(Wire):
    """The full text. ``state`` is ready, idle until it is first needed, off where contents are sealed, or failed. Off or failed, words are
    compared one memory after the other. ``entries`` are the memories in it, null where it is not open."""

    state: str
    engine: str
    entries: int | None
    error: str


class EmbeddingPart(Wire):
    """The embedding model. ``state`` is off, ready, lexical where its vectors compare spelling only, or failed. ``failures`` counts
    questions that went without since the start."""

    state: str
    model: str
    failures: int
    error: str


class VectorPart(Wire):
    """Vectors of memories. ``state`` is off, ready, or behind where some are still to be made. ``fresh`` are of this model and of the
    content as it is."""

    state: str
    vectors: int | None
    fresh: int | None
    error: str


class QueuePart(Wire):
    """What is to be remembered behind requests: how much waits, was dropped because too much did, and failed, since the start."""

    waiting: int
    dropped: int
    failures: int


class MemoryHealth(Wire):
    """Whether memory works, part by part. ``working`` says that what is stored can be found."""

    working: bool
    latency_ms: int
    enabled: bool
    sealed: bool
    database: DatabasePart
    full_text: TextPart
    embeddings: EmbeddingPart
    vectors: VectorPart
    queue: QueuePart


class Renewed(Wire):
    """What was made anew: whether the full text can be used, and how many vectors were made."""

    full_text: bool
    vectors: int
    message: str


@skill("memory-settings-get", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/settings/memory")], read_only=True)
async def settings(ctx: Context, ask: Nothing) -> MemoryView:
    """Show what is set about memory."""
    return _view(ctx)


@skill(
    "memory-settings-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/settings/memory"), Rest("PATCH", "/api/settings/memory")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_settings(ctx: Context, ask: MemoryPatch) -> MemoryView:
    """Change what is set about memory, at once and at every door; sealing is done when this returns."""
    hub = ctx.hub
    patch = ask.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if not patch:
        names = ", ".join(field.alias or name for name, field in MemoryPatch.model_fields.items())
        raise BadRequest(f"nothing to change: name at least one of {names}")
    if ask.embedding_model:
        # A model that cannot be used would find nothing by meaning, silently.
        hub.memory.meanings.check(ask.embedding_model)
    before = hub.memory.settings.sealed
    skills = {name: patch.pop(name) for name in ("skillsEnabled",) if name in patch}
    made = (await hub.preferences.change({"memory": patch, **skills})).memory
    if made.sealed != before:
        await hub.memory.settle()
    return _view(ctx)


def _view(ctx: Context) -> MemoryView:
    return MemoryView(**dict(ctx.hub.memory.settings), skills_enabled=ctx.hub.preferences.current.skills_enabled)


@skill("memory-health", scopes=["read:memory"], cost=CostClass.FREE, rest=[Rest("GET", "/api/memory/health")], read_only=True)
async def health(ctx: Context, ask: Nothing) -> MemoryHealth:
    """Say how database, full text, embeddings and vectors of memory do; nothing is written for that."""
    memory, clock = ctx.hub.memory, ctx.hub.clock
    began = clock.monotonic()
    database = await _database(ctx)
    behind = memory.behind
    return MemoryHealth(
        working=database.state == "ok",
        latency_ms=round((clock.monotonic() - began) * 1000),
        enabled=memory.settings.enabled,
        sealed=memory.settings.sealed,
        database=database,
        full_text=await _text(ctx),
        embeddings=_embeddings(ctx),
        vectors=await _vectors(ctx, database.memories),
        queue=QueuePart(waiting=behind.waiting, dropped=behind.dropped, failures=behind.failures),
    )


@skill(
    "memory-reindex",
    scopes=["manage"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/memory/reindex")],
    idempotent=True,
)
async def reindex(ctx: Context, ask: Nothing) -> Renewed:
    """Bring the full text in step with what is stored, and make vectors that are lacking; costs what the embeddings cost."""
    memory = ctx.hub.memory
    await memory.settle()
    usable = not memory.settings.sealed and await memory.index.renew()
    made = await memory.vectors(ctx, most=_MOST_VECTORS)
    return Renewed(full_text=usable, vectors=made, message=f"{made} vectors were made")


async def _database(ctx: Context) -> DatabasePart:
    dialect = ctx.hub.store.dialect
    try:
        return DatabasePart(state="ok", dialect=dialect, memories=await ctx.hub.memory.rows.count(), error="")
    except HubError as error:
        return DatabasePart(state="failed", dialect=dialect, memories=None, error=error.message)


async def _text(ctx: Context) -> TextPart:
    memory = ctx.hub.memory
    engine = "fts5" if ctx.hub.store.dialect == "sqlite" else "tsvector"
    if memory.settings.sealed:
        return TextPart(state="off", engine=engine, entries=None, error="contents are sealed; their words are compared one by one")
    entries = await memory.index.count()
    fault = memory.index.fault
    return TextPart(state="failed" if fault else "idle" if entries is None else "ready", engine=engine, entries=entries, error=fault)


def _embeddings(ctx: Context) -> EmbeddingPart:
    memory = ctx.hub.memory
    model, failures = memory.settings.embedding_model, memory.meanings.failures
    if not model:
        return EmbeddingPart(state="off", model="", failures=failures, error="")
    try:
        state = "lexical" if memory.meanings.check(model) else "ready"
    except HubError as error:
        return EmbeddingPart(state="failed", model=model, failures=failures, error=error.message)
    return EmbeddingPart(state=state, model=model, failures=failures, error="")


async def _vectors(ctx: Context, memories: int | None) -> VectorPart:
    memory = ctx.hub.memory
    try:
        found, fresh = await memory.rows.vector_standing(memory.settings.embedding_model)
    except HubError as error:
        return VectorPart(state="failed", vectors=None, fresh=None, error=error.message)
    if not memory.settings.embedding_model:
        return VectorPart(state="off", vectors=found, fresh=0, error="")
    return VectorPart(state="ready" if fresh == memories else "behind", vectors=found, fresh=fresh, error="")
