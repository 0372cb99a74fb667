"""OpenAI's older completions (a text that goes on), for providers that still have them beside chats: the client's bytes pass.

Only passes: what comes in another form goes to the provider's chats. Source: OpenAI API reference, "Completions (legacy)".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import UpstreamFailed
from hub.providers._openai_response import parse_answer, usage_in
from hub.providers._openai_stream import OpenAiDecoder
from hub.providers._openai_watch import OpenAiWatcher
from hub.providers._stream import SseFrames
from hub.providers._wire import Reading
from hub.providers.openai import OpenAiAdapter

if TYPE_CHECKING:
    from hub.chat import ChatEvent, ChatResponse
    from hub.providers.base import Target

DIALECT = "completions"


def _as_chat(body: bytes) -> bytes:
    """An answer, or an event of one, as the chat that says the same. Raises ValueError for what is no JSON."""
    tree: Any = orjson.loads(body)
    choices = cast("dict[str, Any]", tree).get("choices") if isinstance(tree, dict) else None
    for choice in cast("list[Any]", choices) if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            fields = cast("dict[str, Any]", choice)
            fields["message"] = {"role": "assistant", "content": fields.pop("text", None)}
    return orjson.dumps(tree)


def _parse(body: bytes) -> ChatResponse:
    try:
        return parse_answer(_as_chat(body))
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed("the provider's answer is not JSON", upstream_status=200, code="malformed_answer") from error


class _Decoder:
    """Reads a stream of texts as one of chat chunks."""

    def __init__(self) -> None:
        self._frames = SseFrames()
        self._chat = OpenAiDecoder()

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that these bytes complete."""
        return self._read(self._frames.feed(data))

    def end(self) -> list[ChatEvent]:
        """The rest, or a Failed event for a stream that broke off."""
        return self._read(self._frames.end()) + self._chat.end()

    def _read(self, frames: list[bytes]) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        for frame in frames:
            try:
                data = _as_chat(frame)
            except orjson.JSONDecodeError:
                data = frame  # the end mark, or what the chat's reader refuses in its own words
            events += self._chat.feed(b"data: " + data + b"\n\n")
        return events


class CompletionsAdapter(OpenAiAdapter):
    """The lossless lane of ``/completions``; a row's ``also`` names the address."""

    name = DIALECT
    dialect = DIALECT
    translates = False
    reading = Reading(_parse, usage_in, lambda _: [], _Decoder, partial(OpenAiWatcher, cut_usage=True))
    _places = ("text", "text stream")

    def path(self, target: Target, *, stream: bool) -> str:
        """Where completions are asked for."""
        return target.provider.also.get(DIALECT, "/completions")


COMPLETIONS = CompletionsAdapter()
