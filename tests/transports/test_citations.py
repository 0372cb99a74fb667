"""A source that one vendor names, in every dialect that has a place for it: whole and streamed, with the characters it belongs to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.chat import ChatResponse, Text, TextDelta, Usage
from hub.citations import Passage, Source, from_chat, from_gemini, from_lists, to_anthropic, to_chat, to_gemini, to_responses
from hub.engine.answers import StoredAnswer, assemble, events_of
from hub.providers import _anthropic_answer as anthropic
from hub.providers import _gemini_answer as gemini
from hub.providers import _openai_response as openai
from hub.providers import _responses_answer as responses
from hub.providers._anthropic_answer import AnthropicDecoder
from hub.providers._anthropic_foreign import without_foreign
from hub.providers._gemini_answer import GeminiDecoder
from hub.providers._ollama_answer import OllamaDecoder
from hub.providers._openai_stream import OpenAiDecoder
from hub.providers._responses_stream import ResponsesDecoder
from transports import _anthropic_chat, _anthropic_stream, _gemini_chat, _openai_chat
from transports._responses_write import Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.chat import ChatEvent
    from hub.providers._stream import StreamDecoder

URL, TITLE = "https://yr.example/oslo", "Wetter"
#: Characters of two, three and four bytes stand before and in what is cited.
BEFORE, CITED, AFTER = "Grüße 日本 🎉: ", "Regen über Oslo", ". Tschüß"
WORDS = BEFORE + CITED + AFTER
START, END = len(BEFORE), len(BEFORE + CITED)
FIRST, LAST = len(BEFORE.encode()), len((BEFORE + CITED).encode())
NOTE = {"start_index": START, "end_index": END, "title": TITLE, "url": URL}
FOUND = {"type": "web_search_result_location", "url": URL, "title": TITLE, "cited_text": "Es regnet.", "encrypted_index": "Eo8="}
GROUNDED = {
    "groundingChunks": [{"web": {"uri": URL, "title": TITLE}}],
    "groundingSupports": [{"segment": {"startIndex": FIRST, "endIndex": LAST, "text": CITED}, "groundingChunkIndices": [0]}],
}
USAGE = {"prompt_tokens": 1, "completion_tokens": 1}


def _chunk(delta: Any, finish: str | None = None) -> Any:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _gemini(text: str, **more: Any) -> Any:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "index": 0, **more}], "responseId": "r", "modelVersion": "m"}


def _blocks() -> list[Any]:
    frames: list[Any] = [{"type": "message_start", "message": {"id": "msg_1", "model": "m"}}]
    for index, (words, note) in enumerate([(BEFORE, None), (CITED, FOUND), (AFTER, None)]):
        frames.append({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
        if note:
            frames.append({"type": "content_block_delta", "index": index, "delta": {"type": "citations_delta", "citation": note}})
        frames += [
            {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": words}},
            {"type": "content_block_stop", "index": index},
        ]
    return [*frames, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]


def _items() -> list[Any]:
    """Two messages; the note of the second counts from the start of its own text."""
    note = {"type": "url_citation", **NOTE, "start_index": 0, "end_index": len(CITED)}
    events: list[Any] = [{"type": "response.created", "response": {"id": "r", "model": "m"}}]
    for index, words in enumerate([BEFORE, CITED + AFTER]):
        events += [
            {"type": "response.output_item.added", "output_index": index, "item": {"type": "message"}},
            {"type": "response.output_text.delta", "output_index": index, "delta": words},
        ]
        events += [{"type": "response.output_text.annotation.added", "output_index": index, "annotation": note}] if index else []
        events.append({"type": "response.output_item.done", "output_index": index, "item": {"type": "message"}})
    return [*events, {"type": "response.completed", "response": {"id": "r", "status": "completed"}}]


WHOLE: dict[str, tuple[Callable[[bytes], ChatResponse], Any]] = {
    "openai": (
        openai.parse_answer,
        {"choices": [{"message": {"content": WORDS, "annotations": [{"type": "url_citation", "url_citation": NOTE}]}}]},
    ),
    "responses": (
        responses.parse,
        {
            "status": "completed",
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": BEFORE}]},
                {
                    "type": "message",
                    "content": [
                        {
                            "type": "output_text",
                            "text": CITED + AFTER,
                            "annotations": [{"type": "url_citation", **NOTE, "start_index": 0, "end_index": len(CITED)}],
                        }
                    ],
                },
            ],
        },
    ),
    "anthropic": (
        anthropic.parse,
        {
            "content": [
                {"type": "text", "text": BEFORE},
                {"type": "text", "text": CITED, "citations": [FOUND]},
                {"type": "text", "text": AFTER},
            ]
        },
    ),
    "gemini": (gemini.parse, _gemini(WORDS, finishReason="STOP", groundingMetadata=GROUNDED)),
}
STREAMS: dict[str, tuple[Callable[[], StreamDecoder], list[Any]]] = {
    "openai": (
        OpenAiDecoder,
        [
            _chunk({"content": WORDS[:9]}),
            _chunk({"content": WORDS[9:], "annotations": [{"type": "url_citation", "url_citation": NOTE}]}),
            _chunk({}, "stop"),
        ],
    ),
    "responses": (ResponsesDecoder, _items()),
    "anthropic": (AnthropicDecoder, _blocks()),
    "gemini": (GeminiDecoder, [_gemini(WORDS[:9]), _gemini(WORDS[9:], groundingMetadata=GROUNDED), _gemini("", finishReason="STOP")]),
}


def heard(vendor: str, *, stream: bool) -> list[ChatEvent]:
    """What a vendor's answer says, as events."""
    if not stream:
        parse, body = WHOLE[vendor]
        return [event for events in events_of(parse(json.dumps(body).encode()), Usage(), "id") for event in events]
    made, frames = STREAMS[vendor]
    decoder = made()
    wire = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in frames)
    return [*decoder.feed(wire), *decoder.end()]


def frames_of(wire: bytes) -> list[Any]:
    """The JSON of the events of a stream."""
    lines = [line[5:].strip() for line in wire.split(b"\n") if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


every_vendor = pytest.mark.parametrize("vendor", WHOLE)
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
@every_vendor
def test_a_source_is_read_with_its_characters(vendor: str, stream: bool) -> None:
    (source,) = [one for event in heard(vendor, stream=stream) if isinstance(event, TextDelta) for one in event.extra.get("sources", ())]
    assert (source.url, source.title, source.span) == (URL, TITLE, (START, END))
    assert WORDS[source.start : source.end] == CITED


@both
@every_vendor
def test_the_chat_door_tells_it(vendor: str, stream: bool) -> None:
    encoder = _openai_chat.StreamEncoder("id", "m", 1, include_usage=False)
    told = frames_of(b"".join(encoder.feed([event]) for event in heard(vendor, stream=stream)) + encoder.end())
    deltas = [choice["delta"] for chunk in told for choice in chunk["choices"]]
    assert [note for delta in deltas for note in delta.get("annotations", ())] == [{"type": "url_citation", "url_citation": NOTE}]
    assert "".join(delta.get("content") or "" for delta in deltas) == WORDS


@both
@every_vendor
def test_the_responses_door_tells_it(vendor: str, stream: bool) -> None:
    writer = Writer({"id": "resp_1", "status": "in_progress"})
    told = frames_of(b"".join([*writer.feed(heard(vendor, stream=stream)), *writer.end(1)]))
    (added,) = [one for one in told if one["type"] == "response.output_text.annotation.added"]
    (item,) = writer.body["output"]
    wanted = {"type": "url_citation", **NOTE}
    assert added["annotation"] == wanted
    assert (added["item_id"], added["output_index"], added["content_index"], added["annotation_index"]) == (item["id"], 0, 0, 0)
    assert item["content"][0]["annotations"] == [wanted]


@both
@every_vendor
def test_the_anthropic_door_tells_it(vendor: str, stream: bool) -> None:
    encoder = _anthropic_stream.StreamEncoder("req_1", "m")
    told = frames_of(encoder.feed(heard(vendor, stream=stream)) + encoder.end())
    notes = [one["delta"]["citation"] for one in told if one.get("delta", {}).get("type") == "citations_delta"]
    made = {"type": "web_search_result_location", "url": URL, "title": TITLE, "cited_text": "", "encrypted_index": ""}
    assert notes == [FOUND if vendor == "anthropic" else made]
    starts = [one["index"] for one in told if one["type"] == "content_block_start"]
    stops = [one["index"] for one in told if one["type"] == "content_block_stop"]
    assert starts == stops == list(range(len(starts)))


@both
@every_vendor
def test_the_gemini_door_tells_it(vendor: str, stream: bool) -> None:
    encoder = _gemini_chat.StreamEncoder(model="m", request_id="r")
    told = frames_of(encoder.feed(heard(vendor, stream=stream)) + encoder.end())
    (found,) = [one["candidates"][0]["groundingMetadata"] for one in told if "groundingMetadata" in one["candidates"][0]]
    assert found == GROUNDED


@every_vendor
def test_whole_answers_tell_it(vendor: str) -> None:
    parse, body = WHOLE[vendor]
    answer = parse(json.dumps(body).encode())
    chat = json.loads(_openai_chat.encode(answer, created=1))["choices"][0]["message"]
    assert chat["annotations"] == [{"type": "url_citation", "url_citation": NOTE}]
    blocks = json.loads(_anthropic_chat.encode(answer, fallback_id="r"))["content"]
    assert [note["url"] for block in blocks for note in block.get("citations", ())] == [URL]
    candidate = json.loads(_gemini_chat.encode(answer, request_id="r"))["candidates"][0]
    (support,) = candidate["groundingMetadata"]["groundingSupports"]
    segment = support["segment"]
    said = candidate["content"]["parts"][segment.get("partIndex", 0)]["text"].encode()
    assert said[segment["startIndex"] : segment["endIndex"]].decode() == segment["text"] == CITED


@both
@every_vendor
def test_a_kept_answer_still_says_it(vendor: str, stream: bool) -> None:
    """What the cache gives again, after a walk through storage, has the same sources."""
    kept = assemble(heard(vendor, stream=stream), StoredAnswer("p", "m", Usage(), 0))
    assert kept is not None
    again = msgspec.json.decode(msgspec.json.encode(kept), type=ChatResponse)
    sources = [one for part in again.choices[0].parts if isinstance(part, Text) for one in part.sources]
    assert [(one.url, one.span) for one in sources] == [(URL, (START, END))]


def test_what_beside_lists_state_is_one_source_a_page() -> None:
    """Perplexity names a page twice, xAI only its address, neither says for which words; nobody sends what is no address."""
    results = [{"title": TITLE, "url": URL, "snippet": "Es regnet."}, {"title": "no address"}, 7]
    found = from_lists([URL, "https://b.example/", None, {"url": "https://c.example/"}], results)
    assert [(one.url, one.title, one.cited, one.span) for one in found] == [
        (URL, TITLE, "Es regnet.", None),
        ("https://b.example/", "", "", None),
        ("https://c.example/", "", "", None),
    ]
    assert [note["url_citation"]["end_index"] for note in to_chat(found)] == [0, 0, 0], "a range of nothing: nobody knows"
    assert [note["start_index"] for note in to_responses(found, 9)] == [0, 0, 0]
    assert to_gemini(found, [Passage(WORDS)])["groundingSupports"] == []
    assert from_chat(to_chat(found))[0].span is None


DOCUMENTS: dict[str, dict[str, Any]] = {
    "char_location": {"start_char_index": 0, "end_char_index": 19},
    "page_location": {"start_page_number": 1, "end_page_number": 2},
    "content_block_location": {"start_block_index": 0, "end_block_index": 1},
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_document_of_the_request_is_not_made_a_page(kind: str) -> None:
    note = {"type": kind, "cited_text": "The grass is green.", "document_index": 0, "document_title": "Nature", **DOCUMENTS[kind]}
    body = {"content": [{"type": "text", "text": "Grün.", "citations": [note]}]}
    (part,) = anthropic.parse(json.dumps(body).encode()).choices[0].parts
    assert isinstance(part, Text)
    assert to_anthropic(part.sources) == [note]
    assert (to_chat(part.sources), to_responses(part.sources, 0)) == ([], [])
    made = to_gemini(part.sources, [Passage("Grün.")])
    assert made["groundingChunks"] == [{"retrievedContext": {"title": "Nature", "text": "The grass is green."}}]
    assert made["groundingSupports"][0]["segment"] == {"startIndex": 0, "endIndex": 6, "text": "Grün."}


def test_a_search_result_of_the_request_is_a_page_where_it_has_an_address() -> None:
    note = {"type": "search_result_location", "source": URL, "title": TITLE, "cited_text": "Es regnet.", "search_result_index": 0}
    body = {"content": [{"type": "text", "text": "Ja.", "citations": [note, {**note, "source": "kb-7"}]}]}
    (part,) = anthropic.parse(json.dumps(body).encode()).choices[0].parts
    assert isinstance(part, Text)
    assert [one["url"] for one in to_responses(part.sources, 0)] == [URL]


@pytest.mark.parametrize(
    ("segment", "span"),
    [
        ({"endIndex": LAST, "startIndex": FIRST}, (START, END)),
        ({"endIndex": LAST + 3, "startIndex": FIRST + 3, "text": CITED}, (START, END)),
        ({"endIndex": 5}, (0, 3)),  # the fourth byte begins a character that ends after the fifth
        ({"endIndex": 10**9}, (0, len(WORDS))),
        ({"startIndex": 3}, None),
        ({"endIndex": "7"}, None),
    ],
)
def test_bytes_of_gemini_are_characters(segment: Any, span: Any) -> None:
    support = {"segment": segment, "groundingChunkIndices": [0, 9, "x"]}
    (found,) = from_gemini({"groundingChunks": [{"web": {"uri": URL}}], "groundingSupports": [support]}, None, [Passage(WORDS)])
    assert found.span == span


def test_pages_without_a_segment_and_copies_are_sources_too() -> None:
    pages = {"groundingChunks": [{"web": {"uri": URL}}, {"retrievedContext": {"title": "Akte", "text": "So."}}, {"new": 1}]}
    copies = {"citationSources": [{"uri": "https://b.example/", "startIndex": FIRST, "endIndex": LAST}]}
    found = from_gemini(pages, copies, [Passage(WORDS)])
    assert [(one.url, one.title, one.span) for one in found] == [
        (URL, "", None),
        ("", "Akte", None),
        ("", "", None),
        ("https://b.example/", "", (START, END)),
    ]
    assert from_gemini("odd", 3, []) == []


def test_a_note_made_here_does_not_go_back_to_anthropic() -> None:
    """The vendor gave no such index; its own notes stay, and so does every other byte of such turns' words."""
    (foreign,) = to_anthropic([Source(url=URL, title=TITLE)])
    blocks: list[Any] = [
        {"type": "text", "text": "a", "citations": [foreign]},
        {"type": "text", "text": "b", "citations": [FOUND, foreign]},
        {"type": "text", "text": "c"},
    ]
    turns: list[Any] = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": blocks}, {"role": "user", "content": "go on"}]
    sent, dropped = without_foreign(json.dumps({"model": "m", "messages": turns}).encode(), "anthropic")
    assert dropped == ["citations"]
    assert json.loads(sent)["messages"] == [
        turns[0],
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "citations": [FOUND]}, {"type": "text", "text": "c"}],
        },
        turns[2],
    ]
    own = json.dumps({"model": "m", "messages": [{"role": "assistant", "content": [{**blocks[0], "citations": [FOUND]}]}]}).encode()
    assert without_foreign(own, "anthropic") == (own, [])


# -- log probabilities

TOKEN = {"token": "Ja", "logprob": -0.5, "bytes": [74, 97], "top_logprobs": []}
LIKELY: dict[str, tuple[Callable[[], StreamDecoder], list[Any]]] = {
    "openai": (
        OpenAiDecoder,
        [
            {**(piece := _chunk({"content": "Ja"})), "choices": [{**piece["choices"][0], "logprobs": {"content": [TOKEN]}}]},
            _chunk({}, "stop"),
        ],
    ),
    "responses": (
        ResponsesDecoder,
        [
            {"type": "response.created", "response": {"id": "r", "model": "m"}},
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}},
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Ja", "logprobs": [TOKEN]},
            {"type": "response.output_item.done", "output_index": 0, "item": {"type": "message"}},
            {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
        ],
    ),
    "gemini": (
        GeminiDecoder,
        [_gemini("Ja", finishReason="STOP", logprobsResult={"chosenCandidates": [{"token": "Ja", "logProbability": -0.5}]})],
    ),
}


def likely(vendor: str) -> list[ChatEvent]:
    """The events of a stream with log probabilities."""
    if vendor == "ollama":
        lines = [
            {"model": "m", "message": {"content": "Ja"}, "logprobs": [TOKEN], "done": False},
            {"model": "m", "message": {"content": ""}, "done": True, "done_reason": "stop"},
        ]
        local = OllamaDecoder()
        return [*local.feed(b"".join(json.dumps(line).encode() + b"\n" for line in lines)), *local.end()]
    made, frames = LIKELY[vendor]
    decoder = made()
    return [*decoder.feed(b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in frames)), *decoder.end()]


every_likely = pytest.mark.parametrize("vendor", [*LIKELY, "ollama"])


@every_likely
def test_the_chat_door_streams_log_probabilities(vendor: str) -> None:
    encoder = _openai_chat.StreamEncoder("id", "m", 1, include_usage=True)
    choices = [one["choices"][0] for one in frames_of(encoder.feed(likely(vendor))) if one["choices"]]
    assert [token for choice in choices if choice["logprobs"] for token in choice["logprobs"]["content"]] == [TOKEN]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "Ja"


@every_likely
def test_the_responses_door_streams_log_probabilities(vendor: str) -> None:
    writer = Writer({"id": "resp_1", "status": "in_progress"})
    told = frames_of(b"".join([*writer.feed(likely(vendor)), *writer.end(1)]))
    deltas = [one for one in told if one["type"] == "response.output_text.delta"]
    assert [token for one in deltas for token in one["logprobs"]] == [TOKEN]
    assert "".join(one["delta"] for one in deltas) == "Ja"
    (done,) = [one for one in told if one["type"] == "response.output_text.done"]
    assert done["logprobs"] == writer.body["output"][0]["content"][0]["logprobs"] == [TOKEN]


@every_likely
def test_a_stream_with_log_probabilities_is_not_given_again_without(vendor: str) -> None:
    kept = assemble(likely(vendor), StoredAnswer("p", "m", Usage(), 0))
    assert kept is not None
    assert kept.choices[0].logprobs["content"] == [TOKEN]
