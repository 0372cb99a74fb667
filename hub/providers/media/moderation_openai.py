"""Moderation as OpenAI has it. Source: OpenAI API reference, "Create moderation"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import UpstreamFailed
from hub.media.order import Made
from hub.media.reading import decoded
from hub.providers.media._address import request

if TYPE_CHECKING:
    from hub.media.jobs import ModerationJob
    from hub.media.order import Line
    from hub.providers.base import Target


class _Result(msgspec.Struct):
    flagged: bool
    categories: dict[str, Any]
    category_scores: dict[str, Any]


class _Answer(msgspec.Struct):
    results: list[_Result]


class OpenAiModeration:
    """``POST /moderations``; its answer passes on as it comes."""

    service = "moderation"
    name = "openai"

    async def make(self, job: ModerationJob, target: Target, line: Line) -> Made[bytes]:
        """One request for all inputs."""
        body = {**job.extra, "model": target.model, "input": job.input}
        answer = await line.call(request(target, self.service, "/moderations", body))
        found = len(decoded(answer, _Answer, "judgement").results)
        if found != job.count:
            raise UpstreamFailed(f"the provider judged {found} of {job.count} inputs", code="malformed_answer")
        return Made(answer)


OPENAI = OpenAiModeration()
