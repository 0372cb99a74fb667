"""An A2A agent as the one who does a task: one that the hub knows by name, or any by its URL, whose card must be from where it listens."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.cloud_agents import template
from hub.cloud_agents.records import Activity, Snapshot, Status
from hub.errors import BadRequest, UpstreamFailed
from hub.log import masked
from hub.outbound.address import parse_url
from hub.outbound.base import Timeouts
from hub.remote_agents import card as cards
from hub.remote_agents.client import Access as Reach
from hub.remote_agents.client import AgentClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.cloud_agents.records import Access, CloudTask
    from hub.outbound.client import Outbound
    from hub.remote_agents.card import Interface

_TIMEOUTS = Timeouts(connect=10, first_byte=20, idle=20)
_HISTORY = 100
_KEPT_SECONDS = 600.0
_TEXT = 8000
_STATES = {
    "SUBMITTED": Status.QUEUED,
    "WORKING": Status.RUNNING,
    "INPUT_REQUIRED": Status.AWAITING_APPROVAL,
    "AUTH_REQUIRED": Status.AWAITING_APPROVAL,
    "COMPLETED": Status.COMPLETED,
    "FAILED": Status.FAILED,
    "REJECTED": Status.FAILED,
    "CANCELED": Status.CANCELLED,
}


class A2aAgent:
    """Any agent that speaks A2A; a task there is a task here. ``known`` gives the client of an agent that the hub knows by name."""

    id = "a2a"
    name = "A2A agent"
    verified = "tested"
    note = (
        "A remote agent of this hub by its name in source.agent, or one by its URL: source.agentUrl, or the address of a credential. "
        "Approving sends the word 'Approved.'."
    )
    can = frozenset({"message", "approve", "cancel"})
    keyed = False
    here = False

    def __init__(self, outbound: Outbound, clock: Clock, known: Callable[[str], AgentClient]) -> None:
        self._outbound = outbound
        self._clock = clock
        self._known = known
        self._interfaces: dict[str, tuple[float, Interface]] = {}

    def check(self, task: CloudTask) -> None:
        """It needs a name or an address."""
        url, name = str(task.source.get("agentUrl") or ""), str(task.source.get("agent") or "")
        if url:
            parse_url(url, field="source.agentUrl")
        elif name:
            self._known(name)
        elif not task.credential_id:
            words = "source.agent must name a remote agent, source.agentUrl say where one is, or a credential of a2a its address"
            raise BadRequest(words, field="source.agentUrl")

    async def create(self, task: CloudTask, access: Access) -> Snapshot:
        """Send the prompt."""
        message = _to_say(task.prompt, task.id)
        if isinstance(task.source.get("metadata"), dict):
            message["metadata"] = task.source["metadata"]
        return self._sent(await (await self._client(task, access)).send(message))

    async def read(self, task: CloudTask, access: Access) -> Snapshot:
        """Get the task there."""
        return self._snapshot(await (await self._client(task, access)).get(task.external_id, _HISTORY))

    async def message(self, task: CloudTask, text: str, access: Access) -> None:
        """Send a further message in the task."""
        message = {**_to_say(text, self._clock.new_id("msg_")), "taskId": task.external_id}
        await (await self._client(task, access)).send(message)

    async def approve(self, task: CloudTask, access: Access) -> None:
        """Say yes to an agent that waits for an answer."""
        await self.message(task, "Approved.", access)

    async def cancel(self, task: CloudTask, access: Access) -> None:
        """Cancel the task there."""
        await (await self._client(task, access)).cancel(task.external_id)

    def holds(self, task: CloudTask) -> bool:
        """It runs elsewhere."""
        return False

    async def close(self) -> None:
        """Nothing is held."""

    def _sent(self, result: Any) -> Snapshot:
        """A new task, or the answer at once."""
        task = template.first(result, "task")
        if isinstance(task, dict):
            return self._snapshot(task)
        message = template.first(result, "message")
        if not isinstance(message, dict):
            raise UpstreamFailed("the agent answered neither with a task nor with a message")
        said = self._message(cast("dict[str, Any]", message))
        return Snapshot(status=Status.COMPLETED, external_id="-", activities=(said,), result={"summary": said.content})

    def _snapshot(self, task: Any) -> Snapshot:
        external = template.first(task, "id")
        if not isinstance(external, str) or not 0 < len(external) <= 200:
            raise UpstreamFailed("the agent answered a task without a usable id")
        word = str(template.first(task, "status.state") or "").removeprefix("TASK_STATE_")
        status = _STATES.get(word, Status.QUEUED)
        # A growing artifact is written down once, when it is whole.
        whole = [self._artifact(one) for one in template.objects(task, "artifacts.*")] if status is Status.COMPLETED else []
        summary = "\n\n".join(one.content for one in whole)[:_TEXT]
        reason = template.text(task, "status.message.parts.*.text")
        return Snapshot(
            status=status,
            external_id=external,
            activities=(*self._told(task), *whole),
            result={"summary": summary} if summary else None,
            error=(masked(reason[:1000]) or "the agent failed and did not say why") if status is Status.FAILED else "",
        )

    def _told(self, task: Any) -> list[Activity]:
        """What the agent said in a task."""
        told = [*template.objects(task, "history.*"), *template.objects(task, "status.message")]
        return [self._message(one) for one in told if one.get("role") != "ROLE_USER"]

    def _message(self, message: dict[str, Any]) -> Activity:
        text = masked(template.text(message, "parts.*.text")[:_TEXT])
        identity = str(message.get("messageId") or _digest(message))[:200]
        return Activity(id=identity, type="message", content=text, at=self._clock.now_ms())

    def _artifact(self, artifact: Any) -> Activity:
        text = masked(template.text(artifact, "parts.*.text")[:_TEXT])
        identity = f"artifact:{template.first(artifact, 'artifactId') or _digest(artifact)}"[:200]
        return Activity(id=identity, type="completion", content=text, at=self._clock.now_ms())

    async def _client(self, task: CloudTask, access: Access) -> AgentClient:
        name = str(task.source.get("agent") or "")
        if name and not task.source.get("agentUrl"):
            return self._known(name)
        headers = {"authorization": f"Bearer {access.secret.reveal()}"} if access.secret else {}
        reach = Reach("the agent", await self._interface(access), headers, access.private)
        return AgentClient(self._outbound, self._clock, reach, timeouts=_TIMEOUTS)

    async def _interface(self, access: Access) -> Interface:
        """Where the agent listens, as its card says; a card cannot send us, and the key, to another host (SEC-57)."""
        kept = self._interfaces.get(access.base_url)
        now = self._clock.monotonic()
        if kept is not None and now - kept[0] < _KEPT_SECONDS:
            return kept[1]
        found = await cards.fetched(self._outbound, access.base_url, headers={}, private=access.private)
        interface = next(iter(cards.interfaces(found.card or {})), None)
        if interface is None:
            raise UpstreamFailed("the agent's card names no interface that speaks JSON-RPC or HTTP+JSON of A2A 1.0 or 0.3")
        if parse_url(interface.url, field="url")[0] != parse_url(access.base_url)[0]:
            raise UpstreamFailed("the agent's card names an interface at another host, which is not followed")
        if len(self._interfaces) > 1000:
            self._interfaces.clear()
        self._interfaces[access.base_url] = (now, interface)
        return interface


def _to_say(text: str, message_id: str) -> dict[str, Any]:
    return {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": text}]}


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
