"""Embeddings of Mistral, which refuses fields that it does not know. Source: Mistral API reference, "Embeddings"; the vendor's client."""

from __future__ import annotations

from hub.providers.media.embeddings_openai import OpenAiEmbeddings

MISTRAL = OpenAiEmbeddings("mistral", size="output_dimension", known=("metadata",))
