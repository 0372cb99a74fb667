"""What the owner sets about memory. Nothing is remembered or told until it is switched on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.wire import Body


class MemorySettings(Body):
    """Memory of what users said, per key."""

    enabled: bool = Field(default=False, description="Whether chats are given memories, and give any, at all.")
    injection: bool = Field(default=True, description="Tell the model what is remembered and fits the question.")
    extraction: bool = Field(default=True, description="Remember what users say about themselves; nothing for keys with noLog.")
    max_tokens: int = Field(default=2000, ge=0, le=16_000, description="Tokens of memory in one conversation at most; 0 none.")
    retention_days: int = Field(default=30, ge=1, le=365, description="Days after which what was not said again is forgotten.")
    strategy: Literal["recent", "semantic", "hybrid"] = Field(
        default="hybrid",
        description="`recent`: the newest. `semantic`: by meaning, by words without an embeddingModel. `hybrid`: by both together.",
    )
    scope: Literal["key", "session"] = Field(
        default="key", description="Whether a conversation is told all that its key said, or only what was said in it or in none."
    )
    sealed: bool = Field(default=False, description="Encrypt contents at rest. Words are then compared one memory after the other.")
    embedding_model: str = Field(
        default="", max_length=200, description="provider/model of embeddings, e.g. openai/text-embedding-3-small; empty: none are made."
    )
    min_similarity: float = Field(default=0.35, ge=0.0, le=1.0, description="Least cosine similarity that counts as the same subject.")
