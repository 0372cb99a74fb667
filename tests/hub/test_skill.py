"""The declaration of a skill: what it derives from the function, and every incomplete one that stops the start."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from pydantic import Field, field_validator

from hub.context import Context
from hub.errors import InvalidInput
from hub.skill import A2a, A2aAnswer, CostClass, Mcp, Names, Resource, Rest, Skill, path_fields, skill
from hub.wire import Nothing, Wire


class Ask(Wire):
    item_id: str = Field(description="Which item.", min_length=2)
    how_many: int = Field(default=1, ge=1, description="How many.")


class Checked(Wire):
    name: str = Field(description="A name.")

    @field_validator("name")
    @classmethod
    def _no_x(cls, value: str) -> str:
        if "x" in value:
            raise ValueError("must not hold x")
        return value


class Bare(Wire):
    item_id: str
    named: str = Field(description="Named.")


class Out(Wire):
    item_id: str


async def plain(ctx: Context, ask: Ask) -> Out:
    """Do it.

    At length.
    """
    return Out(item_id=ask.item_id)


async def silent(ctx: Context, ask: Ask) -> Out:
    return Out(item_id=ask.item_id)


async def stream(ctx: Context, ask: Ask) -> AsyncIterator[Out]:
    """Do it in pieces."""
    yield Out(item_id=ask.item_id)


async def generate(ctx: Context, ask: Ask) -> AsyncGenerator[Out]:
    """Do it in pieces."""
    yield Out(item_id=ask.item_id)


async def raw(ctx: Context, ask: bytes) -> bytes:
    """Take bytes."""
    return ask


async def raw_stream(ctx: Context, ask: bytes) -> AsyncIterator[bytes | Out]:
    """Take bytes, give either."""
    yield ask


async def bare(ctx: Context, ask: Bare) -> Out:
    """Lack words."""
    return Out(item_id=ask.item_id)


async def checked(ctx: Context, ask: Checked) -> Out:
    """Check more."""
    return Out(item_id=ask.name)


async def lonely(ask: Ask) -> Out:
    """Take one parameter."""
    return Out(item_id=ask.item_id)


async def loose(ctx: Context, ask) -> Out:  # type: ignore[no-untyped-def]
    """Take anything."""
    return Out(item_id=ask)


async def endless(ctx: Context, ask: Ask):  # type: ignore[no-untyped-def]
    """Give anything."""
    return ask


def made(function: Any = plain, name: str = "do-it", **options: Any) -> Skill:
    return skill(name, **{"scopes": ["read:health"], "cost": CostClass.FREE, **options})(function)


def test_a_skill_is_what_its_function_says() -> None:
    one = made(rest=[Rest("GET", "/x/{item_id}")], mcp=Mcp("do.it/now"))
    assert (one.name, one.summary, one.description) == ("do-it", "Do it.", "Do it.\n\nAt length.")
    assert (one.input, one.output, one.streams, one.typed) == (Ask, Out, False, True)
    assert one.scopes == {"read:health"}
    assert (one.read_only, one.destructive, one.idempotent) == (False, False, False)
    assert made(read_only=True).idempotent
    assert made(idempotent=True).idempotent


@pytest.mark.parametrize("function", [stream, generate])
def test_an_iterator_streams_and_its_item_is_the_output(function: Any) -> None:
    one = made(function)
    assert one.streams
    assert one.output is Out


def test_schemas_show_names_as_callers_write_them() -> None:
    one = made()
    assert set(one.input_schema()["properties"]) == {"itemId", "howMany"}
    assert one.input_schema()["properties"]["itemId"]["description"] == "Which item."
    output = one.output_schema()
    assert output is not None
    assert set(output["properties"]) == {"itemId"}


def test_a_raw_skill_has_no_schemas() -> None:
    one = made(raw, rest=[Rest("POST", "/raw")])
    assert not one.typed
    assert one.input_schema() == {"type": "object"}
    assert one.output_schema() is None
    assert made(raw_stream, rest=[Rest("POST", "/raw")]).output_schema() is None
    assert one.validate(b"x") == b"x"
    with pytest.raises(TypeError, match="takes bytes, got dict"):
        one.validate({})


def test_input_becomes_its_type_by_either_name() -> None:
    one = made()
    ready = Ask(item_id="ab")
    assert one.validate(ready) is ready
    assert one.validate({"itemId": "ab", "unknown": 1}) == one.validate({"item_id": "ab"}) == ready


def test_every_field_at_fault_is_named_and_no_value_shown() -> None:
    """SEC-22: a wrong value may be a secret."""
    with pytest.raises(InvalidInput) as caught:
        made().validate({"itemId": 4242, "howMany": "sk-secret-value"})
    error = caught.value
    assert [detail["field"] for detail in error.details] == ["itemId", "howMany"]
    assert error.field == "itemId"
    assert error.message.endswith("(and 1 more)")
    assert "sk-secret" not in repr((error.message, error.details, error.data, error.__cause__))
    assert "4242" not in error.message


def test_an_input_that_is_no_mapping() -> None:
    with pytest.raises(InvalidInput) as caught:
        made().validate([1])
    assert caught.value.field is None
    assert caught.value.message.startswith("input: ")


def test_words_of_our_own_validators_stand_alone() -> None:
    with pytest.raises(InvalidInput) as caught:
        made(checked).validate({"name": "axe"})
    assert caught.value.message == "name: must not hold x"


def test_paths_may_name_fields_by_either_name_or_leave_them_to_ask() -> None:
    paths = ["/x/{item_id}", "/x/{itemId}", "/x/{item_id:path}/{how_many}"]
    assert [address.path for address in made(rest=[Rest("GET", path) for path in paths]).rest] == paths
    assert made(rest=[Rest("GET", "/x/{other}", ask=lambda data: data)]).rest
    assert path_fields("/a/{b}/{c:path}") == ["b", "c"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resources": [Resource("hub://a/{other}", "A.")], "read_only": True}, "other"),
        ({"resources": [Resource("http://a", "A.")], "read_only": True}, "http://a"),
        ({"resources": [Resource("hub://a", "A.")]}, "read-only"),
        ({"names": Names("item", list)}, "read-only"),
    ],
)
def test_a_resource_is_of_a_read_only_skill_and_fits_its_input(options: dict[str, Any], words: str) -> None:
    declare = skill("plain", scopes=["chat"], cost=CostClass.FREE, **options)
    with pytest.raises(ValueError, match=words):
        declare(plain)


def test_resources_name_fields_or_leave_them_to_ask() -> None:
    shown = [Resource("hub://a/{itemId}", "A."), Resource("hub://b/{id}", "B.", ask=lambda found: {"itemId": found["id"]})]
    made = skill("plain", scopes=["chat"], cost=CostClass.FREE, resources=shown, read_only=True)(plain)
    assert [one.names for one in made.resources] == [["itemId"], ["id"]]


def test_a_public_address_needs_no_scope() -> None:
    assert made(scopes=[], rest=[Rest("GET", "/x", public=True)]).scopes == frozenset()


def test_a_raw_skill_may_be_reached_through_its_twin() -> None:
    assert made(raw, twin="other").twin == "other"


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (silent, {}, "has no docstring"),
        (plain, {"name": "Do_It"}, "lower-case words"),
        (plain, {"name": "do--it"}, "lower-case words"),
        (plain, {"scopes": []}, "declares no scope"),
        (plain, {"scopes": [], "rest": [Rest("GET", "/x")]}, "declares no scope"),
        (plain, {"scopes": ["read:nothing", "chat"]}, r"unknown scopes \['read:nothing'\]"),
        (raw, {}, "no address"),
        (plain, {"mcp": Mcp("do it")}, "tool name"),
        (plain, {"mcp": Mcp("x" * 65)}, "tool name"),
        (plain, {"read_only": True, "destructive": True}, "read-only and destructive"),
        (bare, {}, r"without description: \['item_id'\]"),
        (plain, {"rest": [Rest("GET", "/x/{other}")]}, r"does not fit the input \['other'\]"),
        (plain, {"rest": [Rest("GET", "x")]}, "does not fit"),
    ],
)
def test_an_incomplete_declaration_stops_the_start(function: Any, options: dict[str, Any], words: str) -> None:
    """SEC B2: a skill without a declared scope fails at import."""
    with pytest.raises(ValueError, match=words):
        made(function, **options)


@pytest.mark.parametrize("function", [lonely, loose, endless])
def test_a_function_of_the_wrong_shape_stops_the_start(function: Any) -> None:
    with pytest.raises(TypeError, match="all annotated"):
        made(function)


def test_every_a2a_address_answers_with_a_text() -> None:
    one = made(a2a=A2a("do-it", tags=("t",), examples=("e",), ask=lambda ask: {}, view=lambda out: A2aAnswer("ok", {})))
    assert one.a2a is not None
    assert one.a2a.view(None).metadata == {}


def test_no_input_takes_anything_and_keeps_nothing() -> None:
    async def idle(ctx: Context, ask: Nothing) -> Out:
        """Do nothing."""
        return Out(item_id="")

    assert made(idle).validate({"anything": [1]}).model_dump() == {}
