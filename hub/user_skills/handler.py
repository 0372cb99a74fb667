"""What every kind of executable skill has in common: what a manifest says of it, and how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import ValidationError

from hub.errors import BadRequest, InvalidInput
from hub.registry import load
from hub.skill import details_of
from hub.user_skills.model import Schemas
from hub.wire import Body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.context import Context
    from hub.settings import Settings
    from hub.user_skills.sandbox import Sandbox
    from hub.user_skills.web import Web
    from hub.user_skills.workspace import Workspaces

#: How long a name of a kind may be, so that what is no kind is never echoed at length.
_NAME = 60


class Plain(Body):
    """A handler that a manifest has nothing to say of."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What handlers work with: the way out for what models choose, the folders of keys, the container program, the limits."""

    web: Web
    workspaces: Workspaces
    sandbox: Sandbox
    settings: Settings


@dataclass(frozen=True, slots=True)
class Work:
    """One run: what the manifest says (an instance of the handler's ``spec``), the checked input, the skill's text, how long is left.

    ``name`` is the id of the run.
    """

    ctx: Context
    kit: Kit
    spec: Any
    input: dict[str, Any]
    text: str
    seconds: float
    name: str


class Handler(ABC):
    """One kind. ``kind`` is its name in a manifest, ``spec`` what stands beside ``type`` there; ``schemas`` are those of a kind that always
    takes the same. ``coded`` kinds run the skill's text. ``sealed`` names the field of ``spec`` whose values are secrets, by name."""

    kind: ClassVar[str]
    words: ClassVar[str]
    spec: ClassVar[type[Body]] = Plain
    schemas: ClassVar[Schemas | None] = None
    coded: ClassVar[bool] = False
    sealed: ClassVar[str] = ""

    def check(self, spec: Any, schemas: Schemas) -> None:  # noqa: B027 - most kinds have nothing to check
        """Raise BadRequest for what a manifest says that cannot work."""

    @abstractmethod
    async def run(self, work: Work) -> Any:
        """Do it; the output as plain JSON values. Raises HubError. It is cancelled when its time is over, and leaves nothing behind."""


def handlers() -> Mapping[str, Handler]:
    """Every kind by name."""
    return load("hub.user_skills.handlers", Handler, lambda one: one.kind)


def read(table: Mapping[str, Handler], given: Mapping[str, Any]) -> tuple[Handler, Any]:
    """The kind that a stored or sent handler names, and what it says. Raises BadRequest, InvalidInput naming fields below ``handler``."""
    kind = given.get("type")
    found = table.get(kind) if isinstance(kind, str) else None
    if found is None:
        known = ", ".join(table)
        raise BadRequest(f"handler.type: {str(kind)[:_NAME]!r} is no kind of handler; there are {known}", field="handler.type")
    try:
        return found, found.spec.model_validate({name: value for name, value in given.items() if name != "type"})
    except ValidationError as error:
        raise InvalidInput([{**one, "field": f"handler.{one['field']}"} for one in details_of(error)]) from None


def object_of(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """A schema of an object that takes nothing else."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def text_of(work: Work, name: str, default: str = "") -> str:
    """A text of the input. Raises BadRequest for anything else."""
    value = work.input.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"input.{name}: must be a string", field=f"input.{name}")
    return value


def whole_of(work: Work, name: str, default: int, *, most: int) -> int:
    """A number of the input from 1 to ``most``. Raises BadRequest."""
    value = work.input.get(name, default)
    if type(value) is not int or not 1 <= value <= most:
        raise BadRequest(f"input.{name}: must be a whole number from 1 to {most}", field=f"input.{name}")
    return value


def texts_of(work: Work, name: str) -> dict[str, str]:
    """An object of texts of the input. Raises BadRequest."""
    value: object = work.input.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for pair in cast("dict[Any, Any]", value).items() for one in pair):
        raise BadRequest(f"input.{name}: must be an object whose values are strings", field=f"input.{name}")
    return cast("dict[str, str]", value)
