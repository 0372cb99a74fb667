"""Tools of upstream servers as skills of our registry: under their server's namespace, with our scope, price and audit (D7)."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest
from hub.skill import A2a, A2aAnswer, A2aAsk, Audit, CostClass, Mcp, Skill
from hub.upstream.model import Standing
from hub.upstream.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hub.context import Context
    from hub.store.documents import Document
    from hub.upstream.model import Server

SCOPE = "execute:tools"
_ODD = re.compile(r"[^A-Za-z0-9_-]+")
_MOST_NAME = 64


def tool_name(namespace: str, tool: str) -> str:
    """The name of an upstream tool at our doors: within 64 characters that all clients take, and one of its own."""
    plain = f"{namespace}__{_ODD.sub('_', tool)}"
    if plain.endswith(f"__{tool}") and len(plain) <= _MOST_NAME:
        return plain
    tail = hashlib.sha256(tool.encode()).hexdigest()[:6]
    return f"{plain[: _MOST_NAME - 7]}_{tail}"


def imported(servers: Iterable[Document[Server]]) -> Iterator[Skill]:
    """The allowed tools of all enabled servers, as skills."""
    for document in servers:
        if not document.body.enabled:
            continue
        for tool, pin in document.body.tools.items():
            if pin.standing is Standing.APPROVED and pin.approved is not None:
                yield _skill(document, tool, pin.approved)


def _skill(document: Document[Server], tool: str, stated: Mapping[str, Any]) -> Skill:
    namespace, cost = document.name, document.body.cost_per_call
    hints: dict[str, Any] = stated.get("annotations") or {}
    words = str(stated.get("description") or stated.get("title") or tool)
    read_only = hints.get("readOnlyHint") is True

    async def run(ctx: Context, ask: dict[str, Any]) -> Outcome:
        return await ctx.hub.upstreams.call(document.id, tool, ask, ctx)

    return Skill(
        name=tool_name(namespace, tool),
        summary=words.splitlines()[0][:200] if words.strip() else tool,
        description=words,
        scopes=frozenset((SCOPE,)),
        cost=CostClass.METERED if cost else CostClass.NETWORK,
        input=dict,
        output=Outcome,
        streams=False,
        run=run,
        mcp=Mcp(tool_name(namespace, tool)),
        a2a=A2a(
            id=f"{namespace}.{tool}",
            tags=("mcp", namespace),
            examples=(),
            ask=lambda asked: arguments_of(asked, stated["inputSchema"]),
            view=_answer,
        ),
        read_only=read_only,
        destructive=not read_only and hints.get("destructiveHint") is True,
        idempotent=read_only or hints.get("idempotentHint") is True,
        audit=Audit.BASIC if read_only else Audit.FULL,
        source=namespace,
        schema=stated["inputSchema"],
        result=stated["outputSchema"] if isinstance(stated.get("outputSchema"), dict) else None,
    )


def arguments_of(asked: A2aAsk, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments from a message: its data part, else its text as JSON, else the text as the one text field that the tool needs."""
    data = asked.data.get("arguments", asked.data)
    if isinstance(data, dict) and data:
        return data  # pyright: ignore[reportUnknownVariableType] - JSON edge
    read = _json(asked.text)
    if isinstance(read, dict):
        return cast("dict[str, Any]", read)
    needed = _needed(schema)
    if len(needed) == 1:
        return {needed[0]: asked.text}
    if not needed:
        return {}
    raise BadRequest(f"send a data part with the arguments {', '.join(needed)}", field="message.parts")


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _needed(schema: Mapping[str, Any]) -> list[str]:
    """The arguments that a tool needs; where it needs none and knows one text field, that."""
    required = [str(name) for name in schema.get("required") or ()]
    properties: Mapping[str, Any] = schema.get("properties") or {}
    return required or (list(properties) if len(properties) == 1 else [])


def _answer(outcome: Outcome) -> A2aAnswer:
    given = outcome.structured
    data = cast("dict[str, Any]", given) if isinstance(given, dict) else {"content": outcome.content}
    return A2aAnswer(outcome.text(), data, {"server": outcome.server, "isError": outcome.failed})
