"""Follows an OpenAI stream that is passed through: finds usage, errors and the end by byte search, parses next to nothing.

Only whole events are passed on, so that an error event of ours can follow at any moment, and the one event
that the client did not ask for can be left out (performance.md rule 8).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED
from hub.providers._failure import classify
from hub.providers._openai_response import ANSWER, usage_of
from hub.sse import MAX_EVENT, SseParser

if TYPE_CHECKING:
    from hub.chat import Usage
    from hub.providers.base import Failure

#: A blank line, in any mix of the three line ends.
_BREAK = re.compile(rb"(?>\r\n|\n|\r){2}")
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_ERROR = re.compile(rb'"error"\s*:\s*[^n\s]')
_DONE = re.compile(rb"(?:\A|[\r\n])data: ?\[DONE\]")


class OpenAiWatcher:
    """Watches one stream. ``cut_usage`` leaves out the final chunk that holds usage and no choices.

    ``finished`` is True once the stream said how it ended: a finish reason, ``[DONE]``, or an error object
    (``failure``). Raises UpstreamFailed for an event over the size limit.
    """

    __slots__ = ("_cut_usage", "_held", "_plain", "_sniffed", "failure", "finished", "usage")

    def __init__(self, *, cut_usage: bool) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self.failure: Failure | None = None
        self._cut_usage = cut_usage
        self._held = bytearray()
        self._sniffed = False
        self._plain = False

    def feed(self, data: bytes) -> bytes:
        """The whole events that are ready to go."""
        if self._held or not self._sniffed or b"\r" in data:
            data = self._join(data)
        elif not data.endswith(b"\n\n"):
            at = data.rfind(b"\n\n") + 2
            at = at if at > 1 else 0
            self._held += data[at:]
            data = data[:at]
        return self._notice(data) if data else data

    def _notice(self, data: bytes) -> bytes:
        """Learn from whole events; what of them is to be passed on."""
        if not self.finished:
            self.finished = _FINISH.search(data) is not None or (b"[DONE]" in data and _DONE.search(data) is not None)
        if b'"error"' in data and _ERROR.search(data):
            self._look_for_error(data)
        if b'"usage"' in data and _USAGE.search(data):
            return self._read_usage(data)
        return data

    def end(self) -> bytes:
        """The last event where it lacked only its blank line, completed; the rest of a body that was no stream is not passed."""
        rest = bytes(self._held)
        self._held.clear()
        if self._plain:
            self._not_a_stream(rest)
            return b""
        if not rest.strip() or not _complete(rest):
            return b""
        # a blank line made of CRs alone was held back for an LF that never came
        return self._notice(rest if _BREAK.search(rest) else rest.rstrip(b"\r\n") + b"\n\n")

    def _join(self, data: bytes) -> bytes:
        """What was held and what came, up to the last blank line; the rest is held."""
        held = self._held
        before = len(held)
        held += data
        if not self._sniffed:
            self._sniff()
        if self._plain:
            del held[MAX_EVENT:]
            return b""
        at = _last_break(held, max(0, before - 3))
        if not at:
            if len(held) > MAX_EVENT:
                held.clear()
                raise UpstreamFailed(f"the provider sent an event larger than {MAX_EVENT} bytes")
            return b""
        ready = bytes(held[:at])
        del held[:at]
        return ready

    def _sniff(self) -> None:
        start = bytes(self._held[:64]).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        self._sniffed = bool(start)
        self._plain = start in (b"{", b"[", b"<")

    def _not_a_stream(self, body: bytes) -> None:
        if body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            body = b'{"error":{"message":"the provider answered with a web page instead of a stream","code":"malformed_answer"}}'
        elif b'"error"' not in body:
            body = b'{"error":{"message":"the provider answered with something that is no event stream","code":"malformed_answer"}}'
        self.failure = classify(200, [], body)

    def _look_for_error(self, data: bytes) -> None:
        for event in _events(data):
            if b'"error"' not in event:
                continue
            try:
                broken = bool(ANSWER.decode(event).error)
            except MALFORMED:
                continue  # not ours to judge: the client gets the bytes as they came
            if broken:
                self.failure = classify(200, [], event)
                self.finished = True

    def _read_usage(self, data: bytes) -> bytes:
        """Read the usage in these events, and leave out the one that the client did not ask for."""
        kept = [block for block in _blocks(data) if not _USAGE.search(block) or not self._is_extra(block)]
        return b"".join(kept) if self._cut_usage else data

    def _is_extra(self, block: bytes) -> bool:
        for event in _events(block):
            try:
                answer = ANSWER.decode(event)
            except MALFORMED:
                continue
            self.usage = usage_of(answer.counted()) or self.usage
            if answer.usage and answer.choices == [] and not answer.error:
                return True
        return False


def _last_break(held: bytearray, start: int) -> int:
    """The position after the last blank line at or after ``start``, 0 when there is none."""
    # after a CR at the very end the LF of the same line end may still be on its way
    stop = len(held) - 1 if held.endswith(b"\r") else len(held)
    if held.find(b"\r", start, stop) < 0:
        at = held.rfind(b"\n\n", start, stop)
        return at + 2 if at >= 0 else 0
    at = 0
    for found in _BREAK.finditer(held, start, stop):
        at = found.end()
    return at


def _blocks(data: bytes) -> list[bytes]:
    """The events of ``data`` with their blank lines, which together are ``data``."""
    if data.find(b"\n\n") == len(data) - 2 and b"\r" not in data:
        return [data]
    ends = [found.end() for found in _BREAK.finditer(data)]
    starts = [0, *ends]
    return [data[start:stop] for start, stop in zip(starts, [*ends, len(data)], strict=True) if start < stop]


def _events(data: bytes) -> list[bytes]:
    lone = data.rstrip(b"\n")
    if lone.startswith(b"data: ") and b"\n" not in lone and b"\r" not in lone:
        return [lone[6:]]
    parser = SseParser()
    return [event.data for event in parser.feed(data) + parser.end()]


def _complete(rest: bytes) -> bool:
    """Whether an event that was cut off before its blank line is whole all the same."""
    for event in _events(rest):
        if event.strip() == b"[DONE]":
            return True
        try:
            ANSWER.decode(event)
        except MALFORMED:
            return False
        return True
    return False
