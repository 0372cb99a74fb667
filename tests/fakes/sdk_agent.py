"""A remote agent made with the stock a2a-sdk, behind a real socket: both versions, both bindings, and a card that a test can change."""

from __future__ import annotations

import asyncio
import socket
import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from a2a.helpers import new_data_part, new_task_from_user_message, new_text_message, new_text_part
    from a2a.server.agent_execution import AgentExecutor, RequestContext
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.routes import create_jsonrpc_routes, create_rest_routes
    from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
    from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from a2a.server.events import EventQueue
    from starlette.requests import Request

BINDINGS = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0"), ("JSONRPC", "0.3"), ("HTTP+JSON", "0.3")]


def skill(identity: str = "talk", **more: Any) -> dict[str, Any]:
    """A skill as cards of both versions have it."""
    return {"id": identity, "name": identity.title(), "description": "Talks about the weather.", "tags": ["talk"], **more}


def card_of(url: str, binding: str = "JSONRPC", version: str = "1.0", *, streaming: bool = True, **more: Any) -> dict[str, Any]:
    """The card of an agent with one interface, in the form of its version."""
    common: dict[str, Any] = {
        "name": "Weather agent",
        "description": "Knows the weather.",
        "version": "1.0.0",
        "capabilities": {"streaming": streaming},
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [skill()],
    }
    if version == "1.0":
        return {**common, "supportedInterfaces": [{"url": url, "protocolBinding": binding, "protocolVersion": "1.0"}], **more}
    return {**common, "protocolVersion": "0.3.0", "url": url, "preferredTransport": binding, **more}


@dataclass
class Remote:
    """A running agent. ``asked`` is what each message was, ``seen`` path and headers of each request; ``open`` lets a held task end,
    ``cancelled`` tells of a cancel."""

    url: str = ""
    card: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: list[RequestContext] = field(default_factory=list["RequestContext"])
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def texts(self) -> list[str]:
        """What was said, message by message."""
        return [context.get_user_input() for context in self.asked]

    def metadata(self, number: int) -> Any:
        """The metadata of a message."""
        message = self.asked[number].message
        assert message is not None
        return message.metadata


class _Executor(AgentExecutor):
    """Does what the first word of a message says."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.remote.asked.append(context)
        assert context.message is not None
        word, _, rest = context.get_user_input().partition(" ")
        if word == "answer":
            await event_queue.enqueue_event(new_text_message(f"answered {rest}", context_id=context.context_id))
            return
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work(updater.new_agent_message([new_text_part("thinking")]))
        await getattr(self, f"do_{word}", self.do_echo)(updater, rest)

    async def do_echo(self, updater: TaskUpdater, rest: str) -> None:
        """Two pieces of text, then data."""
        await updater.add_artifact([new_text_part("you said ")], artifact_id="a1", name="echo", append=False, last_chunk=False)
        await updater.add_artifact([new_text_part(rest)], artifact_id="a1", append=True, last_chunk=True)
        await updater.add_artifact([new_data_part({"words": len(rest.split())})], artifact_id="a2")
        await updater.complete()

    async def do_ask(self, updater: TaskUpdater, rest: str) -> None:
        await updater.requires_input(updater.new_agent_message([new_text_part("which city?")]))

    async def do_auth(self, updater: TaskUpdater, rest: str) -> None:
        await updater.requires_auth(updater.new_agent_message([new_text_part("sign in at https://login.example")]))

    async def do_fail(self, updater: TaskUpdater, rest: str) -> None:
        await updater.failed(updater.new_agent_message([new_text_part("no satellites")]))

    async def do_reject(self, updater: TaskUpdater, rest: str) -> None:
        await updater.reject(updater.new_agent_message([new_text_part("not my job")]))

    async def do_hold(self, updater: TaskUpdater, rest: str) -> None:
        await updater.add_artifact([new_text_part("first ")], artifact_id="a1", append=False, last_chunk=False)
        self.remote.entered.set()
        await self.remote.open.wait()
        await updater.add_artifact([new_text_part("second")], artifact_id="a1", append=True, last_chunk=True)
        await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.remote.cancelled.set()
        assert context.task_id
        assert context.context_id
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def _sdk_card(url: str) -> AgentCard:
    return AgentCard(
        name="Weather agent",
        description="Knows the weather.",
        version="1.0.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="talk", name="Talk", description="Talks.", tags=["talk"])],
    )


@asynccontextmanager
async def sdk_agent(binding: str = "JSONRPC", version: str = "1.0", *, streaming: bool = True) -> AsyncIterator[Remote]:
    """The agent, with a card of one interface."""
    remote = Remote()

    async def show(request: Request) -> Response:
        data = orjson.dumps(remote.card)
        tag = f'"{hash(data)}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        return Response(data, media_type="application/json", headers={"etag": tag, "cache-control": "public, max-age=600"})

    async with served(lambda url: _routes(remote, url, show)) as (url, app):
        app.add_middleware(_Seen, remote=remote)
        remote.url = url
        path = "/rpc" if binding == "JSONRPC" else "/rest"
        remote.card = card_of(url + path, binding, version, streaming=streaming)
        try:
            yield remote
        finally:
            remote.open.set()


def _routes(remote: Remote, url: str, show: Callable[[Request], Awaitable[Response]]) -> list[Any]:
    handler = DefaultRequestHandler(agent_executor=_Executor(remote), task_store=InMemoryTaskStore(), agent_card=_sdk_card(url))
    return [
        Route("/.well-known/agent-card.json", show),
        *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
        *create_rest_routes(handler, path_prefix="/rest", enable_v0_3_compat=True),
    ]


class _Seen:
    """Notes every request."""

    def __init__(self, app: Any, remote: Remote) -> None:
        self.app, self.remote = app, remote

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.remote.seen.append((scope["path"], headers))
        await self.app(scope, receive, send)


@asynccontextmanager
async def served(routes: Callable[[str], list[Any]]) -> AsyncIterator[tuple[str, Starlette]]:
    """An app on a free loopback port; its address."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        app = Starlette(routes=routes(url))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1))
        task = asyncio.create_task(server.serve(sockets=[sock]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield url, app
        finally:
            server.should_exit = True
            await task
