"""Code that the caller sends, in a container."""

from __future__ import annotations

from typing import Any

from hub.user_skills.handler import Handler, Work, object_of, text_of, whole_of
from hub.user_skills.model import MOST_CODE, Schemas
from hub.user_skills.sandbox import COMMANDS, IMAGES, language_of, outcome

LONGEST_MS = 60_000
RESULT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "exitCode": {"type": "integer"},
        "stdout": {"type": "string"},
        "stderr": {"type": "string"},
        "truncated": {"type": "boolean"},
    },
}
#: What every container may be asked for.
CONTAINED: dict[str, Any] = {
    "image": {"type": "string", "maxLength": 200},
    "timeoutMs": {"type": "integer", "minimum": 1, "maximum": LONGEST_MS},
    "networkEnabled": {"type": "boolean"},
}


class EvalCode(Handler):
    """Gives what it wrote and how it ended."""

    kind = "eval_code"
    words = "code that the caller sends, in a container"
    schemas = Schemas(
        input=object_of(
            {
                "code": {"type": "string", "minLength": 1, "maxLength": MOST_CODE},
                "language": {"type": "string", "enum": ["js", "python"]},
                **CONTAINED,
            },
            "code",
        ),
        output=RESULT,
    )

    async def run(self, work: Work) -> Any:
        code = text_of(work, "code")
        language = language_of(code, text_of(work, "language"))
        image = text_of(work, "image") or IMAGES[language]
        ran = await work.kit.sandbox.run(
            image, [*COMMANDS[language], code], seconds=allowed(work), network=work.input.get("networkEnabled") is True
        )
        return outcome(ran)


def allowed(work: Work) -> float:
    """How many seconds a container has: what the caller asks for, within the owner's limit and the run's."""
    asked = whole_of(work, "timeoutMs", work.kit.settings.skills_sandbox_timeout_ms, most=LONGEST_MS)
    return min(work.seconds, asked / 1000)


HANDLER = EvalCode()
