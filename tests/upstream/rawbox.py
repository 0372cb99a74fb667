"""An upstream MCP server of 2025-11-25 written by hand, one JSON message a line, so that it can ask back and misbehave.

``RAWBOX`` in its environment says what is wrong with it: nothing, ``lists``, ``loop``, ``flood``, ``asks``, ``garbage``, ``deaf``,
``version``. ``RAWBOX_LOG`` names a file that it writes what it was sent to.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

QUESTIONS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("questions.json").read_text())
WAY = os.environ.get("RAWBOX", "")
_ids = itertools.count(1000)
_lock = threading.Lock()
_calls: dict[Any, Any] = {}
_subscribed: set[str] = set()


def send(message: dict[str, Any]) -> None:
    with _lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "description": f"The tool {name}.", "inputSchema": {"type": "object"}}


def tools(params: dict[str, Any]) -> dict[str, Any]:
    """The list, or a list that lies."""
    if WAY == "lists":  # a hundred thousand, and always more to come
        begin = int(params.get("cursor") or 0)
        return {"tools": [tool(f"t{begin + number}") for number in range(1000)], "nextCursor": str(begin + 1000)}
    if WAY == "heap":  # all at once
        return {"tools": [{"name": f"t{number}", "inputSchema": {"type": "object"}} for number in range(100_000)]}
    if WAY == "loop":
        return {"tools": [tool(f"t{len(_seen)}")], "nextCursor": "again" if _seen.append(1) is None else ""}
    if WAY == "restless":
        return {"tools": [{**tool("echo"), "description": f"Version {time.monotonic()}"}]}
    return {"tools": [tool("echo"), tool("ask"), tool("wait"), tool("odd"), tool("touch")]}


_seen: list[int] = []


def call(identity: Any, params: dict[str, Any]) -> None:
    """Run a tool; ``ask`` asks first, ``wait`` never ends by itself."""
    given = params.get("arguments") or {}
    if params["name"] == "ask":
        question = QUESTIONS[given.get("what", "elicit")]
        asked = next(_ids)
        _calls[asked] = identity
        send({"id": asked, **question})
    elif params["name"] == "touch":
        if given["uri"] in _subscribed:
            send({"method": "notifications/resources/updated", "params": {"uri": given["uri"]}})
        done(identity, json.dumps(sorted(_subscribed)))
    elif params["name"] == "wait":
        _calls["waiting"] = identity
    elif params["name"] == "odd":
        send({"id": identity, "result": {"content": [{"type": "text", "text": "x"}], "structuredContent": given["as"]}})
    else:
        done(identity, json.dumps(given))


def done(identity: Any, text: str) -> None:
    send({"id": identity, "result": {"content": [{"type": "text", "text": text}]}})


def flood() -> None:
    """Notifications without end, of every kind."""
    kinds = ("tools/list_changed", "message", "progress", "resources/updated", "unheard/of")
    params = {"uri": "note:///x", "level": "info", "data": "x", "progressToken": 1, "progress": 1}
    for kind in itertools.cycle(kinds):
        send({"method": f"notifications/{kind}", "params": params})


def asks() -> None:
    """Requests without end; no answer is read."""
    for number in itertools.count(5000):
        send({"id": number, "method": "roots/list"})


def restless() -> None:
    while True:
        send({"method": "notifications/tools/list_changed"})
        time.sleep(0.02)


def answer(message: dict[str, Any]) -> None:
    """One message of the client."""
    method, identity, params = message.get("method"), message.get("id"), message.get("params") or {}
    if method == "initialize":
        begin(identity, params)
    elif method == "tools/list":
        send({"id": identity, "result": tools(params)})
    elif method == "resources/list":
        send({"id": identity, "result": {"resources": [{"uri": "note:///today", "name": "today"}]}})
    elif method in ("resources/subscribe", "resources/unsubscribe"):
        (_subscribed.add if method == "resources/subscribe" else _subscribed.discard)(params["uri"])
        send({"id": identity, "result": {}})
    elif method == "tools/call":
        call(identity, params)
    elif method == "notifications/cancelled" and "waiting" in _calls:
        note({"cancelled": params.get("requestId")})
    elif method is None and identity in _calls:
        done(_calls.pop(identity), json.dumps(message.get("result") or {"error": message.get("error")}))
    elif identity is not None and method is not None:
        send({"id": identity, "error": {"code": -32601, "message": "Method not found"}})


def begin(identity: Any, params: dict[str, Any]) -> None:
    note({"declared": params.get("capabilities")})
    version = "1999-01-01" if WAY == "version" else "2025-11-25"
    info = {"name": "rawbox", "version": "1"}
    has = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
    send({"id": identity, "result": {"protocolVersion": version, "capabilities": has, "serverInfo": info}})
    loud = {"flood": flood, "asks": asks, "restless": restless}.get(WAY)
    if loud is not None:
        threading.Thread(target=loud, daemon=True).start()


def note(what: dict[str, Any]) -> None:
    if path := os.environ.get("RAWBOX_LOG"):
        with open(path, "a") as log:
            log.write(json.dumps(what) + "\n")


def main() -> None:
    if WAY == "deaf":
        time.sleep(600)
    for line in sys.stdin:
        if WAY == "garbage":
            sys.stdout.write("\x00\xff not json\n{\n[]\n" + "[" * 5000 + "\n" + '{"jsonrpc": "2.0"}\n')
        answer(json.loads(line))


if __name__ == "__main__":
    main()
