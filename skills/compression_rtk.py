"""rtk, the compression of command output: its settings, its filters, a trial, and outputs that were kept in their long form."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field

from hub.compression import deferred
from hub.compression.settings import Rtk
from hub.context import Context
from hub.errors import BadRequest, NotFound
from hub.skill import Answer, Audit, CostClass, Rest, skill
from hub.tokens import estimate_tokens
from hub.wire import Body, Nothing, Wire
from skills._compression import change, trial

_ID = re.compile(r"^[0-9a-f]{24}$")
_UNDER = "rtkConfig"


class RtkPatch(Wire):
    """What to change."""

    patch: dict[str, Any] = Field(min_length=1, description="Settings of rtk by name; null takes one back to its default.")


class FilterView(Wire):
    """A filter; ``command_types`` are the commands it knows."""

    id: str
    name: str
    description: str
    command_types: list[str]
    category: str
    priority: int


class Fault(Wire):
    """A file with filters that could not be used, and why."""

    file: str
    level: str
    message: str


class FilterList(Wire):
    """The filters in force, and what is wrong with those that are not."""

    filters: list[FilterView]
    diagnostics: list[Fault]


class RtkTest(Body):
    """An output to try."""

    text: str = Field(min_length=1, max_length=2_000_000, description="Output of a command.")
    command: str = Field(default="", max_length=2000, description="The command that it is of.")
    config: dict[str, Any] = Field(default={}, description="Settings of rtk to try instead of those in force, by name.")


class Detection(Wire):
    """What the output was taken for; ``confidence`` is 0 to 1."""

    type: str
    command: str
    confidence: float
    category: str
    matched_patterns: list[str]


class RtkReport(Wire):
    """What became of the output."""

    detection: Detection
    text: str
    compressed: bool
    original_tokens: int
    compressed_tokens: int
    techniques_used: list[str]
    rules_applied: list[str]


class OutputId(Body):
    """Names a kept output."""

    id: str = Field(description="24 hexadecimal digits, as a shortened output names it.")


class RawOutput(Wire):
    """An output as it was, secrets masked."""

    id: str
    text: str


def _plain(found: RawOutput) -> Answer:
    return Answer(found.text.encode(), "text/plain; charset=utf-8")


@skill(
    "compression-rtk-get",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/rtk/config")],
    read_only=True,
    audit=Audit.NONE,
)
async def config(ctx: Context, ask: Nothing) -> Rtk:
    """Show how output of commands is shortened."""
    return ctx.hub.preferences.current.compression.rtk_config


@skill(
    "compression-rtk-set",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    rest=[Rest(method, "/api/context/rtk/config", ask=lambda data: {"patch": data}) for method in ("PUT", "PATCH")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_config(ctx: Context, ask: RtkPatch) -> Rtk:
    """Change how output of commands is shortened; takes effect at once."""
    return (await change(ctx, ask.patch, under=_UNDER)).rtk_config


@skill(
    "compression-rtk-filters",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/rtk/filters")],
    read_only=True,
    audit=Audit.NONE,
)
async def filters(ctx: Context, ask: Nothing) -> FilterList:
    """List the filters for output of commands, and which files of your own could not be read."""
    found = await ctx.hub.compressor.filters(ctx.hub.preferences.current.compression)
    views = [
        FilterView(
            id=one.id,
            name=one.row.label,
            description=one.row.description,
            command_types=list(one.row.match.commands),
            category=one.row.category,
            priority=one.row.priority,
        )
        for one in found.all
    ]
    return FilterList(filters=views, diagnostics=[Fault(**fault) for fault in found.faults])


@skill(
    "compression-rtk-test",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/context/rtk/test")],
    read_only=True,
    audit=Audit.NONE,
)
async def test(ctx: Context, ask: RtkTest) -> RtkReport:
    """Run an output through the filters and show what is left of it."""
    settings = trial(ctx, ask.config, under=_UNDER)
    tools = deferred.workshop()
    options = tools.technique.Options(settings, await ctx.hub.compressor.filters(settings))
    made, detected = tools.output.shortened(ask.text, tools.technique.Piece("tool", result=True, command=ask.command), options)
    chosen = detected.filter if detected is not None else None
    shorter = len(made.text) < len(ask.text)
    text = made.text if shorter else ask.text
    kind = chosen.id if chosen is not None else "json" if tools.jsontext.is_json(ask.text) else "generic"
    return RtkReport(
        detection=Detection(
            type=kind,
            command=ask.command,
            confidence=detected.confidence if detected is not None else 1.0,
            category=chosen.row.category if chosen is not None else "generic",
            matched_patterns=list(detected.matched) if detected is not None else [],
        ),
        text=text,
        compressed=shorter,
        original_tokens=estimate_tokens(ask.text),
        compressed_tokens=estimate_tokens(text),
        techniques_used=["rtk"] if shorter else [],
        rules_applied=made.rules if shorter else [],
    )


@skill(
    "compression-raw-output",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/rtk/raw-output/{id}", view=_plain)],
    read_only=True,
)
async def raw_output(ctx: Context, ask: OutputId) -> RawOutput:
    """Show an output in its long form, kept for a day; a key sees those of its own requests, the owner all."""
    if not _ID.match(ask.id):
        raise BadRequest("id: is 24 hexadecimal digits", field="id")
    found = await ctx.hub.compressor.output(ask.id)
    if found is None or (found[0] != ctx.caller.key_id and "manage" not in ctx.caller.scopes):
        raise NotFound(f"no output {ask.id!r} is kept (any more)", field="id")
    return RawOutput(id=ask.id, text=found[1])
