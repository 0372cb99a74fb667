"""What compression costs: a chat with it on, and each mode by itself, in CPU per KiB of prompt, anew and from memory."""

from __future__ import annotations

import json
import time

from bench.load import NUMBER, Request
from bench.pipeline import manage
from hub.chat import ChatRequest, Message, Role, Text, ToolCall, ToolResult
from hub.clock import Clock
from hub.compression.conversation import Stage, compress
from hub.compression.filters import shipped
from hub.compression.memory import ShortForms
from hub.compression.settings import CompressionSettings
from hub.compression.technique import Options

_ASK = "Could you please look at the changes in order to find out what is basically wrong with them? I just want to know. "
_STATUS = (
    "On branch main\nChanges not staged for commit:\n" + '  (use "git add <file>..." to update what will be committed)\n' * 3
) + "".join(f"\tmodified:   src/part{number}.py\n" for number in range(12))
_TESTS = (
    "".join(f"tests/test_a.py::test_{number} PASSED  [ {number}%]\n" for number in range(90))
    + "E   assert 1 == 2\n1 failed, 90 passed in 0.3s"
)
_MODES = {
    "lite": ("lite",),
    "standard": ("caveman",),
    "rtk": ("rtk",),
    "stacked": ("rtk", "caveman"),
    "ultra": ("ultra",),
    "aggressive": ("aggressive",),
}
_CALL = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": '{"command": "git status"}'}}


def compressed_chat(port: int, owner: str) -> Request:
    """Switch compression on at the hub on ``port``; a chat of a coding agent, never the same, with output of commands in it."""
    manage(port, owner, "PUT", "/api/settings/compression", {"enabled": True, "defaultMode": "stacked"})
    messages = [
        {"role": "system", "content": "You are a careful assistant. " * 12},
        {"role": "user", "content": f"{_ASK}It is number {NUMBER.decode()}."},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": _STATUS},
        {"role": "user", "content": _ASK * 3},
    ]
    body = {"model": "bench/bench-1", "messages": messages, "temperature": 0.2}
    return Request("/v1/chat/completions", json.dumps(body).encode(), (("authorization", f"Bearer {owner}"),))


def measure(rounds: int) -> list[str]:
    """A line for each mode: CPU microseconds per KiB of a prompt that is worked on anew, the same from memory, and what is saved."""
    options, size = Options(CompressionSettings(enabled=True), shipped()), 0
    lines: list[str] = []
    for mode, engines in _MODES.items():
        stages = [Stage(engine, options, engine) for engine in engines]
        fresh, kept, saved = float("inf"), float("inf"), 0.0
        for turn in range(max(3, rounds) + 1):
            request, memory = _talk(turn), ShortForms(Clock(), lambda: 5)
            size = sum(len(part.text) for message in request.messages for part in message.parts if isinstance(part, Text))
            size += sum(len(_TESTS) + len(_STATUS) for message in request.messages if message.role is Role.TOOL)
            began = time.process_time()
            outcome = compress(request, stages, memory)
            first = time.process_time()
            compress(request, stages, memory)
            if turn:  # the first is for what is loaded once
                fresh, kept = min(fresh, first - began), min(kept, time.process_time() - first)
            saved = outcome.saved / outcome.original
        per = 1e6 * 1024 / size
        lines.append(f"{f'compression, {mode} per KiB':28}{fresh * per:10.1f}{'':16}   (from memory {kept * per:.1f}; {saved:.0%} saved)")
    return lines


def _talk(turn: int) -> ChatRequest:
    """A conversation of some 60 KiB, each time another one."""
    messages = [Message(Role.SYSTEM, [Text("You are a careful assistant. " * 40)])]
    for at in range(10):
        messages.append(Message(Role.USER, [Text(f"{_ASK}{turn}.{at} " + _ASK * 4)]))
        messages.append(Message(Role.ASSISTANT, [ToolCall(f"c{at}", "bash", json.dumps({"command": "pytest -q"}))]))
        messages.append(Message(Role.TOOL, [ToolResult(f"c{at}", [Text(f"{turn}.{at}\n{_TESTS}\n{_STATUS}")])]))
        messages.append(Message(Role.ASSISTANT, [Text(f"It is the one test that fails, {turn}.{at}. " * 8)]))
    return ChatRequest("m", messages)
