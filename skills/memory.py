"""Memory: what is remembered for a key, found, added, changed and forgotten; a key reaches its own alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, NotFound
from hub.memory.memories import LARGEST_METADATA, LONGEST, LONGEST_KEY
from hub.memory.record import Draft, Memory, Wanted
from hub.memory.search import within
from hub.memory.told import note
from hub.skill import CostClass, Download, Mcp, Rest, skill
from hub.wire import Moment, Wire
from skills._memory import KINDS, Kind, MemoryView, known, manages, mine, view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WHOSE = "Id of the key; your own where it is left out. Naming another one needs the scope manage."
#: What people can page through.
_DEEPEST = 100_000
_EXPORTED = 500


class MemoryList(Wire):
    """Which memories to show, the latest written first."""

    api_key_id: str = Field(default="", max_length=200, description="Id of a key. With manage: all keys where it is left out.")
    type: Kind | None = Field(default=None, description="Only this kind.")
    session_id: str = Field(default="", max_length=200, description="Only those of this session.")
    q: str = Field(default="", max_length=2000, description="Only those with one of these words, those that fit best first.")
    page: int = Field(default=1, ge=1, le=_DEEPEST, description="Which page, from 1.")
    offset: int | None = Field(default=None, ge=0, le=_DEEPEST, description="How many to pass over, in place of page.")
    limit: int = Field(default=50, ge=1, le=200, description="How many.")


class Sums(Wire):
    """How many memories the key has, or all keys."""

    total: int
    by_type: dict[str, int]


class MemoryPage(Wire):
    """A page of memories; ``total`` is of those that are meant, ``stats`` of all of the key."""

    data: list[MemoryView]
    total: int
    page: int
    limit: int
    total_pages: int
    stats: Sums


class MemoryNew(Wire):
    """Something to remember. A key that is there already is changed: its content before is kept, metadata are merged."""

    content: str = Field(min_length=1, max_length=LONGEST, description="What is to be remembered, in words.")
    key: str = Field(min_length=1, max_length=LONGEST_KEY, description="What it is about, such as preference:editor; one memory each.")
    type: Kind = Field(default="factual", description="factual, episodic, procedural or semantic.")
    session_id: str | None = Field(default=None, max_length=200, description="The conversation it belongs to, if any.")
    project: str | None = Field(default=None, max_length=200, description="Told only to requests with this X-HubRoute-Project, if any.")
    api_key_id: str = Field(default="", max_length=200, description=_WHOSE)
    metadata: dict[str, Any] = Field(default={}, description=f"Facts of yours, at most {LARGEST_METADATA} bytes of JSON.")
    expires_at: Moment | None = Field(default=None, description="When it is forgotten at the latest: ISO 8601, or milliseconds since 1970.")


class MemoryAdded(Wire):
    """What is remembered now. ``outcome`` is added, changed, or same where the content was there already."""

    success: bool = True
    id: str
    memory: MemoryView
    outcome: str


class ToolMemory(Wire):
    """A memory, and what was done."""

    memory: MemoryView
    message: str


class ToolAdded(Wire):
    """The answer of the tool, as the seed has it."""

    success: bool = True
    data: ToolMemory


class MemoryId(Wire):
    """Names one memory."""

    id: str = Field(max_length=100, description="Id of the memory.")


class MemoryAnswer(Wire):
    """One memory."""

    memory: MemoryView


class Gone(Wire):
    """The memory is deleted."""

    success: bool = True


class MemoryQuestion(Wire):
    """What to find memories for."""

    query: str = Field(default="", max_length=8000, description="The question; empty: the latest memories.")
    api_key_id: str = Field(default="", max_length=200, description=_WHOSE)
    type: Kind | None = Field(default=None, description="Only this kind.")
    session_id: str = Field(default="", max_length=200, description="The conversation; with the scope session only its memories are meant.")
    project: str = Field(default="", max_length=200, description="The project, as in X-HubRoute-Project.")
    max_tokens: int = Field(default=2000, ge=1, le=8000, description="Tokens of memory at most.")
    limit: int = Field(default=30, ge=1, le=100, description="Memories at most.")


class Match(MemoryView):
    """A memory that fits; ``score`` orders those of one question, ``found_by`` says how: recency, words, meaning."""

    score: float
    found_by: list[str]


class Matches(Wire):
    """What fits, the best first. ``text`` is the note that a chat would be given, ``total_tokens`` what it adds."""

    memories: list[Match]
    count: int
    total_tokens: int
    strategy: str
    text: str


class ToolMatches(Wire):
    """The answer of the tool, as the seed has it."""

    success: bool = True
    data: Matches


class MemoryClear(Wire):
    """Which memories of a key to forget: all of them, unless more is said."""

    api_key_id: str = Field(default="", max_length=200, description=_WHOSE)
    type: Kind | None = Field(default=None, description="Only this kind.")
    older_than: Moment | None = Field(default=None, description="Only those made before: ISO 8601, or milliseconds since 1970.")


class Cleared(Wire):
    """How many memories are gone."""

    deleted_count: int
    message: str


class ToolCleared(Wire):
    """The answer of the tool, as the seed has it."""

    success: bool = True
    data: Cleared


class MemoryExport(Wire):
    """Whose memories to download."""

    api_key_id: str = Field(default="", max_length=200, description=_WHOSE)


def _added_by_tool(made: MemoryAdded) -> ToolAdded:
    words = {"added": "remembered", "changed": "changed; what it was before is kept with it", "same": "was remembered already"}
    return ToolAdded(data=ToolMemory(memory=made.memory, message=words[made.outcome]))


def _found_by_tool(found: Matches) -> ToolMatches:
    return ToolMatches(data=found)


def _cleared_by_tool(done: Cleared) -> ToolCleared:
    return ToolCleared(data=done)


def _listed(ctx: Context, named: str) -> str:
    """Whose memories a list shows; empty for all, which is management's."""
    return "" if manages(ctx) and not named else mine(ctx, named)


async def _one(ctx: Context, memory_id: str) -> Memory:
    """A memory that the caller may reach. Raises NotFound, in the same words whether it is another's or none."""
    found = await ctx.hub.memory.rows.get(memory_id, "" if manages(ctx) else mine(ctx, ""))
    if found is None:
        raise NotFound(f"there is no memory {memory_id[:80]!r}", field="id")
    return found


@skill("memory-list", scopes=["read:memory"], cost=CostClass.FREE, rest=[Rest("GET", "/api/memory")], read_only=True)
async def listed(ctx: Context, ask: MemoryList) -> MemoryPage:
    """List what is remembered, the latest first, or what holds certain words."""
    memory = ctx.hub.memory
    whose, oldest = _listed(ctx, ask.api_key_id), memory.oldest()
    wanted = Wanted(key_id=whose, kind=ask.type or "", session_id=ask.session_id, oldest=oldest)
    offset = (ask.page - 1) * ask.limit if ask.offset is None else ask.offset
    if ask.q.strip():
        every = await memory.search.listed(ask.q, wanted, sealed=memory.settings.sealed)
        shown, total = every[offset : offset + ask.limit], len(every)
    else:
        shown = await memory.rows.page(wanted, limit=ask.limit, offset=offset)
        total = sum((await memory.rows.totals(wanted)).values())
    kinds = await memory.rows.totals(Wanted(key_id=whose, oldest=oldest))
    return MemoryPage(
        data=list(map(view, shown)),
        total=total,
        page=offset // ask.limit + 1,
        limit=ask.limit,
        total_pages=-(-total // ask.limit),
        stats=Sums(total=sum(kinds.values()), by_type={kind: kinds.get(kind, 0) for kind in KINDS}),
    )


@skill(
    "memory-add",
    scopes=["write:memory"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/memory", status=201)],
    mcp=Mcp("omniroute_memory_add", view=_added_by_tool),
    idempotent=True,
)
async def add(ctx: Context, ask: MemoryNew) -> MemoryAdded:
    """Remember something for a key; said anew of the same subject, it takes the place of what was there."""
    hub = ctx.hub
    whose = known(ctx, mine(ctx, ask.api_key_id))
    if not ask.content.strip() or not ask.key.strip():
        raise BadRequest("content and key must hold more than blanks", field="content" if ask.key.strip() else "key")
    if ask.expires_at is not None and ask.expires_at <= hub.clock.now_ms():
        raise BadRequest("expiresAt: lies in the past; leave it out, or name a moment to come", field="expiresAt")
    draft = Draft(
        key_id=whose,
        key=ask.key.strip(),
        content=ask.content.strip(),
        kind=ask.type,
        session_id=ask.session_id,
        project=ask.project,
        metadata=ask.metadata,
        expires_at=ask.expires_at,
        request=ctx.request_id,
    )
    made, how = await hub.memory.put(draft, ctx)
    return MemoryAdded(id=made.id, memory=view(made), outcome=how)


@skill("memory-get", scopes=["read:memory"], cost=CostClass.FREE, rest=[Rest("GET", "/api/memory/{id}")], read_only=True)
async def get(ctx: Context, ask: MemoryId) -> MemoryAnswer:
    """Show one memory, with what it was before."""
    return MemoryAnswer(memory=view(await _one(ctx, ask.id)))


@skill("memory-delete", scopes=["write:memory"], cost=CostClass.FREE, rest=[Rest("DELETE", "/api/memory/{id}")], destructive=True)
async def delete(ctx: Context, ask: MemoryId) -> Gone:
    """Forget one memory, and what it was before."""
    if not await ctx.hub.memory.delete(await _one(ctx, ask.id)):
        raise NotFound(f"there is no memory {ask.id[:80]!r}", field="id")
    return Gone()


@skill(
    "memory-search",
    scopes=["read:memory"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/memory/retrieve-preview")],
    mcp=Mcp("omniroute_memory_search", view=_found_by_tool),
    read_only=True,
)
async def search(ctx: Context, ask: MemoryQuestion) -> Matches:
    """Find memories that fit a question within a budget of tokens: what a chat with that question would be told."""
    memory = ctx.hub.memory
    settings = memory.settings
    wanted = Wanted(
        key_id=mine(ctx, ask.api_key_id),
        kind=ask.type or "",
        within=ask.session_id if settings.scope == "session" else None,
        project=ask.project,
        oldest=memory.oldest(),
    )
    by_question = bool(ask.query.strip())
    found = await (memory.search.fitting(ask.query, wanted, settings, ctx) if by_question else memory.search.newest(wanted, ask.limit))
    chosen, tokens = within(found, ask.max_tokens, ask.limit)
    matches = [Match(**view(one.memory).model_dump(by_alias=False), score=round(one.score, 6), found_by=list(one.by)) for one in chosen]
    return Matches(
        memories=matches,
        count=len(matches),
        total_tokens=tokens,
        strategy=settings.strategy if by_question else "recent",
        text=note([one.memory for one in chosen]).text,
    )


@skill(
    "memory-clear",
    scopes=["write:memory"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/memory")],
    mcp=Mcp("omniroute_memory_clear", view=_cleared_by_tool),
    destructive=True,
    idempotent=True,
)
async def clear(ctx: Context, ask: MemoryClear) -> Cleared:
    """Forget everything that is remembered for a key, or what is of one kind or older than that."""
    gone = await ctx.hub.memory.clear(mine(ctx, ask.api_key_id), kind=ask.type or "", before=ask.older_than)
    return Cleared(deleted_count=gone, message=f"forgotten: {gone}")


@skill("memory-export", scopes=["read:memory"], cost=CostClass.FREE, rest=[Rest("GET", "/api/memory/export")], read_only=True)
async def export(ctx: Context, ask: MemoryExport) -> Download:
    """Download everything that is remembered for a key, one memory a line as JSON; with manage of all keys where none is named."""
    return Download("application/x-ndjson", "memories.jsonl", _lines(ctx, _listed(ctx, ask.api_key_id)))


async def _lines(ctx: Context, whose: str) -> AsyncIterator[bytes]:
    after = ""
    while rows := await ctx.hub.memory.rows.after(after, whose, _EXPORTED):
        after = rows[-1].id
        yield b"".join(orjson.dumps(view(one).model_dump(mode="json", by_alias=True)) + b"\n" for one in rows)
