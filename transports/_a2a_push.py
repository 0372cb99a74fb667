"""Push notification configs over A2A: what both bindings do with them, and their shapes in both versions.

A caller learns the secret that signs its messages from the header ``X-HubRoute-Signing-Secret`` of the answer that made the
config, or chooses it by the same header of the request. Credentials are never shown again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from hub.secret import Secret
from transports import _a2a_v03, _a2a_v1

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.records import PushConfig, TaskRow
    from hub.tasks.task import Item
    from transports._a2a_agent import Visit
    from transports._a2a_dialect import Send
    from transports._a2a_params import Params

_SECRET_HEADER = b"x-hubroute-signing-secret"
_V1 = _a2a_v1.V1()

Headers = list[tuple[bytes, bytes]]


def speak(hub: Hub) -> None:
    """Tell the hub how events are written, so that it can deliver them."""

    def v1(row: TaskRow, item: Item) -> Any:
        return _V1.event(row, item, None)

    def v03(row: TaskRow, item: Item) -> Any:
        return _a2a_v03.event(row, item, None)

    hub.pushes.speak({"1.0": v1, "0.3": v03})


def secret_header(push: PushConfig | None) -> Headers:
    """The header that tells a caller the secret of its config."""
    return [(_SECRET_HEADER, push.secret.reveal().encode())] if push is not None else []


async def prepared(exchange: Visit, send: Send) -> Send:
    """A message whose push config, if it has one, is checked and has its secret. Raises BadRequest before anything is done."""
    if send.said.push is None:
        return send
    return replace(send, said=replace(send.said, push=await _checked(exchange, send.said.push)))


async def _checked(exchange: Visit, config: PushConfig) -> PushConfig:
    secret = Secret(exchange.header(_SECRET_HEADER))
    return await exchange.hub.pushes.checked(msgspec.structs.replace(config, secret=secret))


class Configs:
    """The four operations, for a task of this caller only: another's is not found (SEC-04, SEC-55)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def set(self, exchange: Visit, task_id: str, config: PushConfig) -> PushConfig:
        """Make or replace a config."""
        live = await self._hub.tasks.find(task_id, exchange.caller.key_id)
        return await self._hub.pushes.set(live, await _checked(exchange, config))

    async def get(self, exchange: Visit, task_id: str, config_id: str) -> PushConfig:
        """One config."""
        await self._hub.tasks.find(task_id, exchange.caller.key_id)
        return await self._hub.pushes.get(task_id, config_id)

    async def list(self, exchange: Visit, task_id: str) -> list[PushConfig]:
        """All configs of a task."""
        await self._hub.tasks.find(task_id, exchange.caller.key_id)
        return await self._hub.pushes.list(task_id)

    async def delete(self, exchange: Visit, task_id: str, config_id: str) -> None:
        """Forget a config."""
        await self._hub.tasks.find(task_id, exchange.caller.key_id)
        await self._hub.pushes.delete(task_id, config_id)


class V1Shapes:
    """Configs in A2A 1.0."""

    def set(self, params: Params) -> tuple[str, PushConfig]:
        """Read a CreateTaskPushNotificationConfig: the task's id and its config."""
        return params.text("taskId", required=True), _a2a_v1.push_of(params)

    def ref(self, params: Params, *, required: bool = True) -> tuple[str, str]:
        """Read the ids of a task and a config."""
        return params.text("taskId", required=True), params.text("id", required=required)

    def task(self, params: Params) -> str:
        """Read which task's configs to list."""
        params.number("pageSize", 0)
        return params.text("taskId", required=True)

    def one(self, config: PushConfig) -> dict[str, Any]:
        """Write a TaskPushNotificationConfig."""
        shown = {"taskId": config.task_id, "id": config.id, "url": config.url, **_token(config)}
        return {**shown, "authentication": {"scheme": config.scheme}} if config.scheme else shown

    def all(self, configs: list[PushConfig]) -> Any:
        """Write a ListTaskPushNotificationConfigsResponse; they fit on one page."""
        return {"configs": [self.one(config) for config in configs], "nextPageToken": ""}


class V03Shapes:
    """Configs in A2A 0.3."""

    def set(self, params: Params) -> tuple[str, PushConfig]:
        """Read a TaskPushNotificationConfig: the task's id and its config."""
        return params.text("taskId", required=True), _a2a_v03.push_of(params.inner("pushNotificationConfig", required=True))

    def ref(self, params: Params, *, required: bool = True) -> tuple[str, str]:
        """Read the ids of a task and a config; asking for a config without its id asks for the task's first."""
        return params.text("id", required=True), params.text("pushNotificationConfigId", required=required)

    def task(self, params: Params) -> str:
        """Read which task's configs to list."""
        return params.text("id", required=True)

    def one(self, config: PushConfig) -> dict[str, Any]:
        """Write a TaskPushNotificationConfig."""
        auth = {"authentication": {"schemes": [config.scheme]}} if config.scheme else {}
        return {"taskId": config.task_id, "pushNotificationConfig": {"id": config.id, "url": config.url, **_token(config), **auth}}

    def all(self, configs: list[PushConfig]) -> Any:
        """Write a list of TaskPushNotificationConfig."""
        return [self.one(config) for config in configs]


#: By the version of a dialect.
SHAPES: dict[str, V1Shapes | V03Shapes] = {"1.0": V1Shapes(), "0.3": V03Shapes()}


def _token(config: PushConfig) -> dict[str, str]:
    return {"token": config.token.reveal()} if config.token else {}
