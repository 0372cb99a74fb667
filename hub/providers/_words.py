"""What formats share that know nothing but words: one text in, one text out, never a stream of their own.

A client that wants a stream gets the answer as one, once it is there. Tools, pictures and whatever else is no text is reported (D20).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from hashlib import blake2b
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec

from hub.chat import ChatResponse, Choice, Failed, Finish, Finished, Message, Role, Started, Text, TextDelta
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED
from hub.providers._encoding import SYSTEM_ROLES, Encoding
from hub.providers._failure import message_of
from hub.providers._stream import StreamWatcher
from hub.providers._wire import Reading, WireFormat
from hub.providers.base import Prepared
from hub.sse import MAX_EVENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.chat import ChatEvent, ChatRequest
    from hub.outbound.base import Outgoing
    from hub.providers.base import RawChat, Target

#: Fields of a request that none of these formats has, beside those that the format's own encoder takes.
_NO_PLACE = (
    "n",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "logprobs",
    "top_logprobs",
    "user",
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
)
_NAMES = {Role.USER: "User", Role.ASSISTANT: "Assistant", Role.TOOL: "Tool"}


Shape = TypeVar("Shape", bound=msgspec.Struct)


class Words(Encoding):
    """One request on its way into words. ``taken`` are those of the sampling fields that the format has."""

    __slots__ = ("system", "turns")

    def __init__(self, request: ChatRequest, target: Target, *, dialect: str, taken: frozenset[str] = frozenset()) -> None:
        super().__init__(request, target, dialect=dialect)
        self.system = ""
        #: Who speaks, and the words; turns without any are left out.
        self.turns: list[tuple[Role, str]] = []
        self.drop_set(*(name for name in _NO_PLACE if name not in taken))
        for name, given in (
            ("stop", request.stop),
            ("tools", request.tools),
            ("thinking", request.thinking),
            ("response_format", request.format),
        ):
            if given:
                self.drop(name)
        for name in request.extra:
            self.drop(name)
        for message in request.messages:
            self._turn(message)

    def _turn(self, message: Message) -> None:
        self.envelope(message)
        words = "\n".join(part.text for part in self.texts(message))
        if not words:
            return
        if message.role in SYSTEM_ROLES:
            self.system = f"{self.system}\n{words}".strip()
        elif self.turns and self.turns[-1][0] is message.role:
            self.turns[-1] = (message.role, f"{self.turns[-1][1]}\n{words}")
        else:
            self.turns.append((message.role, words))

    def script(self) -> str:
        """The whole conversation as a script that the model goes on with."""
        lines = [self.system] if self.system else []
        lines += [f"{_NAMES[role]}: {words}" for role, words in self.turns]
        return "\n\n".join([*lines, f"{_NAMES[Role.ASSISTANT]}:"])


def whole(body: bytes, words: str, *, model: str = "", finish: Finish = Finish.STOP) -> ChatResponse:
    """An answer of words alone. Its id is made from its bytes, as these formats have none."""
    return ChatResponse(id=f"text-{blake2b(body, digest_size=12).hexdigest()}", model=model, choices=[Choice([Text(words)], finish)])


def read(body: bytes, shape: type[Shape]) -> Shape:
    """A body of this shape. Raises UpstreamFailed when it is not one (REL-03)."""
    try:
        return msgspec.json.decode(body, type=shape)
    except MALFORMED as error:
        said = message_of(body)
        raise UpstreamFailed(
            f"the provider's answer cannot be read{f': {said}' if said else ''}", upstream_status=200, code="malformed_answer"
        ) from error


class WholeDecoder:
    """Reads a whole answer where a stream is wanted: kept to its end, then told in one go."""

    def __init__(self, answer: Callable[[bytes], ChatResponse]) -> None:
        self._answer = answer
        self._body = bytearray()

    def feed(self, data: bytes) -> list[ChatEvent]:
        """Nothing yet."""
        self._body += data[: MAX_EVENT - len(self._body)]
        return []

    def end(self) -> list[ChatEvent]:
        """All of it, or a Failed event for what is no answer."""
        try:
            answer = self._answer(bytes(self._body))
        except UpstreamFailed as error:
            return [Failed(error.message, code=error.code)]
        choice = answer.choices[0]
        return [Started(answer.id, answer.model), TextDelta(answer.text), Finished(choice.finish, extra=choice.extra)]


class _Silent(StreamWatcher):
    """These formats have no stream, so nobody watches one."""

    def __init__(self) -> None:
        super().__init__(re.compile(rb"(?!)"))

    def read(self, frame: bytes) -> None:
        """Nothing to learn."""


def reading(answer: Callable[[bytes], ChatResponse]) -> Reading:
    """How such a format is read: its answer says all."""
    return Reading(answer, lambda body: answer(body).usage, lambda _: [], lambda: WholeDecoder(answer), _Silent)


class WordFormat(WireFormat, ABC):
    """One of these formats. A subclass writes a request (``encode``) and says where it goes (``send``); no client speaks any."""

    taken: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, name: str) -> None:
        self.name = name
        self.dialect = name

    @abstractmethod
    def encode(self, words: Words) -> bytes:
        """The body for a request."""

    @abstractmethod
    def send(self, target: Target, body: bytes) -> Outgoing:
        """The HTTP request that carries it."""

    def prepare(self, request: ChatRequest, target: Target) -> Prepared:
        """Encode the internal model. Raises BadRequest for a request without words."""
        words = Words(request, target, dialect=self.name, taken=self.taken)
        return Prepared(self.send(target, self.encode(words)), words.dropped)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes."""
        return Prepared(self.send(target, raw.body))

    def models_request(self, target: Target) -> Outgoing | None:
        """None of them lists its models."""
        return None
