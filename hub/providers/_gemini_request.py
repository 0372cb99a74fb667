"""The internal model as a generateContent request (routing.md 4.2). JSON Schemas pass as the client wrote them."""

from __future__ import annotations

import mimetypes
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from hub.chat import Document, Image, Opaque, Reasoning, Refusal, Role, Text, ToolCall, ToolMode, ToolResult
from hub.errors import BadRequest
from hub.providers._arguments import object_of
from hub.providers._encoding import SYSTEM_ROLES, Encoding, join_turn, kind_of, merged, merged_deep, nested, wants
from hub.providers._signature import unmark

if TYPE_CHECKING:
    from hub.chat import ChatRequest, JsonObject, Message, Part, Thinking, ToolChoice
    from hub.providers.base import Target

DIALECT = "gemini"

#: Tokens of thinking for a word of effort: budgets that every model of the 2.5 family takes.
BUDGETS = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_MODES = {ToolMode.AUTO: "AUTO", ToolMode.NONE: "NONE", ToolMode.REQUIRED: "ANY", ToolMode.ONE: "ANY"}
_WIRE_NAMES = {
    "max_tokens": "maxOutputTokens",
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "stop": "stopSequences",
    "seed": "seed",
    "n": "candidateCount",
    "frequency_penalty": "frequencyPenalty",
    "presence_penalty": "presencePenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}


def encode(request: ChatRequest, target: Target) -> tuple[bytes, list[str]]:
    """The body, and the names of what it cannot carry. Raises BadRequest for a part that the format cannot express."""
    encoding = Encoding(request, target, dialect=DIALECT)
    system, contents = _conversation(encoding)
    if system and not contents:
        system, contents = [], [{"role": "user", "parts": system}]
    body: JsonObject = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    _tools(encoding, body)
    config = _config(encoding)
    if request.thinking is not None:
        _thinking(encoding, config, request.thinking)
    encoding.drop_set("user")
    extra = nested(encoding.kept(request.extra))
    config = merged(extra.pop("generationConfig", None), config)
    if config:
        body["generationConfig"] = config
    for name, value in extra.items():
        body[name] = merged_deep(body[name], value) if name == "toolConfig" and name in body else body.get(name, value)
    return msgspec.json.encode(body), encoding.dropped


def _conversation(encoding: Encoding) -> tuple[list[JsonObject], list[JsonObject]]:
    """Parts of the system instruction, and contents; turns of the same role are joined."""
    system: list[JsonObject] = []
    contents: list[JsonObject] = []
    names: dict[str, str] = {}
    for index, message in enumerate(encoding.request.messages):
        encoding.envelope(message)
        if message.role in SYSTEM_ROLES:
            system += [_text(encoding, text) for text in encoding.texts(message)]
            continue
        role = "model" if message.role is Role.ASSISTANT else "user"
        parts = _parts(encoding, message, index, names)
        join_turn(contents, role, "parts", parts)
    return system, contents


def _parts(encoding: Encoding, message: Message, index: int, names: dict[str, str]) -> list[JsonObject]:
    """The parts of a message. ``names`` learns the function behind each call id, which results need."""
    made: list[JsonObject] = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            names[part.id] = part.name
            made.append(_call(encoding, part, index))
        elif isinstance(part, ToolResult):
            made += _result(encoding, part, index, names)
        else:
            one = _part(encoding, part, index)
            made += [one] if one is not None else []
    return made


def _part(encoding: Encoding, part: Part, index: int) -> JsonObject | None:
    match part:
        case Text():
            return _text(encoding, part) if part.text or part.extra else None
        case Refusal():
            return {"text": part.text} if part.text else None
        case Image() | Document():
            return _media(encoding, part, index)
        case Reasoning():
            return _reasoning(encoding, part)
        case Opaque():
            return encoding.opaque(part, dialect=DIALECT)
        case _:
            encoding.drop(kind_of(part))
            return None


def _text(encoding: Encoding, part: Text) -> JsonObject:
    if part.cache is not None:
        encoding.drop("cache_control")
    extra = dict(part.extra)
    made: JsonObject = {"text": part.text}
    signature = extra.pop("thoughtSignature", None)
    if isinstance(signature, str):
        made["thoughtSignature"] = signature
    return {**made, **encoding.kept(extra)} if extra else made


def _media(encoding: Encoding, part: Image | Document, index: int) -> JsonObject:
    """Bytes inline; anything with an address by reference, for the provider to fetch or refuse, never left out in silence."""
    extra = _aside(encoding, part)
    uri = part.url or (_file(encoding, part, index) if isinstance(part, Document) and part.file_id else "")
    if uri:
        kind = part.media_type or mimetypes.guess_type(urlsplit(uri).path)[0]
        return {"fileData": {"fileUri": uri, **({"mimeType": kind} if kind else {})}, **extra}
    if not part.data or not part.media_type:
        raise BadRequest(
            f"messages[{index}]: an image or file needs a url, or base64 data with its media type", field=f"messages[{index}].content"
        )
    return {"inlineData": {"mimeType": part.media_type, "data": part.data}, **extra}


def _aside(encoding: Encoding, part: Image | Document) -> JsonObject:
    """What goes beside the bytes; reports what cannot."""
    if part.cache is not None:
        encoding.drop("cache_control")
    if isinstance(part, Image) and part.detail not in ("", "auto"):
        encoding.drop("detail")
    if isinstance(part, Document) and part.filename:
        encoding.drop("filename")
    extra = dict(part.extra)
    signature = extra.pop("thoughtSignature", None)
    return {**({"thoughtSignature": signature} if signature else {}), **encoding.kept(extra)}


def _file(encoding: Encoding, part: Document, index: int) -> str:
    if "://" in part.file_id:
        return part.file_id
    if part.file_id.startswith("files/"):
        return f"{encoding.target.base_url.rstrip('/')}/{part.file_id}"
    raise BadRequest(f"messages[{index}]: file {part.file_id!r} is not one of this provider's", field=f"messages[{index}].content")


def _reasoning(encoding: Encoding, part: Reasoning) -> JsonObject | None:
    signature = unmark(DIALECT, part.signature, bare=encoding.own)
    if part.redacted or not signature:
        # Unsigned thoughts say nothing to the model, and another vendor's signature would fail the call.
        encoding.drop("reasoning")
        return None
    return {"text": part.text, "thought": True, "thoughtSignature": signature}


def _call(encoding: Encoding, part: ToolCall, index: int) -> JsonObject:
    if part.cache is not None:
        encoding.drop("cache_control")
    call: JsonObject = {"name": part.name, "args": object_of(part.arguments, message=index)}
    if part.id:
        call["id"] = part.id
    made: JsonObject = {"functionCall": call}
    if part.signature:
        made["thoughtSignature"] = part.signature
    return {**made, **encoding.kept(part.extra)} if part.extra else made


def _result(encoding: Encoding, part: ToolResult, index: int, names: dict[str, str]) -> list[JsonObject]:
    """A function response, with pictures and files beside it in the same turn."""
    name = part.name or names.get(part.call_id, "")
    if not name:
        raise BadRequest(
            f"messages[{index}]: no tool call with id {part.call_id!r} comes before this result, so its function is not known",
            field=f"messages[{index}].tool_call_id",
        )
    if part.cache is not None:
        encoding.drop("cache_control")
    words: list[str] = []
    beside: list[JsonObject] = []
    for inner in part.parts:
        if isinstance(inner, Text):
            words.append(inner.text)
        elif isinstance(inner, Image | Document):
            beside.append(_media(encoding, inner, index))
        else:
            encoding.drop(f"tool_result.{kind_of(inner)}")
    response: JsonObject = {"name": name, "response": _response(encoding, part, "\n".join(words))}
    if part.call_id:
        response["id"] = part.call_id
    return [{"functionResponse": response, **encoding.kept(part.extra)}, *beside]


def _response(encoding: Encoding, part: ToolResult, words: str) -> JsonObject | msgspec.Raw:
    """What a function answered. An object that a client of this dialect gave is that answer itself, not words about it."""
    if encoding.own and not part.is_error and words.lstrip().startswith("{"):
        with suppress(BadRequest):
            return object_of(words, message=0)
    return {"error" if part.is_error else "output": words}


def _tools(encoding: Encoding, body: JsonObject) -> None:
    declared: list[JsonObject] = []
    tools: list[JsonObject] = []
    for tool in encoding.request.tools:
        if tool.builtin is None:
            made: JsonObject = {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.schema}
            declared.append({key: value for key, value in made.items() if value} | encoding.kept(tool.extra))
            for name, given in (("tools.strict", tool.strict), ("cache_control", tool.cache)):
                if given:
                    encoding.drop(name)
        elif encoding.own:
            tools.append(tool.builtin)
        else:
            encoding.drop(f"tools.{tool.name}")
    if declared:
        tools.insert(0, {"functionDeclarations": declared})
    if tools:
        body["tools"] = tools
    choice = encoding.request.tool_choice
    if choice is not None:
        _choice(encoding, body, choice, any_declared=bool(declared))


def _choice(encoding: Encoding, body: JsonObject, choice: ToolChoice, *, any_declared: bool) -> None:
    if any_declared:
        calling: JsonObject = {"mode": _MODES[choice.mode]}
        if choice.mode is ToolMode.ONE:
            calling["allowedFunctionNames"] = [choice.name]
        body["toolConfig"] = {"functionCallingConfig": calling}
    elif choice.mode in (ToolMode.REQUIRED, ToolMode.ONE):
        encoding.drop("tool_choice")
    if choice.parallel is False:
        encoding.drop("parallel_tool_calls")


def _config(encoding: Encoding) -> JsonObject:
    request = encoding.request
    given = {
        "max_tokens": encoding.max_tokens(),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": request.stop or None,
        "seed": request.seed,
        "n": request.n,
        "frequency_penalty": request.frequency_penalty,
        "presence_penalty": request.presence_penalty,
        "logprobs": request.logprobs,
        "top_logprobs": request.top_logprobs if request.logprobs else None,
    }
    config: JsonObject = {_WIRE_NAMES[name]: value for name, value in given.items() if value is not None}
    encoding.refuse(config, _WIRE_NAMES)
    wanted = request.format
    if wanted is not None and wanted.kind != "text":
        config["responseMimeType"] = "application/json"
        if wanted.kind == "schema":
            config["responseJsonSchema"] = wanted.schema
    return config


def _thinking(encoding: Encoding, config: JsonObject, asked: Thinking) -> None:
    """A budget, or the level that newer models take instead; ``thinking_level`` in a model's row says which."""
    wanted = wants(asked)
    if encoding.lacks("reasoning"):
        if wanted:
            encoding.drop("thinking")
        return
    made: JsonObject = {"includeThoughts": True} if wanted else {}
    if encoding.has("thinking_level") and asked.budget is None:
        made["thinkingLevel"] = _LEVELS.get(asked.effort) if wanted else "minimal"
    else:
        made["thinkingBudget"] = (asked.budget if asked.budget is not None else BUDGETS.get(asked.effort)) if wanted else 0
    made = {name: value for name, value in made.items() if value is not None}
    extra = dict(asked.extra)
    extra.pop("type", None)  # another dialect's, and what effort and budget say
    config["thinkingConfig"] = {**made, **encoding.kept(extra)}
