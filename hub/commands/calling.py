"""``hubroute call``, ``skills`` and ``models``: any skill from the command line."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hub.commands.session import AsJson, WrongUse, run
from hub.commands.show import print_json, show
from hub.registry import Skills

if TYPE_CHECKING:
    from hub.process.reach import Reach


def call(
    ctx: typer.Context,
    skill: Annotated[str, typer.Argument(help="Name of the skill; `hubroute skills` lists them.")],
    data: Annotated[str, typer.Argument(metavar="[JSON]", help="Its input: JSON, @FILE, or - for standard input.")] = "{}",
    as_json: AsJson = False,
) -> None:
    """Call any skill; prints a table or JSON."""
    ask = _input(data)

    async def work(hub: Reach) -> int:
        count = 0
        async with aclosing(hub.stream(skill, ask)) as items:
            async for item in items:
                count += 1
                if as_json:
                    print_json(item)
                else:
                    show(item, as_json=False)
        return count

    run(ctx, work)


def skills(as_json: AsJson = False) -> None:
    """List the skills that `call` takes."""
    rows = [
        {
            "skill": made.name,
            "summary": made.summary,
            "scopes": sorted(made.scopes),
            "cost": made.cost.value,
            "mcp": made.mcp.tool if made.mcp else "",
            "a2a": made.a2a.id if made.a2a else "",
            "rest": [f"{address.method} {address.path}" for address in made.rest],
            **({"input": made.input_schema()} if as_json else {}),
        }
        for made in Skills.load()
    ]
    show(rows, as_json=as_json)


def models(
    ctx: typer.Context,
    search: Annotated[str, typer.Argument(help="Show models with this text in their id only.")] = "",
    provider: Annotated[str | None, typer.Option(help="Models of this provider, connected or not.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Providers without a connection, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the models that can be called, with prices."""
    found: dict[str, Any] = run(ctx, lambda hub: hub.call("models-list", {"provider": provider, "allProviders": everything}))
    found["models"] = [model for model in found["models"] if search.lower() in model["id"].lower()]
    if as_json:
        print_json(found)
        return
    rows: list[dict[str, Any]] = [
        {
            "model": model["id"],
            "status": model["status"],
            "kind": model["capabilities"],
            "abilities": model["abilities"],
            "context": model["contextWindow"],
            "input $/M": model["pricing"] and model["pricing"]["inputPerMillion"],
            "output $/M": model["pricing"] and model["pricing"]["outputPerMillion"],
        }
        for model in found["models"]
    ]
    show(rows, as_json=False, empty="no such model")
    if found.get("warning"):
        print(found["warning"], file=sys.stderr)


def _input(text: str) -> dict[str, Any]:
    """The input that was written, from a file or standard input where it says so. Raises WrongUse."""
    where = "JSON"
    if text == "-":
        where, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        where = text[1:]
        try:
            text = Path(where).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUse(f"cannot read {where}: {getattr(error, 'strerror', None) or error}") from None
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise WrongUse(f"{where} is not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise WrongUse(f"{where} is not a JSON object; a skill's input is one, such as {{}}")
    return cast("dict[str, Any]", data)
