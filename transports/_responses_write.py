"""Writes an answer as the Responses API has it: the response object, and the events of its stream.

Source: OpenAI API reference, "The response object", "Streaming events".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from hub.chat import (
    ChatEvent,
    Failed,
    Finish,
    Finished,
    JsonObject,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
    likelihoods,
)
from hub.citations import to_responses
from hub.errors import HubError, UpstreamRejected, openai_type
from hub.providers._signature import mark
from hub.seals import sealed
from transports._responses_items import BARE, DIALECT, REDACTED, item_id
from transports._responses_tools import Offered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hub.citations import Source

_json = msgspec.json.Encoder().encode
_OPEN = "in_progress"
#: Finishes that leave an answer incomplete, and why.
_INCOMPLETE = {Finish.LENGTH: "max_output_tokens", Finish.CONTENT_FILTER: "content_filter"}
_CODES = {"rate_limit_error": "rate_limit_exceeded", "invalid_request_error": "invalid_prompt"}


def usage_of(usage: Usage) -> JsonObject:
    """Usage with cached tokens as part of the input, and thinking as part of the output."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def failure_of(error: HubError) -> JsonObject:
    """What went wrong, as a failed response says it."""
    return {"code": _CODES.get(openai_type(error), "server_error"), "message": error.message}


class _Item:
    """An item of the output. ``index`` is its place there, -1 while it waits; ``seal`` the signature that is told before a call.

    ``before`` is how many characters of the answer's text came before it.
    """

    __slots__ = ("before", "body", "index", "logprobs", "notes", "pieces", "prefix", "seal", "signature")

    def __init__(self, body: JsonObject, prefix: str, seal: str = "") -> None:
        self.before = 0
        self.notes: list[JsonObject] = []
        self.logprobs: list[Any] = []
        self.index = -1
        self.body = body
        self.prefix = prefix
        self.seal = seal
        self.pieces: list[str] = []
        self.signature = ""

    @property
    def text(self) -> str:
        """What it says so far."""
        return "".join(self.pieces)


class Writer:
    """Writes one answer. ``shell`` is the response object before anything was said; ``tools`` those that have other names as functions.

    :meth:`begin`, then :meth:`feed` any number of times, then one of :meth:`end`, :meth:`fail`; each gives the events to send. ``body`` is
    the response object as it is known so far. Items of calls stay open until their arguments are whole, words until something else follows.
    Calls are told one after the other, as OpenAI does, and clients that follow one item at a time rely on it: where a provider mixes the
    arguments of several, those of the later ones wait.
    """

    def __init__(self, shell: JsonObject, tools: Mapping[str, Offered] | None = None) -> None:
        self.body = shell
        self.body["output"] = []
        self.over = False
        self._tools = tools or {}
        self._sequence = 0
        self._words: _Item | None = None
        self._kind = ""
        self._said = 0
        self._calls: dict[int, _Item] = {}
        self._usage: Usage | None = None
        self._finish: Finished | None = None

    def begin(self) -> list[bytes]:
        """The response exists and is worked on."""
        return [self._event(f"response.{kind}", response=self.body) for kind in ("created", _OPEN)]

    def feed(self, events: list[ChatEvent]) -> list[bytes]:
        """The events of the dialect for these. Of several choices the first is told: the dialect has one."""
        out: list[bytes] = []
        for one in events:
            if not getattr(one, "choice", 0) and not self.over:
                out += self._WRITERS[type(one)](self, one)
        return out

    def picture(self, data: str) -> list[bytes]:
        """A picture that the model made: base64."""
        return self._whole({"type": "image_generation_call", "status": "completed", "result": data}, "ig")

    def end(self, now: int) -> list[bytes]:
        """The answer is complete at ``now`` (seconds); nothing once it failed."""
        if self.over:
            return []
        self.over = True
        last = self._finish or Finished(Finish.STOP)
        reason = _INCOMPLETE.get(last.reason)
        out = self._close("incomplete" if reason else "completed") + self._calls_in_turn(to_the_end=True)
        status = "incomplete" if reason else "completed"
        self._settle(status, {"incomplete_details": {"reason": reason} if reason else None, "completed_at": None if reason else now})
        return [*out, self._event(f"response.{status}", response=self.body)]

    def fail(self, error: HubError) -> list[bytes]:
        """The answer broke off: ``response.failed``, the last event (REL-01)."""
        if self.over:
            return []
        self.over = True
        for item in (self._words, *self._calls.values()):
            if item is not None:
                item.body["status"] = "incomplete"
        self._settle("failed", {"error": failure_of(error)})
        return [self._event("response.failed", response=self.body)]

    def _settle(self, status: str, more: JsonObject) -> None:
        usage = usage_of(self._usage) if self._usage is not None else None
        self.body.update({"status": status, "usage": usage, **more})

    def _event(self, kind: str, **fields: Any) -> bytes:
        told = _json({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: " + kind.encode() + b"\ndata: " + told + b"\n\n"

    def _of(self, item: _Item, kind: str, **fields: Any) -> bytes:
        """An event of an item."""
        return self._event(f"response.{kind}", item_id=item.body["id"], output_index=item.index, **fields)

    def _open(self, item: _Item) -> bytes:
        output: list[JsonObject] = self.body["output"]
        item.index, item.before = len(output), self._said
        item.body = {"id": item_id(item.prefix, self.body["id"], item.index), **item.body}
        output.append(item.body)
        return self._event("response.output_item.added", output_index=item.index, item=item.body)

    def _done(self, item: _Item) -> bytes:
        return self._event("response.output_item.done", output_index=item.index, item=item.body)

    def _whole(self, body: JsonObject, prefix: str) -> list[bytes]:
        return [*self._turn(), *self._at_once(_Item(body, prefix))]

    def _at_once(self, item: _Item) -> list[bytes]:
        return [self._open(item), self._done(item)]

    def _turn(self) -> list[bytes]:
        """Something else follows: words end, and calls whose arguments are whole."""
        return self._close() + self._calls_in_turn()

    # -- words: a message with its parts, or reasoning with its summary

    def _begin_words(self, kind: str) -> list[bytes]:
        before = self._turn()
        if kind == "reasoning":
            self._words = item = _Item({"type": "reasoning", "summary": [], "status": _OPEN}, "rs")
            opened = self._open(item)
            more = [self._of(item, "reasoning_summary_part.added", summary_index=0, part={"type": "summary_text", "text": ""})]
        else:
            self._words = item = _Item({"type": "message", "role": "assistant", "status": _OPEN, "content": []}, "msg")
            opened = self._open(item)
            more = [self._of(item, "content_part.added", content_index=0, part=_part(kind, ""))]
        self._kind = kind
        return [*before, opened, *more]

    def _say(self, kind: str, words: str, event: str, logprobs: Sequence[Any] = (), **where: int) -> list[bytes]:
        begun = self._begin_words(kind) if self._kind != kind or self._words is None else []
        item = self._words
        if item is None or not (words or logprobs):
            return begun
        item.pieces.append(words)
        item.logprobs += logprobs
        more: JsonObject = {"logprobs": logprobs} if kind == "output_text" else {}
        return [*begun, self._of(item, event, delta=words, **where, **more)]

    def _close(self, status: str = "completed") -> list[bytes]:
        item, kind = self._words, self._kind
        self._words, self._kind = None, ""
        if item is None:
            return []
        item.body["status"] = status
        text = item.text
        if kind == "reasoning":
            part = {"type": "summary_text", "text": text}
            item.body["summary"] = [part]
            item.body["encrypted_content"] = _sealed_signature(item.signature) or None
            ended = [
                self._of(item, "reasoning_summary_text.done", summary_index=0, text=text),
                self._of(item, "reasoning_summary_part.done", summary_index=0, part=part),
            ]
        else:
            part = _part(kind, text, item)
            item.body["content"] = [part]
            said: JsonObject = {"text": text, "logprobs": item.logprobs} if kind == "output_text" else {"refusal": text}
            self._said += len(text) if kind == "output_text" else 0
            name = "output_text.done" if kind == "output_text" else "refusal.done"
            ended = [self._of(item, name, content_index=0, **said), self._of(item, "content_part.done", content_index=0, part=part)]
        return [*ended, self._done(item)]

    def _text(self, one: TextDelta) -> list[bytes]:
        logprobs = likelihoods(one.extra.get("logprobs")) if one.extra else ()
        said = self._say("output_text", one.text, "output_text.delta", logprobs, content_index=0) if one.text or logprobs else []
        return [*said, *self._beside(one.extra)] if one.extra else said

    def _beside(self, extra: JsonObject) -> list[bytes]:
        """Sources, a picture, or an item that only this dialect knows."""
        opaque, image, sources = extra.get("opaque"), extra.get("image"), extra.get("sources")
        if sources:
            return self._cited(sources)
        if image is not None:
            return self.picture(image["data"])
        return self._whole(opaque["value"], "item") if opaque is not None and opaque["dialect"] == DIALECT else []

    def _cited(self, sources: list[Source]) -> list[bytes]:
        """Notes to the text that is told now."""
        notes = to_responses(sources, self._words.before if self._words is not None and self._kind == "output_text" else self._said)
        begun = self._begin_words("output_text") if notes and self._kind != "output_text" else []
        item = self._words
        if item is None:
            return begun
        first = len(item.notes)
        item.notes += notes
        kind = "output_text.annotation.added"
        told = [self._of(item, kind, content_index=0, annotation_index=index, annotation=note) for index, note in enumerate(notes, first)]
        return [*begun, *told]

    def _refusal(self, one: RefusalDelta) -> list[bytes]:
        return self._say("refusal", one.text, "refusal.delta", content_index=0)

    def _reasoning(self, one: ReasoningDelta) -> list[bytes]:
        if one.redacted:
            return self._whole({"type": "reasoning", "summary": [], "encrypted_content": REDACTED + one.redacted}, "rs")
        # A signature closes a thought; what follows is another one.
        before = self._close() if self._kind == "reasoning" and self._words is not None and self._words.signature and one.text else []
        said = self._say("reasoning", one.text, "reasoning_summary_text.delta", summary_index=0)
        if self._words is not None and one.signature:
            self._words.signature = one.signature
        return [*before, *said]

    # -- calls

    def _call(self, one: ToolCallStarted) -> list[bytes]:
        before = self._turn()
        tool = self._tools.get(one.name) or Offered(one.name)
        kind, argument = ("custom_tool_call", "input") if tool.free else ("function_call", "arguments")
        body: JsonObject = {"type": kind, "call_id": one.id, "name": tool.name, argument: "", "status": _OPEN}
        if tool.namespace:
            body["namespace"] = tool.namespace
        seal = sealed(one.id, one.signature) if one.signature else ""
        self._calls[one.index] = _Item(body, "ctc" if tool.free else "fc", seal)
        return [*before, *self._calls_in_turn()]

    def _arguments(self, one: ToolCallDelta) -> list[bytes]:
        item = self._calls.get(one.index)
        if item is None or not one.arguments:
            return []  # white space after arguments that were whole
        item.pieces.append(one.arguments)
        if item.index < 0:
            return []
        told = self._argue(item, one.arguments)
        # Only where another call waits it matters at once that this one is whole; only a closing brace can make it so.
        return told + self._calls_in_turn() if len(self._calls) > 1 and one.arguments.rstrip().endswith("}") else told

    def _argue(self, item: _Item, arguments: str) -> list[bytes]:
        if "input" in item.body:
            return []  # told as a whole: it is inside a string of the arguments
        return [self._of(item, "function_call_arguments.delta", delta=arguments)]

    def _calls_in_turn(self, *, to_the_end: bool = False) -> list[bytes]:
        """Close the calls whose arguments are whole, in their order, and begin the first that is not; ``to_the_end`` closes that too."""
        out: list[bytes] = []
        while self._calls:
            index, item = next(iter(self._calls.items()))
            if item.index < 0:
                out += self._begin_call(item)
            if not to_the_end and not _is_whole(item.text):
                break
            out += self._close_call(self._calls.pop(index))
        return out

    def _begin_call(self, item: _Item) -> list[bytes]:
        before = self._at_once(_Item({"type": "reasoning", "summary": [], "encrypted_content": item.seal}, "rs")) if item.seal else []
        return [*before, self._open(item), *(self._argue(item, item.text) if item.pieces else [])]

    def _close_call(self, item: _Item) -> list[bytes]:
        item.body["status"] = "completed"
        if "input" in item.body:
            text = item.body["input"] = _input(item.text)
            told = [
                self._of(item, "custom_tool_call_input.delta", delta=text),
                self._of(item, "custom_tool_call_input.done", input=text),
            ]
        else:
            text = item.body["arguments"] = item.text or "{}"
            told = [self._of(item, "function_call_arguments.done", arguments=text, name=item.body["name"])]
        return [*told, self._done(item)]

    # -- what is told at the end

    def _started(self, one: Started) -> list[bytes]:
        self._usage = one.usage or self._usage
        return []

    def _finished(self, one: Finished) -> list[bytes]:
        self._finish = one
        return []

    def _used(self, one: Used) -> list[bytes]:
        self._usage = one.usage
        return []

    def _failure(self, one: Failed) -> list[bytes]:
        return self.fail(UpstreamRejected(one.message, upstream_status=one.status, code=one.code or None))

    _WRITERS: ClassVar[dict[type[Any], Callable[[Writer, Any], list[bytes]]]] = {
        Started: _started,
        TextDelta: _text,
        ReasoningDelta: _reasoning,
        RefusalDelta: _refusal,
        ToolCallStarted: _call,
        ToolCallDelta: _arguments,
        Finished: _finished,
        Used: _used,
        Failed: _failure,
    }


def _part(kind: str, text: str, item: _Item | None = None) -> JsonObject:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": kind, "text": text, "annotations": item.notes if item else [], "logprobs": item.logprobs if item else []}


def _sealed_signature(signature: str) -> str:
    """A signature that says whose it is, also where its vendor's have no mark."""
    return signature if ":" in signature else mark(BARE, signature)


def _is_whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True


def _input(arguments: str) -> str:
    """The input of a free-form tool, out of the arguments that it has as a function; those as they are where they hold none."""
    try:
        found = msgspec.json.decode(arguments, type=dict[str, Any]).get("input")
    except (msgspec.DecodeError, UnicodeError):
        return arguments
    return found if isinstance(found, str) else arguments
