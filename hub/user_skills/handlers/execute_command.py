"""A command that the caller sends, in a container."""

from __future__ import annotations

from typing import Any

from hub.errors import BadRequest
from hub.user_skills.handler import Handler, Work, object_of, text_of
from hub.user_skills.handlers.eval_code import CONTAINED, RESULT, allowed
from hub.user_skills.model import Schemas
from hub.user_skills.sandbox import IMAGES, outcome


class ExecuteCommand(Handler):
    """A program of the image and its arguments; no shell reads them unless it is the program."""

    kind = "execute_command"
    words = "a command that the caller sends, in a container"
    schemas = Schemas(
        input=object_of(
            {
                "command": {"type": "string", "minLength": 1, "maxLength": 1000},
                "args": {"type": "array", "items": {"type": "string", "maxLength": 10_000}, "maxItems": 100},
                **CONTAINED,
            },
            "command",
        ),
        output=RESULT,
    )

    async def run(self, work: Work) -> Any:
        given: list[Any] = [text_of(work, "command"), *(work.input.get("args") or ())]
        command = [one for one in given if isinstance(one, str) and "\x00" not in one]
        if len(command) < len(given):
            raise BadRequest("input.args: must be strings without NUL", field="input.args")
        ran = await work.kit.sandbox.run(
            text_of(work, "image") or IMAGES["shell"], command, seconds=allowed(work), network=work.input.get("networkEnabled") is True
        )
        return outcome(ran)


HANDLER = ExecuteCommand()
