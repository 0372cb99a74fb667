"""What the chat engine makes of a try: who is left to be tried, what the client gets of a failure, and answers that are there already."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hub.chat import ChatResponse, Text, Usage
from hub.engine.answers import events_of
from hub.engine.ask import ChatAsk, ChatReply, StreamHead, StreamItem, StreamTail
from hub.engine.fallback import Next
from hub.engine.flow import Refused
from hub.engine.reshape import keep_tools, with_system
from hub.errors import HubError, RateLimited, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from hub.outbound.base import Fault, OutboundError
from hub.providers.base import Failure, FailureKind
from hub.routing.pattern import compiled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from hub.engine.attempts import Run
    from hub.engine.fallback import Rule
    from hub.planning.query import Plan
    from hub.planning.senses import Senses
    from hub.planning.targets import Target
    from hub.routing.strategy import Option


@dataclass(frozen=True, slots=True)
class Finish:
    """How a request is answered, as a whole or as a stream: from a target that ``opened``, or from a response that was ``given``."""

    opened: Callable[..., Any]
    given: Callable[[ChatResponse, Run], Any]


class Tries:
    """What the tries of one plan have shown so far."""

    __slots__ = ("again", "count", "last", "options", "round", "small", "window")

    def __init__(self, plan: Plan) -> None:
        self.count = 0
        self.last: HubError | None = None
        #: The window in tokens that was too small, and the models that have it.
        self.window = 0
        self.small: set[tuple[str, str]] = set()
        #: The options of this round, and those that failed in passing.
        self.options: Sequence[Option] = plan.options
        self.again: list[Option] = []
        self.round = 0

    def turn(self) -> None:
        """Another round begins."""
        self.options, self.again = self.again, []
        self.round += 1

    def note(self, option: Option, rule: Rule, senses: Senses) -> None:
        """A try failed and another may help."""
        if rule.next is Next.LARGER:
            self.small.add((option.provider, option.model))
            self.window = max(self.window, senses.context(option) or 1)
        elif rule.retry_same:
            self.again.append(option)

    def left(self, senses: Senses) -> Iterator[Option]:
        """The options of this round, without those whose window is known to be too small when their turn comes."""
        for option in self.options:
            if not (self.window and self.too_small(senses.context(option), option)):
                yield option

    def too_small(self, context: int | None, option: Option) -> bool:
        """Whether a request that was too long for another model is so for this one: its window is known and no larger."""
        if not self.window:
            return False
        return (option.provider, option.model) in self.small or (context is not None and context <= self.window)


def given_whole(response: ChatResponse, run: Run) -> ChatReply:
    """An answer that is there already."""
    return ChatReply(body=None, response=response, usage=response.usage or Usage(), row=run.paid(), dropped=[])


async def given_stream(response: ChatResponse, run: Run) -> AsyncIterator[StreamItem]:
    """An answer that is there already, as a stream."""
    yield StreamHead(provider=run.provider, model=response.model, lossless=False, dropped=[])
    run.first_byte()
    for events in events_of(response, response.usage or Usage(), response.model):
        yield events
    yield StreamTail(run.paid())


_pattern = lru_cache(maxsize=256)(compiled)


def shaped(ask: ChatAsk, plan: Plan) -> ChatAsk:
    """The ask as the plan's combo wants it: its system message, and only the tools it lets through."""
    combo = plan.combo
    if combo is None or not (combo.system_message or combo.tool_filter_regex):
        return ask
    request = ask.request()
    if combo.system_message:
        request = with_system(request, combo.system_message)
    if combo.tool_filter_regex:
        request = keep_tools(request, _pattern(combo.tool_filter_regex))
    return ask.reshaped(request)


def require_content(response: ChatResponse) -> None:
    """Raise UpstreamFailed for an answer with nothing in it: no text, no call of a tool, no refusal (routing.md 2.5)."""
    if not any(not isinstance(part, Text) or part.text for choice in response.choices for part in choice.parts):
        raise UpstreamFailed("the provider answered with nothing", code="empty_content")


def rejected(failure: Failure, target: Target, body: bytes, content_type: str) -> UpstreamFailed:
    """A provider's refusal as the client gets it."""
    words = f"{target.provider.name} answered {failure.status}: {failure.message}"
    return UpstreamRejected(
        words,
        upstream_status=failure.status,
        body=body,
        content_type=content_type,
        code=failure.code or None,
        retry_after=failure.retry_after,
    )


def failure_of(error: RateLimited | Refused | OutboundError | UpstreamFailed) -> tuple[HubError, Failure, OutboundError | None]:
    """What the client gets of a failed try if it was the last, and what it says of the connection."""
    if isinstance(error, Refused):
        return error.error, error.failure, None
    if isinstance(error, OutboundError):
        if error.fault is Fault.LOGIN_ENDED:
            return upstream_error(error), Failure(FailureKind.AUTH, 401, error.message, code=error.fault.value), None
        return upstream_error(error), Failure(FailureKind.NETWORK, error.status, error.message, code=error.fault.value), error
    # No place came free in time: nobody was called.
    kind = FailureKind.CONFIG if isinstance(error, RateLimited) else FailureKind.SERVER
    return error, Failure(kind, error.status, error.message, code=error.code), None


def upstream_error(error: OutboundError) -> UpstreamFailed:
    """A fault on the way as the client gets it."""
    kind = UpstreamTimeout if error.status == 504 else UpstreamFailed
    return kind(error.message, code=error.fault.value)
