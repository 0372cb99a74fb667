"""An upstream that answers like a vendor: plain OpenAI answers and streams, on top of the fault-injecting server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.fakes.upstream import Behaviour, json_answer, sse

if TYPE_CHECKING:
    from tests.fakes.hub import Running
    from tests.fakes.upstream import FaultUpstream

USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 5},
}


def completion(text: str = "Hello from upstream", **fields: Any) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        "id": "chatcmpl-up",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": USAGE,
        "system_fingerprint": "fp_kept",
        **fields,
    }


def chunk(delta: dict[str, Any], *, finish: str | None = None, **fields: Any) -> str:
    """One stream chunk as JSON text."""
    return json.dumps(
        {
            "id": "chatcmpl-up",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "gpt-4o-mini-2024-07-18",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            **fields,
        },
        ensure_ascii=False,
    )


USAGE_CHUNK = json.dumps(
    {
        "id": "chatcmpl-up",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [],
        "usage": USAGE,
    }
)


def chunks(*words: str) -> list[str]:
    """A whole stream: role, words, finish and usage."""
    return [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"content": word}) for word in words),
        chunk({}, finish="stop"),
        USAGE_CHUNK,
    ]


def stream(*words: str, delay: float = 0.0) -> Behaviour:
    """A good stream."""
    return sse(chunks(*words), delay=delay)


def good() -> Behaviour:
    """A good answer."""
    return json_answer(completion())


async def connect(running: Running, upstream: FaultUpstream, provider: str = "openai", **fields: Any) -> str:
    """A connection of the hub to an upstream; returns its id. ``/v1`` is the base path."""
    number = len(running.hub.store.connections.all()) + 1
    options = {"name": f"up{number}", "secret": f"sk-upstream-secret-{number:04}", "allow_private": True, "priority": number, **fields}
    made = await running.hub.store.connections.create(provider=provider, base_url=f"{upstream.url}/v1", **options)
    return made.id
