"""Code of the owner's in a container: it reads its input as JSON on stdin and writes its output as JSON on stdout."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import Field

from hub.errors import BadRequest, UpstreamFailed
from hub.user_skills.handler import Handler, Work
from hub.user_skills.model import Schemas
from hub.user_skills.sandbox import COMMANDS, IMAGES, language_of
from hub.wire import Body

_SHOWN = 500


class Code(Body):
    """What it is run with."""

    language: str = Field(default="", max_length=20, description="js, python or shell; empty: by the first line of the code, else js.")
    image: str = Field(default="", max_length=200, description="Image of the container; empty: that of the language.")
    network: bool = Field(default=False, description="Whether it wants the network, which the owner has to have allowed.")


class Container(Handler):
    """Never runs in the process of the hub: without docker or podman it is refused."""

    kind = "container"
    words = "code in a container"
    spec = Code
    coded = True

    def check(self, spec: Code, schemas: Schemas) -> None:
        if spec.language and spec.language not in COMMANDS:
            raise BadRequest(f"handler.language: must be one of {', '.join(COMMANDS)}", field="handler.language")

    async def run(self, work: Work) -> Any:
        spec: Code = work.spec
        language = language_of(work.text, spec.language)
        seconds = min(work.seconds, work.kit.settings.skills_sandbox_timeout_ms / 1000)
        ran = await work.kit.sandbox.run(
            spec.image or IMAGES[language],
            [*COMMANDS[language], work.text],
            given=orjson.dumps(work.input),
            seconds=seconds,
            network=spec.network,
        )
        if ran.code:
            raise UpstreamFailed(f"the code ended with status {ran.code}: {ran.err.strip()[-_SHOWN:] or ran.out.strip()[-_SHOWN:]}")
        if ran.cut:
            raise UpstreamFailed("the code wrote more than SKILLS_MAX_SANDBOX_OUTPUT_CHARS")
        try:
            return orjson.loads(ran.out) if ran.out.strip() else None
        except orjson.JSONDecodeError:
            return {"stdout": ran.out, "stderr": ran.err}


HANDLER = Container()
