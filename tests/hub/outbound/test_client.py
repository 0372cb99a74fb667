"""The choice of engine, and what importing the way out costs."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hub.outbound.base import Proxy
from tests.fakes.proxy import FakeProxy

if TYPE_CHECKING:
    from hub.outbound.client import Outbound
    from tests.fakes.upstream import FaultUpstream

pytestmark = pytest.mark.anyio


async def test_engine_by_target(upstream: FaultUpstream, outbound: Outbound) -> None:
    await (await outbound.send(upstream.outgoing())).read()
    assert outbound.stats()["breadth"] is False
    async with FakeProxy() as proxy:
        await (await outbound.send(upstream.outgoing(proxy=Proxy(proxy.url, private=True)))).read()
    stats = outbound.stats()
    assert stats["breadth"] is True
    (pool,) = stats["pools"]
    assert pool == {
        "origin": upstream.url,
        "private": True,
        "active": 0,
        "idle": 1,
        "waiting": 0,
        "opened": 1,
        "reused": 0,
        "retried": 0,
    }


def test_hot_path_imports_no_httpx() -> None:
    """performance.md section 4, rule 5: a direct target neither imports nor calls httpx."""
    script = "import sys, hub.outbound.client; print({'httpx', 'httpcore', 'h11', 'anyio', 'idna'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
