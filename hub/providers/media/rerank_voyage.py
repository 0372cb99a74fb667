"""Ranking of Voyage AI. Source: Voyage API reference, "Rerankers"; the vendor's Python client."""

from __future__ import annotations

from hub.providers.media.rerank_cohere import Rerank

VOYAGE = Rerank("voyage", top="top_k", known=("truncation",))
