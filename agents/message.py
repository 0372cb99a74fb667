"""Reading what an A2A client said: the words, data and conversation in messages of A2A 1.0's JSON."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.records import PushConfig, TaskRow

#: What the hub's agent skills read and write, as the card declares it.
INPUT_MODES = ("text/plain", "application/json")
OUTPUT_MODES = ("text/plain", "application/json")


@dataclass(frozen=True, slots=True)
class Said:
    """One message to the agent, whatever its dialect.

    ``message`` is A2A 1.0's, with a ``messageId``. ``metadata`` is that of request and message together,
    ``skill`` what the dialect names outside of it. ``turns`` is a conversation that the client sent along;
    ``interactive`` says that it understands a task that asks back; ``accepted`` are the output types it takes; ``push`` is where
    it wants to be told of the task, ``waits`` says that it waits for the answer instead.
    """

    message: dict[str, Any]
    metadata: dict[str, Any]
    skill: str = ""
    turns: list[dict[str, Any]] | None = None
    stream: bool = False
    interactive: bool = True
    accepted: tuple[str, ...] = ()
    push: PushConfig | None = None
    waits: bool = True

    @property
    def id(self) -> str:
        """The client's id of the message."""
        return self.message["messageId"]


def check_modes(message: dict[str, Any]) -> None:
    """Raise BadRequest (``content_type_not_supported``) for a part of a type that the card does not declare."""
    for part in message["parts"]:
        stated: str = part.get("mediaType", "").partition(";")[0].strip().lower()
        if stated and stated not in INPUT_MODES:
            raise _unsupported(f"parts of type {stated} are not supported; send one of {', '.join(INPUT_MODES)}")


def _unsupported(words: str) -> BadRequest:
    return BadRequest(words, code="content_type_not_supported", field="message.parts")


def text_of(message: dict[str, Any]) -> str:
    """The words of a message: its text parts, and files of text, one a line."""
    return "\n".join(text for part in message["parts"] if (text := _part_text(part)))


def _part_text(part: dict[str, Any]) -> str:
    if "text" in part:
        return part["text"]
    if "raw" not in part or part.get("mediaType", "").startswith("application/json"):
        return ""
    try:
        return _raw(part).decode()
    except UnicodeDecodeError:
        raise _unsupported("a file part is not text; send text, or JSON as a data part") from None


def _raw(part: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(part["raw"], validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("a file part is not valid base64", field="message.parts") from None


def data_of(messages: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The fields of all data parts, later ones over earlier ones. Raises BadRequest for content that is only linked to."""
    found: dict[str, Any] = {}
    for message in messages:
        for part in message["parts"]:
            value = _part_data(part)
            if isinstance(value, dict):
                found.update(value)  # pyright: ignore[reportUnknownArgumentType] - JSON edge
    return found


def _part_data(part: dict[str, Any]) -> Any:
    if "url" in part:
        raise _unsupported("files are not fetched by URL; send their content")
    if "raw" in part and part.get("mediaType", "").startswith("application/json"):
        try:
            return orjson.loads(_raw(part))
        except orjson.JSONDecodeError:
            raise BadRequest("a file part of type application/json is not JSON", field="message.parts") from None
    return part.get("data")


def spoken(row: TaskRow) -> list[dict[str, Any]]:
    """What the caller said in a task, as turns of a conversation, ``{"role", "content"}``.

    The agent's own messages are left out, they ask for input and are no answer of a model; so is what only answered them.
    """
    answers: dict[str, Any] = row.task.get("answers", {})
    return [
        {"role": "user", "content": text}
        for message in row.task["history"]
        if message["role"] == "ROLE_USER" and message["messageId"] not in answers and (text := text_of(message)).strip()
    ]


def turns_of(row: TaskRow) -> list[dict[str, Any]]:
    """An ended task as turns: its messages, then the text it made."""
    made = "\n".join(part["text"] for artifact in row.task["artifacts"] for part in artifact["parts"] if part.get("text"))
    return [*spoken(row), *([{"role": "assistant", "content": made}] if made else [])]


def accepts(accepted: tuple[str, ...], mode: str) -> bool:
    """Whether a client that named output types takes this one; one that named none takes all."""
    kind = mode.partition("/")[0]
    return not accepted or any(one in (mode, f"{kind}/*", "*/*") for one in accepted)
