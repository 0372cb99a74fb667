"""Requests to upstream servers that may ask back, in both protocol eras on both sides.

A server of 2025-11-25 asks by a request in the middle of the call, one of 2026-07-28 by an interim result. A client of
2025-11-25 is asked within its session; one of 2026-07-28 gets an interim result and makes its call again with the
answers. So a call to an older server may have to wait between two requests of a newer client: it is parked under a
handle, for a while and for its principal only. All else is carried in the state, which the door seals and binds to
principal, target and arguments; here it is bound to the server, too (SEC-55).
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, cast

import orjson

from hub.errors import BadRequest, RateLimited, UpstreamFailed
from hub.upstream import pinning
from hub.upstream.asking import Declined, prepared
from hub.upstream.ongoing import CURRENT, Ongoing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from hub.context import Context
    from hub.store.documents import Document
    from hub.upstream.asking import Question
    from hub.upstream.model import Server

    Send = Callable[[Ongoing], Awaitable[dict[str, Any]]]

#: Seconds that a parked call waits for its client, and how many wait: of all, and of one principal.
PATIENCE_SECONDS = 600.0
_PARKED, _PARKED_OF_ONE = 256, 16
#: Rounds of one request to a server that asks by interim results, questions of one round, and the bytes of its state.
_ROUNDS, _QUESTIONS, _STATE_BYTES = 16, 8, 64 * 1024


class Rounds:
    """The requests of a hub. ``send`` puts one round to the server over the principal's session."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._parked: dict[str, Ongoing] = {}

    async def run(self, document: Document[Server], method: str, params: dict[str, Any], ctx: Context) -> dict[str, Any]:
        """The raw result; ``resultType`` is ``input_required`` where the client has to answer first.

        Raises what ``send`` raises, BadRequest for a state that leads nowhere, RateLimited when too many calls wait.
        """
        ongoing = self._taken_up(document, method, params, ctx)
        if ongoing.task is None and (ctx.asker is None or ctx.asker.waits):
            return await self._converse(ongoing)
        if ongoing.task is None:
            ongoing.task = asyncio.create_task(self._converse(ongoing))
        return await self._wait(ongoing)

    async def close(self) -> None:
        """End what is parked."""
        tasks = [one.task for one in self._parked.values() if one.task is not None]
        self._parked.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)

    @property
    def parked(self) -> int:
        """How many calls wait for their clients."""
        return len(self._parked)

    def _taken_up(self, document: Document[Server], method: str, params: dict[str, Any], ctx: Context) -> Ongoing:
        """A new request, or the one that a client's answers belong to."""
        if ctx.answers is None:
            return Ongoing(document, method, params, ctx)
        state = _opened(ctx.answers.state)
        if state.get("server") != document.id:
            raise _nowhere()
        if "parked" not in state:
            given = {name: one for name, one in ctx.answers.responses.items() if name in state.get("asked", ())}
            more = {"inputResponses": {**state.get("given", {}), **given}}
            if state.get("own") is not None:
                more["requestState"] = state["own"]
            return Ongoing(document, method, {**params, **more}, ctx)
        found = self._parked.get(str(state["parked"]))
        # Told apart by nothing: a handle of another principal, of another call, and one that is over.
        if found is None or (found.principal, found.document.id, found.method, found.params) != (
            ctx.caller.key_id, document.id, method, params,
        ):  # fmt: skip
            raise _nowhere()
        del self._parked[str(state["parked"])]
        found.ctx, found.there = ctx, True
        found.answer(ctx.answers.responses)
        return found

    async def _wait(self, ongoing: Ongoing) -> dict[str, Any]:
        """The end of a request, or the questions with which it is parked. A caller that leaves ends it."""
        task = cast("asyncio.Task[dict[str, Any]]", ongoing.task)
        asked = asyncio.ensure_future(ongoing.asked.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            raise
        finally:
            asked.cancel()
        return task.result() if task.done() else self._park(ongoing, task)

    def _park(self, ongoing: Ongoing, task: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
        mine = sum(one.principal == ongoing.principal for one in self._parked.values())
        if len(self._parked) >= _PARKED or mine >= _PARKED_OF_ONE:
            task.cancel()
            raise RateLimited("too many calls wait for answers of their clients; answer those first", retry_after=30)
        handle = secrets.token_urlsafe(24)
        ongoing.there = False
        self._parked[handle] = ongoing
        asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._expire, handle)
        task.add_done_callback(_looked_at)
        questions = {name: question for name, (question, _) in ongoing.waiting.items()}
        return _interim(questions, {"server": ongoing.document.id, "parked": handle})

    def _expire(self, handle: str) -> None:
        ongoing = self._parked.pop(handle, None)
        if ongoing is not None and ongoing.task is not None:
            ongoing.task.cancel()

    async def _converse(self, ongoing: Ongoing) -> dict[str, Any]:
        """Put a request to the server until it is answered, or until a client has to be asked by an interim result."""
        kept = CURRENT.set(ongoing)
        own = ongoing.params
        try:
            for _ in range(_ROUNDS):
                raw = await self._send(ongoing)
                if raw.get("resultType", "complete") != "input_required":
                    await ongoing.flush()
                    return raw
                asked = _asked(ongoing, raw)
                given, left = await self._given(ongoing, asked)
                if left:
                    state = {"server": ongoing.document.id, "asked": list(left), "given": given, "own": raw.get("requestState")}
                    return _interim(left, state)
                ongoing.params = {**own, "inputResponses": given, "requestState": raw.get("requestState")}
                if not asked:
                    # It only wants to be asked again in a moment.
                    await asyncio.sleep(0.2)
        finally:
            CURRENT.reset(kept)
            ongoing.params = own
        raise UpstreamFailed(f"the MCP server {ongoing.document.name} asks for more input without end")

    async def _given(self, ongoing: Ongoing, asked: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Question]]:
        """The answers that can be had now, and the questions that the client gets in an interim result."""
        ctx = ongoing.ctx
        given: dict[str, Any] = {}
        left: dict[str, Question] = {}
        try:
            for name, one in asked.items():
                method, params = str(one.get("method")), cast("dict[str, Any]", one.get("params") or {})
                question = prepared(ongoing.document, method, params, ctx.asker)
                if question.hub or ctx.asker is None or ctx.asker.waits:
                    given[name] = await ongoing.ask(method, params)
                else:
                    left[name] = question
        except Declined as error:
            words = f"the MCP server {ongoing.document.name} asks for what it does not get: {error}"
            raise UpstreamFailed(words, code="input_declined") from None
        return given, left


def _asked(ongoing: Ongoing, raw: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """The questions of an interim result. Raises UpstreamFailed for one out of bounds."""
    requests: Any = raw.get("inputRequests") or {}
    well = isinstance(requests, dict) and len(requests) <= _QUESTIONS and all(isinstance(one, dict) for one in requests.values())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType, reportUnknownMemberType]
    state = raw.get("requestState")
    if not well or (state is not None and (not isinstance(state, str) or len(state) > _STATE_BYTES)):
        raise UpstreamFailed(f"the MCP server {ongoing.document.name} asks for more input than a call may")
    return cast("dict[str, dict[str, Any]]", requests)


def ours(state: object) -> bool:
    """Whether an opened state is one of a request here, and not another part's of the door."""
    return isinstance(state, str) and state.startswith("{")


def _interim(questions: Mapping[str, Question], state: Mapping[str, Any]) -> dict[str, Any]:
    asked = {name: {"method": one.method, "params": one.params} for name, one in questions.items()}
    return {"resultType": "input_required", "inputRequests": asked, "requestState": pinning.canonical(state).decode()}


def _opened(state: str) -> dict[str, Any]:
    """A state of ours, which the door has opened and checked. Raises BadRequest for what is none."""
    try:
        read: Any = orjson.loads(state)
    except orjson.JSONDecodeError:
        read = None
    if not isinstance(read, dict):
        raise _nowhere()
    return cast("dict[str, Any]", read)


def _nowhere() -> BadRequest:
    return BadRequest(
        "no call waits for this answer: it is over, or another process of this hub holds it; make the call again without requestState",
        code="no_such_call",
        field="requestState",
    )


def _looked_at(task: asyncio.Task[dict[str, Any]]) -> None:
    """A parked call that failed is told of when its client comes, or never."""
    if not task.cancelled():
        task.exception()
