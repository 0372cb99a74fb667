"""The chat endpoint of NLP Cloud: what is said now, what was said before in pairs, and a context. Source: its API reference, "Chatbot"."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from hub.chat import Role
from hub.errors import BadRequest
from hub.providers._request import build
from hub.providers._wire import Reading
from hub.providers._words import WordFormat, Words, read, reading, whole
from hub.providers.base import Adapter

if TYPE_CHECKING:
    from hub.chat import ChatResponse, JsonObject
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target


class _Answer(msgspec.Struct):
    response: str


def _answer(body: bytes) -> ChatResponse:
    found = read(body, _Answer)
    return whole(body, found.response)


class NlpCloud(WordFormat):
    """Words in pairs."""

    reading: ClassVar[Reading] = reading(_answer)

    def encode(self, words: Words) -> bytes:
        """The body. Raises BadRequest where the last turn is not the user's: there is nothing to answer then."""
        turns = words.turns
        if not turns or turns[-1][0] is Role.ASSISTANT:
            raise BadRequest("messages: this provider answers the user's words; the last message has none", field="messages")
        body: JsonObject = {"input": turns[-1][1]}
        if words.system:
            body["context"] = words.system
        history = _pairs(turns[:-1])
        if history:
            body["history"] = history
        return msgspec.json.encode(body)

    def send(self, target: Target, body: bytes) -> Outgoing:
        """To the model's own address."""
        return build(target, target.provider.path(self.name) or "/{model}/chatbot", body)


def _pairs(turns: list[tuple[Role, str]]) -> list[JsonObject]:
    """What was said and answered, turn by turn; a side that said nothing is empty."""
    pairs: list[JsonObject] = []
    for role, words in turns:
        if role is not Role.ASSISTANT:
            pairs.append({"input": words, "response": ""})
        elif pairs and not pairs[-1]["response"]:
            pairs[-1]["response"] = words
        else:
            pairs.append({"input": "", "response": words})
    return pairs


adapter: Adapter = NlpCloud("nlpcloud")
