"""Speech: texts said aloud, the sound sent on while it is made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.chat import Usage
from hub.context import Context
from hub.errors import Internal
from hub.media.jobs import SpeechJob
from hub.media.order import Delivered, Order
from hub.skill import Audit, CostClass, Flow, Rest, skill
from hub.tokens import estimate_tokens
from hub.units import Units
from skills._media import MediaAsk, addressed, told

_LONGEST = 100_000
#: Slow speech: so many characters a second at least, for what a call may cost.
_SLOW = 8


class SpeechAsk(MediaAsk):
    """What to say, and with which voice. Fields that are not named here go to providers that know them."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    input: str = Field(min_length=1, max_length=_LONGEST, description="The text.")
    voice: str | dict[str, Any] = Field(default="", description="Name or id of a voice that the provider knows, or {id}.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(default="mp3", description="The form of the sound.")
    speed: float | None = Field(default=None, ge=0.25, le=4.0, description="How fast; 1 is as the voice speaks.")

    def voiced(self) -> str:
        """The voice as one word."""
        named = self.voice if isinstance(self.voice, str) else str(self.voice.get("id", ""))
        return named[:200]


def _sound(found: Delivered[str]) -> Flow:
    if found.body is None:
        raise Internal("speech came without sound")
    return Flow(found.body, found.value)


@skill(
    "speech",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/v1/audio/speech", view=_sound, headers=told)],
    audit=Audit.NONE,
)
async def speech(ctx: Context, ask: SpeechAsk) -> Delivered[str]:
    """Say a text aloud with the model that routing chooses."""
    length = len(ask.input)
    order = Order(
        "tts",
        addressed(ctx, ask.provider, ask.model),
        SpeechJob(ask.input, ask.voiced(), ask.response_format, ask.speed, ask.others()),
        "speech",
        usage=Usage(input=estimate_tokens(ask.input), estimated=True),
        units=Units(characters=length, seconds_out=length / _SLOW),
        connection=ctx.connection,
    )
    return await ctx.hub.media.run(order, ctx)
