"""Skills as tools: schemas, wrapping, views and results, without a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, Field, RootModel

from hub.context import Context
from hub.errors import BadRequest, InvalidInput
from hub.skill import CostClass, Mcp, Skill, skill
from transports._mcp_tools import Tool, Tools, failure

pytestmark = pytest.mark.anyio


class Ask(BaseModel):
    name: str = Field(description="A name.")


class Node(BaseModel):
    children: list[Node] = []
    weight: float = 0


class Holder(BaseModel):
    node: Node


class Names(RootModel[list[str]]):
    pass


class Short(BaseModel):
    first: str


def short(output: Any) -> Short:
    return Short(first=output.root[0])


def loose(output: Any):
    return {"first": output.root[0]}


def made(result: Any, *, view: Any = None, streams: bool = False) -> Skill:
    """A skill that gives one value, or streams two of it."""
    kind = type(result)

    async def once(ctx: Context, ask: Ask) -> Any:
        """Do it."""
        return result

    async def often(ctx: Context, ask: Ask) -> AsyncIterator[Any]:
        """Do it often."""
        yield result
        yield result

    function = often if streams else once
    function.__annotations__.update(ctx=Context, ask=Ask, **{"return": AsyncIterator[kind] if streams else kind})
    return skill("do-it", scopes=["read:models"], cost=CostClass.FREE, mcp=Mcp("do_it", view=view))(function)


class OneHub:
    """The part of a hub that a tool uses."""

    async def call(self, one: Skill, data: object, ctx: Context) -> Any:
        return await one.run(ctx, one.validate(data))

    async def stream(self, one: Skill, data: object, ctx: Context) -> AsyncIterator[Any]:
        async for item in one.run(ctx, one.validate(data)):
            yield item


async def run(one: Skill) -> dict[str, Any]:
    hub: Any = OneHub()
    tool = Tool.of(one, "do_it")
    return await tool.call(hub, {"name": "x"}, Context(hub, None, "req_1", "mcp"))  # type: ignore[arg-type]


async def test_an_object_is_shown_as_it_is() -> None:
    one = made(Holder(node=Node(children=[Node()])))
    shown = Tool.of(one, "do_it").shown
    assert shown["title"] == "Do it"
    assert shown["outputSchema"]["type"] == "object"
    assert "$defs" in shown["outputSchema"]
    assert (await run(one))["structuredContent"] == {"node": {"children": [{"children": [], "weight": 0.0}], "weight": 0.0}}


async def test_a_recursive_model_says_that_it_is_an_object() -> None:
    """Pydantic shows it as a bare reference; MCP wants the type at the top."""
    assert Tool.of(made(Node()), "do_it").shown["outputSchema"]["type"] == "object"


async def test_what_is_no_object_is_wrapped() -> None:
    one = made(Names(["a", "b"]))
    assert Tool.of(one, "do_it").shown["outputSchema"]["required"] == ["result"]
    assert (await run(one))["structuredContent"] == {"result": ["a", "b"]}


async def test_a_stream_becomes_a_list_with_definitions_at_the_top() -> None:
    one = made(Holder(node=Node()), streams=True)
    schema = Tool.of(one, "do_it").shown["outputSchema"]
    assert schema["properties"]["items"]["type"] == "array"
    assert "Node" in schema["$defs"]
    assert "$defs" not in schema["properties"]["items"]["items"]
    assert len((await run(one))["structuredContent"]["items"]) == 2


async def test_a_view_decides_shape_and_schema() -> None:
    viewed = made(Names(["a"]), view=short)
    assert list(Tool.of(viewed, "do_it").shown["outputSchema"]["properties"]) == ["first"]
    assert (await run(viewed))["structuredContent"] == {"first": "a"}
    unknown = made(Names(["a"]), view=loose)
    assert "outputSchema" not in Tool.of(unknown, "do_it").shown
    assert (await run(unknown))["structuredContent"] == {"first": "a"}


async def test_text_and_structure_say_the_same_and_are_json() -> None:
    """NaN is no JSON: it is null in both."""
    result = await run(made(Node(weight=float("nan"))))
    assert result["structuredContent"] == {"children": [], "weight": None}
    assert orjson.loads(result["content"][0]["text"]) == result["structuredContent"]


def test_only_mirrored_schemas_are_looked_up_per_call() -> None:
    class Mirrored(BaseModel):
        region: str = Field(description="Where.", json_schema_extra={"x-mcp-header": "Region"})

    async def go(ctx: Context, ask: Any) -> Short:
        """Go."""
        return Short(first="x")

    go.__annotations__.update(ctx=Context, ask=Mirrored, **{"return": Short})
    mirrored = skill("go", scopes=["read:models"], cost=CostClass.FREE, mcp=Mcp("go"))(go)
    assert list(Tools([mirrored, made(Short(first="x"))]).mirrored()) == ["go"]


def test_failures_carry_code_field_and_detail() -> None:
    plain = failure(BadRequest("no", field="name"), "req_1")
    assert plain["content"] == [{"type": "text", "text": "Error: no"}]
    assert plain["_meta"] == {"hubroute/error": {"code": "bad_request", "requestId": "req_1", "field": "name"}}
    many = failure(InvalidInput([{"field": "a", "message": "m"}, {"field": "b", "message": "n"}]), "req_1")
    assert many["content"][0]["text"] == "Error: a: m (and 1 more)"
    assert len(many["_meta"]["hubroute/error"]["data"]["details"]) == 2
