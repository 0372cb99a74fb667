"""Embeddings of the demo provider: by spelling, on this machine, and they say so (D3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.caching import lexical
from hub.chat import Usage
from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.vectors import Vectors
from hub.providers._demo_reply import pieces_of

if TYPE_CHECKING:
    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.providers.base import Target


class DemoEmbeddings:
    """Vectors of words and groups of letters: they compare spelling, not meaning."""

    service = "embeddings"
    name = "demo"
    by_spelling = True

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """Nothing leaves the process."""
        if job.dimensions not in (None, lexical.DIMENSIONS):
            raise BadRequest(f"dimensions: these vectors have {lexical.DIMENSIONS}", field="dimensions")
        texts = job.texts()
        vectors = Vectors([lexical.vector(text) for text in texts], note="lexical: compares spelling, not meaning")
        return Made(vectors, Usage(input=sum(len(pieces_of(text)) for text in texts)), dropped=unsent(job.extra))


DEMO = DemoEmbeddings()
