"""Ranking of Jina AI, which sends all documents back unless it is told not to. Source: Jina AI, "Reranker API"."""

from __future__ import annotations

from hub.providers.media.rerank_cohere import Rerank

JINA = Rerank("jina", always={"return_documents": False})
