"""Ranking at ``/rerank`` of servers that are else like OpenAI. Source: Together and Fireworks AI, "Rerank"; Novita AI, "Create rerank"."""

from __future__ import annotations

from hub.providers.media.rerank_cohere import Rerank

OPENAI = Rerank("openai")
