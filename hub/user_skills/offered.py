"""Installed skills in the one registry (D7): an executable one is a skill of the hub, with a scope, a schema, an audit row and a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hub.errors import UpstreamFailed, UpstreamTimeout
from hub.skill import A2a, A2aAnswer, Audit, CostClass, Mcp, Skill
from hub.store.skill_runs import SUCCESS, TIMEOUT
from hub.upstream.skills import arguments_of
from hub.user_skills.handlers.skill import ORIGIN

if TYPE_CHECKING:
    from hub.context import Context
    from hub.store.documents import Document
    from hub.user_skills.model import UserSkill
    from hub.user_skills.running import Runner

SCOPE = "execute:skills"
#: Handlers that only look something up.
_READS = frozenset({"file_read", "web_search"})
_ANY: dict[str, Any] = {"type": "object"}


def skill_of(name: str, document: Document[UserSkill], runner: Runner) -> Skill:
    """An installed skill as one of the registry, under a tool name. A run that fails is an error of its caller's."""
    body = document.body
    words = body.description.strip() or body.name
    schema = {**_ANY, **body.schemas.input}
    result = body.schemas.output if body.schemas.output.get("type") == "object" else None

    async def run(ctx: Context, ask: dict[str, Any]) -> Any:
        record, output = await runner.run(document, ask, ctx, session=ctx.session)
        if record.status == TIMEOUT:
            raise UpstreamTimeout(f"{body.full_name}: {record.error}", code="timeout")
        if record.status != SUCCESS:
            raise UpstreamFailed(f"{body.full_name}: {record.error}", code="skill_failed")
        return output

    return Skill(
        name=name,
        summary=words.splitlines()[0][:200],
        description=words,
        scopes=frozenset((SCOPE,)),
        cost=CostClass.NETWORK,
        input=dict,
        output=object,
        streams=False,
        run=run,
        mcp=Mcp(name),
        a2a=A2a(
            id=name.replace("skill_", "skill.", 1),
            tags=("installed", *body.tags),
            examples=(),
            ask=lambda asked: arguments_of(asked, schema),
            view=_answer,
        ),
        read_only=str(body.handler.get("type")) in _READS,
        audit=Audit.FULL,
        source=ORIGIN,
        schema=schema,
        result=result,
    )


def _answer(output: Any) -> A2aAnswer:
    data = cast("dict[str, Any]", output) if isinstance(output, dict) else {"result": output}
    text = output if isinstance(output, str) else ""
    return A2aAnswer(text or "The skill is done; its output is in the data.", data)
