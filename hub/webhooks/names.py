"""Every event that a webhook may ask for, and how what happens inside the hub is called outside.

The names of :data:`EVENTS` are a promise to receivers; those of :mod:`hub.events` are ours and may differ.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.events import Event

TEST = "test.ping"
COMPLETED, ANSWER_FAILED = "request.completed", "request.failed"
SWITCHED = "combo.switched"
TOOL_FAILED = "mcp.tool.failed"
TASK = "a2a.task."

EVENTS: dict[str, str] = {
    COMPLETED: "a model call was answered",
    ANSWER_FAILED: "a model call failed, was refused, or its client went away",
    "provider.error": "a provider failed so often that its breaker opened",
    "provider.recovered": "a provider answers again after that",
    "connection.ended": "a connection needs a person: its credential is refused, banned or out of credit",
    "connection.created": "a provider connection was added",
    "connection.updated": "a provider connection was changed",
    "connection.deleted": "a provider connection was removed",
    "key.created": "an API key was made",
    "key.updated": "an API key was changed",
    "key.revoked": "an API key was revoked",
    "key.deleted": "an API key was deleted",
    "quota.warning": "a long quota window of a connection is used to 80 %",
    "quota.exceeded": "a quota window of a connection is used up, or as far as its owner lets it",
    "budget.warning": "a budget has reached its warning threshold",
    "budget.exceeded": "a budget is used up",
    "budget.unsettled": "calls were under way when a process died; budgets count them whole",
    "budget.journal_damaged": "lines of the journal of budgets could not be read",
    SWITCHED: "a combo was switched on or off, or a request went on to a later target of one",
    "batch.progress": "a batch has got further",
    "batch.in_progress": "a batch is being worked off",
    "batch.finalizing": "the output of a batch is being written",
    "batch.completed": "a batch is done",
    "batch.failed": "a batch could not be worked off",
    "batch.expired": "a batch ran out of time",
    "batch.cancelling": "a batch is being cancelled",
    "batch.cancelled": "a batch was cancelled",
    f"{TASK}working": "an agent task is worked on",
    f"{TASK}input-required": "an agent task waits for an answer",
    f"{TASK}auth-required": "an agent task waits for a login",
    f"{TASK}completed": "an agent task is done",
    f"{TASK}failed": "an agent task failed",
    f"{TASK}canceled": "an agent task was cancelled",
    f"{TASK}rejected": "an agent task was refused",
    "agent.card.changed": "the card of a remote agent is not what was allowed",
    "agent.card.refused": "the card of a remote agent is out of bounds",
    "agent.card.failed": "the card of a remote agent cannot be read",
    "cloud_agent.queued": "a cloud agent task waits at its vendor",
    "cloud_agent.running": "a cloud agent works on a task",
    "cloud_agent.awaiting_approval": "a cloud agent waits for its plan to be approved",
    "cloud_agent.completed": "a cloud agent task is done",
    "cloud_agent.failed": "a cloud agent task failed",
    "cloud_agent.cancelled": "a cloud agent task was cancelled",
    TOOL_FAILED: "a tool that was called through the MCP door failed or was denied",
    "mcp.tool.changed": "a tool of an upstream MCP server is not what was allowed",
    "mcp.tool.gone": "an allowed tool of an upstream MCP server is gone",
    "mcp.resource.changed": "a resource of an upstream MCP server is not what was allowed",
    "mcp.resource.gone": "an allowed resource of an upstream MCP server is gone",
    "mcp.template.changed": "a resource template of an upstream MCP server is not what was allowed",
    "mcp.template.gone": "an allowed resource template of an upstream MCP server is gone",
    "mcp.prompt.changed": "a prompt of an upstream MCP server is not what was allowed",
    "mcp.prompt.gone": "an allowed prompt of an upstream MCP server is gone",
    "mcp.server.failed": "an upstream MCP server cannot be reached",
    "mcp.login.connected": "a login at an upstream MCP server is in place",
    "mcp.login.failed": "a login at an upstream MCP server failed",
    "mcp.login.failing": "the token of a login at an upstream MCP server cannot be renewed for now",
    "mcp.login.ended": "a login at an upstream MCP server is over",
    "provider.login.connected": "somebody has signed in at a provider for a connection",
    "provider.login.failing": "the token of a sign-in at a provider cannot be renewed for now",
    "provider.login.ended": "a sign-in at a provider is over; its connection needs a person",
    "memory.stored": "something was remembered for a key, or changed",
    "memory.deleted": "memories of a key were deleted by hand",
    "backup.created": "a backup was made",
    "backup.restored": "a backup was put back",
    "sync.done": "this hub and another one have taken each other's changes",
    "skill.waiting": "an installed skill waits for a person's approval",
    "skill.failed": "a run of an installed skill failed, or took too long",
    "webhook.disabled": "a webhook was switched off because its receiver does not take what it is sent",
    "audit.anchor": "the head of the audit log, to be kept where this hub cannot reach it",
    "audit.broken": "the audit log is not what it was: rows were changed, removed or rolled back",
    "system.started": "the hub serves",
    "system.stopping": "the hub stops or starts anew",
    TEST: "sent by hand, to see whether a webhook works",
}

#: Kinds inside the hub that have another name outside.
_OUTSIDE = {"breaker.open": "provider.error", "breaker.closed": "provider.recovered"}


def outside(event: Event) -> list[str]:
    """What something that happened inside is called outside; nothing where no receiver may ask for it."""
    if event.kind == "agent_task.status":
        return [f"cloud_agent.{event.data['status']}"]
    if event.kind == "batch.progress" and event.data.get("changed"):
        return [name for name in (f"batch.{event.data['status']}", event.kind) if name in EVENTS]
    name = _OUTSIDE.get(event.kind, event.kind)
    return [name] if name in EVENTS else []


def wants(patterns: Iterable[str], name: str) -> bool:
    """Whether one of these names or patterns (``*``, ``quota.*``) means an event. ``test.ping`` is only ever sent by hand."""
    return name != TEST and any(pattern in ("*", name) or ("*" in pattern and fnmatchcase(name, pattern)) for pattern in patterns)


def unknown(patterns: Iterable[str]) -> list[str]:
    """Those of the names and patterns that mean no event at all."""
    return [one for one in patterns if one not in EVENTS and not ("*" in one and any(fnmatchcase(name, one) for name in EVENTS))]
