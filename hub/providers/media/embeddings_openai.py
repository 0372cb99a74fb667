"""Embeddings at ``/embeddings`` as OpenAI has them, and the servers that differ from it in a name or two.

Source: OpenAI API reference, "Create embeddings"; Voyage AI and Jina AI, "Embeddings API".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.vectors import Vectors, openai_answer
from hub.providers.media._address import request

if TYPE_CHECKING:
    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.providers.base import Target


@dataclass(frozen=True, slots=True)
class OpenAiEmbeddings:
    """``size`` is the field for the dimensions. ``encodes`` says that the server packs vectors as asked; else they come as numbers."""

    name: str
    size: str = "dimensions"
    encodes: bool = False
    service: str = "embeddings"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """``POST /embeddings``."""
        own = job.dialect == "openai"
        body: dict[str, Any] = {**(job.extra if own else {}), "model": target.model, "input": job.inputs if self.encodes else job.texts()}
        if job.dimensions is not None:
            body[self.size] = job.dimensions
        if self.encodes:
            body["encoding_format"] = job.encoding
        answer = await line.call(request(target, self.service, "/embeddings", body))
        vectors, usage = openai_answer(answer, len(job.inputs))
        return Made(vectors if self.encodes else Vectors(vectors.values()), usage, dropped=[] if own else unsent(job.extra))


OPENAI = OpenAiEmbeddings("openai", encodes=True)
JINA = OpenAiEmbeddings("jina")
VOYAGE = OpenAiEmbeddings("voyage", size="output_dimension")
