"""Embeddings at ``/embeddings`` as OpenAI has them, which most servers took over. Source: OpenAI API reference, "Create embeddings"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.vectors import Vectors, openai_answer
from hub.providers.media._address import request
from hub.providers.media._batches import batched, most

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hub.chat import Usage
    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.providers.base import Target


@dataclass(frozen=True, slots=True)
class OpenAiEmbeddings:
    """``size`` is the field for the dimensions. ``encodes`` says that the server packs vectors as asked; else they come as numbers.

    ``known`` are the further fields that the server has, None where it takes any; ``always`` is sent unless the client says otherwise.
    """

    name: str
    size: str = "dimensions"
    encodes: bool = False
    known: tuple[str, ...] | None = None
    always: Mapping[str, Any] = field(default_factory=dict[str, Any])
    service: str = "embeddings"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """``POST /embeddings``, once for as many inputs as the provider takes at a time; a single answer passes on as it came."""
        extra, dropped = self._extra(job)
        inputs = job.inputs if self.encodes else job.texts()
        shared: dict[str, Any] = {**self.always, **extra, "model": target.model}
        if job.dimensions is not None:
            shared[self.size] = job.dimensions
        if self.encodes:
            shared["encoding_format"] = job.encoding

        async def send(part: Sequence[Any]) -> tuple[Vectors, Usage | None]:
            answer = await line.call(request(target, self.service, "/embeddings", {**shared, "input": part}))
            return openai_answer(answer, len(part))

        async def numbers(part: Sequence[Any]) -> tuple[list[list[float]], float]:
            vectors, usage = await send(part)
            return vectors.values(), usage.input if usage is not None else 0

        size = most(target, self.service, len(inputs))
        if self.encodes and size == len(inputs):
            vectors, usage = await send(inputs)
        else:
            vectors, usage = await batched(inputs, size, line, numbers)
        return Made(vectors, usage, dropped=dropped)

    def _extra(self, job: EmbedJob) -> tuple[dict[str, Any], list[str]]:
        """The client's other fields that the server has, and the names of those that it has not."""
        if job.dialect != "openai":
            return {}, unsent(job.extra)
        if self.known is None:
            return dict(job.extra), []
        return {name: job.extra[name] for name in self.known if name in job.extra}, unsent(job.extra, self.known)


OPENAI = OpenAiEmbeddings("openai", encodes=True)
