"""Rows for the store's tests."""

from __future__ import annotations

from typing import Any

from hub.chat import Usage
from hub.records import AuditRow, Candidate, Decision, TaskRow, UsageRow


def usage_row(number: int = 1, **changes: Any) -> UsageRow:
    fields: dict[str, Any] = {
        "request_id": f"req_{number}",
        "at": 1_000 + number,
        "door": "openai",
        "skill": "chat",
        "key_id": "key_a",
        "key_name": "laptop",
        "provider": "north",
        "model": "m1",
        "requested_model": "north/m1",
        "connection_id": "con_1",
        "usage": Usage(input=10, cache_read=3, output=5, reasoning=2, estimated=True),
        "cost": 0.25,
        "price_source": "catalog",
        "status": 200,
        "outcome": "ok",
        "latency_ms": number * 10,
        "stream": True,
    }
    return UsageRow(**{**fields, **changes})


def decision(number: int = 1, **changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "request_id": f"req_{number}",
        "at": 1_000 + number,
        "key_id": "key_a",
        "requested_model": "auto",
        "resolution": "exact",
        "strategy": "priority",
        "candidates": [Candidate(provider="north", model="m1", connection_id="con_1", connection="one", score=0.5, factors={"cost": 1.0})],
        "order": [0],
        "outcome": "ok",
    }
    return Decision(**{**fields, **changes})


def audit_row(number: int = 1, **changes: Any) -> AuditRow:
    fields: dict[str, Any] = {
        "at": 1_000 + number,
        "request_id": f"req_{number}",
        "door": "mcp",
        "caller": "laptop",
        "key_id": "key_a",
        "skill": "check-quota",
        "outcome": "ok",
        "duration_us": 40,
    }
    return AuditRow(**{**fields, **changes})


def task(number: int = 1, **changes: Any) -> TaskRow:
    fields: dict[str, Any] = {
        "id": f"task_{number}",
        "owner": "key_a",
        "context_id": "ctx_1",
        "skill": "route-request",
        "state": "working",
        "created_at": 1_000,
        "updated_at": 1_000 + number,
        "task": {"id": f"task_{number}", "parts": [{"text": "héllo"}]},
    }
    return TaskRow(**{**fields, **changes})
