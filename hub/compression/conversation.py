"""A whole request through the steps of a mode: what may be touched, what each engine saved, and the rest as it was.

Pure and deterministic. The short form of a text depends on the text, its place and the settings alone, never on what follows it, so that
a history that is compressed again gives the same bytes for its earlier turns, and providers' prompt caches keep their hits. Steps run
until nothing changes any more: what comes out is left alone when it comes in again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec
from msgspec.structs import replace

from hub.chat import Message, Opaque, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from hub.compression.technique import Piece, Shortened, techniques
from hub.tokens import estimate_prompt, estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.chat import ChatRequest
    from hub.compression.technique import Options, Technique

#: Rounds until nothing changes; more mean that something is wrong, and the request then stays as it was.
_MOST_ROUNDS = 8
#: Longer texts are left alone: shortening them would take too long.
MOST_TEXT = 2_000_000
_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)
_MOST_ARGUMENTS = 20_000
_COMMANDS = ("command", "cmd", "script")


class Memory(Protocol):
    """Remembers the short forms of texts."""

    def get(self, key: tuple[object, ...]) -> Shortened | None: ...

    def put(self, key: tuple[object, ...], made: Shortened) -> None: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a mode, ready: its engine, what that goes by, and a word that stands for both, by which short forms are remembered."""

    engine: str
    options: Options
    mark: str = ""


@dataclass(slots=True)
class Outcome:
    """What came of a request, in tokens as the hub estimates them. ``request`` is the one that came in where nothing was saved.

    ``engines`` is what each saved, ``rules`` what was done, ``skipped`` why something was left alone, ``kept`` how many spans were
    protected; ``fallback`` says that some text stayed whole because its short form was not sound.
    """

    request: ChatRequest
    original: int
    compressed: int
    engines: dict[str, int] = field(default_factory=dict[str, int])
    rules: list[str] = field(default_factory=list[str])
    skipped: list[str] = field(default_factory=list[str])
    kept: int = 0
    fallback: bool = False

    @property
    def saved(self) -> int:
        """Tokens that are not sent."""
        return max(0, self.original - self.compressed)


def compress(request: ChatRequest, stages: Sequence[Stage], memory: Memory | None = None) -> Outcome:
    """The request after all stages, again and again until it stays the same."""
    original = estimate_prompt(request)
    outcome = Outcome(request, original, original)
    if not stages:
        return outcome
    work = _Work(request, stages[0].options, memory, outcome)
    for _ in range(_MOST_ROUNDS):
        if not work.round(stages):
            break
    else:
        outcome.skipped.append("the steps came to no end; the request is as it was")
        outcome.engines.clear()
        return outcome
    if work.messages is not request.messages:
        made = replace(request, messages=work.messages)
        compressed = estimate_prompt(made)
        if compressed < original:
            outcome.request, outcome.compressed = made, compressed
    work.explain()
    return outcome


class _Work:
    """One request on its way through the stages."""

    def __init__(self, request: ChatRequest, options: Options, memory: Memory | None, outcome: Outcome) -> None:
        self.messages: list[Message] = request.messages
        self._memory = memory
        self._outcome = outcome
        self._locked, self._locked_parts = locked(request) if options.settings.preserve_cached_prefix else (0, 0)
        self._calls = _calls(request.messages)
        self._keeps_instructions = options.settings.preserve_system_prompt
        self._seen = 0

    def round(self, stages: Sequence[Stage]) -> bool:
        """One round of all stages; whether anything changed."""
        before = self.messages
        for stage in stages:
            engine = techniques()[stage.engine]
            if engine.turns is not None:
                self._take(engine.turns(self.messages, self._first_free(), stage.options), stage.engine)
            if engine.piece is not None:
                self._pieces(stage, engine)
        return self.messages is not before

    def _first_free(self) -> int:
        """How many messages must stay: those with something locked in them, too."""
        return self._locked + (self._locked_parts > 0)

    def _take(self, made: Sequence[Message], engine: str) -> None:
        if made is not self.messages:
            self._save(engine, _tokens(self.messages) - _tokens(made))
            self.messages = list(made)

    def _save(self, engine: str, tokens: int) -> None:
        if tokens > 0:
            self._outcome.engines[engine] = self._outcome.engines.get(engine, 0) + tokens

    def _pieces(self, stage: Stage, engine: Technique) -> None:
        made = [self._message(at, message, stage, engine) for at, message in enumerate(self.messages)]
        if any(new is not old for new, old in zip(made, self.messages, strict=True)):
            self.messages = made

    def _message(self, at: int, message: Message, stage: Stage, engine: Technique) -> Message:
        if at < self._locked or (self._keeps_instructions and message.role in _INSTRUCTIONS):
            return message
        start = self._locked_parts if at == self._locked else 0
        parts = [part if place < start else self._part(part, message.role, stage, engine) for place, part in enumerate(message.parts)]
        return message if all(new is old for new, old in zip(parts, message.parts, strict=True)) else replace(message, parts=parts)

    def _part(self, part: Part, role: Role, stage: Stage, engine: Technique) -> Part:
        if isinstance(part, Text):
            return self._text(part, Piece(role.value), stage, engine)
        if not isinstance(part, ToolResult):
            return part
        tool, command = self._calls.get(part.call_id, (part.name, ""))
        piece = Piece(role.value, result=True, tool=tool or part.name, command=command, failed=part.is_error)
        inner = [self._text(one, piece, stage, engine) if isinstance(one, Text) else one for one in part.parts]
        return part if all(new is old for new, old in zip(inner, part.parts, strict=True)) else replace(part, parts=inner)

    def _text(self, part: Text, piece: Piece, stage: Stage, engine: Technique) -> Text:
        text = part.text
        if not text or engine.piece is None:
            return part
        self._seen += 1
        if len(text) > MOST_TEXT:
            words = f"a text of {len(text)} characters is too long to look at"
            self._outcome.skipped += [words] if words not in self._outcome.skipped else []
            return part
        made = self._short(text, piece, stage, engine)
        self._outcome.kept = max(self._outcome.kept, made.kept)
        self._outcome.fallback = self._outcome.fallback or made.fallback
        # Each text for itself: one that costs as much as before stays, whatever is saved elsewhere, so that it is the same in every turn.
        if made.text == text or len(made.text) >= len(text):
            return part
        saved = estimate_tokens(text) - estimate_tokens(made.text)
        if saved <= 0:
            return part
        self._save(stage.engine, saved)
        self._outcome.rules += [rule for rule in made.rules if rule not in self._outcome.rules]
        return replace(part, text=made.text)

    def _short(self, text: str, piece: Piece, stage: Stage, engine: Technique) -> Shortened:
        if engine.piece is None:
            return Shortened(text)
        key = (stage.mark, piece, text)
        found = self._memory.get(key) if self._memory is not None else None
        if found is None:
            found = engine.piece(text, piece, stage.options)
            if self._memory is not None:
                self._memory.put(key, found)
        return found

    def explain(self) -> None:
        """Say why nothing was saved."""
        outcome = self._outcome
        count = len(self.messages)
        if self._first_free() >= count > 0:
            outcome.skipped.append("everything stands before the client's last cache marker (preserveCachedPrefix)")
        elif self._first_free():
            outcome.skipped.append(f"{self._first_free()} messages stand before the client's last cache marker (preserveCachedPrefix)")
        if self._keeps_instructions and any(message.role in _INSTRUCTIONS for message in self.messages):
            outcome.skipped.append("instructions stay as they are (preserveSystemPrompt)")
        if not outcome.saved and self._seen:
            outcome.skipped.append("no text had anything that the engines in use take out")
        elif not self._seen and count > self._first_free():
            outcome.skipped.append("there was no text to look at")


def locked(request: ChatRequest) -> tuple[int, int]:
    """What stands before a client's last prompt-cache marker: so many whole messages, and so many parts of the next one."""
    if "cache_control" in request.extra:
        return len(request.messages), 0
    for at in range(len(request.messages) - 1, -1, -1):
        parts = request.messages[at].parts
        for place in range(len(parts) - 1, -1, -1):
            if marked(parts[place]):
                return (at + 1, 0) if place == len(parts) - 1 else (at, place + 1)
    return 0, 0


def marked(part: Part) -> bool:
    """Whether a client marked the end of a prefix to be cached at a part."""
    if isinstance(part, Opaque):
        return "cache_control" in part.value
    if isinstance(part, Reasoning | Refusal):
        return False
    return part.cache is not None or (isinstance(part, ToolResult) and any(map(marked, part.parts)))


def _calls(messages: Sequence[Message]) -> dict[str, tuple[str, str]]:
    """By the id of a call: the tool that was called, and the command that it was given, where it takes one."""
    return {part.id: (part.name, _command(part.arguments)) for message in messages for part in message.parts if isinstance(part, ToolCall)}


def _command(arguments: str) -> str:
    """The command in the arguments of a call: a line, or the words of one of which a shell gets the last."""
    found = _given(arguments)
    if isinstance(found, list):
        words = [str(word) for word in cast("list[Any]", found)]
        return words[-1] if len(words) == 3 and words[1].startswith("-") else " ".join(words)
    return found if isinstance(found, str) else ""


def _given(arguments: str) -> object:
    """What the arguments of a call give as the command, of whatever kind it is."""
    if len(arguments) > _MOST_ARGUMENTS or not any(f'"{name}"' in arguments for name in _COMMANDS):
        return ""
    try:
        given = msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeError, RecursionError):
        return ""
    return next((given[name] for name in _COMMANDS if name in given), "")


def _tokens(messages: Sequence[Message]) -> int:
    return sum(estimate_tokens(part.text) for message in messages for part in message.parts if isinstance(part, Text))
