"""Names of remote tasks and conversations as callers get them: sealed for one agent and one principal, worthless to any other (SEC-55)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson

from hub.errors import NotFound
from hub.vault import Unreadable

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store import Store

_KEPT_MS = 30 * 86_400_000
_LONGEST = 4000


class Remote(NamedTuple):
    """An agent's own id of a task or conversation, and of the conversation that a task belongs to."""

    id: str
    context: str


class Handles:
    """Nothing is stored: a handle holds the agent's own id, encrypted and bound to who got it. It is good for thirty days."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def give(self, kind: str, agent: str, principal: str, remote: str, context: str = "") -> str:
        """The handle of an agent's id, with that of its conversation where it is a task's; empty for an empty one."""
        told = orjson.dumps([remote, context, self._clock.now_ms()]).decode()
        return self._store.seal(told, _place(kind, agent, principal)) if remote else ""

    def take(self, kind: str, agent: str, principal: str, handle: str) -> Remote:
        """What is behind a handle; nothing behind an empty one.

        Raises NotFound, in the same words for one of somebody else, one that is too old and one that never was.
        """
        if not handle:
            return Remote("", "")
        try:
            told = self._store.unseal(handle, _place(kind, agent, principal)).reveal() if len(handle) <= _LONGEST else "[]"
            remote, context, given = orjson.loads(told)
        except (Unreadable, ValueError):
            remote, context, given = "", "", 0
        if not remote or given < self._clock.now_ms() - _KEPT_MS:
            raise NotFound(f"there is no {kind} of this name that is yours", field=f"{kind}Id", code=f"{kind}_not_found")
        return Remote(remote, context)


def _place(kind: str, agent: str, principal: str) -> str:
    return f"remote-agents/{kind}/{agent}/{principal}"
