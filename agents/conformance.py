"""The reactions that the A2A conformance kits ask for, chosen by the prefix of ``messageId``. Test profile only.

Other messages go to the real skills, so a hub in the test profile is still a hub.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import uuid
from typing import TYPE_CHECKING, Any

from hub.tasks.task import LiveTask, Outcome, State

if TYPE_CHECKING:
    from agents.message import Said
    from hub.tasks.task import Work

_FILE: dict[str, Any] = {"filename": "output.txt", "mediaType": "text/plain"}
_RAW = {"raw": base64.b64encode(b"Generated file content").decode(), **_FILE}
_DONE = Outcome(State.COMPLETED)

#: Prefix of messageId -> the parts of the pieces of one artifact, and how the task ends.
_REACTIONS: dict[str, tuple[list[dict[str, Any]], Outcome]] = {
    "tck-complete-task": ([], Outcome(State.COMPLETED, "Hello from TCK")),
    "tck-artifact-text": ([{"text": "Generated text content"}], _DONE),
    "tck-artifact-file": ([_RAW], _DONE),
    "tck-artifact-file-url": ([{"url": "https://example.com/output.txt", **_FILE}], _DONE),
    "tck-artifact-data": ([{"data": {"key": "value", "count": 42}}], _DONE),
    "tck-input-required": ([], Outcome(State.INPUT_REQUIRED, "More input, please")),
    "tck-reject-task": ([], Outcome(State.REJECTED, "rejected")),
    "tck-stream-001": ([{"text": "Stream hello from TCK"}], _DONE),
    "tck-stream-002": ([], _DONE),
    "tck-stream-003": ([{"text": "Stream task lifecycle"}], _DONE),
    "tck-stream-ordering-001": ([{"text": "Ordered output"}], _DONE),
    "tck-stream-artifact-text": ([{"text": "Streamed text content"}], _DONE),
    "tck-stream-artifact-file": ([_RAW], _DONE),
    "tck-stream-artifact-chunked": ([{"text": "chunk-1 "}, {"text": "chunk-2"}], _DONE),
    "tck-": ([], Outcome(State.COMPLETED, "Hello from TCK")),
}
_SLOW = "test-resubscribe-message-id"
#: How the 0.3 kit names its messages. Their tasks stay open, so that it can continue and cancel them.
_OPEN = re.compile(r"test-|.*-message-id-")


class Fixtures:
    """Reactions to a kit's messages."""

    def __init__(self) -> None:
        self._hold = 2 * float(os.environ.get("TCK_STREAMING_TIMEOUT", "2"))

    def message(self, message_id: str) -> dict[str, Any] | None:
        """The message that answers without a task, for the kit's message that wants one."""
        if not message_id.startswith("tck-message-response"):
            return None
        return {"messageId": str(uuid.uuid4()), "role": "ROLE_AGENT", "parts": [{"text": "Direct message response"}]}

    def work(self, said: Said) -> Work | None:
        """The work that a kit's message asks for; None for a message that is no kit's."""
        if said.id.startswith(_SLOW):
            return self._slow
        prefix = max((one for one in _REACTIONS if said.id.startswith(one)), key=len, default="")
        if prefix:
            return _reaction(*_REACTIONS[prefix])
        if _OPEN.match(said.id):
            return _reaction([], Outcome(State.INPUT_REQUIRED, "More input, please"))
        return None

    async def _slow(self, live: LiveTask) -> Outcome:
        live.progress()
        await asyncio.sleep(self._hold)
        return _DONE


def _reaction(pieces: list[dict[str, Any]], outcome: Outcome) -> Work:
    async def work(live: LiveTask) -> Outcome:
        live.progress()
        for index, part in enumerate(pieces):
            artifact = {"artifactId": f"{live.row.id}-1", "parts": [part]}
            live.add(artifact, append=index > 0, last=index == len(pieces) - 1)
        return outcome

    return work
