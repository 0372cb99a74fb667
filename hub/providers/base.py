"""The interface of a provider adapter: one wire format, both ways.

The engine (:mod:`hub.engine.engine`) asks the adapter of a target to ``prepare`` a request, sends it, and has
the answer parsed. Where the client speaks the adapter's own dialect it asks for ``splice`` instead and
passes the answer's bytes on (D20), with a ``Watcher`` reading usage on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hub.outbound.base import Headers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.chat import ChatEvent, ChatRequest, ChatResponse, Usage
    from hub.engine.ask import ChatAsk
    from hub.outbound.base import Access, Incoming, Outgoing, Proxy
    from hub.providers.catalog import Compat, ModelRow, ProviderRow
    from hub.secret import Secret


@dataclass(frozen=True, slots=True)
class Target:
    """One place a request can go: a provider's model through one connection.

    ``base_url`` is the connection's own where set, else the row's with its template filled in;
    ``model`` is the provider's id of the model; ``model_row`` is None for a model the catalogue does not list.
    ``proxy`` is what all its requests go through, ``way`` says for the decision record which one that is, and why.
    ``memo`` is the adapter's own, for what is the same in every request to this target. ``access`` adds the credentials of a login in
    place of ``secret``, which then is the token that is sent now, for masks.
    """

    provider: ProviderRow
    model: str
    model_row: ModelRow | None
    connection_id: str
    base_url: str
    secret: Secret
    data: Mapping[str, str] = field(default_factory=dict[str, str])
    private: bool = False
    proxy: Proxy | None = None
    way: str = ""
    memo: dict[object, Outgoing] = field(default_factory=dict["object", "Outgoing"], compare=False, repr=False)
    access: Access | None = field(default=None, compare=False, repr=False)

    @property
    def wire(self) -> str:
        """The wire format of its chats: what the connection says (``format``), else the model's own, else the provider's."""
        return self.data.get("format") or (self.model_row.wire if self.model_row else "") or self.provider.format

    @property
    def compat(self) -> Compat | None:
        """What the owner changes of the requests to this model."""
        return self.provider.compat.get(self.model) if self.provider.compat else None

    def lane(self, dialect: str) -> str:
        """The format in which a client of this dialect reaches it: the dialect itself where its bytes are taken, else :attr:`wire`."""
        return dialect if dialect in self.provider.also and not self.data.get("format") else self.wire


@dataclass(slots=True)
class RawChat:
    """A client's request as it came: ``body`` in ``dialect``, with the two facts routing needs.

    ``include_usage`` says whether the client asked for usage in its stream (OpenAI ``stream_options``);
    ``max_tokens`` and ``choices`` (OpenAI ``n``) are what it may cost at most, None where the request leaves them open.
    ``headers`` are those of the client's that belong to its dialect (``anthropic-beta``), names in lower case;
    an adapter sends on the ones it knows. ``cacheable`` says that the client asks for one answer at temperature 0.
    ``session`` is the client's id of its conversation, None where nobody looked for it; ``tags`` restrict the connections to
    those with any (or ``all_tags`` of them).
    """

    dialect: str
    body: bytes
    model: str
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    choices: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    cacheable: bool = False
    session: str | None = None
    tags: tuple[str, ...] = ()
    all_tags: bool = False


@dataclass(slots=True)
class Prepared:
    """A request ready to send, and the client fields that this wire format cannot carry (D20)."""

    outgoing: Outgoing
    dropped: list[str] = field(default_factory=list[str])


class FailureKind(StrEnum):
    """What an upstream error means for the next step (routing.md 3.4)."""

    CALLER = "caller"  # the request itself is wrong: returned as it came, no fallback
    CONTEXT = "context"  # too long for this model: only a larger window helps
    AUTH = "auth"  # the credential is refused: next connection, this one is marked
    PERMISSION = "permission"  # the credential lacks a right: next connection
    CREDIT = "credit"  # the account has no money left
    RATE = "rate"  # too many requests
    QUOTA = "quota"  # a daily or plan quota is used up
    MODEL = "model"  # the model does not exist or is not offered to this account
    CAPACITY = "capacity"  # overloaded
    SERVER = "server"  # 5xx and other faults of the provider
    NETWORK = "network"  # never answered
    CONFIG = "config"  # the connection lacks something; it says nothing about the provider


@dataclass(frozen=True, slots=True)
class Failure:
    """An upstream error, classified. ``message`` is the provider's own, secrets masked; ``retry_after`` in seconds.

    ``source`` says where ``retry_after`` is from: the answer's ``header``, its ``text``, or a ``rule`` of ours; empty where there is none.
    """

    kind: FailureKind
    status: int
    message: str
    code: str = ""
    retry_after: float | None = None
    source: str = ""


class Decoder(Protocol):
    """Turns a provider's stream into events. Bytes may be cut anywhere, even inside a character."""

    def feed(self, data: bytes) -> list[ChatEvent]: ...

    def end(self) -> list[ChatEvent]:
        """The body is over. Yields what was still held back; a Failed event when the stream stopped before its end mark."""
        ...


class Watcher(Protocol):
    """Follows a stream that is passed through: reads usage, cuts what the client did not ask for, sees the end."""

    usage: Usage | None
    finished: bool
    failure: Failure | None

    def feed(self, data: bytes) -> bytes:
        """The bytes to pass on now; may hold an unfinished event back."""
        ...

    def end(self) -> bytes:
        """What was still held back."""
        ...


@runtime_checkable
class Adapter(Protocol):
    """One wire format. Stateless; one instance serves all requests."""

    name: str  # the catalogue's `format`
    dialect: str  # client dialect whose bytes pass through unchanged
    translates: bool  # whether requests of other dialects can be written in it, too

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for what the format cannot express at all."""
        ...

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes with the model name replaced and the credentials added."""
        ...

    def parse(self, body: bytes, target: Target) -> ChatResponse:
        """Decode a whole answer. Raises UpstreamFailed when it is not one (REL-03)."""
        ...

    def decoder(self, target: Target) -> Decoder: ...

    def usage_of(self, body: bytes) -> Usage | None:
        """The usage of a whole answer that is passed through; None when it states none. Raises UpstreamFailed
        when the body is not an answer of this format (HTML with status 200, an error object, truncated JSON)."""
        ...

    def finished(self, body: bytes) -> bool | None:
        """Whether every choice of a whole answer says something and ended of its own accord; None where only :meth:`parse` can tell."""
        ...

    def watcher(self, raw: RawChat) -> Watcher: ...

    def classify(self, status: int, headers: Headers, body: bytes) -> Failure:
        """What an error answer means."""
        ...

    def models_request(self, target: Target) -> Outgoing | None:
        """A request that lists the provider's models, also used to test a connection; None where there is none."""
        ...

    def parse_models(self, body: bytes) -> list[str]:
        """The model ids of such an answer."""
        ...


@runtime_checkable
class CountingAdapter(Protocol):
    """An adapter whose format can say how many tokens a prompt is."""

    def count(self, ask: ChatAsk, target: Target) -> Outgoing | None:
        """The request that asks it; None where this target has no address for it."""
        ...

    def parse_count(self, body: bytes) -> int:
        """The number of tokens. Raises UpstreamFailed when the body does not say one."""
        ...


@runtime_checkable
class LocalAdapter(Adapter, Protocol):
    """An adapter that answers by itself, without a network (the demo provider)."""

    async def answer(self, outgoing: Outgoing) -> Incoming:
        """Play the upstream's part for a prepared request."""
        ...
