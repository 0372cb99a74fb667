"""What compression promises of any conversation: never longer, the same every time, stable, nothing broken that must stay whole."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.chat import ChatRequest, Message, Reasoning, Role, Text, ToolCall, ToolResult
from hub.compression.conversation import Outcome, Stage, compress, locked
from hub.compression.filters import shipped
from hub.compression.memory import ShortForms
from hub.compression.packs import rows
from hub.compression.settings import Caveman, CompressionSettings, Rtk
from hub.compression.technique import NOTE, TAG, Options, techniques
from hub.tokens import estimate_prompt
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from hub.chat import Part

EVERYBODY = Caveman(compress_roles=("user", "assistant", "system"), min_message_length=0, intensity="ultra")
SETTINGS = CompressionSettings(
    enabled=True, preserve_system_prompt=False, caveman_config=EVERYBODY, rtk_config=Rtk(max_lines_per_result=20, max_chars_per_result=800)
)
OPTIONS = Options(SETTINGS, shipped(), packs=tuple(rows()))
PIPELINES = {name: (name,) for name in ("lite", "caveman", "aggressive", "ultra", "rtk")} | {
    "stacked": ("rtk", "caveman"),
    "everything": ("lite", "rtk", "aggressive", "caveman", "ultra"),
}
#: Engines that leave code, data and numbers in prose alone; the others cut whole messages down, and say so.
SPARING = ("caveman", "rtk", "stacked")

_VOCABULARY = (
    "please could you just really explain the a an in order to because of course I think that it is necessary to database function "
    "Please, Thanks! not just never Bitte kannst du s'il vous plaît por favor 7 3.14 -12% v1.2.3 $HOME MAX_SIZE foo_bar fooBar f(x) "
    'a.b.c "as it is" `just code` https://a.example/the/just?x=1 /usr/local/the/bin error: failed 12:30 '
    "\u3059\u307f\u307e\u305b\u3093\u304c \u2026 \ue000 \ue001 [hub: [COMPRESSED: \x1b[31mred\x1b[0m \r"
)
WORDS = st.sampled_from(_VOCABULARY.split(" "))
LINE = st.lists(WORDS, min_size=0, max_size=14).map(" ".join)
CODE = st.lists(LINE, max_size=4).map(lambda lines: "```py\n" + "\n".join(lines) + "\n```")
TEXT = st.lists(st.one_of(LINE, CODE, st.text(max_size=60)), max_size=6).map("\n".join)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=30)),
    lambda inner: st.one_of(st.lists(inner, max_size=8), st.dictionaries(st.text(max_size=8), inner, max_size=8)),
    max_leaves=40,
)
OUTPUT = st.one_of(
    st.lists(
        st.one_of(LINE, st.sampled_from(["On branch main", "npm warn deprecated x", "same", "same", "a.py:1: error: no"])), max_size=60
    ).map("\n".join),
    st.one_of(st.lists(JSON, max_size=40), st.dictionaries(st.text(max_size=5), JSON, max_size=10)).map(
        lambda tree: json.dumps(tree, indent=2)
    ),
)
COMMAND = st.sampled_from(["git status", "npm install", "cat a.py", "pytest -q", "ls -la", "make", "unknown thing", ""])


@st.composite
def conversations(draw: st.DrawFn) -> ChatRequest:
    messages: list[Message] = [Message(Role.SYSTEM, [Text(draw(TEXT))])]
    for turn in range(draw(st.integers(1, 5))):
        cache: dict[str, Any] | None = {"type": "ephemeral"} if draw(st.integers(0, 5)) == 0 else None
        messages.append(Message(Role.USER, [Text(draw(TEXT), cache=cache)]))
        if draw(st.booleans()):
            arguments = json.dumps({"command": draw(COMMAND)})
            said: list[Part] = [Reasoning(draw(LINE), signature="s"), Text(draw(TEXT)), ToolCall(f"c{turn}", "bash", arguments)]
            messages.append(Message(Role.ASSISTANT, said))
            messages.append(Message(Role.TOOL, [ToolResult(f"c{turn}", [Text(draw(OUTPUT))], is_error=draw(st.booleans()))]))
        messages.append(Message(Role.ASSISTANT, [Text(draw(TEXT))]))
    return ChatRequest("m", messages)


def run(request: ChatRequest, name: str, options: Options = OPTIONS) -> Outcome:
    return compress(request, [Stage(engine, options, engine) for engine in PIPELINES[name]])


quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.mark.parametrize("name", PIPELINES)
@given(request=conversations())
@quick
def test_never_longer_the_same_every_time_and_done_at_once(name: str, request: ChatRequest) -> None:
    before = msgspec.json.encode(request)
    outcome = run(request, name)
    assert msgspec.json.encode(request) == before  # what came in is not touched
    assert estimate_prompt(outcome.request) <= estimate_prompt(request)
    assert outcome.compressed == estimate_prompt(outcome.request)
    assert sum(map(_length, outcome.request.messages)) <= sum(map(_length, request.messages))
    assert msgspec.json.encode(run(request, name).request) == msgspec.json.encode(outcome.request)
    again = run(outcome.request, name)
    assert again.saved == 0
    assert msgspec.json.encode(again.request) == msgspec.json.encode(outcome.request)


@pytest.mark.parametrize("name", PIPELINES)
@given(request=conversations())
@quick
def test_calls_results_thoughts_and_cached_prefixes_stay(name: str, request: ChatRequest) -> None:
    made = run(request, name).request
    assert _of(made, ToolCall) == _of(request, ToolCall)
    assert _of(made, Reasoning) == _of(request, Reasoning)
    assert [(part.call_id, part.is_error) for part in _of(made, ToolResult)] == [
        (part.call_id, part.is_error) for part in _of(request, ToolResult)
    ]
    whole, parts = locked(request)
    assert made.messages[:whole] == request.messages[:whole]
    if parts:
        assert made.messages[whole].parts[:parts] == request.messages[whole].parts[:parts]
    assert locked(made) == (whole, parts)


@pytest.mark.parametrize("name", PIPELINES)
@given(request=conversations())
@quick
def test_json_stays_json(name: str, request: ChatRequest) -> None:
    for old, new in zip(_of(request, ToolResult), _of(run(request, name).request, ToolResult), strict=True):
        before, after = old.parts[0].text, new.parts[0].text
        if _json(before) is not None:
            assert _json(after) is not None
            if f'"{NOTE}' not in after and "characters left out" not in after:
                assert _json(after) == _json(before)


@pytest.mark.parametrize("name", SPARING)
@given(request=conversations())
@quick
def test_code_addresses_and_numbers_in_prose_stay(name: str, request: ChatRequest) -> None:
    # A quotation mark that stands alone may come to stand beside a name or a number; what it stands beside is whole.
    alone, end = r"(?<![^\s`])", r"(?![^\s`])"
    for old, new in zip(_prose(request), _prose(run(request, name).request), strict=True):
        for pattern in (r"```py\n.*?\n```", r"https?://\S+", rf"{alone}[-+]?\d[\d.,:%]*{end}", r"`[^`\n]+`", rf"{alone}[A-Z]+_[A-Z]+{end}"):
            assert re.findall(pattern, new, re.DOTALL) == re.findall(pattern, old, re.DOTALL)


@pytest.mark.parametrize("name", [name for name in PIPELINES if name not in ("aggressive", "everything")])
@given(request=conversations(), more=TEXT)
@quick
def test_earlier_turns_come_out_the_same_when_a_conversation_goes_on(name: str, request: ChatRequest, more: str) -> None:
    """routing.md 8, 17: only what ages by its distance from the end may change, and that only every few turns."""
    first = run(request, name).request.messages
    longer = msgspec.structs.replace(request, messages=[*request.messages, Message(Role.USER, [Text(f"And now? {more}")])])
    assert run(longer, name).request.messages[: len(first)] == first


@given(request=conversations())
@quick
def test_instructions_stay_unless_the_owner_says_so(request: ChatRequest) -> None:
    options = Options(SETTINGS.model_copy(update={"preserve_system_prompt": True}), shipped(), packs=tuple(rows()))
    for name in PIPELINES:
        assert run(request, name, options).request.messages[0] == request.messages[0]


@given(request=conversations())
@quick
def test_what_is_remembered_is_what_would_be_made(request: ChatRequest) -> None:
    memory = ShortForms(Still(), lambda: 5)
    stages = [Stage(engine, OPTIONS, engine) for engine in PIPELINES["stacked"]]
    fresh = compress(request, stages)
    for _ in range(2):
        kept = compress(request, stages, memory)
        assert (kept.request, kept.engines, kept.rules) == (fresh.request, fresh.engines, fresh.rules)


@pytest.mark.parametrize("length", [9, 17, 40])
def test_old_messages_age_in_steps(length: int) -> None:
    """Between two steps the bytes of everything older stay the same, so that prompt caches are lost once in eight messages."""
    talk = [
        Message((Role.USER, Role.ASSISTANT)[at % 2], [Text(f"Message {at} about src/a{at}.py. " + "It goes on and on. " * 30)])
        for at in range(60)
    ]
    seen: set[bytes] = set()
    for more in range(8):
        made = run(ChatRequest("m", talk[: length + more]), "aggressive").request.messages
        seen.add(msgspec.json.encode(made[: length - 6]))
        assert made[0] == talk[0]  # what it began with is its task
        assert made[-2:] == talk[length + more - 2 : length + more]
    assert len(seen) <= 2
    if length == 40:
        gist = made[5].parts[0]
        assert isinstance(gist, Text)
        assert gist.text.startswith(TAG)
        assert "src/a5.py" in gist.text


def test_every_engine_is_found_by_folder() -> None:
    assert set(techniques()) == {"lite", "caveman", "aggressive", "ultra", "rtk"}


def _length(message: Message) -> int:
    return sum(len(part.text) for part in _texts(message.parts))


def _texts(parts: list[Any]) -> list[Text]:
    return [
        one for part in parts for one in ([part] if isinstance(part, Text) else _texts(part.parts) if isinstance(part, ToolResult) else [])
    ]


def _of(request: ChatRequest, kind: type[Any]) -> list[Any]:
    return [part for message in request.messages for part in message.parts if isinstance(part, kind)]


def _prose(request: ChatRequest) -> list[str]:
    return [part.text for part in _of(request, Text)]


def _json(text: str) -> Any:
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text, parse_int=str, parse_float=str)
    except ValueError:
        return None
