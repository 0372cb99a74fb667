"""Reads what a vendor made of a batch and stores it, request by request: each once, with its usage at the batch price."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.batches import output
from hub.batches.door import Reply
from hub.batches.placing import line_of
from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.money.prices import Prices
from hub.records import Caller, UsageRow
from hub.store.batches import Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from hub.batches.placing import Placing
    from hub.batches.service import Outcome, Service
    from hub.clock import Clock
    from hub.media.line import Wire
    from hub.money.prices import Priced
    from hub.outbound.base import Incoming
    from hub.providers.base import Target
    from hub.store import Store
    from hub.store.batches import Batch

_PAGE = 500
#: The most bytes of results that are read, and of one line of them.
_MOST, _LONGEST = 2**33, 2**28


class Settling:
    """One per process; keeps nothing."""

    def __init__(self, store: Store, clock: Clock, placing: Placing) -> None:
        self._rows = store.batches
        self._keys = store.keys
        self._clock = clock
        self._placing = placing

    async def store(self, batch: Batch, service: Service, line: Wire, places: Sequence[str]) -> float | None:
        """Store all outcomes of a batch; what they cost in dollars, None where a price is unknown. Done again, it adds nothing."""
        made = _Made(batch, service, line.target, await self._placing.price(line.target), await self._names(batch.id), self._who(batch))
        total: float | None = 0.0
        group: list[Result] = []
        for place in places:
            incoming = await line.open(service.read(line.target, place), most=_MOST)
            try:
                async for text in _lines(incoming):
                    outcome = service.outcome(text)
                    if outcome is None or not line_of(outcome.name, batch.id):
                        continue
                    row = made.row(outcome, self._clock)
                    total = None if total is None or row.cost is None else total + row.cost
                    group += made.results(outcome, row)
                    if len(group) >= _PAGE:
                        await self._rows.store(group)
                        group.clear()
            finally:
                await incoming.close()
        if group:
            await self._rows.store(group)
        return total

    async def _names(self, batch_id: str) -> dict[int, str]:
        """The custom_id of each request that nothing has come of yet."""
        names: dict[int, str] = {}
        while items := await self._rows.left_of(batch_id, max(names, default=0), 10 * _PAGE):
            names |= {item.line: item.custom_id for item in items}
        return names

    def _who(self, batch: Batch) -> str:
        """The name of a batch's key; empty for one that is gone."""
        owner = Caller.owner()
        key = self._keys.valid(batch.key_id) if batch.key_id != owner.key_id else owner
        return key.name if key is not None else ""


class _Made:
    """What the outcomes of one batch become."""

    def __init__(self, batch: Batch, service: Service, target: Target, priced: Priced | None, names: dict[int, str], who: str) -> None:
        self._batch = batch
        self._service = service
        self._target = target
        self._priced = priced
        self._names = names
        self._who = who
        offered = target.provider.vendor_batch
        self._share = 1.0 - (offered.discount if offered is not None else 0.0)

    def results(self, outcome: Outcome, row: UsageRow) -> list[Result]:
        """A request's line of the output, with its row; none where it is stored already."""
        number = line_of(outcome.name, self._batch.id)
        custom_id = self._names.get(number)
        if custom_id is None:
            return []
        line_id = output.line_id(self._batch.id, number)
        if outcome.status:
            text = output.answered(line_id, custom_id, Reply(outcome.status, outcome.body, row.request_id))
        else:
            text = output.refused(line_id, custom_id, outcome.code, outcome.message)
        return [Result(self._batch.id, number, row.outcome == "ok", text, [row])]

    def row(self, outcome: Outcome, clock: Clock) -> UsageRow:
        """The usage of a request, at the batch price. How long it took at the vendor says nothing about its speed, so that is 0."""
        good = 0 < outcome.status < 400
        usage, cost = self._spent(outcome) if good else (Usage(), 0.0)
        target, batch = self._target, self._batch
        return UsageRow(
            request_id=clock.new_id("req_"),
            at=clock.now_ms(),
            door="batch",
            skill="batch-create",
            key_id=batch.key_id,
            key_name=self._who,
            provider=target.provider.id,
            model=target.model,
            requested_model=batch.facts.model or "",
            connection_id=target.connection_id,
            usage=usage,
            cost=cost,
            price_source=(self._priced.source if self._priced is not None else "unknown") if good else "none",
            status=outcome.status or 502,
            outcome="ok" if good else "error",
            latency_ms=0,
            error_code="" if good else outcome.code or "upstream_error",
        )

    def _spent(self, outcome: Outcome) -> tuple[Usage, float | None]:
        """The usage of an answer and its price; both unknown where the vendor does not say."""
        try:
            usage = self._service.usage(self._batch.facts.endpoint, outcome.body)
        except UpstreamFailed:
            usage = None
        if usage is None or self._priced is None:
            return usage or Usage(estimated=True), None
        full = Prices.cost(self._priced.price, usage)
        return usage, None if full is None else full * self._share


async def _lines(incoming: Incoming) -> AsyncIterator[bytes]:
    """The lines of a body that have something on them. Raises UpstreamFailed for one that is too long."""
    rest = bytearray()
    async for piece in incoming:
        rest += piece
        if b"\n" in piece:
            *whole, last = rest.split(b"\n")
            rest = bytearray(last)
            for text in whole:
                if text.strip():
                    yield bytes(text)
        if len(rest) > _LONGEST:
            raise UpstreamFailed("a line of a vendor's results is too long", code="malformed_answer")
    if rest.strip():
        yield bytes(rest)
