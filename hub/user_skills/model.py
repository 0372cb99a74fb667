"""What is stored of an installed skill, and what its words in a manifest may be."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Iterable

SYSTEM = "system"
"""The owner of skills that are for every key."""

Mode = Literal["on", "off", "auto"]
Market = Literal["skillsmp", "skillssh", "local"]
VERSION = r"^(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}$"
MOST_CODE = 50_000
MOST_TEXT = 200_000
_FRONT = re.compile(r"\A---\r?\n(.*?)\r?\n---\r?\n?", re.DOTALL)
_ODD = re.compile(r"[^a-z0-9_-]+")
#: Tool names are at most this long at every door and vendor.
_MOST_NAME = 64


class Source(Body):
    """Where the text of a skill is from. ``digest`` is its SHA-256; ``commit`` the one that a repository was read at."""

    url: str = Field(default="", max_length=2000, description="Address of the text.")
    commit: str = Field(default="", max_length=64, description="Commit of the repository that was read.")
    digest: str = Field(default="", max_length=64, description="SHA-256 of text and handler, hex.")
    installed_by: str = Field(default="", max_length=200, description="Name of the key, or owner.")


class Finding(Body):
    """Something in a skill's text that a person should look at before it is used."""

    rule: str = Field(description="Name of the rule.")
    words: str = Field(description="What it means.")
    line: int = Field(description="Line of the text, from 1.")
    excerpt: str = Field(description="The line, shortened.")


class Review(Body):
    """Whether a person allowed the skill. Only what is ``approved`` is used; a change of what it does asks anew."""

    state: Literal["needs review", "approved", "refused"] = Field(default="needs review", description="Where it stands.")
    by: str = Field(default="", max_length=200, description="Who decided.")
    at: int | None = Field(default=None, description="When, epoch milliseconds.")


class Schemas(Body):
    """JSON Schema of what goes in and what comes out; empty says nothing of it."""

    input: dict[str, Any] = Field(default_factory=dict[str, Any], description="JSON Schema of the input, an object.")
    output: dict[str, Any] = Field(default_factory=dict[str, Any], description="JSON Schema of the output.")


class UserSkill(Body):
    """An installed skill. ``text`` are the words of an instruction or the code of a container; ``handler`` what an executable one does:
    ``{"type": …}`` with the fields of its kind, whose secret values are sealed. Several versions of a name may be there; the newest that
    is enabled is used."""

    owner: str = Field(default=SYSTEM, max_length=100, description="Id of the key that it is for, or system.")
    name: str = Field(pattern=NAME, description="Its name.")
    version: str = Field(default="1.0.0", pattern=VERSION, description="Its version, such as 1.0.0.")
    description: str = Field(default="", max_length=1024, description="What it is for; models choose by it.")
    kind: Literal["instruction", "executable"] = Field(description="Words for a model, or something that runs.")
    schemas: Schemas = Schemas()
    handler: dict[str, Any] = Field(default_factory=dict[str, Any], description="What it does.")
    text: str = Field(default="", max_length=MOST_TEXT, description="Instructions, or code.")
    mode: Mode = Field(default="off", description="Whether chats get it: always, when they need it, never.")
    enabled: bool = Field(default=False, description="Whether anything may use it.")
    market: Market = Field(default="local", description="Where it was found.")
    tags: tuple[str, ...] = Field(default=(), max_length=50, description="Words that it is chosen by.")
    installs: int = Field(default=1, ge=0, description="How often it was installed.")
    timeout_ms: int = Field(default=30_000, ge=100, le=60_000, description="How long one run may take, retries included.")
    retries: int = Field(default=0, ge=0, le=3, description="Further tries where a run fails for a reason that passes.")
    source: Source = Source()
    review: Review = Review()
    findings: tuple[Finding, ...] = ()

    @property
    def full_name(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def usable(self) -> bool:
        """Whether it may be used at all."""
        return self.enabled and self.review.state == "approved"

    @property
    def order(self) -> tuple[int, ...]:
        """The version as numbers, to find the newest."""
        return tuple(int(part) for part in self.version.split("."))

    def for_key(self, key_id: str) -> bool:
        """Whether a key may see and use it."""
        return self.owner in (SYSTEM, key_id)


def document_name(owner: str, name: str, version: str) -> str:
    """What a stored skill is unique by."""
    return f"{owner}/{name}@{version}"


def tool_name(name: str) -> str:
    """The name of a skill as a tool, within what every vendor takes: ``skill_`` and its name, with ``_`` for what is not allowed."""
    made = f"skill_{_ODD.sub('_', name.lower())}"
    return made if len(made) <= _MOST_NAME else _marked(made, name)


def tool_names(names: Iterable[str]) -> dict[str, str]:
    """The tool name of each of several names. Where two would have the same, all but the first end with a piece of a digest."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        made = tool_name(name)
        found[name] = made if made not in taken else _marked(made, name)
        taken.add(found[name])
    return found


def _marked(made: str, name: str) -> str:
    return f"{made[: _MOST_NAME - 7]}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def front_matter(text: str) -> dict[str, str]:
    """The plain ``key: value`` lines at the head of a SKILL.md; empty where it has none."""
    found = _FRONT.match(text)
    pairs = (line.split(":", 1) for line in (found[1].splitlines() if found else ()) if ":" in line and line[:1] not in " \t#-")
    return {name.strip().lower(): value.strip().strip("\"'") for name, value in pairs}


def body_of(text: str) -> str:
    """A SKILL.md without its head."""
    return _FRONT.sub("", text, count=1).strip()
