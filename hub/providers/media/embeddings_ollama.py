"""Embeddings of Ollama servers. Source: Ollama API documentation, "Generate Embeddings"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.media.vectors import Vectors, require
from hub.providers.media._address import request

if TYPE_CHECKING:
    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.providers.base import Target

_KNOWN = ("truncate", "options", "keep_alive")


class _Answer(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int | None = None


class OllamaEmbeddings:
    """``POST /api/embed``."""

    service = "embeddings"
    name = "ollama"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for all texts."""
        texts = job.texts()
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model": target.model, "input": texts}
        if job.dimensions is not None:
            body["dimensions"] = job.dimensions
        found = decoded(await line.call(request(target, self.service, "/api/embed", body)), _Answer, "embeddings")
        require(len(found.embeddings), len(texts))
        tokens = found.prompt_eval_count or 0
        return Made(Vectors(found.embeddings), Usage(input=tokens) if tokens > 0 else None, dropped=unsent(job.extra, _KNOWN))


OLLAMA = OllamaEmbeddings()
