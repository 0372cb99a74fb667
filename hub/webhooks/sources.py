"""Where webhooks hear of what is no event of the hub: calls, changes by owners, agent tasks. Heard only while somebody wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.webhooks import names
from hub.webhooks.names import EVENTS, TASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.access.actions import Actions
    from hub.records import AuditRow, UsageRow
    from hub.registry import Skills
    from hub.tasks.task import LiveTask
    from hub.webhooks.webhooks import Webhooks

_CHANGES = tuple(name for name in EVENTS if name.startswith(("key.", "connection.")))
_TASKS = tuple(name for name in EVENTS if name.startswith(TASK))


class Sources:
    """Puts listeners into the lists of a hub's parts, and takes them out again."""

    def __init__(
        self,
        webhooks: Webhooks,
        *,
        calls: list[Callable[[UsageRow], None]],
        audited: list[Callable[[AuditRow], None]],
        moved: list[Callable[[LiveTask], None]],
        actions: Actions,
        skills: Skills,
    ) -> None:
        self._webhooks = webhooks
        self._actions = actions
        self._skills = skills
        self._last = ""
        #: Listeners with their list, and the events that need them.
        self._all: list[tuple[list[Any], Callable[[Any], None], tuple[str, ...]]] = [
            (calls, self._called, (names.COMPLETED, names.ANSWER_FAILED, names.SWITCHED)),
            (audited, self._audited, (*_CHANGES, names.SWITCHED, names.TOOL_FAILED)),
            (moved, self._moved, _TASKS),
        ]

    def refresh(self) -> None:
        """Listen to what is wanted now, and to nothing else."""
        for listeners, listener, needs in self._all:
            wanted = any(map(self._webhooks.wanted, needs))
            if wanted and listener not in listeners:
                listeners.append(listener)
            elif not wanted and listener in listeners:
                listeners.remove(listener)

    def _called(self, row: UsageRow) -> None:
        name = names.COMPLETED if row.outcome == "ok" else names.ANSWER_FAILED
        if self._webhooks.wanted(name):
            self._webhooks.offer(name, _call(row), at=row.at)
        if row.combo and row.fallbacks and row.outcome == "ok" and self._webhooks.wanted(names.SWITCHED):
            shown = ("request_id", "combo", "provider", "model", "connection_id", "fallbacks")
            self._webhooks.offer(names.SWITCHED, {"reason": "fallback", **{one: getattr(row, one) for one in shown}}, at=row.at)

    def _audited(self, row: AuditRow) -> None:
        if row.door == "mcp" and row.outcome != "ok" and row.request_id != self._last:
            # A tool that calls another leaves two rows.
            self._last = row.request_id
            self._tool_failed(row)
        name = self._actions.event(row)
        if not name:
            return
        data: dict[str, Any] = {"id": row.target, "actor": row.caller, "request_id": row.request_id, "action": self._actions.name(row)}
        self._webhooks.offer(name, {**data, "reason": "owner"} if name == names.SWITCHED else data, at=row.at)

    def _tool_failed(self, row: AuditRow) -> None:
        made = self._skills.by_name.get(row.skill)
        tool = made.mcp.tool if made is not None and made.mcp else row.skill
        data = {"tool": tool, "error_code": row.error_code, "outcome": row.outcome, "actor": row.caller, "request_id": row.request_id}
        self._webhooks.offer(names.TOOL_FAILED, data, at=row.at)

    def _moved(self, live: LiveTask) -> None:
        row = live.row
        data = {"task": row.id, "context_id": row.context_id, "skill": row.skill, "state": row.state, "key_id": row.owner}
        self._webhooks.offer(f"{TASK}{row.state}", data, at=row.updated_at)


def _call(row: UsageRow) -> dict[str, Any]:
    """A call as a receiver sees it: what it was and what it took, no word of what was said."""
    shown = (
        "request_id", "door", "key_id", "key_name", "provider", "model", "requested_model", "combo", "status", "outcome", "error_code",
        "latency_ms", "ttft_ms", "cost", "stream", "fallbacks", "source",
    )  # fmt: skip
    used = row.usage
    tokens = {"input_tokens": used.prompt, "cached_tokens": used.cache_read, "output_tokens": used.output}
    return {**{name: getattr(row, name) for name in shown}, **tokens}
