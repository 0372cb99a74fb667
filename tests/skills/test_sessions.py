"""The list of sessions, as a manager sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import Forbidden, InvalidInput
from hub.planning.affinity import Sessions
from hub.records import Caller

if TYPE_CHECKING:
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio


async def test_sessions_under_way(desk: Desk) -> None:
    assert (await desk.ask("sessions-list")).model_dump(by_alias=True) == {"count": 0, "sessions": [], "byApiKey": {}}
    began = desk.clock.now_ms()
    caller = Caller(key_id="key_1", name="k", scopes=frozenset())
    first, second = (Sessions.of(caller, name) for name in ("ext:a", "ext:b"))
    desk.hub.sessions.begin(first)
    desk.clock.advance(2)
    desk.hub.sessions.begin(second)
    desk.hub.sessions.begin(first)
    desk.hub.sessions.answered(first, "con_1")
    desk.clock.advance(3)
    found = (await desk.ask("sessions-list", limit=1)).model_dump(by_alias=True)
    assert (found["count"], found["byApiKey"]) == (2, {"key_1": 2})
    (row,) = found["sessions"]
    assert row == {
        "sessionId": "ext:a", "createdAt": began, "lastActive": began + 2000, "requestCount": 2, "connectionId": "con_1", "ageMs": 5000,
    }  # fmt: skip
    with pytest.raises(InvalidInput):
        await desk.ask("sessions-list", surprise=1)
    with pytest.raises(Forbidden):
        await desk.ask("sessions-list", caller)
