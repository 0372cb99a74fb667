"""The memory of one process: what is stored for keys, told to models with the question that it fits, and heard from users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.chat import Role, Text
from hub.errors import BadRequest, Conflict, HubError
from hub.log import logger
from hub.memory import told
from hub.memory.extraction import extracted
from hub.memory.index import Index
from hub.memory.listening import Behind
from hub.memory.meanings import Meanings
from hub.memory.record import Draft, Wanted
from hub.memory.search import Search, within
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.chat import ChatRequest, Message
    from hub.clock import Clock
    from hub.context import Context
    from hub.embeddings import Embeddings
    from hub.engine.ask import ChatAsk
    from hub.events import Event, Events
    from hub.memory.record import Memory
    from hub.memory.search import Found
    from hub.memory.settings import MemorySettings
    from hub.store import Store

log = logger("hub.memory")
#: Memories of one key, characters of a content and of a key, bytes of metadata as JSON.
MOST, LONGEST, LONGEST_KEY, LARGEST_METADATA = 1000, 8000, 200, 8192
#: Memories in one note.
_MOST_TOLD = 30
_DAY_MS = 86_400_000
#: Vectors that one sweep makes, so that a large store is caught up with bit by bit.
_VECTORS_A_SWEEP = 512
_RESTORED = "backup.restored"


class Memories:
    """``settings`` gives those in force; ``context`` makes one for what nobody asked for, such as vectors of old memories. ``texts`` are
    the dialects whose requests are no conversations."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        events: Events,
        *,
        settings: Callable[[], MemorySettings],
        embeddings: Embeddings,
        context: Callable[[], Context],
        texts: frozenset[str],
    ) -> None:
        self.rows = store.memories
        self.index = Index(self.rows, store.memory_text, clock)
        self.meanings = Meanings(self.rows, embeddings, clock)
        self.search = Search(self.rows, self.index, self.meanings, clock)
        self.behind = Behind()
        self._clock = clock
        self._events = events
        self._settings = settings
        self._context = context
        self._texts = texts
        self._notes = told.Notes()
        events.listen(self._happened)

    @property
    def settings(self) -> MemorySettings:
        """The settings in force."""
        return self._settings()

    def oldest(self) -> int:
        """What was last written before then (epoch ms) is forgotten."""
        return self._clock.now_ms() - self.settings.retention_days * _DAY_MS

    async def close(self) -> None:
        """Do what waits, and close the index."""
        await self.behind.close()
        await self.index.close()

    # -- chats

    async def admit(self, ask: ChatAsk, ctx: Context) -> None:
        """See to what a chat is told, and hear what its user says. Whatever fails here, the chat goes on without."""
        settings = self.settings
        if ask.hints.no_memory or not ctx.caller.key_id or not self._conversation(ask):
            return
        try:
            request = ask.request()
        except BadRequest:  # bytes that pass through need not be what our decoder takes
            return
        if settings.injection and settings.max_tokens:
            try:
                ask.memory = await self._told(request, ask, ctx, settings)
            except HubError as error:
                log.warning("a chat goes without memory", request_id=ctx.request_id, reason=error.message)
        if settings.extraction and not ctx.caller.no_log:
            self._hear(request, ask, ctx)

    def _conversation(self, ask: ChatAsk) -> bool:
        """Whether a request is a user's conversation, and not a question of the hub's own or a text that goes on."""
        return not ask.bare and (ask.raw is None or ask.raw.dialect not in self._texts)

    async def _told(self, request: ChatRequest, ask: ChatAsk, ctx: Context, settings: MemorySettings) -> told.Told | None:
        """The notes of a conversation: those of its earlier turns as they were, and one in the last turn of what they lack."""
        session = ask.session_id if settings.scope == "session" else None
        project = ask.hints.project
        wanted = Wanted(key_id=ctx.caller.key_id, within=session, project=project, oldest=self.oldest())
        turns = list(told.turns(request, "\n".join((wanted.key_id, project, session or ""))))
        if not turns:
            return None
        notes = await self._kept([name for _, name in turns], wanted)
        last, (message, name) = len(turns) - 1, turns[-1]
        if last not in notes:
            found = await self.search.fitting(words(message), wanted, settings, ctx)
            notes[last] = _lacking(found, list(notes.values()), settings.max_tokens)
            self._notes.keep(name, notes[last])
        made = told.Told({turn: note for turn, note in notes.items() if note.text})
        return made if made.notes else None

    async def _kept(self, names: list[bytes], wanted: Wanted) -> dict[int, told.Note]:
        """The notes that were made in the turns of these names before, by which turn each stands in.

        What was deleted meanwhile is not told again, though the conversation's prompt cache is lost with it.
        """
        notes = {turn: note for turn, name in enumerate(names) if (note := self._notes.get(name)) is not None}
        there = await self.rows.versions([one for note in notes.values() for one in note.versions], wanted)
        return {turn: note for turn, note in notes.items() if note.versions.keys() <= there.keys()}

    def _hear(self, request: ChatRequest, ask: ChatAsk, ctx: Context) -> None:
        """Look at what the user says now; turns before were heard when they were the last."""
        last = request.messages[-1] if request.messages else None
        if last is None or last.role is not Role.USER:
            return
        text, session, project = words(last), ask.session_id, ask.hints.project
        if text:
            self.behind.later(lambda: self._learn(text, session, project, ctx))

    async def _learn(self, text: str, session: str, project: str, ctx: Context) -> None:
        """Remember what a user's turn says."""
        for one in extracted(text):
            source = {"source": "user_turn", "role": "user", "category": one.category, "confidence": one.confidence}
            draft = Draft(
                key_id=ctx.caller.key_id,
                key=one.key,
                content=one.content,
                kind=one.kind,
                session_id=session,
                project=project,
                metadata={**source, "requestId": ctx.request_id, "extractedAt": iso(self._clock.now_ms())},
                request=ctx.request_id,
            )
            try:
                await self.put(draft, ctx)
            except Conflict as error:
                log.info("a user's words are not remembered", key=ctx.caller.key_id, reason=error.message)
                return

    # -- what is stored

    async def put(self, draft: Draft, ctx: Context) -> tuple[Memory, str]:
        """Remember something for a key; stored and found when this returns, with the word ``added``, ``changed`` or ``same``.

        Its vector follows. Raises BadRequest for metadata that are too large, Conflict where the key has as many memories as it may.
        """
        if len(msgspec.json.encode(draft.metadata)) > LARGEST_METADATA:
            raise BadRequest(f"metadata: larger than {LARGEST_METADATA} bytes of JSON; keep less with a memory", field="metadata")
        settings = self.settings
        memory, how = await self.rows.put(draft, most=MOST, sealed=settings.sealed)
        if how != "same":
            await self.index.put(memory)
            model = settings.embedding_model
            if model:
                self.behind.later(lambda: self.meanings.make([memory], model, ctx))
            self._events.emit("memory.stored", memory=memory.id, owner=memory.key_id, type=memory.kind, how=how)
        return memory, how

    async def delete(self, memory: Memory) -> bool:
        """Forget a memory; whether it was there."""
        if not await self.rows.delete(memory.id, memory.key_id):
            return False
        await self.index.drop([memory.id])
        self._events.emit("memory.deleted", owner=memory.key_id, count=1)
        return True

    async def clear(self, key_id: str, *, kind: str = "", before: int | None = None) -> int:
        """Forget what is remembered for a key, all of it or of one kind and made before then (epoch ms); how many memories that were."""
        gone = await self._emptied(lambda: self.rows.clear(key_id, kind=kind, before=before))
        if gone:
            self._events.emit("memory.deleted", owner=key_id, count=gone)
        return gone

    async def sweep(self) -> int:
        """Forget what is past its time or whose key is gone, seal what should be sealed, make vectors that are lacking; how many went."""
        oldest = self.oldest()
        gone = await self._emptied(lambda: self.rows.expire(oldest))
        while await self.rows.drop_lost_vectors():
            pass
        await self.settle()
        if self.settings.enabled:
            await self.vectors(self._context(), most=_VECTORS_A_SWEEP)
        return gone

    async def settle(self) -> None:
        """Have every memory sealed, or none, as the settings say, and the index in step with that. Raises HubError, OSError."""
        sealed, after = self.settings.sealed, ""
        while after := await self.rows.rewrite(sealed=sealed, after=after):
            pass
        if sealed:
            await self.index.clear()
        elif self.index.in_use:
            await self.index.renew()

    async def vectors(self, ctx: Context, *, most: int) -> int:
        """Make vectors that are lacking, some ``most`` of them; how many were made. Fewer where the model fails, which the log says."""
        model, made, after = self.settings.embedding_model, 0, ""
        while model and made < most and (lacking := await self.rows.without_vector(model, after=after)):
            after = lacking[-1].id
            try:
                made += await self.meanings.make(lacking, model, ctx)
            except HubError as error:
                log.warning("vectors of memories cannot be made now", reason=error.message)
                break
        return made

    async def _emptied(self, batch: Callable[[], Awaitable[list[str]]]) -> int:
        """Delete in batches until nothing is left; how many went."""
        count = 0
        while ids := await batch():
            await self.index.drop(ids)
            count += len(ids)
        return count

    def _happened(self, event: Event) -> None:
        if event.kind == _RESTORED:
            self.index.stale()


def words(message: Message) -> str:
    """The text of a message."""
    return "\n".join(part.text for part in message.parts if isinstance(part, Text))


def _lacking(found: list[Found], notes: list[told.Note], most: int) -> told.Note:
    """A note of what was found and no note says yet, in so many tokens that all of them together have ``most``."""
    said = {one: version for note in notes for one, version in note.versions.items()}
    fresh = [one for one in found if said.get(one.memory.id) != one.memory.version]
    chosen, _ = within(fresh, most - sum(note.tokens for note in notes), _MOST_TOLD)
    return told.note([one.memory for one in chosen])
