"""Decodes a generateContent request into the internal model, naming the field at fault where it is not one.

Names are taken in camel and in snake case, and a single value for a list of one, as Google takes them. What only this format has
travels in ``extra`` under its path (``generationConfig.speechConfig``), so that a provider of the format gets it back and all
others report it. Source: Gemini API reference, "GenerateContentRequest", "Content", "GenerationConfig", "ThinkingConfig".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from hub.chat import (
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from hub.errors import BadRequest
from hub.providers._signature import mark, unwrapped
from transports._fields import bad
from transports._gemini_schema import json_schema
from transports._raw_fields import Fields
from transports._tool_pairs import ToolPairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.chat import JsonObject

DIALECT = "gemini"

#: An escape of JSON; the first group is the code of a letter, of both halves where it has two.
_ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|[0-9a-f]{4})|.)", re.IGNORECASE)
_FIRST_LETTER = 0xA0

_ROLES = {"user": Role.USER, "model": Role.ASSISTANT, "function": Role.USER, "": Role.USER}
_MODES = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE, "validated": ToolMode.AUTO}
_COUNTS = {
    "maxOutputTokens": "max_tokens",
    "topK": "top_k",
    "seed": "seed",
    "candidateCount": "n",
    "logprobs": "top_logprobs",
}
_NUMBERS = {
    "temperature": "temperature",
    "topP": "top_p",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
}


def decode(body: bytes, *, model: str, stream: bool = False) -> ChatRequest:
    """The request in the internal model; the model's name is part of the address.

    Raises BadRequest, its field like ``contents.2.parts``.
    """
    try:
        return _decoded(Fields(body, snake=True), model, stream)
    except (RecursionError, UnicodeDecodeError) as error:
        raise BadRequest("Invalid JSON body: nested too deeply, or not UTF-8") from error


def _decoded(fields: Fields, model: str, stream: bool) -> ChatRequest:
    fields.take("model")
    request = ChatRequest(model=model, messages=[], dialect=DIALECT, stream=stream)
    system = _system(fields)
    calls = ToolPairs()
    for content in fields.objects("contents", one=True):
        for message in _messages(content, calls):
            _append(request.messages, message)
    if not request.messages and not system:
        bad("contents", "must be a list with at least one content")
    request.messages[:0] = system
    extra: JsonObject = {}
    for tool in fields.objects("tools", one=True):
        request.tools += _tools(tool)
    _tool_config(request, fields.object("toolConfig"), extra)
    _config(request, fields.object("generationConfig"), extra)
    request.extra = {**fields.rest(), **extra}
    return request


def _system(fields: Fields) -> list[Message]:
    if fields.is_text("systemInstruction"):
        return [Message(Role.SYSTEM, [Text(fields.text("systemInstruction"))])]
    content = fields.object("systemInstruction")
    parts = [part for item in content.objects("parts", one=True) for part in _part(item)] if content is not None else []
    return [Message(Role.SYSTEM, parts)] if parts else []


def _messages(content: Fields, calls: ToolPairs) -> Iterator[Message]:
    """The messages of one content: what functions answered comes before what the user said with it."""
    role = _ROLES.get(content.text("role"))
    if role is None:
        bad(content.path("role"), "must be user or model")
    said: list[Part] = []
    results: list[Part] = []
    for item in content.objects("parts", one=True):
        if "functionResponse" in item:
            results.append(_result(item, calls))
        elif "functionCall" in item:
            said.append(_call(item, calls))
        else:
            said += _part(item)
    extra = content.rest()
    if results:
        yield Message(Role.TOOL, results)
    if said or not results:
        yield Message(role, said, extra=extra)


def _append(messages: list[Message], message: Message) -> None:
    """Add a message; one of the model's joins the model's before it: clients keep each piece of a stream as a content of its own."""
    if message.role is not Role.ASSISTANT:
        messages.append(message)
        return
    last = messages[-1] if messages else message
    if last is message or last.role is not Role.ASSISTANT or last.extra != message.extra:
        last = Message(message.role, [], extra=message.extra)
        messages.append(last)
    for part in message.parts:
        joined = _joined(last.parts[-1], part) if last.parts else None
        last.parts[-1:] = [joined] if joined is not None else [*last.parts[-1:], part]


def _joined(before: Part, part: Part) -> Part | None:
    """Two pieces of one text or one thought; None where they are not. A signature closes a thought."""
    if isinstance(before, Text) and isinstance(part, Text) and not (before.extra or part.extra):
        return Text(before.text + part.text)
    if isinstance(before, Reasoning) and isinstance(part, Reasoning) and not (before.signature or before.redacted or part.redacted):
        return Reasoning(before.text + part.text, part.signature)
    return None


def _part(item: Fields) -> list[Part]:
    """A part of a content; nothing for an empty one."""
    signature = item.text("thoughtSignature")
    if item.flag("thought"):
        return [_thought(item.text("text"), signature)]
    extra: JsonObject = {"thoughtSignature": signature} if signature else {}
    if "text" in item:
        return [Text(item.text("text"), extra={**extra, **item.rest()})]
    if "inlineData" in item:
        return [_inline(item, extra)]
    if "fileData" in item:
        return [_file(item, extra)]
    rest = item.rest()
    return [Opaque(DIALECT, {**extra, **rest})] if extra or rest else []


def _thought(text: str, signature: str) -> Reasoning:
    """A thought. Its signature is Google's, unless it carries the mark of this door: then it is what another vendor gave."""
    foreign = unwrapped(signature)
    return Reasoning(text, mark(DIALECT, signature)) if foreign is None else Reasoning(text, *foreign)


def _inline(item: Fields, extra: JsonObject) -> Image | Document:
    blob = item.object("inlineData") or Fields(b"{}")
    kind, data, name = blob.text("mimeType"), blob.text("data"), blob.text("displayName")
    if not kind or not data:
        bad(f"{item.at}.inlineData", "needs mimeType and data")
    extra = {**extra, **blob.rest(), **item.rest()}
    if kind.startswith("image/"):
        return Image(data=data, media_type=kind, extra=extra)
    return Document(data=data, media_type=kind, filename=name, extra=extra)


def _file(item: Fields, extra: JsonObject) -> Image | Document:
    file = item.object("fileData") or Fields(b"{}")
    kind, uri, name = file.text("mimeType"), file.text("fileUri"), file.text("displayName")
    if not uri:
        bad(f"{item.at}.fileData.fileUri", "is missing")
    extra = {**extra, **file.rest(), **item.rest()}
    if kind.startswith("image/"):
        return Image(url=uri, media_type=kind, extra=extra)
    return Document(url=uri, media_type=kind, filename=name, extra=extra)


def _call(item: Fields, calls: ToolPairs) -> ToolCall:
    signature = item.text("thoughtSignature")
    call = item.object("functionCall") or Fields(b"{}")
    name, given, arguments = call.text("name"), call.text("id"), call.raw("args")
    if not name:
        bad(f"{item.at}.functionCall.name", "is missing")
    if arguments is not None:
        Fields(arguments, f"{item.at}.functionCall.args")
    words = bytes(arguments).decode() if arguments is not None else "{}"
    return ToolCall(calls.asked(name, given), name, words, signature, extra={**call.rest(), **item.rest()})


def _result(item: Fields, calls: ToolPairs) -> ToolResult:
    answer = item.object("functionResponse") or Fields(b"{}")
    name, given = answer.text("name"), answer.text("id")
    if not name:
        bad(f"{item.at}.functionResponse.name", "is missing")
    call_id, _ = calls.answered(name, given)
    if not call_id:
        bad(f"{item.at}.functionResponse", f"no call of {name!r} comes before it")
    text, failed = _said(answer.raw("response"), f"{item.at}.functionResponse.response")
    parts: list[Part] = [Text(text)] if text else []
    parts += [part for inner in answer.objects("parts", one=True) for part in _part(inner)]
    item.take("thoughtSignature")
    return ToolResult(call_id, parts, name, failed, extra={**answer.rest(), **item.rest()})


def _said(response: msgspec.Raw | None, at: str) -> tuple[str, bool]:
    """What a function answered, as text, and whether it failed: plain ``output`` or ``error`` is that text, all else its JSON."""
    if response is None:
        return "", False
    for name in ("output", "error"):
        fields = Fields(response, at)
        if name in fields:
            text = fields.text(name) if fields.is_text(name) else _readable(bytes(fields.raw(name) or b"").decode())
            if not fields.rest():
                return text, name == "error"
    return _readable(bytes(response).decode()), False


def _readable(text: str) -> str:
    """JSON text with letters in place of their escapes: Google's SDK escapes all but ASCII, which is a puzzle to a model that reads it."""
    return _ESCAPE.sub(_letter, text) if "\\u" in text else text


def _letter(found: re.Match[str]) -> str:
    """The letter of an escape; the escape itself where JSON needs it, or where it shows nothing."""
    code = found[1] or ""
    if not code or int(code[:4], 16) < _FIRST_LETTER:
        return found[0]
    letter = msgspec.json.decode(f'"{found[0]}"'.encode(), type=str)
    return letter if letter.isprintable() else found[0]


def _tools(fields: Fields) -> Iterator[Tool]:
    for one in fields.objects("functionDeclarations", one=True):
        yield _declared(one)
    for name, value in fields.rest().items():
        yield Tool(name, builtin={name: value})


def _declared(fields: Fields) -> Tool:
    name = fields.text("name")
    if not name:
        bad(fields.path("name"), "is missing")
    own, standard = fields.tree("parameters"), fields.tree("parametersJsonSchema")
    return Tool(
        name,
        fields.text("description"),
        standard if standard is not None else json_schema(own or {}),
        extra=fields.rest(),
    )


def _tool_config(request: ChatRequest, fields: Fields | None, extra: JsonObject) -> None:
    if fields is None:
        return
    calling = fields.object("functionCallingConfig")
    if calling is not None:
        _calling(request, calling, extra)
    extra |= {f"toolConfig.{name}": value for name, value in fields.rest().items()}


def _calling(request: ChatRequest, fields: Fields, extra: JsonObject) -> None:
    word, allowed = fields.text("mode"), fields.texts("allowedFunctionNames", one=True)
    mode = _MODES.get(word.lower().removeprefix("mode_unspecified") or "auto")
    if mode is None:
        bad(fields.path("mode"), "must be AUTO, ANY, NONE or VALIDATED")
    if mode is ToolMode.REQUIRED and len(allowed) == 1:
        request.tool_choice = ToolChoice(ToolMode.ONE, allowed[0])
        allowed = []
    else:
        request.tool_choice = ToolChoice(mode)
    left = {"mode": word if word.lower() == "validated" else None, "allowedFunctionNames": allowed or None, **fields.rest()}
    extra |= {f"toolConfig.functionCallingConfig.{name}": value for name, value in left.items() if value is not None}


def _config(request: ChatRequest, fields: Fields | None, extra: JsonObject) -> None:
    if fields is None:
        return
    for wire, name in _COUNTS.items():
        setattr(request, name, fields.count(wire))
    for wire, name in _NUMBERS.items():
        setattr(request, name, fields.number(wire))
    request.stop = fields.texts("stopSequences", one=True)
    request.logprobs = fields.flag("responseLogprobs")
    request.thinking = _thinking(fields.object("thinkingConfig"))
    request.format = _format(fields, extra)
    extra |= {f"generationConfig.{name}": value for name, value in fields.rest().items()}


def _thinking(fields: Fields | None) -> Thinking | None:
    if fields is None:
        return None
    shown, budget = fields.flag("includeThoughts"), fields.count("thinkingBudget")
    level = fields.text("thinkingLevel").lower().removeprefix("thinking_level_unspecified")
    if shown is False and budget is None and not level:
        return None
    extra = fields.rest()
    if budget == -1:
        # The model decides: what thinking without a budget means everywhere else.
        budget, extra["thinkingBudget"] = None, -1
    if shown is not True:
        extra["includeThoughts"] = False
    return Thinking(level, budget, enabled=budget != 0, extra=extra)


def _format(fields: Fields, extra: JsonObject) -> OutputFormat | None:
    kind = fields.text("responseMimeType")
    if kind not in ("", "text/plain", "application/json"):
        # An enum's bare word is no JSON; its schema stays beside it, for those who know the form.
        extra["generationConfig.responseMimeType"] = kind
        return None
    own, standard, older = (fields.tree(name) for name in ("responseSchema", "responseJsonSchema", "_responseJsonSchema"))
    standard = standard if standard is not None else older
    schema = standard if standard is not None else json_schema(own) if own is not None else None
    if schema is not None:
        return OutputFormat("schema", schema, name="response")
    return OutputFormat("json") if kind == "application/json" else None
