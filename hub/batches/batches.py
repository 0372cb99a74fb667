"""Batches as their callers see them: made from a file, looked at, cancelled, deleted. Each key finds its own (SEC-04)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from hub.batches.lines import ENDPOINTS, Scan, scan
from hub.batches.worker import Worker
from hub.errors import BadRequest, Conflict, Forbidden, HubError, NotFound, RateLimited
from hub.files import owner_of
from hub.store.batches import OPEN, Batch, Facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.batches.door import Door
    from hub.batches.vendors import Vendors
    from hub.clock import Clock
    from hub.events import Events
    from hub.files import Files
    from hub.records import Caller
    from hub.store import Store
    from hub.store.files import FileRow
    from hub.uploads import Spool

#: Batches of one key that are worked on at once.
MOST_OPEN = 50
_DAY_MS = 86_400_000
_MIB = 2**20


class Batches:
    """All batches of a hub. ``provider`` tells who a model string leads to, for a service; raises HubError."""

    def __init__(
        self,
        store: Store,
        files: Files,
        spool: Spool,
        clock: Clock,
        events: Events,
        *,
        provider: Callable[[str, str], str],
        vendors: Vendors,
    ) -> None:
        settings = store.settings
        self._rows = store.batches
        self._files = files
        self._clock = clock
        self._provider = provider
        self._longest = settings.max_body_mb * _MIB
        patience = settings.shutdown_seconds
        self.worker = Worker(store, files, spool, clock, events, most=settings.batch_concurrency, patience=patience, vendors=vendors)
        self._door: Door | None = None

    def serve(self, door: Door) -> None:
        """The doors are there: batches are worked off by them."""
        self._door = self.worker.door = door
        self.worker.poke()

    async def create(
        self,
        caller: Caller,
        *,
        input_file_id: str,
        endpoint: str,
        window: str,
        metadata: dict[str, str] | None = None,
        output_seconds: int | None = None,
    ) -> Batch:
        """Check the whole input and begin. On the disk when this returns; a refusal leaves nothing.

        Raises BadRequest naming the field or the lines at fault, Forbidden for a caller whose token will end, RateLimited beyond
        :data:`MOST_OPEN` batches.
        """
        key_id = owner_of(caller)
        if caller.issuer:
            raise Forbidden("a batch outlasts an access token; make it with an API key of this hub")
        service = self._service(endpoint)
        file = await self._input(input_file_id, caller)
        if await self._rows.open_of(key_id) >= MOST_OPEN:
            raise RateLimited(f"{MOST_OPEN} batches of this key are worked on; wait for one to end", retry_after=60)
        found = await self._scanned(file, endpoint, caller)
        kinds = {model: self._category(model, service) for model in found.models}
        for item in found.items:
            item.category = kinds[item.category]
        now = self._clock.now_ms()
        facts = Facts(
            endpoint=endpoint,
            completion_window=window,
            metadata=metadata,
            categories=sorted(set(kinds.values())),
            model=next(iter(found.models)) or None if len(found.models) == 1 else None,
            output_seconds=output_seconds,
        )
        batch = Batch(
            id=f"batch_{secrets.token_hex(16)}",
            key_id=key_id,
            status="validating",
            input_file_id=file.id,
            facts=facts,
            total=len(found.items),
            created_at=now,
            expires_at=now + _DAY_MS,
        )
        await self._rows.create(batch, found.items)
        self.worker.poke()
        return batch

    async def get(self, batch_id: str, caller: Caller) -> Batch:
        """A caller's batch. Raises NotFound, in the same words whether it is another's or none."""
        batch = await self._rows.find(batch_id, caller.key_id) if caller.key_id else None
        if batch is None:
            raise NotFound(f"no batch {batch_id[:80]!r} is kept for this key", field="id")
        return batch

    async def list(self, caller: Caller, *, after: str, limit: int) -> list[Batch]:
        """A caller's batches, the newest first. Raises BadRequest for an ``after`` that is none of them."""
        key_id = owner_of(caller)
        last = await self._rows.find(after, key_id) if after else None
        if after and last is None:
            raise BadRequest(f"after: no batch {after[:80]!r} is kept for this key", field="after")
        return await self._rows.list(key_id, after=last, limit=limit)

    async def cancel(self, batch_id: str, caller: Caller) -> Batch:
        """Cancel a batch: what runs ends at once, what is answered stays. One that is being cancelled stays as it is.

        Raises NotFound, BadRequest for one that is over.
        """
        batch = await self.get(batch_id, caller)

        def cancelling(one: Batch) -> None:
            one.status = "cancelling"
            one.facts.times["cancelling_at"] = self._clock.now_ms()

        changed = await self._rows.change(batch.id, ["validating", "in_progress", "finalizing"], cancelling)
        if changed is not None:
            self.worker.drop(batch.id)
            self.worker.poke()
            return changed
        batch = await self.get(batch_id, caller)
        if batch.status != "cancelling":
            raise BadRequest(f"{batch.id} is {batch.status} already and cannot be cancelled", field="id", code="batch_over")
        return batch

    async def delete(self, batch_id: str, caller: Caller) -> None:
        """Forget a batch that is over; its files stay. Raises NotFound, Conflict while it is worked on."""
        batch = await self.get(batch_id, caller)
        if batch.status in OPEN or not await self._rows.delete(batch.id, batch.key_id):
            raise Conflict(f"{batch.id} is {batch.status}; cancel it and wait for its end, then delete it", field="id")

    async def require_unread(self, file: FileRow) -> None:
        """Raise Conflict while a batch reads a file."""
        batch_id = await self._rows.reading(file.id)
        if batch_id:
            raise Conflict(f"{batch_id} still reads this file; cancel the batch or wait for its end", field="id", code="file_in_use")

    async def sweep(self) -> int:
        """Remove items that a kill left of batches that are over."""
        left = await self._rows.left()
        for batch_id in left:
            await self._rows.forget(batch_id)
        return len(left)

    def _service(self, endpoint: str) -> str:
        service = ENDPOINTS.get(endpoint)
        served = [path for path in ENDPOINTS if self._door is None or self._door.serves(path)]
        if service is None or endpoint not in served:
            raise BadRequest(f"endpoint: a batch takes one of {', '.join(served)}", field="endpoint", code="invalid_endpoint")
        return service

    async def _input(self, file_id: str, caller: Caller) -> FileRow:
        try:
            file = await self._files.get(file_id, caller)
        except NotFound as error:
            raise BadRequest(f"input_file_id: {error.message}", field="input_file_id", code="file_not_found") from None
        if file.purpose != "batch":
            words = f"input_file_id: {file.id} was uploaded for {file.purpose}; upload it with purpose batch"
            raise BadRequest(words, field="input_file_id", code="invalid_purpose")
        return file

    async def _scanned(self, file: FileRow, endpoint: str, caller: Caller) -> Scan:
        path = self._files.path(file.id)
        try:
            return await anyio.to_thread.run_sync(lambda: scan(path, endpoint, allowed=caller.allowed_models, longest=self._longest))
        except FileNotFoundError:
            lost = await self._files.lost(file)
            raise BadRequest(f"input_file_id: {lost.message}", field="input_file_id", code="file_not_found") from None

    def _category(self, model: str, service: str) -> str:
        """What requests for a model are limited with: their provider, or the model string of a combo; nothing for what leads nowhere."""
        try:
            return self._provider(model, service) or model
        except HubError:
            return ""


def view_of(batch: Batch) -> dict[str, Any]:
    """A batch in OpenAI's shape; times in seconds since 1970."""
    facts = batch.facts
    names = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    times = {f"{name}_at": facts.times.get(f"{name}_at") for name in names} | {"expires_at": batch.expires_at}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": facts.endpoint,
        "errors": {"object": "list", "data": facts.errors} if facts.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": facts.completion_window,
        "status": batch.status,
        "output_file_id": facts.output_file_id,
        "error_file_id": facts.error_file_id,
        "created_at": batch.created_at // 1000,
        **{name: None if at is None else at // 1000 for name, at in times.items()},
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": facts.metadata,
        "model": facts.model,
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
    }
