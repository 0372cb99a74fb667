"""Embeddings of Voyage AI. Source: Voyage API reference, "Text embedding models"; the vendor's Python client.

Vectors come as numbers unless base64 is asked for; ``output_dtype`` is left out, since its other types are no vectors of OpenAI's.
"""

from __future__ import annotations

from hub.providers.media.embeddings_openai import OpenAiEmbeddings

VOYAGE = OpenAiEmbeddings("voyage", size="output_dimension", known=("input_type", "truncation"))
