"""An A2A 1.0 agent by its URL: its card says where it listens, and that must be where the card is from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.cloud_agents import template
from hub.cloud_agents.records import Activity, Snapshot, Status
from hub.errors import BadRequest, Conflict, UpstreamFailed, UpstreamRejected
from hub.fetch import fetch
from hub.log import masked
from hub.outbound.address import parse_url

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.cloud_agents.records import Access, CloudTask
    from hub.outbound.client import Outbound

_CARD = "/.well-known/agent-card.json"
_MOST_CARD = 64 * 1024
_KEPT_SECONDS = 600.0
_TEXT = 8000
_NOT_FOUND, _NOT_CANCELABLE = -32001, -32002
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
    """Any agent that speaks A2A 1.0 over JSON-RPC; a task there is a task here."""

    id = "a2a"
    name = "A2A agent"
    verified = "tested"
    note = "An agent by its URL: source.agentUrl, or the address of a credential. Approving sends the word 'Approved.'."
    can = frozenset({"message", "approve", "cancel"})
    keyed = False
    here = False

    def __init__(self, outbound: Outbound, clock: Clock) -> None:
        self._outbound = outbound
        self._clock = clock
        self._endpoints: dict[str, tuple[float, str]] = {}

    def check(self, task: CloudTask) -> None:
        """It needs an address."""
        url = str(task.source.get("agentUrl") or "")
        if url:
            parse_url(url, field="source.agentUrl")
        elif not task.credential_id:
            raise BadRequest("source.agentUrl must say where the agent is, or a credential of a2a its address", field="source.agentUrl")

    async def create(self, task: CloudTask, access: Access) -> Snapshot:
        """Send the prompt."""
        return self._sent(await self._send(task.prompt, access, message_id=task.id, metadata=task.source.get("metadata")))

    async def read(self, task: CloudTask, access: Access) -> Snapshot:
        """Get the task there."""
        return self._snapshot(await self._call("GetTask", {"id": task.external_id, "historyLength": 100}, access))

    async def message(self, task: CloudTask, text: str, access: Access) -> None:
        """Send a further message in the task."""
        await self._send(text, access, message_id=self._clock.new_id("msg_"), task_id=task.external_id)

    async def approve(self, task: CloudTask, access: Access) -> None:
        """Say yes to an agent that waits for an answer."""
        await self.message(task, "Approved.", access)

    async def cancel(self, task: CloudTask, access: Access) -> None:
        """Cancel the task there."""
        await self._call("CancelTask", {"id": task.external_id}, access)

    def holds(self, task: CloudTask) -> bool:
        """It runs elsewhere."""
        return False

    async def close(self) -> None:
        """Nothing is held."""

    async def _send(self, text: str, access: Access, *, message_id: str, task_id: str = "", metadata: object = None) -> Any:
        message: dict[str, Any] = {"messageId": message_id, "role": "ROLE_USER", "parts": [{"text": text}]}
        if task_id:
            message["taskId"] = task_id
        if isinstance(metadata, dict):
            message["metadata"] = metadata
        return await self._call("SendMessage", {"message": message, "configuration": {"returnImmediately": True}}, access)

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

    async def _call(self, method: str, params: dict[str, Any], access: Access) -> Any:
        """The result of a JSON-RPC call. Raises UpstreamRejected for an error answer, Conflict for a task that has ended."""
        url = await self._endpoint(access)
        body = {"jsonrpc": "2.0", "id": self._clock.new_id("rpc_"), "method": method, "params": params}
        headers = {"a2a-version": "1.0", **_authorization(access)}
        status, answer = await fetch(self._outbound, "POST", url, headers=headers, body=body, most=8 * 1024 * 1024, private=access.private)
        found = _json(answer)
        error = template.first(found, "error")
        if error is not None or status >= 300 or not isinstance(found, dict) or "result" not in found:
            words = masked(str(template.first(error, "message") or f"status {status}")[:500])
            code = template.first(error, "code")
            if code == _NOT_CANCELABLE:
                raise Conflict(f"the agent cannot cancel the task: {words}", code="task_not_cancelable")
            if status >= 500:
                raise UpstreamFailed(f"the agent answered: {words}", upstream_status=status)
            told = status if status >= 300 else 404 if code == _NOT_FOUND else 400
            raise UpstreamRejected(f"the agent answered: {words}", upstream_status=told)
        return cast("dict[str, Any]", found)["result"]

    async def _endpoint(self, access: Access) -> str:
        """Where the agent listens, as its card says; a card cannot send us, and the key, to another host (SEC-57)."""
        kept = self._endpoints.get(access.base_url)
        now = self._clock.monotonic()
        if kept is not None and now - kept[0] < _KEPT_SECONDS:
            return kept[1]
        base = access.base_url.rstrip("/").removesuffix(_CARD)
        status, answer = await fetch(self._outbound, "GET", base + _CARD, most=_MOST_CARD, private=access.private)
        if status != 200:
            raise UpstreamFailed(f"the agent shows no card: {_CARD} answered {status}", upstream_status=status)
        url = next(iter(_listening(_json(answer))), "")
        if not url:
            raise UpstreamFailed("the agent's card names no JSON-RPC interface of A2A 1.0")
        if parse_url(url, field="supportedInterfaces.url")[0] != parse_url(base)[0]:
            raise UpstreamFailed("the agent's card names an interface at another host, which is not followed")
        if len(self._endpoints) > 1000:
            self._endpoints.clear()
        self._endpoints[access.base_url] = (now, url)
        return url


def _listening(card: Any) -> list[str]:
    """The URLs of a card's interfaces that speak what we do."""
    return [
        str(one.get("url") or "")
        for one in template.objects(card, "supportedInterfaces.*")
        if str(one.get("protocolBinding")).upper() == "JSONRPC" and str(one.get("protocolVersion")).startswith("1.")
    ]


def _authorization(access: Access) -> dict[str, str]:
    return {"authorization": f"Bearer {access.secret.reveal()}"} if access.secret else {}


def _json(answer: bytes) -> Any:
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
