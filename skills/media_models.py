"""Lists of models by what they make: what a GET on each of the media addresses answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.providers.catalog import ModelRow, ProviderRow
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Wire
from skills.models import callable_models, kind_of

Service = Literal["embeddings", "rerank", "moderation", "tts", "stt", "images", "video", "music"]

_AT: dict[Service, str] = {
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "moderation": "/v1/moderations",
    "tts": "/v1/audio/speech",
    "stt": "/v1/audio/transcriptions",
    "images": "/v1/images/generations",
    "video": "/v1/videos/generations",
    "music": "/v1/music/generations",
}
#: What goes in and comes out, where that is not text and text.
_MODALITIES = {
    "tts": (["text"], ["audio"]),
    "stt": (["audio"], ["text"]),
    "image": (["text", "image"], ["image"]),
    "video": (["text", "image"], ["video"]),
    "music": (["text"], ["audio"]),
}


class ModelsAsk(Wire):
    """Which models to list."""

    service: Service = Field(description="What the models are for.")


class MediaModels(Wire):
    """A list in OpenAI's shape."""

    object: str = "list"
    data: list[dict[str, Any]]


def _shown(row: ProviderRow, model: ModelRow) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": f"{row.alias}/{model.id}",
        "object": "model",
        "created": 0,
        "owned_by": row.id,
        "type": kind_of(model),
    }
    if model.kind == "embedding":
        shown["dimensions"] = model.dimensions
    if model.kind == "image":
        # Empty: the vendor takes sides or proportions as one likes, or has not said.
        shown["supported_sizes"] = list(model.sizes)
    if model.kind in _MODALITIES:
        shown["input_modalities"], shown["output_modalities"] = _MODALITIES[model.kind]
    return shown


def _address(service: Service, path: str) -> Rest:
    return Rest("GET", path, ask=lambda _: {"service": service})


@skill(
    "media-models",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[_address(service, path) for service, path in _AT.items()],
    read_only=True,
    audit=Audit.NONE,
)
async def media_models(ctx: Context, ask: ModelsAsk) -> MediaModels:
    """List the models of a service that this key can call."""
    formats = ctx.hub.media.formats.names()
    return MediaModels(
        data=[
            _shown(row, model)
            for row, model in callable_models(ctx)
            if model.does(ask.service) and (ask.service, row.speaks(ask.service, model.id)) in formats
        ]
    )
