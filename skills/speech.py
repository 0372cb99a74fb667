"""Speech: texts said aloud, the sound sent on while it is made."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import Field

from hub.chat import Usage
from hub.context import Context
from hub.errors import Internal
from hub.media.jobs import SpeechJob
from hub.media.order import Delivered, Order
from hub.money.units import Units
from hub.skill import Audit, CostClass, Flow, Pieces, Rest, skill
from hub.tokens import estimate_tokens
from skills._media import MediaAsk, addressed, told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_EVENTS = "text/event-stream"
_LONGEST = 100_000
#: Slow speech: so many characters a second at least, for what a call may cost.
_SLOW = 8


class SpeechAsk(MediaAsk):
    """What to say, and with which voice. Fields that are not named here go to providers that know them."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    input: str = Field(min_length=1, max_length=_LONGEST, description="The text.")
    voice: str | dict[str, Any] = Field(default="", description="Name or id of a voice that the provider knows, or {id}.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = Field(
        default=None, description="The form of the sound; mp3 without, or the provider's own where it has none."
    )
    instructions: str = Field(default="", max_length=4096, description="How to say it, for providers that take words for that.")
    stream_format: Literal["audio", "sse"] = Field(default="audio", description="sse: the sound in events, as base64.")
    speed: float | None = Field(default=None, ge=0.25, le=4.0, description="How fast; 1 is as the voice speaks.")

    def voiced(self) -> str:
        """The voice as one word."""
        named = self.voice if isinstance(self.voice, str) else str(self.voice.get("id", ""))
        return named[:200]


@dataclass(slots=True)
class Spoken:
    """What was said, and whether the client wants it as events."""

    delivered: Delivered[str]
    events: bool


class _Told:
    """Sound on its way as OpenAI's events, for providers that give sound alone."""

    def __init__(self, sound: Pieces) -> None:
        self._sound = sound

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._sound:
            yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
        yield _event({"type": "speech.audio.done"})

    async def aclose(self) -> None:
        """The reader is done, or has gone."""
        await self._sound.aclose()


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _sound(spoken: Spoken) -> Flow:
    found = spoken.delivered
    if found.body is None:
        raise Internal("speech came without sound")
    if spoken.events and found.value != _EVENTS:
        return Flow(_Told(found.body), _EVENTS)
    return Flow(found.body, found.value)


def _headers(spoken: Spoken) -> dict[str, str]:
    return told(spoken.delivered)


@skill(
    "speech",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[Rest("POST", path, view=_sound, headers=_headers) for path in ("/v1/audio/speech", "/v1/providers/{provider}/audio/speech")],
    audit=Audit.NONE,
)
async def speech(ctx: Context, ask: SpeechAsk) -> Spoken:
    """Say a text aloud with the model that routing chooses."""
    length, events = len(ask.input), ask.stream_format == "sse"
    extra = {**ask.others(), **({"instructions": ask.instructions} if ask.instructions else {})}
    order = Order(
        "tts",
        addressed(ctx, ask.provider, ask.model),
        SpeechJob(ask.input, ask.voiced(), ask.response_format or "", ask.speed, events, extra),
        "speech",
        usage=Usage(input=estimate_tokens(ask.input), estimated=True),
        units=Units(characters=length, seconds_out=length / _SLOW),
        connection=ctx.connection,
        stream=events,
    )
    return Spoken(await ctx.hub.media.run(order, ctx), events)
