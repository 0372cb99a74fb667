"""A data folder with many keys, connections and combos, written in bulk: what a hub of a large team has to carry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.clock import Clock
from hub.records import NO_LIMITS, NO_RULES
from hub.routing.combo import Combo, Step
from hub.settings import Settings
from hub.store import Store, columns
from hub.store.tables import ApiKeys, Connections, Documents

if TYPE_CHECKING:
    from hub.store.database import Link
    from hub.store.tables import Base

KEYS, CONNECTIONS, COMBOS = 10_000, 1_000, 500


def fill(folder: str, *, keys: int = KEYS, connections: int = CONNECTIONS, combos: int = COMBOS) -> None:
    """Add so many of each to the hub of a data folder, which must not be running."""
    asyncio.run(_fill(Path(folder), keys, connections, combos))


async def _fill(folder: Path, keys: int, connections: int, combos: int) -> None:
    store = Store(Settings(data_dir=folder), Clock())
    await store.open()
    try:
        rows = {
            ApiKeys: [_key(store, number) for number in range(keys)],
            Connections: [_connection(store, number) for number in range(connections)],
            Documents: [_combo(number) for number in range(combos)],
        }

        def work(link: Link) -> None:
            for table, found in rows.items():
                _insert(link, table, found)

        await store._database.write(work, durable=True)
    finally:
        await store.close()


def _insert(link: Link, table: type[Base], rows: list[dict[str, Any]]) -> None:
    name, fields = str(table.__tablename__), list(table.__table__.columns.keys())
    link.many(columns.insert(name, fields), [tuple(row[field] for field in fields) for row in rows])


def _key(store: Store, number: int) -> dict[str, Any]:
    return {
        "id": f"key_load{number}", "name": f"loaded {number}", "prefix": f"hr_load{number}",
        "digest": store.keys._digest(f"loaded-token-{number}").hex(), "grants": '["chat"]', "allowed_models": "[]", "active": True,
        "no_log": False, "created_at": number, "expires_at": None, "revoked_at": None, "last_used_at": None,
        "limits": columns.encoded(NO_LIMITS), "registration": "",
    }  # fmt: skip


def _connection(store: Store, number: int) -> dict[str, Any]:
    identity = f"con_load{number}"
    return {
        "id": identity, "provider": ("groq", "mistral", "together", "deepseek")[number % 4], "name": f"loaded {number}",
        "secret": store.connections._sealed(identity, "secret", f"sk-loaded-{number:06}"), "auth_type": "apikey", "base_url": "",
        "data": "{}", "priority": 1 + number % 7, "active": True, "allow_private": False, "proxy": "", "default_model": "",
        "models": "[]", "test_status": "unknown", "last_error": "", "last_error_at": None, "cooldown_until": None, "backoff_level": 0,
        "created_at": number, "updated_at": number, "rules": columns.encoded(NO_RULES), "extra_secrets": "",
    }  # fmt: skip


def _combo(number: int) -> dict[str, Any]:
    name = f"loaded-{number}"
    steps = tuple(
        Step(id=f"{name}-model-{place}", model=f"groq/model-{place}", provider_id="groq", weight=float(place)) for place in range(1, 6)
    )
    body = Combo(strategy="priority", models=steps).model_dump_json(by_alias=True, exclude_defaults=True)
    return {"id": f"cmb_load{number}", "kind": "combo", "name": name, "body": body, "created_at": number, "updated_at": number}
