"""What goes into the chat engine and what comes out: a request, a whole answer, or the items of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hub.chat import ChatEvent, ChatRequest, ChatResponse, Role, Text, Usage
from hub.engine.reshape import lead
from hub.errors import BadRequest
from hub.tokens import estimate_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.content.tape import Came, Tape
    from hub.memory.told import Told
    from hub.providers.base import RawChat
    from hub.records import UsageRow


class Hints(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a client wants a request to be served, read by its door from headers and from fields that no provider gets.

    ``endpoint`` is the address that was called, part of what makes two requests the same. ``idempotency_key`` and ``repeat_key``
    (``X-Request-Id``) name a request that may come twice; ``session`` is the client's id of its conversation; ``tags`` restrict the
    connections to those with any (or ``all_tags`` of them); ``mode``, ``budget`` (US dollars) and ``budget_fallback`` steer ``auto``;
    ``progress`` asks for progress events in a stream; ``compression`` is a mode of it, or the name of a compression combo;
    ``no_memory`` wants nothing told and nothing remembered, ``project`` names what memories are for.
    """

    endpoint: str = ""
    idempotency_key: str = ""
    repeat_key: str = ""
    no_cache: bool = False
    session: str = ""
    tags: tuple[str, ...] = ()
    all_tags: bool = False
    mode: str = ""
    budget: float | None = None
    budget_fallback: str = ""
    effort: str = ""
    progress: bool = False
    compression: str = ""
    no_memory: bool = False
    project: str = ""


NO_HINTS = Hints()


class Asked(Protocol):
    """What records read of a request: a chat, or an order of another service."""

    @property
    def model(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def session(self) -> str: ...
    @property
    def session_id(self) -> str: ...
    @property
    def chain(self) -> Any: ...
    @property
    def tape(self) -> Tape | None: ...


class Place(Protocol):
    """Where an answer is from."""

    @property
    def provider(self) -> str: ...
    @property
    def model(self) -> str: ...


class ChatAsk:
    """One chat request: the client's bytes with a decoder for them, or a request in the internal model.

    ``budget`` is a limit in US dollars that the call may cost at most, checked before anything is spent. ``direct`` means the model
    itself, whatever combo or mapping stands in front of its name. ``cacheable`` says that an answer to the very same request may be
    given again: one answer at temperature 0, and the client does not object. ``bare`` is a question of the hub's own, before which
    nothing of the owner's is said; ``system`` are the words that were put first (:meth:`lead`). ``came`` is how it came to its door and
    ``tape`` what records it, both for requests whose content is stored only.
    """

    __slots__ = (
        "_decode", "_request", "bare", "budget", "cacheable", "came", "chain", "changes", "compression", "connection", "direct", "hints",
        "memory", "model", "needs", "notice", "raw", "session", "session_id", "strategy", "stream", "system", "tape", "told",
    )  # fmt: skip

    def __init__(
        self,
        raw: RawChat | None = None,
        *,
        decode: Callable[[bytes], ChatRequest] | None = None,
        request: ChatRequest | None = None,
        budget: float | None = None,
        connection: str = "",
        strategy: str = "",
        needs: frozenset[str] = frozenset(),
        hints: Hints = NO_HINTS,
        direct: bool = False,
        bare: bool = False,
    ) -> None:
        self.raw = raw
        self._decode = decode
        self._request = request
        self.budget = budget
        self.connection = connection
        self.strategy = strategy
        self.needs = needs
        self.hints = hints
        #: The effective session id, the caller's own name for it, and the prompt's prefix as provider caches see it: once somebody
        #: found them out.
        self.session_id = ""
        self.session = ""
        self.chain: Any = None
        self.direct = direct
        self.bare = bare
        self.system = ""
        #: What was made of it before it is routed, in words for its decision record.
        self.changes: tuple[str, ...] = ()
        #: What its client should know of the model it named, once that was looked up.
        self.notice = ""
        #: What compression did to it, in a word for its client; set on the ask that is sent.
        self.compression = ""
        self.came: Came | None = None
        self.tape: Tape | None = None
        #: What is to be told of memory when it is sent, and how many tokens of it are in the request already.
        self.memory: Told | None = None
        self.told = 0
        whole = raw or request
        if whole is None:
            raise TypeError("ChatAsk needs raw or request")
        self.model: str = whole.model
        self.stream: bool = whole.stream
        self.cacheable = (raw.cacheable if raw is not None else request is not None and _steady(request)) and not hints.no_cache

    def request(self) -> ChatRequest:
        """The request in the internal model, decoded on first use. Raises BadRequest naming the field at fault."""
        if self._request is None:
            if self.raw is None or self._decode is None:
                raise TypeError("ChatAsk has no decoder")
            self._request = lead(self._decode(self.raw.body), self.system)
        return self._request

    def lead(self, words: str) -> None:
        """Put the owner's words before all instructions. The client's bytes no longer are the request then, however they are read."""
        self.system = f"{words}\n\n{self.system}" if self.system else words
        if self._request is not None:
            self._request = lead(self._request, words)

    @property
    def verbatim(self) -> RawChat | None:
        """The client's bytes where they are the request; None where there is more to it than they say."""
        return self.raw if not (self.system or self.compression or self.told) else None

    def last_words(self) -> str:
        """The text of the last message of the user; empty when there is none or it cannot be read."""
        try:
            messages = self.request().messages
        except BadRequest:
            return ""
        last = next((message for message in reversed(messages) if message.role is Role.USER), None)
        return "\n".join(part.text for part in last.parts if isinstance(part, Text)) if last else ""

    def max_output(self) -> int | None:
        """The most tokens of output that the caller asks for, None where it is left open."""
        return self.raw.max_tokens if self.raw is not None else self.request().max_tokens

    def choices(self) -> int:
        """How many answers the caller asks for at once."""
        return (self.raw.choices if self.raw is not None else self.request().n) or 1

    def reshaped(self, request: ChatRequest) -> ChatAsk:
        """This ask with another request, which no longer is the client's bytes."""
        return self._with(request, None)

    def shortened(self, request: ChatRequest, words: str) -> ChatAsk:
        """This ask with a request that says the same in fewer words: the client's bytes no longer are it, its answer still is theirs."""
        made = self._with(request, self.raw)
        made.compression = words
        return made

    def reminded(self) -> ChatAsk:
        """This ask with what is to be told of memory in it."""
        if self.memory is None:
            return self
        made = self._with(self.memory.applied(self.request()), self.raw)
        made.memory, made.told = None, self.memory.tokens
        return made

    def _with(self, request: ChatRequest, raw: RawChat | None) -> ChatAsk:
        made = ChatAsk(
            raw,
            decode=self._decode if raw is not None else None,
            request=request,
            budget=self.budget,
            connection=self.connection,
            strategy=self.strategy,
            needs=self.needs,
            hints=self.hints,
        )
        made.session, made.session_id, made.system, made.notice = self.session, self.session_id, self.system, self.notice
        made.compression, made.came, made.tape = self.compression, self.came, self.tape
        made.memory, made.told, made.changes = self.memory, self.told, self.changes
        return made

    def prompt_tokens(self) -> int:
        """A rough count of the prompt, where the provider does not say."""
        try:
            return estimate_prompt(self.request())
        except BadRequest:
            # Bytes that pass through need not be what our decoder takes; a provider took them.
            return max(1, (len(self.raw.body) + len(self.system)) // 4) if self.raw else 1


def _steady(request: ChatRequest) -> bool:
    return request.temperature == 0 and request.n in (None, 1)


class ChatReply:
    """A whole answer. ``body`` holds the provider's bytes where they pass through, else ``response`` the decoded answer.

    ``source`` says where it is from: upstream, cache, semantic, lexical, coalesced or idempotent; ``notice`` says that the model which
    was named is deprecated, ``compression`` what was done to the prompt, ``told`` how many tokens of memory were added to it.
    """

    __slots__ = ("body", "compression", "cost", "dropped", "notice", "response", "row", "source", "told", "usage")

    def __init__(
        self,
        *,
        body: bytes | None,
        response: ChatResponse | None,
        usage: Usage,
        row: UsageRow,
        dropped: list[str],
        source: str = "upstream",
        notice: str = "",
        compression: str = "",
        told: int = 0,
    ) -> None:
        self.notice = notice
        self.compression = compression
        self.told = told
        self.body = body
        self.response = response
        self.usage = usage
        self.row = row
        self.cost = row.cost
        self.dropped = dropped
        self.source = source


class StreamHead:
    """First item of a stream: where it comes from, and whether ``bytes`` or lists of events follow.

    ``source``, ``notice``, ``compression`` and ``told`` are as in a reply.
    """

    __slots__ = ("compression", "dropped", "lossless", "model", "notice", "provider", "source", "told")

    def __init__(
        self,
        *,
        provider: str,
        model: str,
        lossless: bool,
        dropped: list[str],
        source: str = "upstream",
        notice: str = "",
        compression: str = "",
        told: int = 0,
    ) -> None:
        self.notice = notice
        self.compression = compression
        self.told = told
        self.provider = provider
        self.model = model
        self.lossless = lossless
        self.dropped = dropped
        self.source = source


class StreamTail:
    """Last item of a stream that reached its end: the usage row it left."""

    __slots__ = ("row",)

    def __init__(self, row: UsageRow) -> None:
        self.row = row


StreamItem = StreamHead | bytes | list[ChatEvent] | StreamTail
