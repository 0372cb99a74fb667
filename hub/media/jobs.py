"""What the services are asked for, in no dialect. Doors make jobs, formats read them; ``extra`` holds a client's other fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(slots=True)
class EmbedJob:
    """Texts, or lists of a model's tokens. ``encoding`` is float or base64, as the client asked.

    ``dialect`` is whose fields ``extra`` are.
    """

    inputs: Sequence[str] | Sequence[Sequence[int]]
    encoding: str = "float"
    dimensions: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])
    dialect: str = "openai"

    def texts(self) -> list[str]:
        """The inputs where they are texts. Raises BadRequest for tokens, which only the format they were made for takes."""
        found = [one for one in self.inputs if isinstance(one, str)]
        if len(found) != len(self.inputs):
            raise BadRequest("this provider embeds texts, not lists of tokens; send strings", field="input")
        return found


def unsent(extra: Mapping[str, Any], known: Iterable[str] = ()) -> list[str]:
    """The names of a client's other fields that a format does not carry."""
    return sorted(extra.keys() - set(known))
