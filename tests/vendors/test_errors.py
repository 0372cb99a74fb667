"""Error answers as vendors document them, and what each means: ``errors.json`` has a row for each vendor and case, in words of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from hub.engine.fallback import Next, Scope, rule_for
from hub.providers._failure import classify
from hub.providers.base import FailureKind as K

NOW = 1_800_000_000_000


#: ``{"vendor", "case", "status", "body", "kind", "wait"}``; a body that is a text is none of JSON, ``wait`` is in seconds.
TABLE: list[dict[str, Any]] = orjson.loads((Path(__file__).parent / "errors.json").read_bytes())


def _body(data: Any) -> bytes:
    return data.encode() if isinstance(data, str) else orjson.dumps(data)


@pytest.mark.parametrize("row", TABLE, ids=[f"{row['vendor']}: {row['case']}" for row in TABLE])
def test_a_documented_error(row: dict[str, Any]) -> None:
    found = classify(row["status"], [], _body(row["body"]), now_ms=NOW)
    assert found.kind is K(row["kind"])
    assert found.retry_after == (pytest.approx(row["wait"]) if "wait" in row else None)
    assert found.message, "the provider's words are kept"
    rule = rule_for(found)
    if row["case"].startswith(("context", "size")):
        assert (rule.next, rule.scope, found.code) == (Next.LARGER, Scope.NONE, "context_length_exceeded")
    if row["case"].startswith(("content", "moderation")):
        assert (rule.next, rule.scope, found.code, found.status) == (Next.STOP, Scope.NONE, "content_filter", 400)


@pytest.mark.parametrize(
    ("vendor", "name", "value", "wait"),
    [
        ("anthropic", "retry-after", "41", 41.0),
        ("openai", "retry-after-ms", "1250", 1.25),
        ("groq", "retry-after", "2", 2.0),
        ("openrouter", "x-ratelimit-reset", str(NOW + 9000), 9.0),
        ("github", "x-ratelimit-reset", str(NOW // 1000 + 30), 30.0),
    ],
)
def test_a_documented_reset(vendor: str, name: str, value: str, wait: float) -> None:
    found = classify(429, [(name.encode(), value.encode())], b'{"error":{"message":"Rate limit exceeded"}}', now_ms=NOW)
    assert (found.kind, found.retry_after) == (K.RATE, pytest.approx(wait))
