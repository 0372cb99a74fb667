"""A small load generator on raw sockets, and the reading of another process's CPU time."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from pathlib import Path


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process so far, in nanoseconds, from the scheduler's counters."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


_NUMBERS = itertools.count(1)
#: Stands in a body for the request's number, which makes each one different.
NUMBER = b"@@@@@@@@"


@dataclass(frozen=True)
class Request:
    """One request, the same for every round but for :data:`NUMBER` in its body."""

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"

    def encode(self) -> tuple[bytes, bytes]:
        """The bytes before and after the place of the request's number."""
        head = [
            f"{self.method} {self.path} HTTP/1.1",
            "host: 127.0.0.1",
            "content-type: application/json",
            f"content-length: {len(self.body)}",
        ]
        head += [f"{name}: {value}" for name, value in self.headers]
        raw = ("\r\n".join(head) + "\r\n\r\n").encode() + self.body
        before, _, after = raw.partition(NUMBER)
        return before, after


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    if b"transfer-encoding: chunked" in head:
        body = bytearray()
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return status, bytes(body)
    start = head.index(b"content-length: ") + 16
    length = int(head[start : head.index(b"\r\n", start)])
    return status, await reader.readexactly(length)


async def run(port: int, request: Request, *, total: int, connections: int, rate: float | None = None) -> None:
    """Send ``total`` requests over ``connections`` keep-alive connections. Raises when an answer is not a success.

    With ``rate`` they arrive at that many a second whatever the server does (open loop), else each
    connection sends its next one as soon as it has its answer.
    """
    before, after = request.encode()
    numbered = NUMBER in request.body
    left = total
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def worker() -> None:
        nonlocal left
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while left > 0:
                number = total - left
                left -= 1
                if rate and (wait := began + number / rate - loop.time()) > 0:
                    await asyncio.sleep(wait)
                writer.write(b"%b%08x%b" % (before, next(_NUMBERS), after) if numbered else before)
                status, body = await _read_answer(reader)
                if status >= 300 or b'"isError":true' in body:
                    raise RuntimeError(f"{request.path} answered {status}: {body[:300]!r}")
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(connections, total)):
            group.create_task(worker())


def cost(pid: int, port: int, request: Request, *, total: int, connections: int = 32, rate: float | None = None) -> float:
    """CPU microseconds of process ``pid`` per request of one round."""
    before = cpu_ns(pid)
    asyncio.run(run(port, request, total=total, connections=connections, rate=rate))
    return (cpu_ns(pid) - before) / total / 1000
