"""A vendor of the Responses API, written from its public reference and from nothing of the hub; as strict as :mod:`tests.fakes.vendors`.

It keeps nothing: items that only name an earlier one are refused, reasoning has to come back as it was given.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.fakes.upstream import json_answer, sse
from tests.fakes.vendors import KEY, THOUGHT, Heard, Refused, Reply, expect, only, picture, reply_to

if TYPE_CHECKING:
    from tests.fakes.upstream import Behaviour, Received

BASE = "/responses/v1"
SEALED = "gAAAAABo-only-this-vendor-reads-it_=="
USAGE = {
    "input_tokens": 900,
    "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 0},
    "output_tokens": 70,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 970,
}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}


def answer(request: Received) -> Behaviour:
    """The behaviour for a request."""
    try:
        heard = _read(request)
        return _write(heard, request.json()) if isinstance(heard, Heard) else heard
    except Refused as refused:
        return _refuse(refused)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return _refuse(Refused(400, f"not a request of this vendor: {error!r}"))


def _read(request: Received) -> Heard | Behaviour:
    expect(request.headers.get("authorization") == f"Bearer {KEY}", "Incorrect API key provided", status=401)
    path = request.target.removeprefix(BASE)
    if path == "/models":
        return json_answer({"object": "list", "data": [{"id": "gpt-5-pro", "object": "model"}]})
    body = request.json()
    if path == "/responses/input_tokens":
        only(body, "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text", "truncation")
        return json_answer({"object": "response.input_tokens", "input_tokens": 4321})
    expect(path == "/responses", "Invalid URL", status=404)
    only(
        body, "model", "input", "instructions", "stream", "tools", "tool_choice", "parallel_tool_calls", "max_output_tokens", "text",
        "reasoning", "temperature", "top_p", "user", "metadata", "store", "include", "top_logprobs", "truncation", "service_tier",
        "prompt_cache_key", "safety_identifier",
    )  # fmt: skip
    expect(body.get("max_output_tokens", 16) >= 16, "integer below minimum value")
    heard = Heard(body["model"], stream=body.get("stream") is True, system=body.get("instructions") or "")
    heard.thinks = body.get("reasoning", {}).get("effort", "none") != "none"
    heard.tools = [tool.get("name", "") for tool in body.get("tools", ()) if tool["type"] in ("function", "custom")]
    shape = body.get("text", {}).get("format", {"type": "text"})
    heard.schema = shape["schema"] if shape["type"] == "json_schema" else None
    given = body["input"]
    asked: dict[str, str] = {}
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        _item(item, heard, asked)
    expect(not asked, f"No tool output found for function call {', '.join(asked)}.")
    return heard


def _item(item: dict[str, Any], heard: Heard, asked: dict[str, str]) -> None:
    kind = item.get("type", "message")
    if kind in ("function_call", "custom_tool_call"):
        asked[item["call_id"]] = json.loads(item["arguments"])["city"] if kind == "function_call" else item["input"]
    elif kind in ("function_call_output", "custom_tool_call_output"):
        said = item["output"]
        words = said if isinstance(said, str) else "".join(part.get("text", part["type"]) for part in said)
        expect(item["call_id"] in asked, "No tool call found for function call output")
        heard.results[asked.pop(item["call_id"])] = words
    elif kind == "reasoning":
        expect(item.get("encrypted_content") == SEALED, "The encrypted content could not be verified.")
        expect(all(part["type"] == "summary_text" for part in item["summary"]), "summary: invalid")
    elif kind == "web_search_call":
        expect(item == SEARCH, "web_search_call: not as it was")
    else:
        expect(kind == "message", f"Item with id '{item.get('id')}' not found.", status=404)
        _message(item, heard)


def _message(item: dict[str, Any], heard: Heard) -> None:
    content = item["content"]
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] == "input_image":
            kind, data = part["image_url"].removeprefix("data:").split(";base64,")
            heard.pictures.append(picture(kind, data))
        elif item["role"] in ("system", "developer"):
            heard.system = part["text"]
        elif item["role"] == "assistant":
            expect(part["type"] in ("output_text", "refusal"), "Invalid value: 'input_text'. Supported values are: 'output_text'")
        else:
            expect(part["type"] == "input_text", "Invalid value")
            heard.words = part["text"]


def _items(reply: Reply, body: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = {tool.get("name"): tool["type"] for tool in body.get("tools", ())}
    items: list[dict[str, Any]] = []
    if reply.thought:
        summary = [{"type": "summary_text", "text": reply.thought}]
        items.append({"id": "rs_1a", "type": "reasoning", "summary": summary, "encrypted_content": SEALED})
    if "web_search" in [tool["type"] for tool in body.get("tools", ())]:
        items.append(SEARCH)
    if reply.text:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        items.append({"id": "msg_1a", "type": "message", "role": "assistant", "status": "completed", "content": [part]})
    for call, name, arguments in reply.calls:
        if kinds[name] == "custom":
            items.append({"id": f"ctc_{call}", "type": "custom_tool_call", "call_id": call, "name": name, "input": arguments["city"]})
        else:
            text = json.dumps(arguments)
            items.append(
                {"id": f"fc_{call}", "type": "function_call", "call_id": call, "name": name, "arguments": text, "status": "completed"}
            )
    return items


def _write(heard: Heard, body: dict[str, Any]) -> Behaviour:
    items = _items(reply_to(heard), body)
    response: dict[str, Any] = {
        "id": "resp_of_the_vendor", "object": "response", "created_at": 1_700_000_000, "status": "completed", "error": None,
        "incomplete_details": None, "instructions": body.get("instructions"), "metadata": body.get("metadata", {}),
        "model": f"{heard.model}-2026-01-01", "output": items, "parallel_tool_calls": True, "previous_response_id": None,
        "temperature": 1.0, "tool_choice": "auto", "tools": body.get("tools", []), "top_p": 1.0, "usage": USAGE, "store": False,
        "brand_new": {"kept": True},
    }  # fmt: skip
    if not heard.stream:
        return json_answer(response)
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for index, item in enumerate(items):
        events += _told(index, item)
    events.append({"type": "response.completed", "response": response})
    wire = [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number}, separators=(', ', ':'))}\n\n".encode()
        for number, event in enumerate(events)
    ]
    return sse(wire, end=b"")


def _told(index: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one item."""
    where = {"item_id": item["id"], "output_index": index}
    empty = {
        "message": {"content": []},
        "reasoning": {"summary": []},
        "function_call": {"arguments": ""},
        "custom_tool_call": {"input": ""},
    }
    added = {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty.get(item["type"], {})}}
    done = {"type": "response.output_item.done", "output_index": index, "item": item}
    between: list[dict[str, Any]] = []
    match item["type"]:
        case "message":
            part, at = item["content"][0], {**where, "content_index": 0}
            between.append({"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
            pieces = [part["text"][start : start + 5] for start in range(0, len(part["text"]), 5)]
            between += [{"type": "response.output_text.delta", **at, "delta": piece, "obfuscation": "x"} for piece in pieces]
            between.append({"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []})
            between.append({"type": "response.content_part.done", **at, "part": part})
        case "reasoning":
            at = {**where, "summary_index": 0}
            between.append({"type": "response.reasoning_summary_part.added", **at, "part": {"type": "summary_text", "text": ""}})
            between += [{"type": "response.reasoning_summary_text.delta", **at, "delta": piece} for piece in (THOUGHT[:4], THOUGHT[4:])]
            between.append({"type": "response.reasoning_summary_text.done", **at, "text": THOUGHT})
            between.append({"type": "response.reasoning_summary_part.done", **at, "part": item["summary"][0]})
        case "function_call":
            text = item["arguments"]
            kind = "response.function_call_arguments"
            between += [{"type": f"{kind}.delta", **where, "delta": piece} for piece in (text[:6], text[6:])]
            between.append({"type": f"{kind}.done", **where, "arguments": text, "name": item["name"]})
        case "custom_tool_call":
            kind = "response.custom_tool_call_input"
            between += [{"type": f"{kind}.delta", **where, "delta": piece} for piece in (item["input"][:2], item["input"][2:])]
            between.append({"type": f"{kind}.done", **where, "input": item["input"]})
        case _:
            between.append({"type": "response.web_search_call.completed", **where})
    return [added, *between, done]


def _refuse(refused: Refused) -> Behaviour:
    code = {401: "invalid_api_key", 429: "rate_limit_exceeded"}.get(refused.status)
    error = {"message": str(refused), "type": "invalid_request_error", "param": None, "code": code}
    return json_answer({"error": error}, status=refused.status, headers=[("retry-after", "7")] if refused.status == 429 else [])
