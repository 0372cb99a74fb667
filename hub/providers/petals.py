"""The HTTP endpoint of Petals: a form with the text so far, then the text that follows. Source: README of chat.petals.dev, "HTTP API"."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlencode

import msgspec

from hub.errors import UpstreamFailed
from hub.providers._request import build
from hub.providers._wire import Reading
from hub.providers._words import WordFormat, Words, read, reading, whole
from hub.providers.base import Adapter

if TYPE_CHECKING:
    from hub.chat import ChatResponse
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

#: Tokens to ask for where nobody says: the server wants a number.
DEFAULT_TOKENS = 512
#: A model that goes on with a script goes on for the user, too.
_NEXT = "\n\nUser:"


class _Answer(msgspec.Struct):
    ok: bool
    outputs: str = ""
    traceback: str = ""


def _answer(body: bytes) -> ChatResponse:
    found = read(body, _Answer)
    if not found.ok:
        # The last line of a Python traceback is what went wrong; the others are the server's own business.
        said = found.traceback.strip().rpartition("\n")[2][:300]
        raise UpstreamFailed(f"the provider could not answer: {said or 'it does not say why'}", upstream_status=502, code="provider_error")
    words = found.outputs.partition(_NEXT)[0]
    return whole(body, words.removesuffix("</s>").strip())


class Petals(WordFormat):
    """Text that goes on."""

    taken = frozenset({"max_tokens", "temperature", "top_p", "top_k"})
    reading: ClassVar[Reading] = reading(_answer)

    def encode(self, words: Words) -> bytes:
        """The form. Sampling is off unless the client asks for some."""
        request = words.request
        sampling = {"temperature": request.temperature, "top_p": request.top_p, "top_k": request.top_k}
        wanted = {name: value for name, value in sampling.items() if value is not None}
        if not request.temperature:
            wanted.pop("temperature", None)  # 0 is what the server does without sampling
        form = {"model": words.target.model, "inputs": words.script(), "max_new_tokens": words.max_tokens() or DEFAULT_TOKENS}
        return urlencode({**form, "do_sample": int(bool(wanted)), **wanted}).encode()

    def send(self, target: Target, body: bytes) -> Outgoing:
        """To the row's address, as a form."""
        headers = (("content-type", "application/x-www-form-urlencoded"),)
        return build(target, target.provider.path(self.name) or "/generate", body, headers=headers)


adapter: Adapter = Petals("petals")
