"""Vendors that work batches off, OpenAI and Anthropic, on top of the fault-injecting server, with chats beside them."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.fakes.upstream import FaultUpstream, answer_bytes, json_answer
from tests.fakes.vendor import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.upstream import Behaviour, Received


class BatchVendor(FaultUpstream):
    """What both vendors have in common. A batch is over after ``looks`` looks at it; with ``held`` only when it is cancelled.

    ``refuses`` are prompts that the vendor answers with 400, ``lapses`` those that expire there. ``submits`` and ``chats`` count what
    came. ``on_submit`` may answer in the place of the vendor: with a behaviour, after the batch was made or instead of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script(self._answer)
        self.looks = 2
        self.held = False
        self.refuses: set[str] = set()
        self.lapses: set[str] = set()
        self.submits: int = 0
        self.cancels: int = 0
        self.polls: int = 0
        self.chats: Counter[str] = Counter()
        self.batches: dict[str, dict[str, Any]] = {}
        self.on_submit: Callable[[bool], Behaviour | None] = lambda made: None

    def _answer(self, request: Received) -> Behaviour:
        raise NotImplementedError

    def over(self, batch: dict[str, Any]) -> bool:
        """A look at a batch."""
        self.polls += 1
        batch["looks"] += 1
        return batch["cancelled"] or (not self.held and batch["looks"] >= self.looks)


class OpenAiVendor(BatchVendor):
    """OpenAI's, with ``/v1`` as its base path."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}

    def _answer(self, request: Received) -> Behaviour:
        path = request.target.partition("?")[0]
        match request.method, path.split("/")[2:]:
            case "POST", ["files"]:
                return self._upload(request)
            case "POST", ["batches"]:
                return self.on_submit(False) or self._make(request.json())
            case "GET", ["batches"]:
                return json_answer(
                    {"object": "list", "data": [self._view(one) for one in reversed(self.batches.values())], "has_more": False}
                )
            case "GET", ["batches", name]:
                batch = self.batches[name]
                if self.over(batch) and not batch["output_file_id"]:
                    self._end(batch)
                return json_answer(self._view(batch))
            case "POST", ["batches", name, "cancel"]:
                self.cancels += 1
                self.batches[name]["cancelled"] = True
                return json_answer(self._view(self.batches[name]))
            case "GET", ["files", name, "content"]:
                return answer_bytes(self.files[name], headers=[("content-type", "application/octet-stream")])
            case "POST", ["chat", "completions"]:
                self.chats[request.json()["messages"][-1]["content"]] += 1
                return json_answer(completion())
            case _:
                return json_answer({"error": {"message": f"no {path}"}}, status=404)

    def _upload(self, request: Received) -> Behaviour:
        _, _, kind = request.headers["content-type"].partition("boundary=")
        parts = request.body.split(b"--" + kind.encode())
        content = next(part for part in parts if b"filename=" in part).partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        assert b"batch" in next(part for part in parts if b'name="purpose"' in part)
        return json_answer({"id": self._file(content), "object": "file"})

    def _file(self, content: bytes) -> str:
        name = f"file-up{len(self.files)}"
        self.files[name] = content
        return name

    def _make(self, asked: dict[str, Any]) -> Behaviour:
        assert asked["completion_window"] == "24h"
        self.submits += 1
        name = f"batch_up{len(self.batches)}"
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        assert {line["url"] for line in lines} == {asked["endpoint"]}
        self.batches[name] = {
            "id": name, "lines": lines, "looks": 0, "cancelled": False, "output_file_id": None, "error_file_id": None,
            "metadata": asked["metadata"], "created_at": int(time.time()),
        }  # fmt: skip
        return self.on_submit(True) or json_answer(self._view(self.batches[name]))

    def _view(self, batch: dict[str, Any]) -> dict[str, Any]:
        ended = "cancelled" if batch["cancelled"] else "completed"
        status = ended if batch["output_file_id"] else "in_progress"
        shown = {name: batch[name] for name in ("id", "output_file_id", "error_file_id", "metadata", "created_at")}
        return {**shown, "object": "batch", "status": status}

    def _end(self, batch: dict[str, Any]) -> None:
        good, bad = list[str](), list[str]()
        for line in reversed(batch["lines"]):
            words, body = line["body"]["messages"][-1]["content"], completion()
            result: dict[str, Any] = {
                "id": f"batch_req_{line['custom_id']}",
                "custom_id": line["custom_id"],
                "response": None,
                "error": None,
            }
            if batch["cancelled"] and words != "done before":
                result["error"] = {"code": "batch_cancelled", "message": "was cancelled"}
            elif words in self.lapses:
                result["error"] = {"code": "batch_expired", "message": "too late"}
            elif words in self.refuses:
                result["response"] = {"status_code": 400, "request_id": "r", "body": {"error": {"message": "no such thing"}}}
            else:
                result["response"] = {"status_code": 200, "request_id": "r", "body": body}
            (good if (result["response"] or {}).get("status_code") == 200 else bad).append(json.dumps(result))
        batch["output_file_id"] = self._file("\n".join(good).encode())
        batch["error_file_id"] = self._file("\n".join(bad).encode()) if bad else None


class AnthropicVendor(BatchVendor):
    """Anthropic's, with ``/v1`` as its base path."""

    def _answer(self, request: Received) -> Behaviour:
        path = request.target.partition("?")[0]
        assert (request.headers["x-api-key"], request.headers["anthropic-version"]) != ("", "")
        match request.method, path.split("/")[2:]:
            case "POST", ["messages", "batches"]:
                return self.on_submit(False) or self._make(request.json())
            case "GET", ["messages", "batches"]:
                for one in self.batches.values():
                    one["ended"] = self.over(one)
                return json_answer({"data": [self._view(one) for one in reversed(self.batches.values())], "has_more": False})
            case "GET", ["messages", "batches", name]:
                self.batches[name]["ended"] = self.over(self.batches[name])
                return json_answer(self._view(self.batches[name]))
            case "POST", ["messages", "batches", name, "cancel"]:
                self.cancels += 1
                self.batches[name]["cancelled"] = True
                return json_answer(self._view(self.batches[name]))
            case "GET", ["messages", "batches", name, "results"]:
                lines = [json.dumps(self._result(self.batches[name], one)) for one in reversed(self.batches[name]["lines"])]
                return answer_bytes("\n".join(lines).encode(), headers=[("content-type", "application/binary")])
            case "POST", ["messages"]:
                self.chats[request.json()["messages"][-1]["content"]] += 1
                return json_answer(_message())
            case _:
                return json_answer({"type": "error", "error": {"type": "not_found_error", "message": path}}, status=404)

    def _make(self, asked: dict[str, Any]) -> Behaviour:
        self.submits += 1
        assert all(len(one["custom_id"]) <= 64 for one in asked["requests"])
        name = f"msgbatch_{len(self.batches)}"
        self.batches[name] = {"id": name, "lines": asked["requests"], "looks": 0, "cancelled": False, "ended": False, "at": time.time()}
        return self.on_submit(True) or json_answer(self._view(self.batches[name]))

    def _view(self, batch: dict[str, Any]) -> dict[str, Any]:
        at = datetime.fromtimestamp(batch["at"], UTC).isoformat()
        return {"id": batch["id"], "processing_status": "ended" if batch["ended"] else "in_progress", "created_at": at}

    def _result(self, batch: dict[str, Any], line: dict[str, Any]) -> dict[str, Any]:
        words = line["params"]["messages"][-1]["content"]
        result: dict[str, Any] = {"type": "succeeded", "message": _message()}
        if batch["cancelled"] and words != "done before":
            result = {"type": "canceled"}
        elif words in self.lapses:
            result = {"type": "expired"}
        elif words in self.refuses:
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}
            result = {"type": "errored", "error": error}
        return {"custom_id": line["custom_id"], "result": result}


def _message() -> dict[str, Any]:
    return {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello from upstream"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0, "output_tokens": 20},
    }
