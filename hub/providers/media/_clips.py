"""What the formats of films and music share: what they come to, and in which form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.order import Made
from hub.media.pictures import kind_of
from hub.money.units import Units
from hub.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.media.films import Clip
    from hub.media.jobs import ClipJob
    from hub.media.order import Line

#: The most that one film may be, in bytes, where it goes through the hub.
_MOST = 256 * 1024 * 1024


async def made(
    job: ClipJob, clips: list[Clip], line: Line, *, seconds: float, usage: Usage | None = None, dropped: Iterable[str] = ()
) -> Made[list[Clip]]:
    """The clips in the form that the job wants; ``seconds`` is the length of one. Raises UpstreamFailed without clips (REL-03)."""
    if not clips:
        raise UpstreamFailed("the provider answered with nothing to see or hear", code="malformed_answer")
    units = lasting(seconds * len(clips))
    line.taken(usage or said(job), units)
    for clip in clips:
        await _given(clip, job.form, line)
    return Made(clips, usage or said(job), units, sorted(set(dropped)))


async def _given(clip: Clip, form: str, line: Line) -> None:
    """Fetch what is wanted as base64. Raises UpstreamFailed for what is no clip."""
    if form == "b64_json" and not clip.data:
        clip.data = await line.fetched(clip.url, most=_MOST)
    if not kind_of(clip.data) if clip.data else not clip.url:
        raise UpstreamFailed("the provider answered with something that is neither film nor sound", code="malformed_answer")


def lasting(seconds: float) -> Units:
    """What a clip of a length is charged by."""
    return Units(seconds_out=seconds)


def said(job: ClipJob) -> Usage:
    """What a provider was told that counts no tokens."""
    return Usage(input=estimate_tokens(job.prompt) or 1, estimated=True)
