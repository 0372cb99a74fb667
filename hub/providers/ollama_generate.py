"""Ollama's generate (a text that goes on, or is filled in), for Ollama servers: the client's bytes pass.

Only passes: what comes in another form goes to the server's chats. Source: Ollama's API documentation, "Generate a completion".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import UpstreamFailed
from hub.providers import _ollama_answer as answer
from hub.providers._request import build
from hub.providers._stream import LineFrames
from hub.providers._wire import Reading
from hub.providers.base import Prepared
from hub.providers.ollama import Ollama
from hub.splice import replace_model

if TYPE_CHECKING:
    from hub.chat import ChatEvent, ChatResponse, Usage
    from hub.providers.base import RawChat, Target

DIALECT = "ollama-generate"


def _as_chat(body: bytes) -> bytes:
    """An answer, or a line of one, as the chat that says the same; what is no answer stays as it is."""
    try:
        tree: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body
    fields = cast("dict[str, Any]", tree) if isinstance(tree, dict) else {}
    if "response" not in fields:
        return body
    fields["message"] = {"role": "assistant", "content": fields.pop("response"), "thinking": fields.pop("thinking", None)}
    return orjson.dumps(fields)


def _parse(body: bytes) -> ChatResponse:
    return answer.parse(_as_chat(body))


def _usage(body: bytes) -> Usage | None:
    return answer.usage_of(_as_chat(body))


class _Decoder:
    """Reads lines of texts as lines of a chat."""

    def __init__(self) -> None:
        self._lines = LineFrames()
        self._chat = answer.OllamaDecoder()

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that these bytes complete."""
        try:
            lines = self._lines.feed(data)
        except UpstreamFailed:
            return self._chat.feed(data)  # too large a line, in its own words
        return [event for line in lines for event in self._chat.feed(_as_chat(line) + b"\n")]

    def end(self) -> list[ChatEvent]:
        """The rest, or a Failed event for a stream that broke off."""
        return [event for line in self._lines.end() for event in self._chat.feed(_as_chat(line) + b"\n")] + self._chat.end()


class OllamaGenerate(Ollama):
    """The lossless lane of ``/api/generate``."""

    name = DIALECT
    dialect = DIALECT
    translates = False
    reading = Reading(_parse, _usage, lambda _: [], _Decoder, answer.OllamaWatcher)

    def splice(self, raw: RawChat, target: Target) -> Prepared:
        """The client's own bytes with the model's name replaced."""
        body = replace_model(raw.body, target.model)
        return Prepared(build(target, target.provider.also.get(DIALECT, "/api/generate"), body))


adapter = OllamaGenerate()
