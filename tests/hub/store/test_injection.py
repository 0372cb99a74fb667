"""SEC-20: SQL in every string that reaches the store stays a string."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import HubError
from tests.hub.store.rows import audit_row, decision, task, usage_row

if TYPE_CHECKING:
    from hub.store import Store
    from hub.store.database import Link

pytestmark = pytest.mark.anyio
PAYLOADS = [
    "'; DROP TABLE usage; --",
    "' OR '1'='1",
    '"; DELETE FROM api_keys; --',
    '\') UNION SELECT name, value FROM "values" --',
    "%s",
    "%(x)s",
    "?",
    ":name",
    "$1",
    "\\'; SELECT pg_sleep(9); --",
    "1; ATTACH DATABASE 'x' AS y",
    "%",
    "_",
    "{}",
    "\x00",
    "\ud800",
    "ʼ; DROP TABLE tasks",
]
TABLES = ("api_keys", "audit_log", "connections", "decisions", "revision", "tasks", "usage", "values")


def shape(link: Link) -> dict[str, int]:
    return {table: link.run(f'SELECT count(*) AS n FROM "{table}"')[0]["n"] for table in TABLES}


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_payloads_are_data(store: Store, payload: str) -> None:
    await store.keys.create("kept", grants=["chat"])
    store.usage.add(usage_row(1))
    store.audit.add(audit_row(1))
    store.decisions.add(decision(1))
    await store.tasks.save(task(1))
    await store.flush()
    before = await store._database.read(shape)

    assert store.keys.find(payload) is None
    assert await store.decisions.get(payload) is None
    assert await store.tasks.get(payload, None) is None
    assert await store.tasks.get("task_1", payload) is None
    assert (await store.tasks.list(payload, state=payload, context_id=payload, skill=payload, before=(2, payload)))[1] == 0
    assert await store.tasks.unchanged([payload], 9_999) == []
    assert await store.tasks.counts(payload) == {}
    assert (await store.usage.totals(since=0, key_id=payload, provider=payload))["requests"] == 0
    filters = ("key_id", "provider", "model", "connection_id", "outcome", "skill", "door", "request_id")
    assert await store.usage.page(**dict.fromkeys(filters, payload)) == ([], 0)
    assert (await store.usage.latency(0, provider=payload))["samples"] == 0
    assert await store.audit.page(skill=payload, outcome=payload, key_id=payload) == ([], 0)
    refused: list[Any] = [
        store.usage.grouped(payload, since=0),  # type: ignore[arg-type]
        store.usage.page(**{payload: "x"}),
        store.keys.create("a", grants=[payload]),
        store.keys.update(payload, name="a"),
        store.keys.revoke(payload),
        store.keys.delete(payload),
        store.connections.update(payload, name="a"),
        store.connections.delete(payload),
    ]
    for act in refused:
        with pytest.raises(HubError):
            await act
    assert await store._database.read(shape) == {**before, "revision": 1}


@pytest.mark.parametrize("payload", [payload for payload in PAYLOADS if payload not in ("\x00", "\ud800")])
async def test_payloads_are_stored_as_they_are(store: Store, payload: str) -> None:
    key, token = await store.keys.create(payload, grants=["chat"], allowed_models=[payload], token=f"{payload} and sixteen more")
    made = await store.connections.create(
        provider=payload, name=payload, secret=payload, base_url=payload, data={payload: payload}, proxy=payload, models=[payload]
    )
    await store.values.set(payload, {payload: payload})
    store.usage.add(usage_row(1, model=payload, request_id=payload, error_code=payload))
    store.audit.add(audit_row(1, skill=payload, detail=payload, target=payload))
    store.decisions.add(decision(1, request_id=payload, requested_model=payload))
    await store.tasks.save(task(1, id=payload, owner=payload, task={payload: payload}))
    await store.flush()
    found = store.keys.find(token)
    assert found is not None
    assert (found.id, found.name, found.allowed_models) == (key.id, payload, (payload,))
    assert store.connections.of(payload)[0] == made
    assert made.secret.reveal() == payload.strip()
    assert store.values.get(payload) == {payload: payload}
    assert (await store.usage.page(model=payload, request_id=payload))[1] == 1
    assert (await store.audit.page(skill=payload))[0][0].detail == payload
    assert (await store.decisions.get(payload)) == decision(1, request_id=payload, requested_model=payload)
    assert (await store.tasks.get(payload, payload)) == task(1, id=payload, owner=payload, task={payload: payload})
    assert await store.audit.verify() is None
