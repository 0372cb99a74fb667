"""The one internal model of a chat: request, response, stream events.

Client dialects decode into it, provider adapters encode out of it and back (routing.md 4). Fields
that no part of the hub acts on travel in ``extra``, so that a new field of a vendor never breaks a
call. Where client and provider speak the same dialect none of this is built (D20): the bytes pass.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias, cast

import msgspec

from hub.citations import Source

JsonObject: TypeAlias = dict[str, Any]


class Role(StrEnum):
    """Who speaks. ``developer`` is a system message that some models rank below the platform's own."""

    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Text(msgspec.Struct, tag="text", omit_defaults=True):
    """A piece of text. ``cache`` is a prompt-cache marker as the client wrote it (Anthropic ``cache_control``).

    ``sources`` are what a piece of an answer rests on.
    """

    text: str
    cache: JsonObject | None = None
    extra: JsonObject = {}
    sources: list[Source] = []


class Image(msgspec.Struct, tag="image", omit_defaults=True):
    """A picture: base64 ``data`` with its ``media_type``, or a ``url``."""

    data: str = ""
    media_type: str = ""
    url: str = ""
    detail: str = ""
    cache: JsonObject | None = None
    extra: JsonObject = {}


class Document(msgspec.Struct, tag="document", omit_defaults=True):
    """A file such as a PDF or audio clip: base64 ``data``, a ``url``, or a provider's own ``file_id``."""

    data: str = ""
    media_type: str = ""
    url: str = ""
    file_id: str = ""
    filename: str = ""
    cache: JsonObject | None = None
    extra: JsonObject = {}


class ToolCall(msgspec.Struct, tag="tool_call", omit_defaults=True):
    """The model asks for a tool. ``arguments`` is JSON text, never re-formatted on its way.

    ``signature`` is an opaque token some vendors bind to the call (Gemini thought signatures).
    """

    id: str
    name: str
    arguments: str = "{}"
    signature: str = ""
    cache: JsonObject | None = None
    extra: JsonObject = {}


class ToolResult(msgspec.Struct, tag="tool_result", omit_defaults=True):
    """What a tool answered; its parts may hold images. ``name`` is the tool's, where the dialect says it."""

    call_id: str
    parts: list[Part] = []
    name: str = ""
    is_error: bool = False
    cache: JsonObject | None = None
    extra: JsonObject = {}


class Reasoning(msgspec.Struct, tag="reasoning", omit_defaults=True):
    """Thinking shown by the model. ``signature`` must be sent back unchanged on the next turn.

    ``redacted`` is an encrypted block (Anthropic ``redacted_thinking``) that has no text.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    extra: JsonObject = {}


class Refusal(msgspec.Struct, tag="refusal", omit_defaults=True):
    """The model declines, in words."""

    text: str


class Opaque(msgspec.Struct, tag="opaque", omit_defaults=True):
    """A part of a kind we do not know, kept with the dialect it came in; other dialects report it as dropped."""

    dialect: str
    value: JsonObject


Part: TypeAlias = Text | Image | Document | ToolCall | ToolResult | Reasoning | Refusal | Opaque


class Message(msgspec.Struct, omit_defaults=True):
    """One turn. Tool results are parts of a ``tool`` message, in the order they were given."""

    role: Role
    parts: list[Part]
    name: str = ""
    extra: JsonObject = {}


class Tool(msgspec.Struct, omit_defaults=True):
    """A function the model may call. ``schema`` is JSON Schema of its arguments, as the client wrote it.

    ``builtin`` holds a vendor's own tool (web search, computer use ...) whole, with ``name`` its type.
    """

    name: str
    description: str = ""
    schema: JsonObject = {}
    strict: bool | None = None
    builtin: JsonObject | None = None
    cache: JsonObject | None = None
    extra: JsonObject = {}


class ToolMode(StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    ONE = "one"


class ToolChoice(msgspec.Struct, omit_defaults=True):
    """``name`` is set for ``one`` only. ``parallel`` None leaves the provider's default."""

    mode: ToolMode = ToolMode.AUTO
    name: str = ""
    parallel: bool | None = None


class Thinking(msgspec.Struct, omit_defaults=True):
    """How much to reason: an ``effort`` word (none, minimal, low, medium, high, xhigh, max) or a ``budget`` in tokens."""

    effort: str = ""
    budget: int | None = None
    enabled: bool = True
    extra: JsonObject = {}


class OutputFormat(msgspec.Struct, omit_defaults=True):
    """``json`` asks for any JSON object, ``schema`` for one that fits; ``name`` and ``strict`` as OpenAI has them."""

    kind: str = "text"  # text | json | schema
    schema: JsonObject = {}
    name: str = ""
    strict: bool | None = None
    description: str = ""


class ChatRequest(msgspec.Struct, omit_defaults=True):
    """A decoded chat request. ``model`` is what the client wrote; the target decides what is sent.

    ``extra`` keeps the client dialect's other fields; an adapter of the same dialect sends them on,
    all others name them in ``Prepared.dropped``. ``keep_markers`` sends prompt-cache markers also in a format that only some servers
    read them in.
    """

    model: str
    messages: list[Message]
    dialect: str = "openai"
    stream: bool = False
    include_usage: bool = False
    tools: list[Tool] = []
    tool_choice: ToolChoice | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = []
    seed: int | None = None
    n: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    thinking: Thinking | None = None
    format: OutputFormat | None = None
    user: str = ""
    keep_markers: bool = False
    extra: JsonObject = {}


class Usage(msgspec.Struct, omit_defaults=True, frozen=True):
    """Tokens of one call, each counted in exactly one of four places (routing.md 6.2).

    ``input`` are the prompt tokens that were neither read from nor written to the provider's cache;
    ``output`` are all generated tokens *including* ``reasoning``, which says how many of them were
    thinking. ``estimated`` marks numbers that the provider did not give.
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0  # the part of cache_write with the one-hour lifetime, priced higher
    output: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def prompt(self) -> int:
        """All prompt tokens, cached ones included (OpenAI's ``prompt_tokens``)."""
        return self.input + self.cache_read + self.cache_write

    @property
    def total(self) -> int:
        """Prompt and generated tokens."""
        return self.prompt + self.output


class Finish(StrEnum):
    """Why generation ended (routing.md 4.3)."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    REFUSAL = "refusal"
    PAUSE = "pause"
    ERROR = "error"


def placed(parts: list[Part]) -> list[Part]:
    """The parts of a whole answer, with the characters that sources belong to counted from its start, no longer from their part's."""
    said = 0
    for part in parts:
        if isinstance(part, Text):
            if part.sources and said:
                part.sources = [source.moved(said) for source in part.sources]
            said += len(part.text)
    return parts


class Choice(msgspec.Struct, omit_defaults=True):
    """One answer. ``stop_sequence`` is the stop string that was met, where the provider says it."""

    parts: list[Part]
    finish: Finish = Finish.STOP
    index: int = 0
    stop_sequence: str = ""
    logprobs: Any = None
    extra: JsonObject = {}


class ChatResponse(msgspec.Struct, omit_defaults=True):
    """A whole answer in the internal model. ``created`` is in seconds since the epoch."""

    id: str
    model: str
    choices: list[Choice]
    created: int = 0
    usage: Usage | None = None
    extra: JsonObject = {}

    @property
    def text(self) -> str:
        """The text of the first choice."""
        return "".join(part.text for part in self.choices[0].parts if isinstance(part, Text)) if self.choices else ""


def likelihoods(given: object) -> list[Any]:
    """The tokens of log probabilities in OpenAI's form (``{"content": [...]}``); none where it is anything else."""
    content: object = cast("JsonObject", given).get("content") if isinstance(given, dict) else None
    return cast("list[Any]", content) if isinstance(content, list) else []


class Started(msgspec.Struct, tag="started", omit_defaults=True):
    """First event of a stream."""

    id: str
    model: str
    created: int = 0
    usage: Usage | None = None
    extra: JsonObject = {}


class TextDelta(msgspec.Struct, tag="text", omit_defaults=True):
    """More text of a choice. Beside it, in ``extra``: ``sources`` of what was said, ``logprobs``, an ``image``, an ``opaque`` part."""

    text: str
    choice: int = 0
    extra: JsonObject = {}


class ReasoningDelta(msgspec.Struct, tag="reasoning", omit_defaults=True):
    """More thinking, its signature, or a redacted block."""

    text: str = ""
    signature: str = ""
    redacted: str = ""
    choice: int = 0


class RefusalDelta(msgspec.Struct, tag="refusal", omit_defaults=True):
    """More words of a refusal."""

    text: str
    choice: int = 0


class ToolCallStarted(msgspec.Struct, tag="tool_call", omit_defaults=True):
    """A tool call begins; ``index`` counts the calls of its choice from 0."""

    index: int
    id: str
    name: str
    signature: str = ""
    choice: int = 0


class ToolCallDelta(msgspec.Struct, tag="arguments", omit_defaults=True):
    """More of a call's arguments: a piece of JSON text, cut anywhere."""

    index: int
    arguments: str
    choice: int = 0


class Finished(msgspec.Struct, tag="finished", omit_defaults=True):
    """A choice is complete."""

    reason: Finish
    choice: int = 0
    stop_sequence: str = ""
    extra: JsonObject = {}


class Used(msgspec.Struct, tag="used", omit_defaults=True):
    """The usage of the whole call; a later one replaces an earlier one."""

    usage: Usage


class Failed(msgspec.Struct, tag="failed", omit_defaults=True):
    """The provider reports an error in the middle of a stream; nothing follows."""

    message: str
    code: str = ""
    status: int = 502
    retry_after: float | None = None


ChatEvent: TypeAlias = Started | TextDelta | ReasoningDelta | RefusalDelta | ToolCallStarted | ToolCallDelta | Finished | Used | Failed
