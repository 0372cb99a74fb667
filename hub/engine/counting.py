"""How many tokens a prompt is: asked of the provider where its format can say, else estimated. Nothing is generated or charged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import HubError, RateLimited, Unavailable
from hub.log import logger
from hub.outbound.base import OutboundError, Timeouts
from hub.planning.query import Query
from hub.providers.base import CountingAdapter, LocalAdapter
from hub.tokens import estimate_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.context import Context
    from hub.engine.ask import ChatAsk
    from hub.outbound.client import Outbound
    from hub.planning.plan import Planner
    from hub.planning.targets import Targets
    from hub.preferences import Preferences
    from hub.providers.base import Adapter, Target

log = logger("hub.counting")
#: A client waits for a count before it does anything, so an estimate now is worth more than the number later.
_TIMEOUTS = Timeouts(connect=3, first_byte=10, idle=5, write=5)
#: Statuses that say that an address offers no counting.
_NOT_OFFERED = frozenset({404, 405, 501})
_MOST_REMEMBERED = 1000


class Counted(msgspec.Struct, frozen=True):
    """A number of tokens. ``estimated`` where no provider said it; then ``provider`` and ``model`` are empty."""

    tokens: int
    estimated: bool
    provider: str = ""
    model: str = ""


class Counting:
    """Counts prompts. One per process; remembers which addresses offer no counting."""

    def __init__(
        self,
        *,
        planner: Planner,
        targets: Targets,
        adapters: Mapping[str, Adapter],
        outbound: Outbound,
        preferences: Callable[[], Preferences],
    ) -> None:
        self._planner = planner
        self._preferences = preferences
        self._targets = targets
        self._adapters = adapters
        self._outbound = outbound
        self._without: set[str] = set()

    async def count(self, ask: ChatAsk, ctx: Context) -> Counted:
        """The tokens of a prompt, as the first target of its model counts them.

        Raises BadRequest for a request that cannot be read, UnknownModel, Forbidden for a model outside the caller's list. Whatever else
        fails gives an estimate.
        """
        prompt = self._preferences().system_prompt
        if prompt.enabled:
            ask.lead(prompt.prompt)
        estimate = Counted(estimate_prompt(ask.request()), estimated=True)
        try:
            plan = self._planner.plan(Query(model=ask.model, caller=ctx.caller, peek=True, connection_id=ask.connection))
        except (RateLimited, Unavailable):
            return estimate
        option = plan.options[0]
        try:
            target = self._targets.get(option.connection, option.model)
            adapter = self._adapters.get(target.lane(ask.raw.dialect) if ask.raw is not None else target.wire)
            if not isinstance(adapter, CountingAdapter) or isinstance(adapter, LocalAdapter) or target.base_url in self._without:
                return estimate
            tokens = await self._asked(adapter, target, ask)
        except (HubError, OutboundError) as error:
            log.info("tokens are estimated", connection=option.connection.id, reason=error.message)
            return estimate
        return estimate if tokens is None else Counted(tokens, estimated=False, provider=target.provider.id, model=target.model)

    async def _asked(self, adapter: CountingAdapter, target: Target, ask: ChatAsk) -> int | None:
        """What the provider says, None where it says nothing."""
        outgoing = adapter.count(ask, target)
        if outgoing is None:
            return None
        outgoing.timeouts = _TIMEOUTS
        incoming = await self._outbound.send(outgoing)
        body = await incoming.read()
        if incoming.status in _NOT_OFFERED and len(self._without) < _MOST_REMEMBERED:
            self._without.add(target.base_url)
        return adapter.parse_count(body) if incoming.status < 300 else None
