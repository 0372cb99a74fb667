"""The hub as an agent in words and records: how it introduces itself, and its tasks as management shows them (the seed's shapes)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.records import TaskRow
from hub.tasks.task import State
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.skill import Skill

AGENT_NAME = "HubRoute"
AGENT_DESCRIPTION = (
    "A self-hosted agent hub: it routes completions over the owner's model providers within quota and budget, "
    "and answers questions about providers, quotas, costs and health."
)

_WORDS = {State.CANCELED: "cancelled", State.REJECTED: "failed", State.INPUT_REQUIRED: "working", State.AUTH_REQUIRED: "working"}
#: The states of the seed, and ours that each stands for.
STATES: dict[str, tuple[str, ...]] = {
    name: tuple(state.value for state in State if _WORDS.get(state, state.value) == name)
    for name in ("submitted", "working", "completed", "failed", "cancelled")
}


def state_of(row: TaskRow) -> str:
    """A task's state in the seed's words: ``cancelled``, and none that it does not know."""
    return _WORDS.get(State(row.state), row.state)


def texts_of(row: TaskRow) -> list[dict[str, Any]]:
    """What a task made, as the seed's artifacts: ``{"type": "text", "content"}``."""
    return [
        {"type": "text", "content": part["text"]} for artifact in row.task["artifacts"] for part in artifact["parts"] if part.get("text")
    ]


def record(row: TaskRow) -> dict[str, Any]:
    """A task whole."""
    kept = row.task
    return {
        "id": row.id,
        "skill": row.skill,
        "state": state_of(row),
        "input": kept["input"],
        "artifacts": texts_of(row),
        "events": [{**event, "state": _WORDS.get(State(event["state"]), event["state"])} for event in kept["events"]],
        "metadata": {**kept["input"].get("metadata", {}), **kept["metadata"]},
        "createdAt": iso(row.created_at),
        "updatedAt": iso(row.updated_at),
        "expiresAt": iso(kept["expiresAt"]),
    }


def introductions(skills: Iterable[Skill]) -> list[dict[str, Any]]:
    """What the agent can do, one entry for each agent skill, by id."""
    addresses = sorted(((made.a2a, made.summary) for made in skills if made.a2a), key=lambda pair: pair[0].id)
    return [
        {
            "id": address.id,
            "name": address.id.replace("-", " ").capitalize(),
            "description": summary,
            "tags": list(address.tags),
            "examples": list(address.examples),
        }
        for address, summary in addresses
    ]
