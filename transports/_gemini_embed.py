"""Embedding requests of the Gemini API, one content or a batch of them, as the input of the ``embeddings`` skill.

Source: Gemini API reference, "EmbedContentRequest".
"""

from __future__ import annotations

from typing import Any

from transports._fields import bad
from transports._raw_fields import Fields


def embed_input(body: bytes, model: str, *, batch: bool) -> dict[str, Any]:
    """The input for one content, or for a batch. Raises BadRequest for what is no text, and for a batch of unlike requests."""
    fields = Fields(body, snake=True)
    if not batch:
        return {"model": model, "input": [_text(fields)], **_beside(fields)}
    texts: list[str] = []
    shared: dict[str, Any] = {}
    for item in fields.objects("requests", one=True):
        texts.append(_text(item))
        beside = _beside(item)
        if len(texts) > 1 and beside != shared:
            bad(item.at, "must ask for the same task and length as the requests before it; send it in a batch of its own")
        shared = beside
    if not texts:
        bad("requests", "must be a list with at least one request")
    return {"model": model, **shared, "input": texts}


def _text(fields: Fields) -> str:
    content = fields.object("content")
    if content is None:
        bad(fields.path("content"), "is missing")
    texts: list[str] = []
    for part in content.objects("parts", one=True):
        if not part.is_text("text"):
            bad(part.at, "must be a text; other parts cannot be embedded here")
        texts.append(part.text("text"))
    if not any(texts):
        bad(content.path("parts"), "must hold a text")
    return "".join(texts)


def _beside(fields: Fields) -> dict[str, Any]:
    """Task, title and length, where they are given; older clients put them into a config."""
    fields.take("model")
    config = fields.object("embedContentConfig")
    given = {**fields.rest(), **(config.rest() if config is not None else {})}
    length = given.pop("outputDimensionality", None)
    # a title names a document; without one it says nothing
    made = {name: value for name, value in given.items() if value not in (None, "")}
    return {**made, "dimensions": length} if length is not None else made
