"""``hubroute chat``: talk to a model from the terminal."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub import log as logs
from hub.commands.session import fail, run, settings_of
from hub.errors import HubError
from hub.process.reach import join_or_own

if TYPE_CHECKING:
    from hub.process.reach import Reach

_SKILL = "smart-routing-stream"


def chat(
    ctx: typer.Context,
    prompt: Annotated[str, typer.Argument(help="What to say; '-' reads it from standard input, without it a conversation starts.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Model id, provider/model, or auto.")] = "auto",
) -> None:
    """Chat with a model; answers stream."""
    if not prompt and sys.stdin.isatty():
        _converse(ctx, model)
        return
    text = prompt if prompt not in ("", "-") else sys.stdin.read()
    run(ctx, lambda hub: _answer(hub, model, [{"role": "user", "content": text}]))


async def _answer(hub: Reach, model: str, messages: list[dict[str, Any]]) -> str:
    """Stream one answer to the terminal and return it."""
    pieces: list[str] = []
    try:
        async with aclosing(hub.stream(_SKILL, {"model": model, "messages": messages})) as items:
            async for item in items:
                pieces.append(item["text"])
                sys.stdout.write(item["text"])
                sys.stdout.flush()
    finally:
        if pieces and not pieces[-1].endswith("\n"):
            sys.stdout.write("\n")
    return "".join(pieces)


def _converse(ctx: typer.Context, model: str) -> None:
    """Question and answer until the end of input. Ctrl-C stops an answer, at the question it leaves."""
    settings = settings_of(ctx)
    logs.set_up("debug" if settings.log_level == "debug" else "critical", style="text")
    print(f"talking to {model}; Ctrl-C stops an answer, Ctrl-D leaves", file=sys.stderr)
    with asyncio.Runner() as runner:
        hub = runner.run(join_or_own(settings))
        try:
            _turns(runner, hub, model)
        finally:
            runner.run(hub.close())


def _turns(runner: asyncio.Runner, hub: Reach, model: str) -> None:
    messages: list[dict[str, Any]] = []
    while True:
        try:
            asked = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if not asked:
            continue
        turn = {"role": "user", "content": asked}
        try:
            answer = runner.run(_answer(hub, model, [*messages, turn]))
        except KeyboardInterrupt:
            print("(stopped)", file=sys.stderr)
        except HubError as error:
            fail(error)
        else:
            messages += [turn, {"role": "assistant", "content": answer}]
