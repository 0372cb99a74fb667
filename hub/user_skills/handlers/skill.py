"""A skill of the hub itself under another name, with some of its fields fixed by the owner."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from hub.errors import BadRequest
from hub.user_skills.handler import Handler, Work
from hub.wire import Body

if TYPE_CHECKING:
    from hub.skill import Skill

#: Where installed skills come from in the registry: they must not call one another.
ORIGIN = "user-skills"


class Alias(Body):
    """Which skill. The caller needs its scopes."""

    skill: str = Field(min_length=1, max_length=100, description="Name of a skill of the hub; /dashboard/skills lists them.")
    arguments: dict[str, Any] = Field(default_factory=dict[str, Any], description="Fixed fields of its input; they win over the input's.")


class HubSkill(Handler):
    """Calls the skill by the one path of all calls."""

    kind = "skill"
    words = "a skill of the hub with fixed arguments"
    spec = Alias

    async def run(self, work: Work) -> Any:
        spec: Alias = work.spec
        output = await called(work, spec.skill, spec.arguments)
        return output.model_dump(mode="json", by_alias=True) if isinstance(output, BaseModel) else output


async def called(work: Work, name: str, fixed: dict[str, Any]) -> Any:
    """What a skill of the registry answers to the input with the fixed fields in it. Raises HubError."""
    hub = work.ctx.hub
    found = hub.find(name)
    refused = _refused(found)
    if refused:
        raise BadRequest(f"{name} cannot be an installed skill: {refused}", field="handler.skill")
    return await hub.call(found, {**work.input, **fixed}, replace(work.ctx, request_id=work.name))


def _refused(found: Skill) -> str:
    """Why a skill is not called from here; empty where it may be."""
    if found.streams or not found.typed:
        return "it takes or gives what is not JSON"
    if found.destructive:
        return "it destroys something, which a person confirms at its own door"
    return "it is installed, or runs installed ones" if found.source == ORIGIN or found.name.startswith(f"{ORIGIN}-") else ""


HANDLER = HubSkill()
