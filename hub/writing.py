"""A chat as it is written to a target: the client's own bytes where they may pass (D20), else made anew by the target's adapter.

What the owner changes of every chat is changed here, for each target by itself: a model that does not think is not made to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.errors import BadRequest
from hub.reshape import without_markers
from hub.thinking import PASSTHROUGH, rethought

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.ask import ChatAsk
    from hub.attempts import Run
    from hub.chat import ChatRequest
    from hub.preferences import Preferences, ThinkingBudget
    from hub.providers.base import Adapter, Prepared, Target


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

    def write(self, ask: ChatAsk, target: Target, run: Run) -> Written:
        """The request for a target; what the owner's settings change of it is told to ``run``.

        Raises BadRequest for what cannot be read, or what the target's format cannot express.
        """
        usual = self._adapters[(target.model_row.wire if target.model_row else "") or target.provider.format]
        preferences = self._preferences()
        passed = self._passed(ask, target, usual, preferences, run)
        if passed is not None:
            return passed
        request, dropped, words = rethought(ask.request(), target, preferences.thinking_budget, usual.dialect)
        request = _marked(request, preferences.always_preserve_client_cache, run)
        prepared = usual.prepare(request, target)
        if words:
            run.changed(f"{target.provider.id}/{target.model}: {words}")
            # A budget that the hub itself has set is nothing of the client's.
            prepared.dropped = [*dropped, *(name for name in prepared.dropped if name != "thinking.budget")]
        return Written(usual, prepared, lossless=ask.raw is not None and ask.raw.dialect == usual.dialect)

    def _passed(self, ask: ChatAsk, target: Target, usual: Adapter, preferences: Preferences, run: Run) -> Written | None:
        """The client's own bytes, where the target speaks their dialect and nothing is to be changed of them; else None."""
        raw = ask.verbatim
        if raw is None:
            return None
        own = self._adapters[raw.dialect] if raw.dialect in target.provider.also else usual
        if own.dialect != raw.dialect:
            return None
        if preferences.always_preserve_client_cache == "never" and b"cache_control" in raw.body:
            return None
        setting = preferences.thinking_budget
        # A dialect beside the usual one is that of a text that goes on, which has no word on thinking.
        if setting.mode != PASSTHROUGH and own is usual and not _as_wanted(ask, target, setting, run):
            return None
        return Written(own, own.splice(raw, target), lossless=True)


def _marked(request: ChatRequest, markers: str, run: Run) -> ChatRequest:
    """A request with the prompt-cache markers that the owner lets through."""
    if markers == "always":
        return replace(request, keep_markers=True)
    made = without_markers(request) if markers == "never" else request
    if made is not request:
        run.changed("prompt-cache markers taken out (alwaysPreserveClientCache: never)")
    return made


def _as_wanted(ask: ChatAsk, target: Target, setting: ThinkingBudget, run: Run) -> bool:
    """Whether a request of the target's own dialect thinks as the setting wants it already, or cannot be made to."""
    try:
        return not rethought(ask.request(), target, setting, ask.raw.dialect if ask.raw else "")[2]
    except BadRequest:
        # Bytes that pass need not be what our decoder takes.
        run.changed("thinking is as the client asked: its request cannot be read here")
        return True
