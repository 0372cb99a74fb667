"""Embeddings of Jina AI. Source: Jina AI, "Embeddings API". Vectors are wanted as numbers, so ``embedding_type`` is not for the client."""

from __future__ import annotations

from hub.providers.media.embeddings_openai import OpenAiEmbeddings

JINA = OpenAiEmbeddings("jina", known=("task", "normalized", "late_chunking", "truncate"))
