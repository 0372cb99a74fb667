"""The diagnostics report: what a helper asks first, in one piece, with every secret left out (SEC-22)."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
import shutil
import sqlite3
import sys
import threading
from importlib import metadata
from typing import TYPE_CHECKING, Any, cast

from hub.log import masked, secret_name
from hub.process import checkup
from hub.store import schema
from hub.version import VERSION
from hub.wire import iso

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.settings import Settings

_LIBRARIES = (
    "a2a-sdk",
    "cryptography",
    "fastmcp",
    "httpx",
    "mcp",
    "msgspec",
    "orjson",
    "pydantic",
    "sqlmodel",
    "starlette",
    "uvicorn",
    "uvloop",
)
_SET = "(set)"


async def report(hub: Hub) -> dict[str, Any]:
    """All of it as plain JSON values. Changes nothing and calls nobody."""
    settings = hub.settings
    machine = await asyncio.to_thread(lambda: [*checkup.program(), *checkup.machine(settings)])
    store = await hub.store.health()
    return {
        "versions": _versions(),
        "platform": _platform(settings),
        "process": _process(hub),
        "database": {**store, "newest_schema": schema.HEAD, "files": _sizes(settings)},
        "counts": await _counts(hub),
        "settings": _settings(settings),
        "preferences": _plain(_preferences(hub)),
        "doors": {"url": settings.base_url, "listening": dict(hub.listening), "requireApiKey": settings.require_api_key},
        "audit": await _audit(hub),
        "webhooks": await _webhooks(hub),
        "checks": [{"check": one.check, "state": one.state, "finding": masked(one.words)} for one in machine],
    }


def _versions() -> dict[str, str]:
    found = {"hubroute": VERSION, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _platform(settings: Settings) -> dict[str, Any]:
    folder = settings.data_dir
    disk = shutil.disk_usage(folder if folder.exists() else folder.parent)
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "libc": " ".join(platform.libc_ver()),
        "cpus": os.cpu_count() or 0,
        "diskFreeBytes": disk.free,
        "diskTotalBytes": disk.total,
    }


def _process(hub: Hub) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "pid": os.getpid(),
        "startedAt": iso(hub.started_ms),
        "uptimeSeconds": (hub.clock.now_ms() - hub.started_ms) // 1000,
        "peakMemoryBytes": used.ru_maxrss * scale,
        "cpuSeconds": round(used.ru_utime + used.ru_stime, 2),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "loop": type(asyncio.get_running_loop()).__module__,
        "canRestart": hub.lifecycle.able,
        "stopping": hub.leaving,
    }


def _sizes(settings: Settings) -> dict[str, int]:
    """Bytes of the files of a SQLite database."""
    return {} if settings.postgres else {path.name: path.stat().st_size for path in sorted(settings.data_dir.glob("hubroute.db*"))}


async def _counts(hub: Hub) -> dict[str, int]:
    keys, connections = hub.store.keys.all(), hub.store.connections.all()
    tasks = await hub.store.tasks.counts(None)
    return {
        "skills": len(list(hub.skills)),
        "providersKnown": len(hub.catalog.providers),
        "keys": len(keys),
        "keysActive": sum(key.active and key.revoked_at is None for key in keys),
        "connections": len(connections),
        "connectionsActive": sum(one.active for one in connections),
        "combos": len(hub.combos.all()),
        "mappings": len(hub.mappings.all()),
        "webhooks": len(hub.webhooks.documents.all()),
        "mcpServers": len(hub.upstreams.documents.all()),
        "remoteAgents": len(hub.remote_agents.documents.all()),
        "agentTasks": sum(tasks.values()),
        "batchesOpen": len(await hub.store.batches.worked_on()),
    }


def _settings(settings: Settings) -> dict[str, Any]:
    """Settings that differ from their defaults, as one would write them; of a secret only that it is set."""
    found: dict[str, Any] = {}
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name == "data_dir" or value != info.get_default():
            found[f"HUBROUTE_{name.upper()}"] = _SET if not info.repr or secret_name(name) else value
    whole = settings.model_dump(mode="json")
    plain = {name: value if value == _SET else whole[name.removeprefix("HUBROUTE_").lower()] for name, value in found.items()}
    return _plain(plain)


def _preferences(hub: Hub) -> dict[str, Any]:
    """What was changed while the hub runs; of the owner's own words to models only how many there are."""
    changed = hub.preferences.current.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    prompt: dict[str, Any] = changed.get("systemPrompt", {})
    if prompt.get("prompt"):
        prompt["prompt"] = f"({len(prompt['prompt'])} characters)"
    return changed


async def _audit(hub: Hub) -> dict[str, Any]:
    seq, _ = await hub.store.audit.head()
    return {"rows": seq, "failing": hub.store.queue.failing, "fault": hub.anchors.fault}


async def _webhooks(hub: Hub) -> dict[str, Any]:
    waiting = {one.webhook_id: one.waiting for one in await hub.webhooks.rows.due()}
    off = [one.id for one in hub.webhooks.documents.all() if one.body.disabled_at is not None and not one.body.enabled]
    return {"waiting": waiting, "switchedOff": off, "dropped": sum(hub.webhooks.dropped.values())}


def _plain(value: Any) -> Any:
    """JSON values with what looks like a credential masked, wherever it stands."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if not isinstance(value, dict):
        return value
    fields = cast("dict[str, Any]", value)
    return {name: _SET if secret_name(name) and isinstance(item, str) and item else _plain(item) for name, item in fields.items()}
