"""An upstream and an Outbound per test; the pool's tests run on both event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.outbound.client import Outbound
from tests.fakes.upstream import FaultUpstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as upstream:
        yield upstream


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    outbound = Outbound(max_per_origin=50)
    yield outbound
    await outbound.aclose()
