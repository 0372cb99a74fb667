"""What adapters share that differ only in how their format is read: answers, streams, usage, errors, lists of models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec

from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED
from hub.providers._failure import classify
from hub.providers._request import build, build_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hub.chat import ChatResponse, Usage
    from hub.outbound.base import Headers, Outgoing
    from hub.providers.base import Decoder, Failure, RawChat, Target, Watcher


Count = TypeVar("Count")


def counted_in(body: bytes, shape: type[Count]) -> Count:
    """A provider's count of tokens. Raises UpstreamFailed when the body is none."""
    try:
        return msgspec.json.decode(body, type=shape)
    except MALFORMED as error:
        raise UpstreamFailed("the provider's count of tokens cannot be read", code="malformed_answer") from error


@dataclass(frozen=True, slots=True)
class Reading:
    """How a format is read: a whole ``answer``, its ``usage`` alone, the ids of a list of ``models``, and for each stream a
    decoder or a watcher. The first three raise UpstreamFailed or a decoding error for a body that is not one. ``finished`` tells
    by a glance at an answer what :meth:`WireFormat.finished` says."""

    answer: Callable[[bytes], ChatResponse]
    usage: Callable[[bytes], Usage | None]
    models: Callable[[bytes], Sequence[str]]
    decoder: Callable[[], Decoder]
    watcher: Callable[[], Watcher]
    finished: Callable[[bytes], bool | None] = lambda _: None


class WireFormat:
    """Reads one wire format. A subclass says how, and adds ``prepare`` and ``splice``."""

    reading: ClassVar[Reading]
    translates = True
    models_path = "/models"
    models_query: ClassVar[Mapping[str, str]] = {}

    def parse(self, body: bytes, target: Target) -> ChatResponse:
        """Decode a whole answer. Raises UpstreamFailed when it is not one."""
        response = self.reading.answer(body)
        response.model = response.model or target.model
        return response

    def decoder(self, target: Target) -> Decoder:
        """A decoder for one stream."""
        return self.reading.decoder()

    def usage_of(self, body: bytes) -> Usage | None:
        """The usage of a whole answer that is passed through. Raises UpstreamFailed when it is not one."""
        return self.reading.usage(body)

    def finished(self, body: bytes) -> bool | None:
        """Whether every choice of a whole answer says something and ended of its own accord; None where only :meth:`parse` can tell."""
        return self.reading.finished(body)

    def watcher(self, raw: RawChat) -> Watcher:
        """A watcher for one stream."""
        return self.reading.watcher()

    def classify(self, status: int, headers: Headers, body: bytes) -> Failure:
        """What an error answer means."""
        return classify(status, headers, body)

    def headers(self, target: Target) -> list[tuple[str, str]]:
        """Headers that the format wants on every request."""
        return []

    def models_request(self, target: Target) -> Outgoing | None:
        """The list of models: at the row's own address, else where the format has it."""
        row = target.provider
        if row.models_url:
            return build_url(target, row.models_url)
        return build(target, row.models_path or self.models_path, query=self.models_query, headers=self.headers(target), method="GET")

    def parse_models(self, body: bytes) -> list[str]:
        """The model ids. Raises UpstreamFailed when the body is not such a list."""
        try:
            return list(self.reading.models(body))
        except MALFORMED as error:
            raise UpstreamFailed("the provider's list of models cannot be read", code="malformed_answer") from error
