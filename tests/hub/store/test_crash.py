"""REL-09: kill -9 while writing loses no acknowledged change and at most the window of written-behind rows."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hub.clock import Clock
from hub.store import Store

if TYPE_CHECKING:
    from hub.settings import Settings

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
WRITER = """
import asyncio, json, sys
from pathlib import Path
from hub.clock import Clock
from hub.settings import Settings
from hub.store import Store
from tests.hub.store.rows import audit_row, task, usage_row

def say(*fact):
    sys.stdout.write(json.dumps(fact) + "\\n")
    sys.stdout.flush()

async def main():
    store = Store(Settings(data_dir=Path(sys.argv[1]), database_url=sys.argv[2], flush_ms=20), Clock())
    await store.open()
    run = int(sys.argv[3])
    number = 0
    while True:
        number += 1
        identity = run * 1_000_000 + number
        store.usage.add(usage_row(identity))
        store.audit.add(audit_row(identity))
        if number % 10 == 0:
            await store.flush()
            say("rows", identity)
        if number % 3 == 0:
            key, _ = await store.keys.create(f"k{identity}", grants=["chat"])
            say("key", key.id)
        if number % 4 == 0:
            made = await store.connections.create(provider="north", name="c", secret=f"s{identity}")
            say("connection", made.id, f"s{identity}")
        if number % 5 == 0:
            await store.tasks.save(task(identity))
            say("task", f"task_{identity}")

asyncio.run(main())
"""


async def killed_after(settings: Settings, run: int, facts: int) -> list[list[str]]:
    """What a writer had acknowledged when it was killed."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(settings.data_dir), settings.database_url, str(run), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    said = [await asyncio.wait_for(child.stdout.readline(), 30) for _ in range(facts)]
    child.kill()
    said += (await child.stdout.read()).splitlines()[:-1]
    await child.wait()
    return [json.loads(line) for line in said]


async def test_kill_nine_keeps_every_acknowledged_change(settings: Settings) -> None:
    known: list[list[str]] = []
    for run, facts in enumerate((3, 25, 60), start=1):
        known += await killed_after(settings, run, facts)
        store = Store(settings, Clock())
        await store.open()
        keys = {key.id for key in store.keys.all()}
        rows = {row["request_id"] for row in await store._database.read(lambda link: link.run("SELECT request_id FROM usage"))}
        for kind, identity, *secret in known:
            if kind == "key":
                assert identity in keys
            elif kind == "connection":
                assert store.connections.get(identity).secret.reveal() == secret[0]
            elif kind == "task":
                assert await store.tasks.get(identity, "key_a") is not None
            else:
                first = int(identity) // 1_000_000 * 1_000_000 + 1
                assert {f"req_{number}" for number in range(first, int(identity) + 1)} <= rows
        assert await store.audit.verify() is None
        if not store.postgres:
            assert await store._database.read(lambda link: link.run("PRAGMA integrity_check")) == [{"integrity_check": "ok"}]
        await store.close()
