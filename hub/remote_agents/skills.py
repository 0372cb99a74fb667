"""Skills of remote agents as skills of our registry: under their agent's namespace, with our scope, price and audit (D7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from hub.remote_agents import card as cards
from hub.remote_agents.ask import AgentAsk, AgentReply
from hub.skill import A2a, A2aAnswer, A2aAsk, Audit, CostClass, Mcp, Skill
from hub.tasks.task import State
from hub.upstream.outcome import Outcome
from hub.upstream.skills import tool_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hub.context import Context
    from hub.remote_agents.card import Offer
    from hub.remote_agents.model import Agent
    from hub.store.documents import Document

SCOPE = "execute:agents"
_SUMMARY = 200


def namespace(agent: str) -> str:
    """The namespace of an agent's skills."""
    return f"agent-{agent}"


def skill_name(agent: str, offer: str) -> str:
    """The name of an agent's skill in our registry, and of its MCP tool."""
    return tool_name(namespace(agent), offer)


def imported(agents: Iterable[Document[Agent]]) -> Iterator[Skill]:
    """The skills of all agents that are offered."""
    for document in agents:
        if document.body.offered and document.body.approved is not None:
            for offer in cards.offers(document.body.approved):
                yield _skill(document, offer)


def _skill(document: Document[Agent], offer: Offer) -> Skill:
    agent, identity, cost = document.name, document.id, document.body.cost_per_call
    words = offer.description or offer.name

    async def run(ctx: Context, ask: AgentAsk) -> Outcome:
        return await ctx.hub.remote_agents.call(identity, offer.id, ask, ctx)

    return Skill(
        name=skill_name(agent, offer.id),
        summary=words.splitlines()[0][:_SUMMARY] if words.strip() else offer.id,
        description=f"{words}\n\nA skill of the remote agent {agent}: send a message, go on with the taskId and contextId of its answer.",
        scopes=frozenset((SCOPE,)),
        cost=CostClass.METERED if cost else CostClass.NETWORK,
        input=AgentAsk,
        output=Outcome,
        streams=False,
        run=run,
        mcp=Mcp(skill_name(agent, offer.id)),
        a2a=A2a(
            id=f"{namespace(agent)}.{offer.id}",
            tags=("agent", agent, *offer.tags),
            examples=offer.examples,
            ask=_asked,
            view=lambda outcome: _answer(outcome, identity),
        ),
        # A message may be anything; what it says is between the caller and the agent, so that the log keeps its digest only.
        audit=Audit.BASIC,
        source=namespace(agent),
        result=AgentReply.model_json_schema(by_alias=True, mode="serialization"),
    )


def _asked(asked: A2aAsk) -> dict[str, Any]:
    """The message as it came, going on with what the task, or the conversation, was about."""
    parts = [kept for part in asked.parts if (kept := _unaddressed(part))]
    going_on = {name: asked.kept[name] for name in ("taskId", "contextId") if asked.kept.get(name)}
    return {"parts": parts, "metadata": asked.metadata, **going_on}


def _unaddressed(part: dict[str, Any]) -> dict[str, Any]:
    """A part without the skill that it names: that was said to us."""
    data: Any = part.get("data")
    if not isinstance(data, dict) or "skill" not in data:
        return part
    left = {name: value for name, value in cast("dict[str, Any]", data).items() if name != "skill"}
    return {**part, "data": left} if left else {}


def _answer(outcome: Outcome, identity: str) -> A2aAnswer:
    reply = cast("dict[str, Any]", outcome.structured)
    asks = reply["state"] == State.INPUT_REQUIRED
    kept = {"agent": identity, "contextId": reply["contextId"], "taskId": reply["taskId"] if asks else ""}
    origin: dict[str, Any] = {"agent": outcome.server, "trusted": False}
    return A2aAnswer(reply["text"], {}, origin, asks=asks, kept=kept, shown=bool(reply["artifacts"]))
