"""GitLab's Code Suggestions: code that is generated for a file. Source: GitLab REST API, "Code Suggestions", "Generate code completions".

The conversation is what stands above the cursor, and the user's last words are the instruction. ``file_name`` and ``project_path`` of a
connection's data say of which file and project; the name decides the language.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import msgspec

from hub.chat import Finish, Role
from hub.errors import BadRequest, UpstreamFailed
from hub.providers._request import build
from hub.providers._wire import Reading
from hub.providers._words import WordFormat, Words, read, reading, whole
from hub.providers.base import Adapter

if TYPE_CHECKING:
    from hub.chat import ChatResponse, JsonObject
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

_FILE = "answer.md"


class _Model(msgspec.Struct):
    engine: str = ""
    name: str = ""


class _Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice]
    model: _Model | str | None = None


def _answer(body: bytes) -> ChatResponse:
    found = read(body, _Answer)
    if not found.choices:
        raise UpstreamFailed("the provider has no suggestion", upstream_status=200, code="empty_content")
    first, model = found.choices[0], found.model
    named = model.name if isinstance(model, _Model) else model or ""
    return whole(body, first.text, model=named, finish=Finish.LENGTH if first.finish_reason == "length" else Finish.STOP)


class GitLab(WordFormat):
    """Code for a file."""

    reading: ClassVar[Reading] = reading(_answer)

    def encode(self, words: Words) -> bytes:
        """The body. Raises BadRequest where the user says nothing."""
        instruction = next((said for role, said in reversed(words.turns) if role is Role.USER), "")
        if not instruction:
            raise BadRequest("messages: this provider needs words of the user", field="messages")
        data = words.target.data
        file = {"file_name": data.get("file_name") or _FILE, "content_above_cursor": words.script(), "content_below_cursor": ""}
        body: JsonObject = {"current_file": file, "intent": "generation", "stream": False, "user_instruction": instruction}
        if data.get("project_path"):
            body["project_path"] = data["project_path"]
        return msgspec.json.encode(body)

    def send(self, target: Target, body: bytes) -> Outgoing:
        """To the instance's address."""
        return build(target, target.provider.path(self.name) or "/code_suggestions/completions", body)


adapter: Adapter = GitLab("gitlab-code-suggestions")
