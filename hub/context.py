"""The context of one call: who calls, through which door, until when, and what the call may use (D11)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.call import Hub
    from hub.records import Caller
    from hub.upstream.asking import Answers, Asker

    Note = Callable[[Literal["debug", "info", "notice", "warning", "error"], str, dict[str, Any]], None]
    Progress = Callable[[float, float | None, str], Awaitable[None]]
    Show = Callable[[dict[str, Any], bool, bool], None]


@dataclass(slots=True)
class Context:
    """Made by a door for each call and handed to the skill.

    ``request_id`` is echoed to the client and names the call in usage, decision and audit rows.
    ``deadline`` is on ``hub.clock.monotonic()``; ``session`` is the client's session id, where it sent
    one. ``report`` shows progress to clients that asked for it: ``await ctx.report(done, total, words)``.
    ``skill`` is what the door called; ``counted`` says that the call counts against the key's limits already.
    ``connection`` is the id of the one connection that the client wants to be used, empty for any.
    ``note`` takes messages about how the call was routed, for clients that want them: ``ctx.note(level, words, facts)``.
    ``show`` takes artifacts of A2A 1.0, or with ``append`` more of one, while the skill makes them: ``ctx.show(artifact, append, last)``.
    ``hops`` is how many hubs the call has passed through as a message between agents.
    ``address`` is the network address of the client, empty where there is none.
    ``asker`` puts questions to the client in the middle of the call, where it can be asked; ``answers`` are those that came with
    a call that was made again for them. ``address`` is the client's IP address, empty for one on this machine that came by no network.
    """

    hub: Hub
    caller: Caller
    request_id: str
    door: str
    deadline: float | None = None
    session: str = ""
    report: Progress | None = None
    note: Note | None = None
    skill: str = ""
    counted: bool = False
    connection: str = ""
    show: Show | None = None
    hops: int = 0
    address: str = ""
    asker: Asker | None = None
    answers: Answers | None = None

    async def progress(self, done: float, total: float | None = None, words: str = "") -> None:
        """Report progress when somebody listens."""
        if self.report is not None:
            await self.report(done, total, words)
