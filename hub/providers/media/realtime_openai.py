"""Realtime conversations as OpenAI has them, and providers that speak the same.

Source: OpenAI API reference, "Realtime client events" and "Realtime server events"; the names of the preview are known, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.chat import Usage
from hub.errors import openai_body
from hub.media.order import Made
from hub.media.talk import Aside, Begun, Ended
from hub.money.units import NO_UNITS, Units
from hub.providers.media._address import request

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.errors import HubError
    from hub.media.order import Line
    from hub.media.talk import RealtimeAsk, Turn
    from hub.outbound.base import Socket
    from hub.providers.base import Target

#: Most tokens of an answer where neither session nor catalogue says so: OpenAI's own limit.
_MOST_OUTPUT = 4096
#: Characters of base64 for one token of sound, heard and made (100 and 50 ms of 24 kHz PCM16); and the least that any format has.
_MADE_PER_TOKEN, _HEARD_PER_TOKEN = 3200, 1000
#: Characters of JSON for one token of text, on the safe side.
_TEXT_PER_TOKEN = 3
_APPEND = "input_audio_buffer.append"
_OUTCOMES = {"cancelled": "cancelled", "failed": "error"}


class _Cached(msgspec.Struct):
    audio_tokens: int | None = None


class _Details(msgspec.Struct):
    audio_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: _Cached | None = None


class _Used(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: _Details | None = None
    output_token_details: _Details | None = None
    seconds: float | None = None


class _Response(msgspec.Struct):
    id: str = ""
    status: str = ""
    usage: _Used | None = None
    max_output_tokens: Any = None
    status_details: Any = None


class _Event(msgspec.Struct):
    type: str = ""
    response_id: str = ""
    response: _Response | None = None
    session: Any = None
    usage: _Used | None = None


class _Kind(msgspec.Struct):
    type: str = ""


_EVENT, _KIND = msgspec.json.Decoder(_Event), msgspec.json.Decoder(_Kind)


class OpenAiRealtime:
    """``/realtime?model=`` as a WebSocket."""

    service = "realtime"
    name = "openai"

    async def make(self, job: RealtimeAsk, target: Target, line: Line) -> Made[Conversation]:
        """Open a conversation."""
        query = {"model": target.model}
        socket = await line.dial(request(target, self.service, "/realtime", query=query, headers=job.headers, method="GET"))
        return Made(Conversation(target, socket), stands=True)


class Conversation:
    """Follows both sides of one conversation. What it cannot read it passes over: a new event never breaks it."""

    def __init__(self, target: Target, socket: Socket) -> None:
        self.target = target
        self.socket = socket
        listed = target.model_row
        self._most = (listed.max_output if listed is not None else None) or _MOST_OUTPUT
        self._context = 0  # tokens that the conversation held at the last answer
        self._new = 0  # and an upper estimate of what came since
        self._transcriber = ""
        #: Answers under way -> characters of sound and events of text that came.
        self._made: dict[str, list[int]] = {}
        self._followed: dict[str, Callable[[_Event], Turn | None]] = {
            "session.created": self._settings,
            "session.updated": self._settings,
            "response.created": self._begun,
            "response.done": self._ended,
            "conversation.item.input_audio_transcription.completed": self._written,
        }

    def sent(self, message: str | bytes) -> None:
        """See :class:`hub.media.talk.Talk`."""
        try:
            heard = _KIND.decode(message).type == _APPEND
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            heard = False
        self._new += len(message) // (_HEARD_PER_TOKEN if heard else _TEXT_PER_TOKEN) + 1

    def heard(self, message: str | bytes) -> Turn | None:
        """See :class:`hub.media.talk.Talk`."""
        try:
            event = _EVENT.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if event.type.endswith(".delta"):
            self._count(event.response_id, event.type, len(message))
            return None
        follow = self._followed.get(event.type)
        return follow(event) if follow is not None else None

    def so_far(self, name: str) -> tuple[Usage, Units]:
        """See :class:`hub.media.talk.Talk`."""
        sound, text = self._made.pop(name, [0, 0])
        spoken = sound // _MADE_PER_TOKEN
        if not (sound or text):
            return Usage(estimated=True), NO_UNITS
        prompt = self._context + self._new
        return Usage(input=prompt, output=spoken + text, estimated=True), Units(audio_in=self._new, audio_out=spoken)

    def told(self, error: HubError) -> str:
        """See :class:`hub.media.talk.Talk`."""
        return orjson.dumps({"type": "error", "event_id": f"event_hub_{error.code}", **openai_body(error)}, default=str).decode()

    def _count(self, name: str, kind: str, size: int) -> None:
        made = self._made.get(name)
        if made is None:
            return
        if "audio.delta" in kind:
            made[0] += size
        elif "transcript" not in kind:  # what was spoken is not charged a second time as text
            made[1] += 1

    def _settings(self, event: _Event) -> None:
        """What a session was set to: the most that an answer may be, and who writes down what is said."""
        said = _within({"session": event.session}, "session")
        if not said:
            return
        limit = said.get("max_output_tokens", said.get("max_response_output_tokens"))
        if isinstance(limit, int) and limit > 0:
            self._most = limit
        written = _within(said, "audio", "input", "transcription") or _within(said, "input_audio_transcription")
        self._transcriber = str(written.get("model") or "")

    def _written(self, event: _Event) -> Aside | None:
        """What was said has been written down, by a model of its own."""
        used = event.usage
        if used is None or not self._transcriber:
            return None
        return Aside(self._transcriber, _usage(used), msgspec.structs.replace(_units(used), seconds_in=used.seconds or 0.0))

    def _begun(self, event: _Event) -> Begun | None:
        response = event.response
        if response is None:
            return None
        self._made[response.id] = [0, 0]
        limit = response.max_output_tokens
        output = limit if isinstance(limit, int) and limit > 0 else self._most
        prompt = self._context + self._new
        return Begun(response.id, Usage(input=prompt, output=output), Units(audio_in=prompt, audio_out=output))

    def _ended(self, event: _Event) -> Ended | None:
        response = event.response
        if response is None:
            return None
        outcome, used = _OUTCOMES.get(response.status, "ok"), response.usage
        if used is None or used.input_tokens is None:
            return Ended(response.id, None, NO_UNITS, outcome, _reason(response.status_details))
        self._made.pop(response.id, None)
        usage = _usage(used)
        self._context, self._new = usage.total, 0
        return Ended(response.id, usage, _units(used), outcome, _reason(response.status_details))


def _usage(used: _Used) -> Usage:
    cached = _cached(used)[0]
    return Usage(input=max(0, (used.input_tokens or 0) - cached), cache_read=cached, output=used.output_tokens or 0)


def _units(used: _Used) -> Units:
    """How many of the tokens are sound."""
    cached = _cached(used)[1]
    heard = (used.input_token_details.audio_tokens or 0) if used.input_token_details else 0
    made = (used.output_token_details.audio_tokens or 0) if used.output_token_details else 0
    return Units(audio_in=max(0, heard - cached), audio_cached=cached, audio_out=made)


def _cached(used: _Used) -> tuple[int, int]:
    """Tokens of the prompt that were cached, and how many of them are sound."""
    details = used.input_token_details
    if details is None:
        return 0, 0
    inner = details.cached_tokens_details
    return details.cached_tokens or 0, (inner.audio_tokens or 0) if inner is not None else 0


def _within(said: dict[str, Any], *names: str) -> dict[str, Any]:
    found: Any = said
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType] - JSON


def _reason(details: Any) -> str:
    error = _within({"details": details}, "details", "error")
    return str(error.get("message") or error.get("code") or "")[:200]


OPENAI = OpenAiRealtime()
