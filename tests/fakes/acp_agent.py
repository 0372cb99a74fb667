"""A coding agent that speaks the Agent Client Protocol on its stdio: a real program, whose prompts say what it shall do.

``install(folder, name)`` writes an executable of this name; its ``mode`` is a fault of the handshake. Prompts are the ``do_`` methods
below: ``hello``, ``slow`` (until it is cancelled), ``stubborn`` (until it is killed, with a child of its own), ``permission KIND`` ...
Any other is echoed.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VERSION = "1.2.3"


def install(folder: Path, name: str, mode: str = "") -> Path:
    """An executable ``name`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.fakes.acp_agent import main\nmain({mode!r})\n"
    )
    path.chmod(0o755)
    return path


class Agent:
    """One process."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.model = "small"
        self.session = ""
        self.cwd = ""
        self.cancelled = threading.Event()
        self.answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self.count = 0
        self.lock = threading.Lock()
        self.capabilities: dict[str, Any] = {}

    def send(self, **message: Any) -> None:
        with self.lock:
            sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
            sys.stdout.flush()

    def update(self, what: str, /, **fields: Any) -> None:
        self.send(method="session/update", params={"sessionId": self.session, "update": {"sessionUpdate": what, **fields}})

    def say(self, text: str) -> None:
        self.update("agent_message_chunk", content={"type": "text", "text": text})

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self.count += 1
        number = 1000 + self.count
        box: queue.Queue[dict[str, Any]] = queue.Queue()
        self.answers[number] = box
        self.send(id=number, method=method, params={"sessionId": self.session, **params})
        return box.get()

    def run(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            method = message.get("method")
            if method is None:
                self.answers.pop(message["id"]).put(message)
            elif method == "session/cancel":
                self.cancelled.set()
            elif method == "session/prompt":
                self.cancelled.clear()
                threading.Thread(target=self.prompt, args=(message["id"], message["params"]["prompt"][0]["text"]), daemon=True).start()
            else:
                self.handshake(message["id"], method, message["params"])

    def handshake(self, number: int, method: str, params: dict[str, Any]) -> None:
        if self.mode == "silent":
            return
        if self.mode == "signed-out" and method == "session/new":
            self.send(id=number, error={"code": -32000, "message": "Authentication required"})
        elif method == "initialize":
            self.capabilities = params["clientCapabilities"]
            self.send(id=number, result={"protocolVersion": 99 if self.mode == "future" else 1, "agentCapabilities": {}, "authMethods": []})
        elif method == "session/new":
            self.session, self.cwd = "ses_1", params["cwd"]
            self.send(id=number, result={"sessionId": self.session, **self.offers()})
        elif method in ("session/set_model", "session/set_config_option"):
            self.model = params.get("modelId") or params["value"]
            self.send(id=number, result={})
        else:
            self.send(id=number, error={"code": -32601, "message": "Method not found"})

    def offers(self) -> dict[str, Any]:
        if self.mode == "no-models":
            return {}
        if self.mode == "old-models":
            return {
                "models": {
                    "currentModelId": "small",
                    "availableModels": [{"modelId": "small", "name": "Small"}, {"modelId": "large", "name": "L"}],
                }
            }
        values = [{"value": "small", "name": "Small"}, {"value": "large", "name": "Large"}]
        return {
            "configOptions": [
                {"id": "model", "name": "Model", "category": "model", "type": "select", "currentValue": "small", "options": values}
            ]
        }

    def prompt(self, number: int, text: str) -> None:
        word, _, rest = text.partition(" ")
        act = getattr(self, f"do_{word.replace('-', '_')}", None)
        if act is None:
            self.say(text)
            stop: Any = None
        else:
            stop = act(rest)
        if isinstance(stop, dict):
            self.send(id=number, error=stop)
        else:
            self.send(
                id=number, result={"stopReason": stop or "end_turn", "usage": {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}}
            )

    def do_hello(self, rest: str) -> None:
        self.update("agent_thought_chunk", content={"type": "text", "text": "hm"})
        self.update("plan", entries=[{"content": "say hello", "priority": "high", "status": "pending"}])
        self.update("tool_call", toolCallId="t1", title="Look around", kind="read", status="pending")
        self.update("tool_call_update", toolCallId="t1", status="completed")
        for piece in ("Hel", "lo, ", "wörld"):
            self.say(piece)
        self.update("something_new", data=1)

    def do_slow(self, rest: str) -> str:
        self.say("working")
        while not self.cancelled.wait(0.05):
            pass
        return "cancelled"

    def do_tick(self, rest: str) -> str | None:
        for _ in range(int(rest or 20)):
            self.say("tick ")
            if self.cancelled.wait(0.02):
                return "cancelled"
        return None

    def do_stubborn(self, rest: str) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
        )
        self.say(f"{os.getpid()} {child.pid}")
        time.sleep(600)

    def do_permission(self, rest: str) -> str | None:
        options = [
            {"optionId": "yes-always", "name": "Always", "kind": "allow_always"},
            {"optionId": "yes", "name": "Yes", "kind": "allow_once"},
            {"optionId": "no", "name": "No", "kind": "reject_once"},
        ]
        answer = self.ask(
            "session/request_permission", toolCall={"toolCallId": "t9", "title": "Run make", "kind": rest or "execute"}, options=options
        )
        outcome = answer["result"]["outcome"]
        if outcome["outcome"] == "cancelled":
            return "cancelled"
        self.say(f"{outcome['optionId']}")
        return None

    def do_read(self, rest: str) -> None:
        answer = self.ask("fs/read_text_file", path=rest)
        self.say(answer["result"]["content"] if "result" in answer else f"error: {answer['error']['message']}")

    def do_write(self, rest: str) -> None:
        answer = self.ask("fs/write_text_file", path=rest, content="written by the agent")
        self.say("written" if "result" in answer else f"error: {answer['error']['message']}")

    def do_terminal(self, rest: str) -> None:
        answer = self.ask("terminal/create", command="id")
        self.say(f"error {answer['error']['code']}")

    def do_crash(self, rest: str) -> None:
        sys.stderr.write("fatal: the disk is full, key sk-abcdefghijklmnop\n")
        sys.stderr.flush()
        os._exit(3)

    def do_garbage(self, rest: str) -> None:
        with self.lock:
            sys.stdout.write("Loading…\n[1, 2]\n{broken\n\n")
        self.say("fine")

    def do_flood(self, rest: str) -> None:
        for number in range(int(rest)):
            self.say(f"{number} ")

    def do_long(self, rest: str) -> None:
        self.say("x" * int(rest))

    def do_env(self, rest: str) -> None:
        self.say(json.dumps(dict(os.environ)))

    def do_cwd(self, rest: str) -> None:
        self.say(json.dumps([os.getcwd(), self.cwd, self.capabilities]))

    def do_model(self, rest: str) -> None:
        self.say(self.model)

    def do_fail(self, rest: str) -> dict[str, Any]:
        return {"code": -32603, "message": "the model is overloaded"}


def main(mode: str) -> None:
    """What the installed program does."""
    if sys.argv[1:2] == ["--version"]:
        if mode == "slow-version":
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            time.sleep(600)
        if mode == "no-version":
            sys.exit("no such option")
        print(f"fake agent v{VERSION}-beta.1 (built today)")
        return
    if mode == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "mute":
        time.sleep(600)
    Agent(mode).run()
    if mode == "stubborn":
        time.sleep(600)
