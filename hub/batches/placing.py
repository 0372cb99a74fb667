"""Which batches a vendor may work off itself, and what is sent to it: only what it would have got from the hub anyhow, and cheaper."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import msgspec

from hub.batches.lines import ENDPOINTS, body_of
from hub.batches.service import Service
from hub.chat import Usage
from hub.errors import HubError
from hub.money.prices import Prices
from hub.planning.query import Query
from hub.providers.catalog import CHAT
from hub.records import NO_LIMITS
from hub.registry import load
from hub.store.batches import Vendored
from hub.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hub.files import Files
    from hub.money.prices import Priced
    from hub.planning.plan import Planner
    from hub.planning.targets import Targets
    from hub.providers.base import Target
    from hub.records import Caller
    from hub.routing.strategy import Option
    from hub.store.batches import Batch, BatchRows, Item
    from hub.uploads import Spool, Spooled

#: The switch in a connection's data, and what turns it on.
SWITCH = "vendorBatch"
_ON = frozenset({"true", "on", "1"})
#: Requests that speak of what the hub keeps, and no vendor knows.
_OURS = (b'"file_id"', b'"previous_response_id"')
#: Output that a model may make when neither the request nor the catalogue says.
_USUAL_OUTPUT = 4096
_PAGE = 500


class _Asked(msgspec.Struct):
    """What a request says of how much it wants."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    n: Any = None


class Unfit(Exception):
    """A batch has a request that only the hub itself can answer."""


@dataclass(slots=True)
class Ready:
    """An upload, and the most that its requests cost at the vendor, in dollars."""

    upload: Upload
    bound: float


class Placing:
    """``plain`` says that the hub changes nothing of a chat and refuses none by a rule."""

    def __init__(
        self,
        *,
        planner: Planner,
        targets: Targets,
        prices: Prices,
        rows: BatchRows,
        files: Files,
        spool: Spool,
        plain: Callable[[], bool],
    ) -> None:
        self._planner = planner
        self._targets = targets
        self._prices = prices
        self._rows = rows
        self._files = files
        self._spool = spool
        self._plain = plain
        self._services: Mapping[str, Service] | None = None

    def service(self, target: Target) -> Service | None:
        """The batch service of a target's provider; None without one."""
        offered = target.provider.vendor_batch
        if self._services is None:
            self._services = load("hub.providers.batches", Service, lambda one: one.name)
        return self._services.get(offered.format) if offered is not None else None

    async def offer(self, batch: Batch, caller: Caller) -> Vendored | None:
        """Where a batch may be worked off by a vendor; None where the hub works it off."""
        model, endpoint = batch.facts.model, batch.facts.endpoint
        if not model or caller.limits != NO_LIMITS or not self._plain():
            return None
        try:
            option = self._only(model, endpoint, caller)
            target = self._targets.get(option.connection, option.model) if option is not None else None
        except HubError:
            return None
        if option is None or target is None or not self._takes(target, endpoint, batch.total):
            return None
        if await self.price(target) is None:
            return None
        return Vendored(connection=option.connection.id, model=option.model)

    async def price(self, target: Target) -> Priced | None:
        """The price of a target's model outside batches."""
        return await self._prices.lookup(target.provider.id, target.model)

    def _only(self, model: str, endpoint: str, caller: Caller) -> Option | None:
        """The one place that a model string leads to; None where there are several. Raises HubError."""
        plan = self._planner.plan(Query(model=model, caller=caller, peek=True, service=ENDPOINTS[endpoint]))
        single = len(plan.candidates) == len(plan.options) == 1 and not plan.last_resort
        return plan.options[0] if single else None

    def _takes(self, target: Target, endpoint: str, lines: int) -> bool:
        """Whether the connection is to be used so, and its provider takes such requests as they are."""
        service = self.service(target)
        if service is None or target.data.get(SWITCH, "").lower() not in _ON:
            return False
        if target.provider.request_defaults or target.compat is not None:
            return False
        dialect = service.endpoints.get(endpoint)
        return dialect is not None and lines <= service.most_lines and (not dialect or target.lane(dialect) == dialect)

    async def write(self, batch: Batch, target: Target, service: Service) -> Ready:
        """The upload of what is left of a batch; remove it. Raises Unfit, Full."""
        priced = await self.price(target)
        if priced is None:
            raise Unfit("the price is not known any more")
        file = await anyio.to_thread.run_sync(self._spool.open)
        try:
            return await self._written(batch, file, _Writer(batch, target, service, priced))
        except BaseException:
            file.close()
            with suppress(FileNotFoundError):
                os.unlink(file.path)
            raise

    async def _written(self, batch: Batch, file: Spooled, writer: _Writer) -> Ready:
        source, after, size = self._files.path(batch.input_file_id), 0, 0
        while items := await self._rows.left_of(batch.id, after, _PAGE):
            data = await anyio.to_thread.run_sync(writer.page, source, items, not after)
            await anyio.to_thread.run_sync(file.write, data)
            size += len(data)
            if size > writer.service.most:
                raise Unfit(f"the requests are more than the {writer.service.most} bytes that the provider takes")
            after = items[-1].line
        end = writer.service.frame[2]
        await anyio.to_thread.run_sync(file.write, end)
        file.close()
        return Ready(Upload(batch.id, "application/jsonl", size + len(end), path=file.path), writer.bound)


class _Writer:
    """Writes requests and adds up what they may cost. Used in threads, one at a time."""

    def __init__(self, batch: Batch, target: Target, service: Service, priced: Priced) -> None:
        self.service = service
        self.bound = 0.0
        self._batch = batch
        self._target = target
        self._price = priced.price
        offered = target.provider.vendor_batch
        self._share = 1.0 - (offered.discount if offered is not None else 0.0)

    def page(self, source: Path, items: list[Item], first: bool) -> bytes:
        """These requests as a piece of the upload. Raises Unfit."""
        start, between, _ = self.service.frame
        endpoint, made = self._batch.facts.endpoint, list[bytes]()
        try:
            with source.open("rb") as file:
                for item in items:
                    file.seek(item.start)
                    body = body_of(file.read(item.size))
                    if any(name in body for name in _OURS):
                        raise Unfit(f"line {item.line} names a file or a response that the hub keeps")
                    self.bound += self._most(body) * self._share
                    made.append(self.service.request(name_of(self._batch.id, item.line), endpoint, body, self._target.model))
        except FileNotFoundError:
            raise Unfit("the input file is gone") from None
        return (start if first else between) + between.join(made)

    def _most(self, body: bytes) -> float:
        """The most that a request costs outside a batch. Raises Unfit where that cannot be said."""
        prompt = len(body) // 3  # more than its tokens are, as in hub.bounds
        if ENDPOINTS[self._batch.facts.endpoint] != CHAT:
            most = Prices.cost(self._price, Usage(input=prompt))
        else:
            most = Prices.estimate(self._price, prompt, self._output(body))
        if most is None:
            raise Unfit("the price is not known")
        return most

    def _output(self, body: bytes) -> int:
        asked = msgspec.json.decode(body, type=_Asked)
        row = self._target.model_row
        limits = (asked.max_completion_tokens, asked.max_tokens, asked.max_output_tokens, row.max_output if row else None, _USUAL_OUTPUT)
        each = next(limit for limit in limits if isinstance(limit, int) and limit > 0)
        return each * (asked.n if isinstance(asked.n, int) and asked.n > 0 else 1)


def name_of(batch_id: str, line: int) -> str:
    """The name of a request at a vendor: letters, digits, ``_`` and ``-``, 64 at most."""
    return f"{batch_id}-{line}"


def line_of(name: str, batch_id: str) -> int:
    """The line of a request by its name at a vendor; 0 for one that is none of the batch's."""
    mine, _, number = name.rpartition("-")
    return int(number) if mine == batch_id and number.isdecimal() and len(number) < 10 else 0
