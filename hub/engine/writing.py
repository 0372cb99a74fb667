"""A chat as it is written to a target: the client's own bytes where they may pass (D20), else made anew by the target's adapter.

What the owner changes of every chat is changed here, for each target by itself: a model that does not think is not made to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.engine import compat
from hub.engine.reshape import without_markers
from hub.engine.thinking import PASSTHROUGH, rethought
from hub.errors import BadRequest, NotConfigured

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.chat import ChatRequest
    from hub.engine.ask import ChatAsk
    from hub.engine.attempts import Run
    from hub.preferences import Preferences, ThinkingBudget
    from hub.providers.base import Adapter, Prepared, Target
    from hub.providers.catalog import Compat

_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Written:
    """A request in a target's format. ``lossless`` says that its answer comes in the client's dialect and passes."""

    adapter: Adapter
    prepared: Prepared
    lossless: bool


class Writing:
    """Writes requests with the adapters of their targets; holds no state of one."""

    def __init__(self, adapters: Mapping[str, Adapter], preferences: Callable[[], Preferences]) -> None:
        self._adapters = adapters
        self._preferences = preferences
        #: Addresses that have no place for a dialect which their provider takes elsewhere, found out by asking.
        self._without: set[tuple[str, str]] = set()

    def lane(self, ask: ChatAsk, target: Target) -> str:
        """The format in which a target is called: that of the client's dialect where its provider takes it, else its usual one."""
        if ask.raw is None:
            return target.wire
        lane = target.lane(ask.raw.dialect)
        if lane == target.wire or (target.base_url, lane) in self._without:
            return target.wire
        return lane if ask.verbatim is not None or self._adapters[lane].translates else target.wire

    def not_offered(self, target: Target, lane: str) -> None:
        """A target's address has no place for a dialect."""
        if len(self._without) < _MOST_REMEMBERED:
            self._without.add((target.base_url, lane))

    def write(self, wire: str, ask: ChatAsk, target: Target, run: Run) -> Written:
        """The request for a target in a format; what the owner's settings change of it is told to ``run``.

        Raises BadRequest for what cannot be read, or what the format cannot express; NotConfigured for a format that is none.
        """
        adapter = self._adapters.get(wire)
        if adapter is None:
            raise NotConfigured(f"the connection's format {wire!r} is none of this version's; change its data", field="data.format")
        rules = compat.rules_of(target, _dialect(ask)) if target.provider.compat else None
        written = self._written(adapter, ask, target, run, rules)
        if rules is not None:
            compat.add_headers(written.prepared, rules)
        return written

    def _written(self, adapter: Adapter, ask: ChatAsk, target: Target, run: Run, rules: Compat | None) -> Written:
        preferences = self._preferences()
        raw = ask.verbatim
        if raw is not None and raw.dialect == adapter.dialect and _passes(ask, target, adapter, preferences, run, rules):
            return Written(adapter, adapter.splice(raw, target), lossless=True)
        request = ask.request()
        if rules is not None:
            request, changes = compat.fitted(request, rules)
            run.changed(*changes)
        request, dropped, words = rethought(request, target, preferences.thinking_budget, adapter.dialect)
        prepared = adapter.prepare(_marked(request, preferences.always_preserve_client_cache, run), target)
        if words:
            run.changed(f"{target.provider.id}/{target.model}: {words}")
            # A budget that the hub itself has set is nothing of the client's.
            prepared.dropped = [*dropped, *(name for name in prepared.dropped if name != "thinking.budget")]
        return Written(adapter, prepared, lossless=ask.raw is not None and ask.raw.dialect == adapter.dialect)


def _dialect(ask: ChatAsk) -> str:
    """The dialect of a request's client."""
    return ask.raw.dialect if ask.raw is not None else ask.request().dialect


def _passes(ask: ChatAsk, target: Target, adapter: Adapter, preferences: Preferences, run: Run, rules: Compat | None) -> bool:
    """Whether a client's own bytes may pass: nothing is to be changed of them, or they are a text that goes on, without such words."""
    if not adapter.translates:
        return True
    if preferences.always_preserve_client_cache == "never" and ask.raw is not None and b"cache_control" in ask.raw.body:
        return False
    if rules is not None and not _fits(ask, rules, run):
        return False
    setting = preferences.thinking_budget
    return setting.mode == PASSTHROUGH or _as_wanted(ask, target, setting, run)


def _marked(request: ChatRequest, markers: str, run: Run) -> ChatRequest:
    """A request with the prompt-cache markers that the owner lets through."""
    if markers == "always":
        return replace(request, keep_markers=True)
    made = without_markers(request) if markers == "never" else request
    if made is not request:
        run.changed("prompt-cache markers taken out (alwaysPreserveClientCache: never)")
    return made


def _fits(ask: ChatAsk, rules: Compat, run: Run) -> bool:
    """Whether the owner's rules for the model change nothing of a request, or cannot."""
    try:
        return not compat.fitted(ask.request(), rules)[1]
    except BadRequest:
        run.changed("the model's rules are not applied: the client's request cannot be read here")
        return True


def _as_wanted(ask: ChatAsk, target: Target, setting: ThinkingBudget, run: Run) -> bool:
    """Whether a request of the target's own dialect thinks as the setting wants it already, or cannot be made to."""
    try:
        return not rethought(ask.request(), target, setting, ask.raw.dialect if ask.raw else "")[2]
    except BadRequest:
        # Bytes that pass need not be what our decoder takes.
        run.changed("thinking is as the client asked: its request cannot be read here")
        return True
