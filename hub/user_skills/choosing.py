"""Which installed skills a chat gets: those that are always on, and the few that its words ask for.

What is chosen depends on all that the user has said so far, and comes in a fixed order, so that the tools of a conversation change seldom
and provider caches survive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hub.chat import Role, Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hub.chat import ChatRequest
    from hub.store.documents import Document
    from hub.user_skills.model import UserSkill

#: The most that are chosen by words, and the score that is enough.
MOST_AUTO, ENOUGH = 5, 3
_WORD = re.compile(r"[^\W_]+")
#: Characters of a conversation that are looked at.
_MOST = 40_000
_PROVIDER = "provider:"
#: Words of descriptions that say nothing of what a skill is for.
_IDLE = frozenset({"the", "and", "for", "with", "this", "that", "from", "your", "you", "are", "use", "when", "can", "any", "all", "its"})


class Said:
    """What a conversation is about: its text in lower case, its words, and who is asked."""

    def __init__(self, request: ChatRequest, model: str) -> None:
        texts = [part.text for message in request.messages if message.role is Role.USER for part in message.parts if isinstance(part, Text)]
        beside = [model, request.dialect, *(tool.name for tool in request.tools)]
        # The beginning: what is said later must not push out what was chosen by.
        self.text = "\n".join([*beside, *texts])[:_MOST].lower()
        self.words = frozenset(_WORD.findall(self.text))
        self.provider = model.partition("/")[0].lower() if "/" in model else ""


def score(skill: UserSkill, said: Said) -> int:
    """How much a skill's name, tags and description have to do with what was said (docs/skills.md has the table)."""
    total = 6 if skill.name.lower() in said.text else 0
    total += 2 * len(_tokens(skill.name) & said.words)
    providers = [tag.lower().removeprefix(_PROVIDER) for tag in skill.tags if tag.lower().startswith(_PROVIDER)]
    total += sum(3 for tag in skill.tags if not tag.lower().startswith(_PROVIDER) and _said(tag, said))
    total += len(({word for word in _tokens(skill.description) if len(word) >= 3} - _IDLE) & said.words)
    if providers:
        total += 2 if said.provider in providers else -2
    return total


def chosen(skills: Sequence[Document[UserSkill]], said: Said) -> list[Document[UserSkill]]:
    """The skills that a chat gets, in the order of their names."""
    on = [one for one in skills if one.body.mode == "on"]
    rated = [(score(one.body, said), one) for one in skills if one.body.mode == "auto"]
    rated = sorted((pair for pair in rated if pair[0] >= ENOUGH), key=lambda pair: (-pair[0], -pair[1].body.installs, pair[1].body.name))
    return sorted([*on, *(one for _, one in rated[:MOST_AUTO])], key=lambda one: (one.body.name, one.id))


def instructions(skills: Sequence[Document[UserSkill]], bodies: Mapping[str, str]) -> str:
    """The words of instruction skills as they are put before a chat."""
    return "\n\n".join(f"<skill name={one.body.name!r}>\n{bodies[one.id]}\n</skill>" for one in skills)


def _tokens(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


def _said(tag: str, said: Said) -> bool:
    """Whether a tag is among what was said: as a word, or where it has several, as it is."""
    plain = tag.lower()
    return plain in said.words or (len(_WORD.findall(plain)) > 1 and plain in said.text)
