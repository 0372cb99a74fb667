"""Runs of installed skills: input and output held against their schemas, a real limit of time, tries again, a record of each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from hub.errors import BadRequest, Conflict, Forbidden, HubError, Internal, NotConfigured, UpstreamFailed, UpstreamTimeout
from hub.evals.schemas import Undecided, fault
from hub.grants.model import sealed_place
from hub.log import logger, masked
from hub.outbound.base import OutboundError
from hub.store.skill_runs import ERROR, SUCCESS, TIMEOUT, Execution
from hub.user_skills.handler import Work, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.clock import Clock
    from hub.context import Context
    from hub.events import Events
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.user_skills.handler import Handler, Kit
    from hub.user_skills.model import UserSkill

log = logger("hub.user_skills")

#: Runs at once in this process; more wait, within their own time.
_AT_ONCE = 16
#: Bytes of an input, and of what is kept of inputs and outputs.
MOST_INPUT = 256 * 1024
_MOST_KEPT = 64 * 1024
_MOST_ERROR = 1000
_FIRST_PAUSE = 0.2
#: No run can take as long as this: one that is older belongs to a process that is gone.
LOST_MS = 10 * 60_000


class Runner:
    """Runs skills. One for a hub."""

    def __init__(self, store: Store, clock: Clock, events: Events, kit: Kit, table: Mapping[str, Handler]) -> None:
        self._events = events
        self._store = store
        self._clock = clock
        self._kit = kit
        self._table = table
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def run(self, skill: Document[UserSkill], given: dict[str, Any], ctx: Context, *, session: str = "") -> tuple[Execution, Any]:
        """The record of a run, and its output (None where it failed).

        Raises BadRequest for an input that does not fit, Conflict for a skill that cannot be run, and the HubErrors that say that nothing
        could be run: NotConfigured, Forbidden and the like. What goes wrong in the run itself is in the record.
        """
        body = skill.body
        if body.kind != "executable":
            raise Conflict(f"{body.full_name} is an instruction for models: there is nothing to run", field="skillName")
        self._check(body.schemas.input, given, "input")
        handler, spec = read(self._table, body.handler)
        spec = self._opened(skill, handler, spec)
        record = Execution(
            id=self._clock.new_id("sx_"),
            skill_id=skill.id,
            skill=body.full_name,
            key_id=ctx.caller.key_id,
            session_id=session[:200],
            request_id=ctx.request_id,
            door=ctx.door,
            input=_kept(given, ctx),
            created_at=self._clock.now_ms(),
        )
        await self._store.skill_runs.add(record)
        return record, await self._recorded(record, body, handler, spec, given, ctx)

    async def _recorded(self, record: Execution, body: UserSkill, handler: Handler, spec: Any, given: dict[str, Any], ctx: Context) -> Any:
        """Do it, and write down how it ended, whatever happens."""
        began = self._clock.monotonic()
        record.status, output, raised = ERROR, None, None
        try:
            async with asyncio.timeout(body.timeout_ms / 1000) as limit:
                async with self._slots:
                    await self._store.skill_runs.begin(record)
                    output = await self._tried(record, body, handler, spec, given, ctx, limit)
            record.status, record.output = SUCCESS, _kept(output, ctx)
        except TimeoutError:
            record.status, record.error = TIMEOUT, "it took longer than it may, and was ended"
        except HubError as error:
            record.status = TIMEOUT if error.status == UpstreamTimeout.shape.status else ERROR
            record.error = masked(error.message)[:_MOST_ERROR]
            raised = error if _nothing_ran(error) else None
        except asyncio.CancelledError:
            record.status, record.error = ERROR, "the caller went away"
            raise
        except Exception as error:
            log.error("an installed skill failed inside the hub", skill=record.skill, request_id=ctx.request_id, exc_info=error)
            record.status, record.error = ERROR, "a fault of the hub; the log has the cause"
            raised = Internal(f"{record.skill} failed inside the hub; the log has the cause under {ctx.request_id}")
        finally:
            record.status = ERROR if record.status not in (SUCCESS, TIMEOUT) else record.status
            record.duration_ms = round((self._clock.monotonic() - began) * 1000)
            # Also when the caller went away: what was begun is not left open in the log.
            await asyncio.shield(self._store.skill_runs.end(record))
            if record.status != SUCCESS:
                # Without the error's words: they may hold what went in.
                self._events.emit("skill.failed", skill=record.skill, execution=record.id, key=record.key_id, status=record.status)
        if raised is not None:
            raise raised
        return output

    async def _tried(
        self, record: Execution, body: UserSkill, handler: Handler, spec: Any, given: dict[str, Any], ctx: Context, limit: asyncio.Timeout
    ) -> Any:
        """The checked output, after further tries where the manifest asks for them and a failure may pass."""
        loop = asyncio.get_running_loop()
        while True:
            record.tries += 1
            left = max(0.05, (limit.when() or loop.time()) - loop.time())
            work = Work(ctx, self._kit, spec, given, body.text, left, record.id)
            try:
                output = await handler.run(work)
            except (UpstreamFailed, OutboundError) as error:
                if record.tries > body.retries or not _passes(error):
                    raise
                await asyncio.sleep(_FIRST_PAUSE * 2 ** (record.tries - 1))
                continue
            self._check(body.schemas.output, output, "output")
            return output

    def _opened(self, skill: Document[UserSkill], handler: Handler, spec: Any) -> Any:
        """What the manifest says with its secrets opened. Raises Unreadable where they were sealed by another hub."""
        if not handler.sealed:
            return spec
        sealed: dict[str, str] = getattr(spec, handler.sealed)
        opened = {name: self._store.unseal(value, sealed_place(skill.id, handler.sealed, name)).reveal() for name, value in sealed.items()}
        return spec.model_copy(update={handler.sealed: opened})

    @staticmethod
    def _check(schema: dict[str, Any], value: Any, what: str) -> None:
        """Raise BadRequest for an input, UpstreamFailed for an output that does not fit its schema."""
        if what == "input" and len(orjson.dumps(value)) > MOST_INPUT:
            raise BadRequest(f"input: is larger than {MOST_INPUT} bytes", field="input")
        if not schema:
            return
        try:
            words = fault(schema, value)
        except Undecided as error:
            words = str(error)
        if words and what == "input":
            raise BadRequest(f"input: {words}", field="input")
        if words:
            raise UpstreamFailed(f"the output does not fit the schema of the skill: {words}", code="bad_output")


def _nothing_ran(error: HubError) -> bool:
    """Whether an error says that the caller asked for what cannot be, and not that the work went wrong."""
    return isinstance(error, (NotConfigured, BadRequest, Forbidden))


def _passes(error: HubError) -> bool:
    """Whether another try may help."""
    if isinstance(error, OutboundError):
        return error.code not in ("address_refused", "too_large")
    return (
        isinstance(error, UpstreamFailed)
        and error.upstream_status in (None, 408, 425, 429, 500, 502, 503, 504)
        and error.code != "bad_output"
    )


def _kept(value: Any, ctx: Context) -> str:
    """A value as the log keeps it: nothing of keys that keep nothing, and the beginning of what is too long."""
    if ctx.caller.no_log:
        return ""
    text = orjson.dumps(value).decode()
    return text if len(text) <= _MOST_KEPT else orjson.dumps({"truncated": True, "head": text[: _MOST_KEPT // 2]}).decode()
