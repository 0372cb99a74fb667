"""What the whole of the routing brain costs: a chat through every stage of it, and a hub that carries a large team's data."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from typing import TYPE_CHECKING, Any

from bench.load import NUMBER, Request
from bench.loaded import COMBOS, CONNECTIONS, KEYS, fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

MODELS = [f"bench-{number}" for number in range(1, 6)]
_PATH = "/v1/chat/completions"


def full_chat(port: int, owner: str) -> Request:
    """A chat by a key with two budgets through a combo of five, at temperature 0 and never the same: looked for in the cache, and missed.

    Makes the combo, the key and its budgets at the hub on ``port`` with the owner's key. The provider ``bench`` has :data:`MODELS`.
    """
    models = [f"bench/{name}" for name in MODELS]
    manage(port, owner, "POST", "/api/combos", {"name": "full", "models": models, "strategy": "round-robin"})
    manage(port, owner, "PATCH", "/api/pricing", {"openai-compatible": {name: {"input": 1, "output": 2} for name in MODELS}})
    key = manage(port, owner, "POST", "/api/keys", {"name": "full", "scopes": ["chat"]})
    manage(port, owner, "POST", "/api/usage/budget", {"apiKeyId": key["id"], "dailyLimitUsd": 1e5, "monthlyLimitUsd": 1e6})
    words = f"Tell me about the quick brown fox number {NUMBER.decode()}. " + "It jumps over the lazy dog. " * 20
    messages = [{"role": "system", "content": "You are a careful assistant. " * 12}, {"role": "user", "content": words}]
    body = {"model": "full", "messages": messages, "temperature": 0, "max_tokens": 200}
    return Request(_PATH, json.dumps(body).encode(), (("authorization", f"Bearer {key['key']}"),))


def measure(serve: Callable[[str], AbstractContextManager[tuple[float, Callable[[], float]]]]) -> list[str]:
    """Two lines on a hub with 10,000 keys, 1,000 connections and 500 combos: wall time until it takes calls, and a call's cost in it.

    ``serve`` runs a hub on a folder and gives the seconds of its start and what measures one request to it, in CPU microseconds.
    """
    found: list[tuple[float, float]] = []
    for loaded in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            if loaded:
                fill(folder)
            with serve(folder) as (seconds, probe):
                found.append((seconds, probe()))
    (_, plain), (start, cost) = found
    size = f"{KEYS:,} keys, {CONNECTIONS:,} connections, {COMBOS} combos"
    more = cost / plain - 1
    return [
        f"{'loaded hub, start':28}{start:9.3f}s{'':8}{'2 s':>8}{'  over' if start > 2 else ''}   ({size})",
        f"{'loaded hub, chat':28}{cost:10.1f}{cost / plain:8.2f}{'1.1':>8}{'  over' if more > 0.1 else ''}   (ratio to the same hub empty)",
    ]


def manage(port: int, owner: str, method: str, path: str, body: dict[str, Any]) -> Any:
    """One management call. Raises HTTPError."""
    headers = {"authorization": f"Bearer {owner}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")
