"""What the public MCP conformance suite looks for beside the hub's own tools: resources, prompts, completion, subscriptions.

Part of the test profile only (``HUBROUTE_TEST_PROFILE=conformance``), which settings refuse beyond
loopback. The names and texts are the suite's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import mcp_types as types
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

from transports import _mcp_conformance_inputs as inputs
from transports import _mcp_conformance_tools as simple
from transports._mcp_errors import not_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server import Server
    from mcp.server.context import HandlerResult, ServerRequestContext
    from mcp.server.subscriptions import ServerEvent

    from hub.call import Hub
    from transports._mcp_conformance_tools import Fixture
    from transports._mcp_watch import Watch

    Ctx = ServerRequestContext[Any, Any]

_SCHEME = "test://"
_TEMPLATE = "test://template/{id}/data"
_RESOURCES: dict[str, dict[str, Any]] = {
    "test://static-binary": {"mimeType": "image/png", "blob": simple.IMAGE},
    "test://static-text": {"mimeType": "text/plain", "text": "This is the content of the static text resource."},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Watched resource content"},
}
_PROMPTS: dict[str, tuple[str, ...]] = {
    "test_input_required_result_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_simple_prompt": (),
}
_WORDS = ("paris", "park", "party", "test", "value1", "value2")


def add(server: Server[Any], hub: Hub, watch: Watch) -> None:
    """Give a server the suite's fixtures, beside what it has."""
    _add_tools(server, {**simple.fixtures(Bus(hub, watch)), **inputs.fixtures()})
    _add_lists(server)
    _before(server, "resources/read", _read_resource, mine=lambda params: str(params.uri).startswith(_SCHEME))
    _before(server, "resources/subscribe", _subscribed, mine=lambda params: str(params.uri).startswith(_SCHEME))
    _before(server, "resources/unsubscribe", _subscribed, mine=lambda params: str(params.uri).startswith(_SCHEME))
    _before(server, "prompts/get", _get_prompt, mine=lambda params: params.name.startswith("test_"))
    _before(server, "completion/complete", _complete, mine=_asks_for_a_fixture)


class Bus:
    """Tells the watchers of every process on the hub's database that fixtures changed, as real changes do."""

    _KIND = "mcp conformance"
    _EVENTS: ClassVar[dict[str, ServerEvent]] = {"tools": ToolsListChanged(), "prompts": PromptsListChanged()}

    def __init__(self, hub: Hub, watch: Watch) -> None:
        self._hub = hub
        self._watch = watch
        #: What changed -> the mark of its last change that was told of here.
        self._told: dict[str, str] = {}
        hub.store.state.follow(self._KIND)
        hub.on_changed.append(self._changed)

    async def publish(self, event: ServerEvent) -> None:
        """Tell of a change that happens here."""
        what = next(name for name, one in self._EVENTS.items() if one == event)
        self._told[what] = self._hub.clock.new_id("chg_")
        self._hub.store.state.put(self._KIND, what, self._told[what], until=self._hub.clock.now_ms() + 60_000)
        await self._watch.publish(event)

    def _changed(self) -> None:
        for what, (mark, _) in self._hub.store.state.take(self._KIND, str).items():
            if self._told.get(what) != mark:
                self._told[what] = mark
                self._watch.tell_all(self._EVENTS[what])


def _before(server: Server[Any], method: str, handler: Any, *, mine: Callable[[Any], bool]) -> None:
    """Let a fixture answer what is its own; all else goes to the hub."""
    found = server.get_request_handler(method)
    if found is None:
        raise ValueError(f"the fixtures need a server that answers {method}")

    async def handle(ctx: Ctx, params: Any) -> HandlerResult:
        return await (handler if mine(params) else found.handler)(ctx, params)

    server.add_request_handler(method, found.params_type, handle)


def _add_lists(server: Server[Any]) -> None:
    """Put fixtures into the first page of the hub's lists."""
    for method, field, fixtures in (
        ("resources/list", "resources", _resources),
        ("resources/templates/list", "resourceTemplates", _templates),
        ("prompts/list", "prompts", _prompts),
    ):
        found = server.get_request_handler(method)
        if found is None:
            raise ValueError(f"the fixtures need a server that answers {method}")
        server.add_request_handler(method, types.PaginatedRequestParams, _longer(found.handler, field, fixtures))


def _longer(listed: Any, field: str, fixtures: Callable[[], list[dict[str, Any]]]) -> Any:
    async def handle(ctx: Ctx, params: types.PaginatedRequestParams) -> HandlerResult:
        result = await listed(ctx, params)
        return result if params.cursor else {**result, field: [*fixtures(), *result[field]]}

    return handle


def _asks_for_a_fixture(params: types.CompleteRequestParams) -> bool:
    ref = params.ref
    return ref.name.startswith("test_") if isinstance(ref, types.PromptReference) else str(ref.uri).startswith(_SCHEME)


def _add_tools(server: Server[Any], fixtures: dict[str, Fixture]) -> None:
    """Put fixtures before the hub's tools; a name that is none of them goes to the hub."""
    listed, called = server.get_request_handler("tools/list"), server.get_request_handler("tools/call")
    if listed is None or called is None:
        raise ValueError("the fixtures need a server with tools")

    async def list_tools(ctx: Ctx, params: types.PaginatedRequestParams) -> HandlerResult:
        result: Any = await listed.handler(ctx, params)
        shown: dict[str, dict[str, Any]] = {tool["name"]: tool for tool in result["tools"]}
        for name, made in fixtures.items():
            shown[name] = {"name": name, "description": made.words, "inputSchema": made.schema}
        return {"tools": [shown[name] for name in sorted(shown)], "resultType": "complete"}

    async def call_tool(ctx: Ctx, params: types.CallToolRequestParams) -> HandlerResult:
        made = fixtures.get(params.name)
        return await (called.handler(ctx, params) if made is None else made.run(ctx, params.arguments or {}))

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    schemas = {name: made.schema for name, made in fixtures.items()}
    server.get_tool_input_schema = schemas.get


def _resources() -> list[dict[str, Any]]:
    return [{"uri": uri, "name": uri.removeprefix(_SCHEME), "mimeType": made["mimeType"]} for uri, made in _RESOURCES.items()]


def _templates() -> list[dict[str, Any]]:
    return [{"uriTemplate": _TEMPLATE, "name": "template", "mimeType": "application/json"}]


async def _read_resource(ctx: Ctx, params: types.ReadResourceRequestParams) -> HandlerResult:
    uri = str(params.uri)
    before, _, after = _TEMPLATE.partition("{id}")
    found = _RESOURCES.get(uri)
    if found is None and uri.startswith(before) and uri.endswith(after):
        name = uri[len(before) : -len(after)]
        found = {"mimeType": "application/json", "text": f'{{"id":"{name}","templateTest":true,"data":"Data for ID: {name}"}}'}
    if found is None:
        raise not_found(ctx, uri)
    return {"contents": [{"uri": uri, **found}], "resultType": "complete"}


async def _subscribed(ctx: Ctx, params: types.SubscribeRequestParams | types.UnsubscribeRequestParams) -> HandlerResult:
    """The fixtures never change, so there is never an update to send."""
    return {}


def _prompts() -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": f"Conformance fixture: {name}",
            "arguments": [{"name": argument, "description": f"The text of {argument}", "required": True} for argument in arguments],
        }
        for name, arguments in _PROMPTS.items()
    ]


async def _get_prompt(ctx: Ctx, params: types.GetPromptRequestParams) -> HandlerResult:
    arguments = params.arguments or {}
    wanted = _PROMPTS.get(params.name)
    if wanted is None or any(name not in arguments for name in wanted):
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt or missing argument: {params.name[:100]}")
    if params.name == "test_input_required_result_prompt":
        return inputs.context_prompt(ctx)
    messages = [{"role": "user", "content": content} for content in _contents(params.name, arguments)]
    return {"messages": messages, "resultType": "complete"}


def _contents(name: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
    """What a prompt says."""
    if name == "test_prompt_with_arguments":
        return [simple.text(f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")]
    if name == "test_prompt_with_embedded_resource":
        resource = {"uri": arguments["resourceUri"], "mimeType": "text/plain", "text": "Embedded resource content for testing."}
        return [{"type": "resource", "resource": resource}, simple.text("Please process the embedded resource above.")]
    if name == "test_prompt_with_image":
        return [simple.image(), simple.text("Please analyze the image above.")]
    return [simple.text("This is a simple prompt for testing.")]


async def _complete(ctx: Ctx, params: types.CompleteRequestParams) -> HandlerResult:
    values = [word for word in _WORDS if word.startswith(params.argument.value)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}, "resultType": "complete"}
