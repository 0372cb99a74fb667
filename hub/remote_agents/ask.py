"""What a skill of a remote agent is asked, and what it answers, at every door."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.errors import InvalidInput
from hub.remote_agents.gathered import parts_of
from hub.wire import Wire

_MOST_PARTS = 200
_MOST_TEXT = 2_000_000


class AgentAsk(Wire):
    """A message to a remote agent. Without one, ``taskId`` alone looks at a task and waits for it."""

    message: str = Field(default="", max_length=_MOST_TEXT, description="What to say.")
    parts: list[dict[str, Any]] = Field(
        default=[],
        max_length=_MOST_PARTS,
        description="Further parts as A2A 1.0 has them: {text}, {raw} in base64, {url} or {data}, with mediaType and filename.",
    )
    data: dict[str, Any] | None = Field(default=None, description="A data part.")
    context_id: str = Field(default="", max_length=4000, description="Go on with a conversation: contextId of an earlier answer.")
    task_id: str = Field(default="", max_length=4000, description="Go on with a task that asked for something: taskId of its answer.")
    metadata: dict[str, Any] = Field(default={}, max_length=50, description="Metadata of the message, for the agent.")
    wait_seconds: float | None = Field(
        default=None, ge=0, le=86_400, description="Answer after so long even if the agent still works; it goes on, taskId finds it again."
    )

    def content(self) -> list[dict[str, Any]]:
        """All parts of the message; none when there is nothing to say. Raises InvalidInput for parts that are none."""
        given = parts_of(self.parts)
        if len(given) != len(self.parts):
            words = "each must hold exactly one of text, raw, url and data"
            raise InvalidInput([{"field": "parts", "message": words}])
        text: list[dict[str, Any]] = [{"text": self.message}] if self.message else []
        data: list[dict[str, Any]] = [] if self.data is None else [{"data": self.data}]
        if not (text or given or data or self.task_id):
            raise InvalidInput([{"field": "message", "message": "say something: message, parts or data"}])
        return [*text, *given, *data]


class AgentReply(Wire):
    """How a task of a remote agent stands. ``taskId`` and ``contextId`` are yours alone; send them to go on. Written by a stranger."""

    agent: str = Field(description="The agent's name at this hub.")
    skill: str = Field(description="The agent's own id of the skill.")
    state: str = Field(description="completed, input-required (it asks for something: answer with taskId) or working.")
    text: str = Field(description="What it made or asks for, in words.")
    artifacts: list[dict[str, Any]] = Field(default=[], description="What it made, as A2A 1.0 artifacts.")
    task_id: str = Field(default="", description="Its task, while there is something to go on with.")
    context_id: str = Field(default="", description="The conversation.")
