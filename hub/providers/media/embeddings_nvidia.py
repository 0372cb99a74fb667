"""Embeddings of NVIDIA's retrieval services. Source: NVIDIA NeMo Retriever, "Embedding NIM", API reference.

Most of their models want to know whether a text is a query or a passage; without a word from the client it is one to be looked through.
"""

from __future__ import annotations

from hub.providers.media.embeddings_openai import OpenAiEmbeddings

NVIDIA = OpenAiEmbeddings("nvidia", encodes=True, known=("input_type", "modality", "truncate", "user"), always={"input_type": "passage"})
