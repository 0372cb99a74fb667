"""``python -m bench``: CPU per request of each hot path, as a ratio to the bare app of the same run.

Rounds are interleaved and the lowest of each case counts, so that other work on the machine cancels
out. Budgets are those of the performance reference; a missed one is marked, never hidden.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.batches import measure as measure_batches
from bench.compression import compressed_chat
from bench.compression import measure as measure_compression
from bench.dashboard import measure as measure_dashboard
from bench.dispatch import dispatch
from bench.load import NUMBER, Request, cost, cpu_ns, rss_mib
from bench.pipeline import MODELS, full_chat
from bench.pipeline import measure as measure_loaded
from bench.servers import EVENTS, FLOOD
from bench.streams import slow_readers
from bench.usage import measure as measure_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHAT = json.dumps(
    {
        "model": "bench/bench-1",
        "messages": [
            {"role": "system", "content": "You are a careful assistant. " * 12},
            {"role": "user", "content": "Tell me about the quick brown fox. " * 16},
        ],
        "temperature": 0.2,
    }
).encode()
DEMO = json.dumps(
    {"model": "demo/demo-echo", "messages": [{"role": "user", "content": "Tell me about the quick brown fox. " * 16}]}
).encode()
STREAM = CHAT[:-1] + b', "stream": true}'
#: A long conversation with tools: 200 kB in 334 messages.
LONG = json.dumps(
    {
        "model": "bench/bench-1",
        "messages": [{"role": ("user", "assistant")[at % 2], "content": f"{at}: " + "The quick brown fox. " * 27} for at in range(334)],
        "temperature": 0.2,
    }
).encode()


def _messages(model: str) -> bytes:
    """A streaming request of the Messages API."""
    words = "Tell me about the quick brown fox. " * 16
    return json.dumps({"model": model, "max_tokens": 900, "stream": True, "messages": [{"role": "user", "content": words}]}).encode()


_VERSION = "2026-07-28"
_TOOL = "omniroute_list_models_catalog"
CALL = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": _TOOL,
            "arguments": {"provider": "demo"},
            "_meta": {"io.modelcontextprotocol/protocolVersion": _VERSION, "io.modelcontextprotocol/clientCapabilities": {}},
        },
    }
).encode()
CALL_HEADERS = (
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", _VERSION),
    ("mcp-method", "tools/call"),
    ("mcp-name", _TOOL),
)
LIST = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {
            "_meta": {"io.modelcontextprotocol/protocolVersion": _VERSION, "io.modelcontextprotocol/clientCapabilities": {}},
        },
    }
).encode()
LIST_HEADERS = (CALL_HEADERS[0], CALL_HEADERS[1], ("mcp-method", "tools/list"))
SEND = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "SendMessage",
        "params": {
            "message": {
                "messageId": f"bench-{NUMBER.decode()}",
                "role": "ROLE_USER",
                "parts": [{"data": {"skill": "provider-discovery", "capability": "rerank", "limit": 1}}],
            }
        },
    }
).encode()
#: Requests a second in the open-loop cases: each is served alone, as in everyday use.
RATE = 300.0


@dataclass
class Case:
    """One row: the lowest of its rounds in microseconds, ``per`` units a request, against a ratio budget.

    The ratio is to the bare case of the same load: open loop with ``rate``, else saturated.
    """

    name: str
    pid: int
    port: int
    request: Request
    total: int
    connections: int = 32
    per: int = 1
    rate: float | None = None
    ratio_limit: float | None = None
    lowest: float = float("inf")

    def round(self, scale: float) -> None:
        """Measure once more."""
        total = max(self.connections, round(self.total * scale))
        found = cost(self.pid, self.port, self.request, total=total, connections=self.connections, rate=self.rate)
        self.lowest = min(self.lowest, found / self.per)


def free_port() -> int:
    """A port nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a server listens. Raises RuntimeError when it ended instead."""
    for _ in range(600):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        if process.poll() is not None:
            raise RuntimeError(f"a server ended with {process.returncode}")
        time.sleep(0.05)
    raise RuntimeError("a server did not listen within 30 s")


@contextlib.contextmanager
def server(*arguments: str, port: int, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module as a server process for a while."""
    # With compiled modules, as an installed hub has them, also where the shell keeps Python from writing any.
    full = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})}
    process = subprocess.Popen([sys.executable, "-m", *arguments], env=full, stdout=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(20)


def hub_env(folder: str, port: int) -> dict[str, str]:
    """Settings of a hub for measuring."""
    return {"HUBROUTE_DATA_DIR": folder, "HUBROUTE_PORT": str(port), "HUBROUTE_LOG_LEVEL": "error"}


def command(env: dict[str, str], *arguments: str) -> dict[str, str]:
    """Run a hub command and return its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "hub", *arguments, "--json"], env={**os.environ, **env}, capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)


def cold_start(env: dict[str, str], port: int, key: str) -> float:
    """CPU seconds of a hub process from its start to its first answered chat request."""
    request = Request("/v1/chat/completions", CHAT, (("authorization", f"Bearer {key}"),))
    with server("hub", "serve", port=port, env=env) as hub:
        cost(hub.pid, port, request, total=1, connections=1)
        return cpu_ns(hub.pid) / 1e9


def measure(rounds: int, scale: float) -> list[str]:
    """Run all cases and return the printed lines."""
    ports = {name: free_port() for name in ("bare", "upstream", "hub")}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        env = hub_env(folder, ports["hub"])
        key = command(env, "keys", "create", "bench", "--scopes", "*")["key"]
        command(
            env, "providers", "add", "openai-compatible", "--name", "bench", "--api-key", "sk-bench-000000", "--allow-private",
            "--base-url", f"http://127.0.0.1:{ports['upstream']}/v1", "--data", "prefix=bench",
            *(word for name in (*MODELS, FLOOD) for word in ("--model", name)),
        )  # fmt: skip
        command(
            env, "providers", "add", "anthropic-compatible", "--name", "benchm", "--api-key", "sk-bench-000000", "--allow-private",
            "--base-url", f"http://127.0.0.1:{ports['upstream']}/v1", "--data", "prefix=benchm", "--model", "bench-1",
        )  # fmt: skip
        bare = stack.enter_context(server("bench.servers", "bare", str(ports["bare"]), port=ports["bare"]))
        stack.enter_context(server("bench.servers", "upstream", str(ports["upstream"]), port=ports["upstream"]))
        starts = [cold_start(env, ports["hub"], key) for _ in range(rounds)]
        hub = stack.enter_context(server("hub", "serve", port=ports["hub"], env=env))
        bearer = ("authorization", f"Bearer {key}")
        chat = Request("/v1/chat/completions", CHAT, (bearer,))
        stream = Request("/v1/chat/completions", STREAM, (bearer,))
        same, other = (Request("/v1/messages", _messages(model), (bearer,)) for model in ("benchm/bench-1", "bench/bench-1"))
        call = Request("/api/mcp/stream", CALL, (bearer, *CALL_HEADERS))
        tools = Request("/api/mcp/stream", LIST, (bearer, *LIST_HEADERS))
        send = Request("/a2a", SEND, (bearer, ("a2a-version", "1.0")))
        full = full_chat(ports["hub"], key)
        plain = Request("/", CHAT)
        here, there = ports["hub"], ports["bare"]
        paced = [
            Case("bare raw ASGI", bare.pid, there, plain, 900, rate=RATE),
            Case("chat, non-streaming", hub.pid, here, chat, 900, rate=RATE, ratio_limit=3.5),
            Case("chat, 200 kB request", hub.pid, here, Request(chat.path, LONG, (bearer,)), 450, rate=RATE / 2, ratio_limit=10),
            Case("chat, full pipeline", hub.pid, here, full, 900, rate=RATE, ratio_limit=3.5),
            Case("chat, lone SSE event", hub.pid, here, stream, 24, 6, per=EVENTS, ratio_limit=1.3),
            Case("messages, lone SSE event", hub.pid, here, same, 24, 6, per=EVENTS, ratio_limit=1.3),
            Case("messages, translated event", hub.pid, here, other, 24, 6, per=EVENTS, ratio_limit=1.5),
        ]
        saturated = [
            Case("bare raw ASGI, saturated", bare.pid, there, plain, 4000),
            Case("chat, saturated", hub.pid, here, chat, 4000),
        ]
        _rounds([*paced, *saturated], rounds, scale)
        memory = rss_mib(hub.pid)
        agents = [
            Case("MCP tools/call", hub.pid, here, call, 900, rate=RATE, ratio_limit=2.8),
            Case("MCP tools/list", hub.pid, here, tools, 900, rate=RATE),
            Case("A2A SendMessage", hub.pid, here, send, 900, rate=RATE, ratio_limit=3.5),
        ]
        _rounds(agents, rounds, scale)
        # Last, as switching it on has every chat looked at.
        shorter = Case("chat, compression", hub.pid, here, compressed_chat(here, key), 900, rate=RATE, ratio_limit=8)
        _rounds([shorter], rounds, scale)
        agents.append(shorter)
        own = dispatch(rounds)[0]
        line = f"{'skill dispatch':28}{own:10.1f}{'':8}{'10 us':>8}{'  over' if own > 10 else ''}"
        slow = slow_readers(hub.pid, here, Request(chat.path, STREAM.replace(b"bench/bench-1", f"bench/{FLOOD}".encode()), (bearer,)))
        return [*_lines([*paced, *agents]), *_lines(saturated), line, *_totals(min(starts), memory), slow]


def loaded_hub(rounds: int, scale: float) -> list[str]:
    """The lines on a hub with much in it."""

    @contextlib.contextmanager
    def serve(folder: str) -> Iterator[tuple[float, Callable[[], float]]]:
        port = free_port()
        env = {**hub_env(folder, port), "HUBROUTE_DEMO": "on"}
        key = command(env, "keys", "create", "bench", "--scopes", "*")["key"]
        request = Request("/v1/chat/completions", DEMO, (("authorization", f"Bearer {key}"),))
        began = time.perf_counter()
        with server("hub", "serve", port=port, env=env) as hub:
            started = time.perf_counter() - began
            total = round(600 * scale) + 32
            yield started, lambda: min(cost(hub.pid, port, request, total=total, connections=32, rate=RATE) for _ in range(rounds))

    return measure_loaded(serve)


def _rounds(cases: list[Case], rounds: int, scale: float) -> None:
    for case in cases:
        cost(case.pid, case.port, case.request, total=max(4, case.connections), connections=case.connections)
    for _ in range(rounds):
        for case in cases:
            case.round(scale)


def _lines(cases: list[Case]) -> list[str]:
    """One line a case; ratios are to the first."""
    unit = cases[0].lowest
    lines: list[str] = []
    for case in cases:
        ratio = case.lowest / unit
        aim = f"{case.ratio_limit:.1f}" if case.ratio_limit else "-"
        missed = "  over" if case.ratio_limit and ratio > case.ratio_limit else ""
        lines.append(f"{case.name:28}{case.lowest:10.1f}{ratio:8.2f}{aim:>8}{missed}")
    return lines


def _totals(start: float, memory: float) -> list[str]:
    return [
        f"{'cold start to first chat':28}{start:9.3f}s{'':8}{'0.7 s':>8}{'  over' if start > 0.7 else ''}",
        f"{'RSS under chat load':28}{memory:7.1f}MiB{'':8}{'90 MiB':>8}{'  over' if memory > 90 else ''}",
    ]


def main() -> None:
    """Print the table; ``--json FILE`` also keeps it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds, the lowest counts")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the requests, for a quick look")
    parser.add_argument("--usage-rows", type=int, default=10_000_000, help="rows of the usage table in the usage part; 0 leaves it out")
    parser.add_argument("--out", type=Path, help="file to write the table to")
    options = parser.parse_args()
    lines = [f"{'case':28}{'CPU us':>10}{'ratio':>8}{'aim':>8}", *measure(options.rounds, options.scale)]
    lines += loaded_hub(options.rounds, options.scale)
    lines += measure_compression(options.rounds)
    lines += asyncio.run(measure_batches())
    if options.usage_rows:
        lines += ["", f"usage over {options.usage_rows:,} rows", *asyncio.run(measure_usage(options.usage_rows))]
        lines += ["", *asyncio.run(measure_dashboard())]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
