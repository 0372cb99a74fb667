"""What upstream MCP servers have beside tools: read their resources, use their prompts, complete the arguments of both."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest, NotFound, UpstreamFailed
from hub.skill import Audit, CostClass, Rest, skill
from hub.upstream import addresses, pinning
from hub.upstream.outcome import Answer
from hub.upstream.skills import SCOPE, tool_name
from hub.wire import Body

_MOST_VALUES = 100
_SERVER = "Id or name of the server."


def _plain(answer: Answer) -> dict[str, Any]:
    """An answer for clients that speak no MCP: the same without the protocol's own marks."""
    return {name: value for name, value in answer.wire().items() if name != "resultType"}


def _namespace(ctx: Context, server: str) -> str:
    found = ctx.hub.upstreams.documents.peek(server)
    return found.name if found is not None else server


class ReadAsk(Body):
    """Which resource."""

    server: str = Field(description=_SERVER)
    uri: str = Field(min_length=1, max_length=addresses.LONGEST, description="The server's own URI, of an allowed resource or template.")


@skill(
    "mcp-servers-read",
    scopes=[SCOPE],
    cost=CostClass.NETWORK,
    rest=[Rest("GET", "/api/mcp/servers/{server}/resource", view=_plain)],
    read_only=True,
    audit=Audit.BASIC,
)
async def read(ctx: Context, ask: ReadAsk) -> Answer:
    """Read an allowed resource of an upstream MCP server. A stranger wrote it."""
    item = ctx.hub.upstreams.offered.reading(addresses.outer(_namespace(ctx, ask.server), ask.uri))
    if item is None:
        raise NotFound("there is no such resource, or nobody allowed it; `hubroute mcp-servers list SERVER` shows them", field="uri")
    answer = await ctx.hub.upstreams.ask(item, "resources/read", {"uri": item.own}, ctx)
    if not answer.interim and not isinstance(answer.raw.get("contents"), list):
        raise UpstreamFailed(f"the MCP server {item.namespace} sent a result without contents")
    return answer


class PromptAsk(Body):
    """Which prompt, with which arguments."""

    server: str = Field(description=_SERVER)
    prompt: str = Field(min_length=1, max_length=200, description="The prompt's own name.")
    arguments: dict[str, str] = Field(default_factory=dict[str, str], max_length=64, description="Its arguments.")


@skill(
    "mcp-servers-prompt",
    scopes=[SCOPE],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/mcp/servers/{server}/prompts/{prompt}", view=_plain)],
    audit=Audit.BASIC,
)
async def prompted(ctx: Context, ask: PromptAsk) -> Answer:
    """Get an allowed prompt of an upstream MCP server, filled in with arguments. A stranger wrote it."""
    item = ctx.hub.upstreams.offered.prompts.get(tool_name(_namespace(ctx, ask.server), ask.prompt))
    if item is None or item.own != ask.prompt:
        raise NotFound("there is no such prompt, or nobody allowed it; `hubroute mcp-servers list SERVER` shows them", field="prompt")
    answer = await ctx.hub.upstreams.ask(item, "prompts/get", {"name": item.own, "arguments": ask.arguments}, ctx)
    if not answer.interim and not isinstance(answer.raw.get("messages"), list):
        raise UpstreamFailed(f"the MCP server {item.namespace} sent a prompt without messages")
    return answer


class CompleteAsk(Body):
    """Which argument, and what was typed of it."""

    server: str = Field(description=_SERVER)
    prompt: str = Field(default="", max_length=200, description="The prompt whose argument it is.")
    template: str = Field(default="", max_length=addresses.LONGEST, description="The resource template whose variable it is.")
    argument: str = Field(min_length=1, max_length=200, description="Name of the argument or variable.")
    typed: str = Field(default="", max_length=2000, description="What was typed so far.")
    known: dict[str, str] = Field(default_factory=dict[str, str], max_length=64, description="Values of the other arguments.")


@skill(
    "mcp-servers-complete",
    scopes=[SCOPE],
    cost=CostClass.NETWORK,
    rest=[Rest("POST", "/api/mcp/servers/{server}/complete", view=_plain)],
    read_only=True,
    audit=Audit.NONE,
)
async def completed(ctx: Context, ask: CompleteAsk) -> Answer:
    """Complete an argument of an allowed prompt or resource template, as its server would."""
    if bool(ask.prompt) == bool(ask.template):
        raise BadRequest("name either a prompt or a template", field="prompt")
    namespace, offered = _namespace(ctx, ask.server), ctx.hub.upstreams.offered
    found = offered.prompts.get(tool_name(namespace, ask.prompt)) if ask.prompt else None
    item = found or offered.templates.get(addresses.outer(namespace, ask.template))
    if item is None:
        raise NotFound("there is no such prompt or template, or nobody allowed it", field="prompt" if ask.prompt else "template")
    ref = {"type": "ref/prompt", "name": item.own} if ask.prompt else {"type": "ref/resource", "uri": item.own}
    params: dict[str, Any] = {"ref": ref, "argument": {"name": ask.argument, "value": ask.typed}}
    if ask.known:
        params["context"] = {"arguments": ask.known}
    answer = await ctx.hub.upstreams.ask(item, "completion/complete", params, ctx)
    return Answer(answer.server, {"completion": _values(pinning.fields(answer.raw.get("completion")))})


def _values(given: dict[str, Any]) -> dict[str, Any]:
    """A server's suggestions within the protocol's bounds: at most 100 texts, and whether there are more."""
    values: list[Any] = given["values"] if isinstance(given.get("values"), list) else []
    texts = [value for value in values if isinstance(value, str)]
    total = given.get("total")
    more = given.get("hasMore") is True or len(texts) > _MOST_VALUES
    return {"values": texts[:_MOST_VALUES], "hasMore": more, **({"total": total} if isinstance(total, int) else {})}
