"""Calls that are no chat: embeddings, ranking, moderation, search, pictures, speech, film, music. One engine; formats are adapters."""
