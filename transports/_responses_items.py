"""Items of the Responses API as messages of the internal model, naming the field at fault where one is not an item.

Source: OpenAI API reference, "Create a model response", "Input items".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar, cast

import msgspec

from hub.chat import Document, Image, JsonObject, Message, Opaque, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from hub.providers._signature import mark
from hub.seals import call_signature, is_sealed
from transports._fields import bad, left, object_of, objects, text
from transports._responses_tools import named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DIALECT = "openai-responses"

_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM, "developer": Role.DEVELOPER}
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)
#: How the signature of reasoning that no other may read begins, where the vendor's own form of it says nothing.
REDACTED = "redacted:"
#: The vendor whose signatures have no mark.
BARE = "anthropic"


def item_id(kind: str, response_id: str, index: int) -> str:
    """The id of an item of an answer; it tells which, so that a reference to the item finds it."""
    return f"{kind}_{response_id.removeprefix('resp_')}_{index}"


def answer_of(named: str) -> str:
    """The answer that an item's id tells; of an id that is not ours, one that nobody keeps."""
    return "resp_" + named.partition("_")[2].rpartition("_")[0]


class Conversation:
    """Puts items together as turns: reasoning, words and calls of the assistant that follow one another are one message."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._signatures: list[str] = []

    def add(self, items: Iterable[object], at: str) -> None:
        """More items. Raises BadRequest, its field like ``input.2.content``."""
        for index, item in enumerate(items):
            self._item(object_of(item, f"{at}.{index}"), f"{at}.{index}")

    def said(self, role: Role, parts: list[Part], extra: JsonObject | None = None) -> None:
        """Parts of a role; the assistant's and those of tools join the turn before."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role is role and role in (Role.ASSISTANT, Role.TOOL):
            last.parts += parts
        else:
            self.messages.append(Message(role, parts, extra=extra or {}))

    def _item(self, item: JsonObject, at: str) -> None:
        kind = item.get("type") or ("message" if "role" in item else "")
        if not isinstance(kind, str) or not kind:
            bad(f"{at}.type", "is missing")
        reader = self._ITEMS.get(kind)
        if reader is not None:
            reader(self, item, at)
        elif item.get("call_id"):
            self._other_call(kind, item, at)
        else:
            self.said(Role.ASSISTANT, [Opaque(DIALECT, item)])

    def _other_call(self, kind: str, item: JsonObject, at: str) -> None:
        """A call of a tool that clients run for the vendor, such as a shell, or what came of it."""
        if kind.endswith("_output"):
            self._output(item, at)
            return
        arguments = msgspec.json.encode(item.get("action") or item.get("operation") or {}).decode()
        self.said(Role.ASSISTANT, [ToolCall(str(item["call_id"]), kind.removesuffix("_call"), arguments)])

    def _message(self, item: JsonObject, at: str) -> None:
        word = item.get("role")
        role = _ROLES.get(word) if isinstance(word, str) else None
        if role is None:
            bad(f"{at}.role", "must be user, assistant, system or developer")
        self.said(role, parts_of(item.get("content"), f"{at}.content"))

    def _reasoning(self, item: JsonObject, at: str) -> None:
        pieces = [*objects(item.get("summary")), *objects(item.get("content"))]
        words = "\n\n".join(str(piece.get("text") or "") for piece in pieces)
        signature = text(dict(item), "encrypted_content", at)
        if is_sealed(signature):
            self._signatures.append(signature)
        elif signature.startswith(REDACTED):
            self.said(Role.ASSISTANT, [Reasoning(redacted=signature.removeprefix(REDACTED))])
        elif signature or words:
            # what has no mark is of the vendor whose dialect this is
            self.said(Role.ASSISTANT, [Reasoning(words, signature if ":" in signature else mark(DIALECT, signature))])

    def _call(self, item: JsonObject, at: str) -> None:
        call_id, name = self._named(item, at)
        arguments = text(item, "arguments", at) or "{}"
        signature = next((found for one in self._signatures if (found := call_signature(one, call_id))), "")
        self.said(Role.ASSISTANT, [ToolCall(call_id, name, arguments, signature)])

    def _custom(self, item: JsonObject, at: str) -> None:
        call_id, name = self._named(item, at)
        self.said(Role.ASSISTANT, [ToolCall(call_id, name, msgspec.json.encode({"input": text(item, "input", at)}).decode())])

    def _named(self, item: JsonObject, at: str) -> tuple[str, str]:
        call_id, name = text(item, "call_id", at), named(item, at)
        if not call_id or not name:
            bad(f"{at}.{'name' if call_id else 'call_id'}", "is missing")
        return call_id, name

    def _output(self, item: JsonObject, at: str) -> None:
        call_id = text(item, "call_id", at)
        if not call_id:
            bad(f"{at}.call_id", "is missing; give the id of the call that this answers")
        output: Any = item.get("output")
        parts = parts_of(output if isinstance(output, str | list) else msgspec.json.encode(output).decode(), f"{at}.output")  # pyright: ignore[reportUnknownArgumentType] - JSON
        self.said(Role.TOOL, [ToolResult(call_id, parts)])

    _ITEMS: ClassVar[dict[str, Callable[[Conversation, JsonObject, str], None]]] = {
        "message": _message,
        "reasoning": _reasoning,
        "function_call": _call,
        "custom_tool_call": _custom,
        "function_call_output": _output,
        "custom_tool_call_output": _output,
    }


def parts_of(content: object, at: str) -> list[Part]:
    """The parts of a content: a string, or a list of parts. Raises BadRequest naming the one at fault."""
    if isinstance(content, str):
        return [Text(content)] if content else []
    if not isinstance(content, list):
        bad(at, "must be a string or a list of parts")
    parts: list[Part] = []
    for index, item in enumerate(cast("list[object]", content)):
        part = object_of(item, f"{at}.{index}")
        reader = _PARTS.get(str(part.get("type")))
        parts.append(reader(part, f"{at}.{index}") if reader is not None else Opaque(DIALECT, part))
    return parts


def _words(part: JsonObject, at: str) -> Part:
    words = part.get("text")
    return Text(words) if isinstance(words, str) else bad(f"{at}.text", "must be a string")


def _image(part: JsonObject, at: str) -> Part:
    url, detail = text(part, "image_url", at), text(part, "detail", at)
    if not url:
        return Opaque(DIALECT, {"type": "input_image", **left(part)})
    found = _DATA_URL.match(url)
    if found is None:
        return Image(url=url, detail=detail)
    return Image(data=url[found.end() :], media_type=found[1], detail=detail)


def _file(part: JsonObject, at: str) -> Part:
    data, url, name = text(part, "file_data", at), text(part, "file_url", at), text(part, "filename", at)
    if not data and not url:
        return Opaque(DIALECT, part)
    found = _DATA_URL.match(data)
    return Document(
        data=data[found.end() :] if found else data,
        media_type=found[1] if found else "application/pdf" if name.lower().endswith(".pdf") else "",
        url=url,
        filename=name,
    )


_PARTS: dict[str, Callable[[JsonObject, str], Part]] = {
    "input_text": _words,
    "output_text": _words,
    "text": _words,
    "summary_text": _words,
    "input_image": _image,
    "input_file": _file,
    "refusal": lambda part, at: Refusal(text(part, "refusal", at)),
}
